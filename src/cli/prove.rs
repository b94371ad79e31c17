//! `evenkeel prove`: proves on this machine that reloads, restarts, upgrades and dying endpoints lose nothing.

use std::fmt::Write as _;
use std::time::Duration;

use evenkeel_prove::{Clients, Failure, Memory, Plan, Progress, ProveError, Report, Step};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, fail, print, print_json};
use crate::human;

/// Threads for the clients and the endpoints together.
const THREADS: usize = 2;

/// Prove on this machine that reloads, restarts, upgrades and dying endpoints lose nothing.
///
/// Runs this binary on a loopback port, under load by clients that retry nothing, and changes it under them. Touches
/// nothing that runs already.
#[derive(Debug, clap::Args)]
#[command(
    // `make prove ARGS=...` has its own numbers, which those of ARGS replace.
    args_override_self = true,
    after_help = "Exits with 0 if nothing was lost, else with 1 and a list of what was."
)]
pub struct Prove {
    /// How often the config is changed and put in force
    #[arg(long, value_name = "N", default_value_t = 100)]
    reloads: u64,
    /// How often a new process takes over
    #[arg(long, value_name = "N", default_value_t = 3)]
    upgrades: u64,
    /// How often a new process tries to, and cannot
    #[arg(long, value_name = "N", default_value_t = 3)]
    failed_upgrades: u64,
    /// How often it is stopped and started again; 0: the last stop has no clients either
    #[arg(long, value_name = "N", default_value_t = 3)]
    restarts: u64,
    /// How often most of the endpoints stop listening for a moment, and in turns all of them
    #[arg(long, value_name = "N", default_value_t = 2)]
    dead_endpoints: u64,
    /// How often a signal to stop comes right after an upgrade or during it, and a start follows
    #[arg(long, value_name = "N", default_value_t = 2)]
    signals: u64,
    /// How often a new process takes over, and a pool is renamed, while no name can be looked up
    #[arg(long, value_name = "N", default_value_t = 1)]
    dns_outages: u64,
    /// How long the load runs first, with nothing done to the proxy
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    load_seconds: u64,
    /// Clients with one connection each, for as long as the proxy keeps it
    #[arg(long, value_name = "N", default_value_t = 16)]
    keep_alive: usize,
    /// Clients with a new connection for each request
    #[arg(long, value_name = "N", default_value_t = 8)]
    new_connections: usize,
    /// Clients with one connection of HTTP/2 each, and four requests at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    http2: usize,
    #[arg(long, value_name = "N", default_value_t = 4)]
    downloads: usize,
    #[arg(long, value_name = "N", default_value_t = 2)]
    uploads: usize,
    #[arg(long, value_name = "N", default_value_t = 50)]
    websockets: usize,
    /// Print a report in JSON at the end, and nothing else
    #[arg(long)]
    json: bool,
}

// === impl Prove ===

impl Prove {
    pub fn execute(self) -> Exit {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("prove")
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return fail(error),
        };
        let exit = runtime.block_on(self.prove());
        // Endpoints and requests to the admin address may still be waiting.
        runtime.shutdown_background();
        exit
    }

    async fn prove(&self) -> Exit {
        let json = self.json;
        let mut tell = |progress: Progress<'_>| {
            if !json {
                print(&line(&progress));
            }
        };
        let plan = self.plan();
        let report = tokio::select! {
            report = evenkeel_prove::run(&plan, &mut tell) => report,
            interrupted = interrupted() => return fail(interrupted),
        };
        self.say(report)
    }

    fn say(&self, report: Result<Report, ProveError>) -> Exit {
        let report = match report {
            Ok(report) => report,
            Err(error) => return fail(error),
        };
        if self.json {
            match serde_json::to_string_pretty(&report) {
                Ok(text) => print_json(&text),
                Err(error) => return fail(error),
            }
        } else {
            print(&summary(&report));
        }
        if report.lost_nothing() { Exit::Done } else { Exit::Failed }
    }

    fn plan(&self) -> Plan {
        Plan {
            load: Duration::from_secs(self.load_seconds),
            reloads: self.reloads,
            upgrades: self.upgrades,
            failed_upgrades: self.failed_upgrades,
            restarts: self.restarts,
            outages: self.dead_endpoints,
            signals: self.signals,
            dns_outages: self.dns_outages,
            clients: Clients {
                keep_alive: self.keep_alive,
                new_connections: self.new_connections,
                http2: self.http2,
                downloads: self.downloads,
                uploads: self.uploads,
                websockets: self.websockets,
            },
        }
    }
}

