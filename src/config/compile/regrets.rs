//! Warns of what is legal and mostly regretted: each with its place and what to write instead.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::Compiler;
use super::pools::duration_text;
use super::queues::{pool_section, routes, timeout};
use super::retry::retry_over_pool;
use crate::config::decode::{List, ShortOr, Spanned};
use crate::config::model::EndpointAddress;
use crate::config::raw::{CheckSection, EndpointForm, FileSection, PoolSection, RouteSection};
use crate::config::source::Span;

/// Clients give up before an endpoint is found dead that takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest prefixes of networks that are private: 10.0.0.0/8 and fc00::/7.
const PRIVATE_PREFIXES: [u8; 2] = [8, 7];

/// May be read by users who are neither the owner nor of the group.
const READABLE_BY_OTHERS: u32 = 0o004;

impl Compiler<'_> {
    pub(super) fn warn_of_regrets(&mut self, file: &FileSection) {
        for form in file.pools.iter().flat_map(|pools| &pools.entries).filter_map(|(_, form)| form.as_ref()) {
            if let ShortOr::Long(pool) = &form.value {
                self.warn_of_slow_check(pool);
                self.warn_of_lone_endpoint(pool);
            }
        }
        for route in routes(file) {
            self.warn_of_retries_cut_short(route, file);
        }
        self.warn_of_short_drain(file);
    }

    fn warn_of_slow_check(&mut self, pool: &PoolSection) {
        let Some(check) = pool.health_check.as_option() else { return };
        let CheckSection { interval, unhealthy_after, .. } = check;
        let limit = interval.0.saturating_mul(unhealthy_after.0 as u32);
        if limit > PATIENCE {
            let span = if interval.written { interval.span } else { unhealthy_after.span };
            let message = format!(
                "an endpoint that answers no more gets requests for up to {} (`interval` times `unhealthy_after`)",
                duration_text(limit)
            );
            self.diagnostics.warn(span, message, "write a shorter `interval`, such as 2s");
        }
    }

    fn warn_of_lone_endpoint(&mut self, pool: &PoolSection) {
        let none_healthy = &pool.when_none_healthy;
        let has_check = pool.health_check.written && pool.health_check.as_option().is_some();
        let is_kept = none_healthy.fail_open.0 || !none_healthy.wait.0.is_zero();
        let lone = pool.endpoints.as_ref().filter(|list| list.length == 1 && list.iter().all(is_one_address));
        if lone.is_some() && has_check && !is_kept {
            let message = "with one endpoint there is nothing to fail over to: when its probes fail, all requests \
                           are answered 503, even if it would serve them";
            let remedy = "add an endpoint, or write `health_check: off` or `when_none_healthy: { wait: 5s }`";
            self.diagnostics.warn(pool.health_check.span, message, remedy);
        }
    }

    fn warn_of_retries_cut_short(&mut self, route: &RouteSection, file: &FileSection) {
        let Some(limit) = timeout(route) else { return };
        let Some(pool) = route.pool.as_ref().and_then(|pool| pool_section(file, &pool.0)) else { return };
        let retry = retry_over_pool(route, pool);
        if !retry.on.timeout || retry.limit == 0 {
            return;
        }
        let attempt = retry.attempt_timeout.unwrap_or(pool.timeouts.response.0);
        let attempts = u32::from(retry.limit) + 1;
        let all = attempt.saturating_mul(attempts);
        if all > limit {
            let message = format!(
                "{attempts} attempts of {} each take {}, and the route's requests end after {}",
                duration_text(attempt),
                duration_text(all),
                duration_text(limit),
            );
            let remedy =
                "write a longer `timeout`, or a shorter `attempt_timeout` or a smaller `limit` of `retry`";
            self.diagnostics.warn(route.timeout.span, message, remedy);
        }
    }

    fn warn_of_short_drain(&mut self, file: &FileSection) {
        let drain = &file.server.drain;
        let longest = routes(file).filter_map(|route| Some((timeout(route)?, route.timeout.span))).max();
        let Some((longest, of_route)) = longest.filter(|(longest, _)| *longest > drain.0) else { return };
        let span = if drain.written { drain.span } else { of_route };
        let (drain, longest) = (duration_text(drain.0), duration_text(longest));
        let message = format!(
            "a route lets requests take {longest}, and a stop or an upgrade cuts them after {drain} (`server.drain`)"
        );
        let remedy = format!("write `server: {{ drain: {longest} }}`, or a shorter `timeout` of the route");
        self.diagnostics.warn(span, message, remedy);
    }

    pub(super) fn warn_of_trust(&mut self, trusted: &List<IpNet>) {
        for network in trusted.iter() {
            let [v4, v6] = PRIVATE_PREFIXES;
            let shortest = if network.value.addr().is_ipv4() { v4 } else { v6 };
            if network.value.prefix_len() < shortest {
                let message = format!(
                    "{} has addresses of the internet: whoever comes from there may say to be any client",
                    network.value
                );
                let remedy = "write the addresses of your own balancers, such as 10.0.0.0/8";
                self.diagnostics.warn(network.span, message, remedy);
            }
        }
    }

    /// For files whose readers could pretend to be this server, or its users.
    pub(super) fn warn_if_readable(&mut self, secret: &Path, span: Span) {
        // A file that is not there has been reported.
        let Ok(found) = fs::metadata(secret) else { return };
        if found.permissions().mode() & READABLE_BY_OTHERS != 0 {
            let shown = secret.display();
            let message = format!("{shown} has secrets, and every user of this machine may read it");
            self.diagnostics.warn(span, message, format!("run `chmod o= {shown}`"));
        }
    }
}

/// Whether the endpoint cannot be several, as those of a host name are.
fn is_one_address(form: &Spanned<EndpointForm>) -> bool {
    let address = match &form.value {
        ShortOr::Short(address) => Some(address),
        ShortOr::Long(section) => section.address.as_ref().map(|address| &address.value),
    };
    address.is_some_and(|address| matches!(address, EndpointAddress::Inet(_) | EndpointAddress::Unix(_)))
}
