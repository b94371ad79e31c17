//! What `/metrics` says, as far as `top` shows it.

use std::collections::HashMap;

use super::buckets::Buckets;

/// The series of one answer of `/metrics`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scrape {
    /// The whole time of requests, of all routes.
    pub durations: Buckets,
    /// By name; requests that went to no pool are those of "".
    pub pools: HashMap<String, PoolSeries>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PoolSeries {
    /// Requests that have ended, and those of them that were answered 5xx.
    pub requests: u64,
    pub server_errors: u64,
    pub first_bytes: Buckets,
    pub endpoints: HashMap<String, EndpointSeries>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EndpointSeries {
    /// Its answers 5xx.
    pub server_errors: u64,
    pub first_bytes: Buckets,
}

/// The labels of a sample.
type Labels<'a> = Vec<(&'a str, String)>;

impl Scrape {
    /// Reads Prometheus' text format. Lines that are not understood, and those of other metrics, are left out.
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let Some(add) = metric(name) else { continue };
            if let Some((labels, value)) = labels(rest)
                && let Ok(value) = value.trim().parse::<f64>()
            {
                add(&mut scrape, &labels, value);
            }
        }
        scrape
    }

    fn pool(&mut self, labels: &Labels<'_>) -> &mut PoolSeries {
        self.pools.entry(label(labels, "pool").to_owned()).or_default()
    }

    fn endpoint(&mut self, labels: &Labels<'_>) -> &mut EndpointSeries {
        let endpoint = label(labels, "endpoint").to_owned();
        self.pool(labels).endpoints.entry(endpoint).or_default()
    }
}

/// How a sample of a metric is taken; `None`: it is not shown.
fn metric(name: &str) -> Option<fn(&mut Scrape, &Labels<'_>, f64)> {
    Some(match name {
        "evenkeel_request_duration_seconds_bucket" => |scrape, labels, value| {
            scrape.durations.add(bound(labels), value as u64);
        },
        "evenkeel_requests_total" => |scrape, labels, value| {
            let pool = scrape.pool(labels);
            pool.requests += value as u64;
            if label(labels, "status") == "5xx" {
                pool.server_errors += value as u64;
            }
        },
        "evenkeel_first_byte_duration_seconds_bucket" => |scrape, labels, value| {
            scrape.pool(labels).first_bytes.add(bound(labels), value as u64);
        },
        "evenkeel_endpoint_first_byte_duration_seconds_bucket" => |scrape, labels, value| {
            scrape.endpoint(labels).first_bytes.add(bound(labels), value as u64);
        },
        "evenkeel_endpoint_responses_total" => |scrape, labels, value| {
            if label(labels, "status") == "5xx" {
                scrape.endpoint(labels).server_errors += value as u64;
            }
        },
        _ => return None,
    })
}

fn label<'a>(labels: &'a Labels<'_>, name: &str) -> &'a str {
    labels.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn bound(labels: &Labels<'_>) -> f64 {
    label(labels, "le").parse().unwrap_or(f64::INFINITY)
}

/// From behind the opening brace: the labels, and what is behind the closing one.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        found.push((name, value));
        rest = after;
    }
}

/// From behind the opening quote: the value, and what is behind the closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_and_others_left_out() {
        let text = r#"# HELP evenkeel_requests_total x
evenkeel_requests_total{listener="a",route="r",pool="api",method="GET",status="2xx"} 7
evenkeel_requests_total{listener="b",route="r",pool="api",method="GET",status="5xx"} 2
evenkeel_requests_total{listener="b",route="",pool="",method="GET",status="4xx"} 1
evenkeel_active_requests 3
evenkeel_pool_in_flight{pool="api"} 3
evenkeel_endpoint_responses_total{pool="api",endpoint="a\"\\b}",status="5xx"} 4
evenkeel_endpoint_responses_total{pool="api",endpoint="cut
evenkeel_request_duration_seconds_bucket{route="r",pool="api",le="0.1"} 5
evenkeel_request_duration_seconds_bucket{route="s",pool="api",le="0.1"} 1
evenkeel_request_duration_seconds_bucket{route="r",pool="api",le="+Inf"} 6
"#;
        let scrape = Scrape::parse(text);
        let api = &scrape.pools["api"];
        assert_eq!((api.requests, api.server_errors), (9, 2));
        assert_eq!(scrape.pools[""].requests, 1);
        assert_eq!(api.endpoints["a\"\\b}"].server_errors, 4);
        assert_eq!(api.endpoints.len(), 1);
        let mut expected = Buckets::default();
        expected.add(0.1, 6);
        expected.add(f64::INFINITY, 6);
        assert_eq!(scrape.durations, expected);
    }
}