/// Waits for SIGINT or SIGTERM; returns the error to print.
async fn interrupted() -> String {
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    match signals {
        Ok((mut int, mut term)) => {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            "interrupted: nothing is proved; what was started has been ended".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

fn line(progress: &Progress<'_>) -> String {
    match progress {
        Progress::Begun { pid, listen, clients } => {
            let Clients { keep_alive, new_connections, http2, downloads, uploads, websockets } = clients;
            format!(
                "evenkeel {} on {listen}, first process {pid}, under load: {}, {} at a time, {}, {}, {}, {}\n",
                env!("CARGO_PKG_VERSION"),
                many(*keep_alive, "keep-alive client"),
                many(*new_connections, "new connection"),
                many(*http2, "HTTP/2 client"),
                many(*downloads, "download"),
                many(*uploads, "upload"),
                many(*websockets, "WebSocket"),
            )
        }
        Progress::Step(step) => step_line(step),
    }
}

/// `100 reloads ...... 5.1 s, 48,211 requests, 0 failed; p99 4 ms, worst 31 ms; 50 WebSockets, 0 cut`
fn step_line(step: &Step) -> String {
    let name = match step.count {
        count if step.done < count && step.skipped.is_none() => {
            format!("{} of {} {}s", human::count(step.done), human::count(count), step.name)
        }
        0 => format!("{} alone", step.name),
        1 => format!("1 {}", step.name),
        count => format!("{} {}s", human::count(count), step.name),
    };
    let mut text = format!("{name} {:.<1$} ", "", 22_usize.saturating_sub(name.len()));
    if let Some(why) = &step.skipped {
        let _ = writeln!(text, "skipped: {why}");
        return text;
    }
    let _ = write!(
        text,
        "{:.1} s, {} requests, {} failed; p99 {:.0} ms, worst {:.0} ms; {} WebSockets, {} cut",
        step.seconds,
        human::count(step.requests),
        human::count(step.failed),
        step.p99_ms,
        step.worst_ms,
        step.websockets,
        step.websockets_cut,
    );
    if step.websockets_told > 0 {
        let _ = write!(text, ", {} told to come again", human::count(step.websockets_told));
    }
    if step.refused > 0 {
        let _ = write!(text, "; {} refused while nothing ran", human::count(step.refused));
    }
    if let Some(Memory { before_kib, after_kib }) = step.memory {
        let _ = write!(text, "; memory {:.1} -> {:.1} MiB", mib(before_kib), mib(after_kib));
    }
    text.push('\n');
    text
}

fn many(count: usize, what: &str) -> String {
    format!("{} {what}{}", human::count(count as u64), if count == 1 { "" } else { "s" })
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn summary(report: &Report) -> String {
    if report.lost_nothing() {
        return "Nothing was lost.\n".to_owned();
    }
    let mut text = format!("\n{} failures:\n", human::count(report.failures_in_all));
    let mut listed = 0;
    for Failure { client, expected, got, after_ms, at_seconds, during, alike } in &report.failures {
        listed += 1 + alike;
        let client = client.name();
        let _ = writeln!(
            text,
            "  at {at_seconds:.3} s, during {during}: {client}: expected {expected}; got {got}, after {after_ms} ms"
        );
        if *alike > 0 {
            let _ = writeln!(text, "    and {} more like it", human::count(*alike));
        }
    }
    let more = report.failures_in_all.saturating_sub(listed);
    if more > 0 {
        let _ = writeln!(text, "  and {} others", human::count(more));
    }
    if let Some(log) = &report.log {
        let _ = writeln!(text, "What the proxy said: {log}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use evenkeel_prove::settings::{BROKEN, Form, Settings};

    use crate::config;

    #[test]
    fn every_config_of_the_proof_is_valid() {
        let [listen, other, endpoints @ ..] =
            [1, 2, 3, 4, 5, 6].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (admin, state) = (Path::new("/tmp/it's mine/admin.sock"), Path::new("/tmp/it's mine/state"));
        for form in [Form::Plain, Form::Waits, Form::Named(7)] {
            let settings = Settings { listen, other, admin, state, endpoints: &endpoints, form };
            for number in 0..12 {
                if let Err(report) = config::parse(&settings.yaml(number), "test") {
                    panic!("{report}");
                }
            }
        }
    }

    #[test]
    fn the_broken_one_is_broken() {
        assert!(config::parse(BROKEN, "test").is_err());
    }
}
