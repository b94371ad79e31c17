//! What is simulated: the clients, the endpoints, and what happens to them; and how it is written on a command line.

use std::time::Duration;

use crate::config;

/// The most requests of a simulation: each takes some memory.
pub const REQUESTS_MAX: u64 = 20_000_000;

/// The most clients, and the most workers of an endpoint.
const COUNT_MAX: usize = 100_000;

/// Part of what the endpoints can serve that is asked for where nothing else is said.
pub const USUAL_LOAD: f64 = 0.6;

#[derive(Debug, Clone)]
pub struct Scenario {
    pub load: Load,
    /// How long requests come.
    pub time: Duration,
    /// Mean times that an endpoint works on a request; the last that is for an endpoint counts.
    pub service: Vec<ForEndpoint<Duration>>,
    /// How many requests an endpoint works on at a time; the last that is for an endpoint counts.
    pub workers: Vec<ForEndpoint<usize>>,
    /// Every request takes exactly its mean time, instead of times that are exponentially distributed around it.
    pub constant: bool,
    pub faults: Vec<Fault>,
    pub request: RequestForm,
    /// Different clients, each with an address of its own.
    pub users: usize,
    pub seed: u64,
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// By chance, so many a second, whatever the endpoints do.
    Rate(f64),
    /// The same: a part of what the endpoints can serve.
    Part(f64),
    /// So many clients, each with its next request as soon as it has the response to the one before.
    Clients(usize),
}

/// A request. In `url` and `fields`, `{user}` stands for the number of the client.
#[derive(Debug, Clone)]
pub struct RequestForm {
    pub method: String,
    /// `http://host/path?query`, or the path alone.
    pub url: String,
    /// Lines of header fields.
    pub fields: Vec<String>,
}

/// A value for one endpoint, or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForEndpoint<T> {
    /// Its address or a part of it; `None`: all.
    pub endpoint: Option<String>,
    pub value: T,
}

/// Something that happens to an endpoint, from `begin` on and until `end`, or to the end of the simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its address or a part of it, or `all`.
    pub endpoint: String,
    pub kind: FaultKind,
    pub begin: Duration,
    pub end: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// It refuses connections, and those it had are reset.
    Kill,
    /// It takes connections and answers nothing, like a process after SIGSTOP.
    Stop,
    /// It takes so many times longer.
    Slow(f64),
    /// It answers a part of its requests with that status, at once.
    Fail { status: u16, part: f64 },
}

/// Why a scenario cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("no endpoint of pool {pool} is called {given}; it has: {known}")]
    UnknownEndpoint { given: String, pool: String, known: String },
    #[error("{given} may be each of these endpoints: {found}; write more of its address")]
    AmbiguousEndpoint { given: String, found: String },
    #[error(
        "{endpoint}: {at:?} is not before the end of the simulation at {end:?}; simulate more with --for"
    )]
    AfterEnd { endpoint: String, at: Duration, end: Duration },
    #[error(
        "{count} requests are more than {REQUESTS_MAX}, which is the most: simulate less with --rate or --for"
    )]
    TooManyRequests { count: u64 },
    #[error("{0} is no request: {1}")]
    BadRequest(String, &'static str),
    #[error("{request} is not forwarded to a pool: {why}; name another request with --url")]
    NotForwarded { request: String, why: String },
    #[error("{0}; put addresses in the place of its names for a simulation")]
    NoEndpoints(String),
}

/// Parses `1200/s`.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a rate is written as 1200/s".to_owned()),
    }
}

pub fn time(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Some(time) if !time.is_zero() => Ok(time),
        _ => Err("a time is written as 10ms, 30s or 5m".to_owned()),
    }
}

/// Parses `10ms`, or `10.0.0.1:3000=10ms`.
pub fn service(text: &str) -> Result<ForEndpoint<Duration>, String> {
    for_endpoint(text, time)
}

/// Parses `4`, or `10.0.0.1:3000=4`.
pub fn workers(text: &str) -> Result<ForEndpoint<usize>, String> {
    for_endpoint(text, count)
}

/// Parses a number of workers or clients.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=COUNT_MAX) => Ok(count),
        _ => Err(format!("write a number from 1 to {COUNT_MAX}")),
    }
}

fn for_endpoint<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<ForEndpoint<T>, String> {
    let (endpoint, value) = match text.rsplit_once('=') {
        Some((endpoint, value)) => (Some(endpoint.to_owned()), value),
        None => (None, text),
    };
    Ok(ForEndpoint { endpoint, value: parse(value)? })
}

/// Parses `ENDPOINT[@START[+TIME]]` for a fault without a value.
pub fn kill(text: &str) -> Result<Fault, String> {
    let (endpoint, (begin, end)) = split_when(text)?;
    fault(endpoint, FaultKind::Kill, begin, end)
}

/// The same for `--stop`.
pub fn stop(text: &str) -> Result<Fault, String> {
    let (endpoint, (begin, end)) = split_when(text)?;
    fault(endpoint, FaultKind::Stop, begin, end)
}

