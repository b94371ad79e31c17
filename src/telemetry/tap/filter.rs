//! Which requests a tap shows.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use crate::networks::Networks;
use crate::pool::Endpoint;
use crate::telemetry::access::shown::InFlight;
use crate::telemetry::record::NamedRecord;
use crate::telemetry::share::Share;

/// A request must meet all conditions; of several values of one condition, one is enough. An empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub listeners: Vec<String>,
    pub routes: Vec<String>,
    pub pools: Vec<String>,
    /// As the status shows them, or their addresses, or their host names and ports.
    pub endpoints: Vec<String>,
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Requests that took at least so long.
    pub slow: Option<Duration>,
    pub clients: Networks,
    pub methods: Vec<String>,
    pub hosts: Vec<String>,
    /// Whole segments: `/v1` is `/v1` and `/v1/x`, not `/v10`.
    pub paths: Vec<String>,
    pub headers: Vec<HeaderFilter>,
    pub share: Option<Share>,
}

/// A field that the request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFilter {
    pub name: HeaderName,
    /// `None`: any.
    pub value: Option<String>,
}

impl Filter {
    pub(super) fn has(&self, record: NamedRecord<'_>, in_flight: Option<InFlight<'_>>) -> bool {
        self.has_names(record, in_flight)
            && self.has_outcome(record)
            && self.has_head(record)
            && (self.clients.is_empty()
                || record.client.ip().is_some_and(|ip| self.clients.find(ip).is_some()))
            && self.share.is_none_or(|share| share.has(record.text.parts().request_id))
    }

    fn has_names(&self, record: NamedRecord<'_>, in_flight: Option<InFlight<'_>>) -> bool {
        is_one_of(&self.listeners, Some(record.listener))
            && is_one_of(&self.routes, record.route)
            && is_one_of(&self.pools, record.pool)
            && (self.endpoints.is_empty() || self.has_endpoint(record, in_flight))
    }

    /// Whether one of its attempts was at an endpoint that is meant.
    fn has_endpoint(&self, record: NamedRecord<'_>, in_flight: Option<InFlight<'_>>) -> bool {
        let is_meant = |endpoint: &Endpoint| self.endpoints.iter().any(|name| endpoint.is_named(name));
        let is_there = matches!(in_flight, Some(InFlight::At(endpoint)) if is_meant(endpoint));
        is_there || record.attempts.iter().any(|attempt| is_meant(&attempt.endpoint))
    }

    fn has_outcome(&self, record: NamedRecord<'_>) -> bool {
        (self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&record.status)))
            && self.slow.is_none_or(|slow| record.duration >= slow)
    }

    fn has_head(&self, record: NamedRecord<'_>) -> bool {
        is_one_of(&self.methods, Some(record.text.method()))
            && (self.hosts.is_empty() || self.has_host(record))
            && (self.paths.is_empty() || self.has_path(record))
            && self.headers.iter().all(|header| header.holds(record))
    }

    /// With or without its port.
    fn has_host(&self, record: NamedRecord<'_>) -> bool {
        let host = record.text.host();
        let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.hosts.iter().any(|one| one.eq_ignore_ascii_case(host) || one.eq_ignore_ascii_case(without_port))
    }

    fn has_path(&self, record: NamedRecord<'_>) -> bool {
        let target = record.text.target();
        let path = record.path.as_deref().unwrap_or_else(|| target.split('?').next().unwrap_or_default());
        self.paths.iter().any(|prefix| {
            let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl HeaderFilter {
    fn holds(&self, record: NamedRecord<'_>) -> bool {
        let captured = record.unusual().captured.as_ref();
        let Some(value) = captured.and_then(|captured| captured.request_field(&self.name)) else {
            return false;
        };
        self.value.as_ref().is_none_or(|wanted| wanted.as_bytes() == value)
    }
}

fn is_one_of(wanted: &[String], name: Option<&str>) -> bool {
    wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|one| one == name))
}
