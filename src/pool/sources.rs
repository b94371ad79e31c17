//! The sources of a pool's endpoints that are asked again and again, such as host names, and what each said last.
//!
//! A source that fails keeps its last answer, however old, and a reload or an upgrade hands it on, so that a broken name
//! server takes no endpoint out of service.

mod ask;
mod dns;
mod http;
mod lists;
mod rounds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use ask::{Answer, Asker};
pub(crate) use dns::Dns;
pub(super) use rounds::Rounds;

use super::live_state::KnownState;
use super::status::SourceStatus;
use crate::config::{self, EndpointAddress, EndpointAttributes};
use crate::human::unix_seconds;

/// The shortest time from one answer to the next question, whatever its TTL.
const HOLD_MIN: Duration = Duration::from_secs(1);

/// How many endpoints a log line names.
const NAMED_MAX: usize = 10;

/// An endpoint that a source names; its address may be a source again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub address: EndpointAddress,
    /// Host and port by which the source knows it; `None`: the address itself.
    pub authority: Option<Arc<str>>,
    /// `None`: those that the source is given in the config.
    pub attributes: Option<EndpointAttributes>,
}

/// The last answers of all sources of the pools of one name.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<BTreeMap<EndpointAddress, Known>>);

#[derive(Debug, Default)]
struct Known {
    found: Arc<[Found]>,
    /// When it answered last.
    at: Option<SystemTime>,
    /// Why it failed when it was asked last, if it did.
    failing: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// When it is to be asked again; `None`: it has not been asked in this process.
    due: Option<Instant>,
}

impl Sources {
    /// What the source named last.
    pub fn found(&self, source: &EndpointAddress) -> Arc<[Found]> {
        self.0.lock().get(source).map(|known| known.found.clone()).unwrap_or_default()
    }

    /// The sources of a pool, with those that others of them name.
    pub fn of(&self, pool: &config::Pool) -> Vec<EndpointAddress> {
        let table = self.0.lock();
        let mut all: Vec<EndpointAddress> = Vec::new();
        for spec in pool.endpoints.iter().filter(|spec| spec.address.is_source()) {
            all.push(spec.address.clone());
            let named = table.get(&spec.address).map_or(&[][..], |known| &known.found);
            all.extend(
                named.iter().map(|found| &found.address).filter(|address| address.is_source()).cloned(),
            );
        }
        all.sort();
        all.dedup();
        all
    }

    /// Takes from `known` what sources of the pool have answered that have no answer here.
    pub fn inherit(&self, pool: &config::Pool, known: &KnownState) {
        // What a source names may be a source itself.
        for _ in 0..2 {
            for source in self.of(pool) {
                let mut table = self.0.lock();
                let own = table.entry(source.clone()).or_default();
                if own.found.is_empty()
                    && let Some((found, at)) = known.found(&source)
                {
                    *own = Known { found: found.into(), at: Some(at), ..Known::default() };
                }
            }
        }
    }

    /// The answers of all sources, and when they were given.
    pub fn known(&self) -> Vec<(EndpointAddress, Arc<[Found]>, SystemTime)> {
        let table = self.0.lock();
        let answers =
            table.iter().filter_map(|(source, known)| Some((source.clone(), known.found.clone(), known.at?)));
        answers.collect()
    }

    /// Stores an answer, or keeps the old one after a failure, and logs each change once. `true` if what it names has
    /// changed.
    pub fn remember(
        &self,
        pool: &str,
        source: &EndpointAddress,
        answer: Result<Answer, String>,
        longest: Duration,
        now: SystemTime,
    ) -> bool {
        let mut table = self.0.lock();
        let known = table.entry(source.clone()).or_default();
        match answer {
            Ok(answer) => {
                let changed = !Arc::ptr_eq(&known.found, &answer.found) && known.found != answer.found;
                log_answer(pool, source, known, &answer, changed);
                let due = Some(Instant::now() + answer.hold);
                *known = Known { found: answer.found, at: Some(now), due, ..Known::default() };
                changed
            }
            Err(reason) => {
                // A file may be mended and still be wrong; a name server has many words for one fault.
                let is_other = matches!(source, EndpointAddress::File(_))
                    && known.failing.as_ref().is_some_and(|failing| *failing != reason);
                if known.failing.is_none() || is_other {
                    let (source, kept) = (&*source.to_string(), known.found.len());
                    log::warn!(pool, source, reason = &*reason, kept; "endpoint source fails, keeping its last answer");
                }
                let pause = HOLD_MIN.saturating_mul(1 << known.failures.min(16));
                known.due = Some(Instant::now() + pause.min(longest));
                known.failures += 1;
                known.failing = Some(reason);
                false
            }
        }
    }

