//! The requests of an access log, judged by another config: which of them it would route, answer or refuse otherwise.
//!
//! Each line becomes a real [`Exchange`](crate::exchange::Exchange), with the head that the log tells of, and is admitted
//! as a request that comes now would be, at the time of its line. What the log does not tell is absent: other header
//! fields, certificates, what endpoints do. Nothing is sent, and no service is asked.

mod chunks;
mod combined;
mod fate;
mod head;
mod judge;
mod line;
pub mod report;
mod tally;
#[cfg(test)]
mod tests;
mod work;

use std::io::{self, Read};

use crate::config::Config;
use judge::Judge;
pub use report::Report;

/// How far a replay is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub bytes: u64,
    pub lines: u64,
}

/// Judges the lines of `log`. `host` is whom the requests of a log without hosts have asked; `progress` is called several
/// times a second.
pub fn run(
    config: Config,
    host: Option<&str>,
    log: impl Read + Send,
    progress: impl FnMut(Progress),
) -> io::Result<Report> {
    let judge = Judge::new(config, host);
    let tally = work::judge_all(&judge, log, progress)?;
    Ok(tally.report(&judge))
}