/// Parses `ENDPOINT=TIMES[@START[+TIME]]`.
pub fn slow(text: &str) -> Result<Fault, String> {
    let (what, (begin, end)) = split_when(text)?;
    let times = what.rsplit_once('=').and_then(|(endpoint, times)| {
        let times: f64 = times.strip_suffix('x').unwrap_or(times).parse().ok()?;
        (times > 0.0 && times <= 1e6).then_some((endpoint, times))
    });
    match times {
        Some((endpoint, times)) => fault(endpoint, FaultKind::Slow(times), begin, end),
        None => {
            Err("a slow endpoint is written as 10.0.0.1:3000=10x@10s+20s: ten times slower, for 20 s"
                .to_owned())
        }
    }
}

/// Parses `ENDPOINT=STATUS[:PART%][@START[+TIME]]`.
pub fn fail(text: &str) -> Result<Fault, String> {
    let (what, (begin, end)) = split_when(text)?;
    let value = what.rsplit_once('=').and_then(|(endpoint, value)| {
        let (status, part) = value.split_once(':').unwrap_or((value, "100%"));
        let status = status.parse().ok().filter(|status| (200..600).contains(status))?;
        let percent: f64 = part.strip_suffix('%')?.parse().ok()?;
        (percent > 0.0 && percent <= 100.0).then_some((endpoint, status, percent / 100.0))
    });
    match value {
        Some((endpoint, status, part)) => fault(endpoint, FaultKind::Fail { status, part }, begin, end),
        None => {
            Err("a failing endpoint is written as 10.0.0.1:3000=503@20s, or =503:30%@20s for a part"
                .to_owned())
        }
    }
}

fn fault(endpoint: &str, kind: FaultKind, begin: Duration, end: Option<Duration>) -> Result<Fault, String> {
    if endpoint.is_empty() {
        return Err("the endpoint is missing: its address, a part of it, or `all`".to_owned());
    }
    Ok(Fault { endpoint: endpoint.to_owned(), kind, begin, end })
}

type Period = (Duration, Option<Duration>);

/// Splits off `@10s`, or `@10s+20s` for twenty seconds; without it, the whole simulation is meant.
fn split_when(text: &str) -> Result<(&str, Period), String> {
    let Some((what, when)) = text.rsplit_once('@') else { return Ok((text, (Duration::ZERO, None))) };
    let wrong =
        || format!("`@{when}` is no time: write @10s, or @10s+20s for the twenty seconds from then on");
    let (begin, length) = match when.split_once('+') {
        Some((begin, length)) => (begin, Some(time(length).map_err(|_| wrong())?)),
        None => (when, None),
    };
    let begin = config::duration(begin).filter(|_| !begin.is_empty()).ok_or_else(wrong)?;
    Ok((what, (begin, length.map(|length| begin + length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn faults_have_an_endpoint_a_value_and_a_time() {
        let is = |fault: Result<Fault, String>, endpoint: &str, kind, begin, end: Option<u64>| {
            let end = end.map(seconds);
            assert_eq!(fault, Ok(Fault { endpoint: endpoint.into(), kind, begin: seconds(begin), end }));
        };
        is(kill("b2@30s"), "b2", FaultKind::Kill, 30, None);
        is(kill("b2"), "b2", FaultKind::Kill, 0, None);
        is(stop("[::1]:80@1m+5s"), "[::1]:80", FaultKind::Stop, 60, Some(65));
        is(slow("b1=5x@10s"), "b1", FaultKind::Slow(5.0), 10, None);
        is(slow("10.0.0.1:80=0.5"), "10.0.0.1:80", FaultKind::Slow(0.5), 0, None);
        is(fail("a:80=503@20s+1s"), "a:80", FaultKind::Fail { status: 503, part: 1.0 }, 20, Some(21));
        is(fail("a:80=500:30%"), "a:80", FaultKind::Fail { status: 500, part: 0.3 }, 0, None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_remedy() {
        let refused = [
            kill("@30s"),
            kill("b2@soon"),
            kill("b2@"),
            stop("b2@1s+0s"),
            slow("b1@10s"),
            slow("b1=-1x"),
            slow("b1=NaN"),
            fail("b1=99"),
            fail("b1=503:0%"),
            fail("b1=503:half"),
        ];
        for refused in refused {
            let said = refused.expect_err("it is wrong");
            assert!(said.contains("write") || said.contains("written") || said.contains("missing"), "{said}");
        }
        assert!(["", "fast", "0/s", "-1", "inf", "NaN", "1/m"].iter().all(|text| rate(text).is_err()));
        assert_eq!((rate("1200/s"), rate("0.5")), (Ok(1200.0), Ok(0.5)));
        assert!(time("0s").is_err() && time("10").is_err());
        assert!(workers("0").is_err() && workers("a=b").is_err());
        let of = |endpoint: &str, value| Ok(ForEndpoint { endpoint: Some(endpoint.into()), value });
        assert_eq!(workers("10.0.0.1:80=8"), of("10.0.0.1:80", 8));
    }
}