    /// When the source is to be asked again; `None`: it has not been asked yet.
    fn due(&self, source: &EndpointAddress) -> Option<Instant> {
        self.0.lock().get(source)?.due
    }

    /// Makes all sources due, because they are to be asked otherwise.
    pub fn ask_anew(&self) {
        self.0.lock().values_mut().for_each(|known| known.due = None);
    }

    /// Forgets the sources that are not those of the pool, and returns those, sorted.
    pub fn retain(&self, pool: &config::Pool) -> Vec<EndpointAddress> {
        let wanted = self.of(pool);
        self.0.lock().retain(|source, _| wanted.binary_search(source).is_ok());
        wanted
    }

    pub fn status(&self) -> Vec<SourceStatus> {
        let table = self.0.lock();
        let status = |(source, known): (&EndpointAddress, &Known)| SourceStatus {
            source: source.to_string(),
            endpoints: known.found.len(),
            answered: known.at.map(unix_seconds),
            failing: known.failing.clone(),
        };
        table.iter().map(status).collect()
    }
}

fn log_answer(pool: &str, source: &EndpointAddress, known: &Known, answer: &Answer, changed: bool) {
    let (source, endpoints) = (&*source.to_string(), answer.found.len());
    if changed {
        let (added, removed) = (names(&answer.found, &known.found), names(&known.found, &answer.found));
        log::info!(pool, source, endpoints, added = &*added, removed = &*removed; "endpoint source has changed");
    } else if known.failing.is_some() {
        log::info!(pool, source, endpoints; "endpoint source answers again");
    }
}

/// Those of `found` that are not in `others`, as text.
fn names(found: &[Found], others: &[Found]) -> String {
    let others: std::collections::HashSet<_> = others.iter().map(|other| &other.address).collect();
    let mut new =
        found.iter().filter(|one| !others.contains(&one.address)).map(|one| one.address.to_string());
    let mut text = new.by_ref().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    match new.count() {
        0 => {}
        more => text += &format!(" and {more} more"),
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    pub(in crate::pool) fn name() -> EndpointAddress {
        EndpointAddress::Name { host: "app.test".into(), port: 80 }
    }

    /// An answer that names these addresses.
    pub(in crate::pool) fn answer(addresses: &[SocketAddr]) -> Answer {
        let found = |address: &SocketAddr| Found {
            address: EndpointAddress::Inet(*address),
            authority: Some("app.test:80".into()),
            attributes: None,
        };
        Answer { found: addresses.iter().map(found).collect(), hold: LONGEST }
    }

    fn addresses(sources: &Sources) -> Vec<String> {
        sources.found(&name()).iter().map(|found| found.address.to_string()).collect()
    }

    #[test]
    fn a_source_that_fails_keeps_its_last_answer() {
        let sources = Sources::default();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        assert!(sources.remember("p", &name(), Ok(answer(&[([10, 0, 0, 1], 80).into()])), LONGEST, then));
        assert!(!sources.remember("p", &name(), Err("no such host".into()), LONGEST, SystemTime::now()));
        assert_eq!(addresses(&sources), ["10.0.0.1:80"]);
        let status = sources.status();
        assert_eq!((status[0].answered, status[0].failing.as_deref()), (Some(7.0), Some("no such host")));
    }

    #[test]
    fn a_name_that_moves_has_its_new_addresses_only() {
        let sources = Sources::default();
        for last in [1, 2] {
            let answer = answer(&[([10, 0, 0, last], 80).into()]);
            assert!(sources.remember("p", &name(), Ok(answer), LONGEST, SystemTime::now()));
        }
        assert_eq!(addresses(&sources), ["10.0.0.2:80"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_is_asked_again_less_and_less_often() {
        let sources = Sources::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            sources.remember("p", &name(), Err("down".into()), LONGEST, SystemTime::now());
            let due = sources.due(&name()).expect("it has been asked");
            pauses.push((due - Instant::now()).as_secs());
            tokio::time::sleep_until(due).await;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_log_line_names_a_few() {
        let all: Vec<SocketAddr> = (0..13).map(|last| ([10, 0, 0, last], 80).into()).collect();
        let text = names(&answer(&all).found, &answer(&all[..1]).found);
        assert!(text.starts_with("10.0.0.1:80, 10.0.0.2:80, "), "{text}");
        assert!(text.ends_with(", 10.0.0.10:80 and 2 more"), "{text}");
    }
}
