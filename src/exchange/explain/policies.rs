//! What each policy says of the request, in the order in which they act.

use std::time::Duration;

use http::header;

use super::conditions::{HIDDEN, list, shown_value};
use super::{Asked, AskedLimit, End, Step};
use crate::config::{
    Access, Action, HashKey, HeaderEdits, HostHeader, HttpsRedirect, Origins, PathRewrite, RateKey,
    ResponsePolicy, RoutePriority, SplitSticky, is_secret,
};
use crate::exchange::passage::Stage;
use crate::exchange::{Failure, LocalReply};
use crate::human;
use crate::rate_limit::Quota;
use crate::routing::{RequestHead, cookie};
use crate::snapshot::{Mirror, Route, RouteRateLimit};

/// The stages whose policies are told about one by one; the path and the routes have a place of their own.
const STAGES: [Stage; 15] = [
    Stage::Limits,
    Stage::ListenerAccess,
    Stage::Host,
    Stage::Certificate,
    Stage::RedirectHttps,
    Stage::Hops,
    Stage::RouteAccess,
    Stage::RouteLimits,
    Stage::RateLimit,
    Stage::Preflight,
    Stage::Authentication,
    Stage::Action,
    Stage::Rewrite,
    Stage::RequestHeaders,
    Stage::Pool,
];

impl Asked {
    /// What the policies say up to the end of the request's way, and the names of those that it does not come to.
    pub fn steps<H: RequestHead>(&self, end: &End, head: &H) -> (Vec<Step>, Vec<String>) {
        let last = match end {
            End::Forwarded(_) => Stage::Pool,
            End::Refused(_) | End::Answered(_) => self.asking.stage,
        };
        let (mut steps, mut not_reached) = (Vec::new(), Vec::new());
        for stage in STAGES {
            if stage > last {
                not_reached.extend(self.has(stage).then(|| name(stage).to_owned()));
                continue;
            }
            let ends = stage == last && !matches!(end, End::Forwarded(_));
            let passed = if self.has(stage) { self.passed(stage, head, ends) } else { Vec::new() };
            let is_told = !passed.is_empty();
            steps.extend(passed.into_iter().map(|text| Step {
                policy: name(stage).to_owned(),
                text,
                ends: false,
            }));
            match steps.last_mut().filter(|_| ends) {
                Some(step) if is_told => step.ends = true,
                _ if ends => {
                    steps.push(Step { policy: name(stage).to_owned(), text: self.ending(end), ends: true });
                }
                _ => {}
            }
        }
        (steps, not_reached)
    }

    fn route(&self) -> Option<&Route> {
        self.exchange.route()
    }

    /// Whether the config asks for something at this stage.
    fn has(&self, stage: Stage) -> bool {
        let has_lists = |access: &Access| access.allow.is_some() || access.deny.is_some();
        let listener = self.exchange.listener();
        let of_route = |has: &dyn Fn(&Route) -> bool| self.route().is_some_and(has);
        match stage {
            Stage::ListenerAccess => has_lists(&listener.access),
            Stage::RedirectHttps => listener.redirect_https.is_some(),
            Stage::RouteAccess => of_route(&|route| has_lists(&route.access)),
            Stage::RateLimit => of_route(&|route| !route.rate_limits.is_empty()),
            Stage::Preflight => {
                of_route(&|route| route.response.as_ref().is_some_and(|policy| policy.cors.is_some()))
            }
            Stage::Authentication => of_route(&|route| route.auth.is_some()),
            Stage::Action => {
                of_route(&|route| matches!(route.action, Action::Redirect(_) | Action::Respond(_)))
            }
            Stage::Rewrite => of_route(&|route| route.rewrite.is_some()),
            Stage::RequestHeaders => of_route(&|route| route.request_headers.is_some()),
            Stage::Pool => of_route(&|route| !route.targets.is_empty()),
            Stage::Path
            | Stage::Limits
            | Stage::Host
            | Stage::Certificate
            | Stage::Hops
            | Stage::Route
            | Stage::RouteLimits => false,
        }
    }

    /// What a stage says that the config asks for; nothing where only the request's end is to be told.
    fn passed<H: RequestHead>(&self, stage: Stage, head: &H, ends: bool) -> Vec<String> {
        let listener = self.exchange.listener();
        let Some(route) = self.route() else {
            return match stage {
                Stage::ListenerAccess if !ends => vec![self.access(&listener.access)],
                Stage::RedirectHttps if !ends => self.not_redirected(listener.redirect_https.as_ref()),
                _ => Vec::new(),
            };
        };
        match stage {
            Stage::ListenerAccess if !ends => vec![self.access(&listener.access)],
            Stage::RedirectHttps if !ends => self.not_redirected(listener.redirect_https.as_ref()),
            Stage::RouteAccess if !ends => vec![self.access(&route.access)],
            Stage::RateLimit => self.rate_limits(route, head),
            Stage::Preflight if !ends => {
                route.response.iter().filter_map(|policy| origin(policy, head)).collect()
            }
            Stage::Authentication if !ends => self.authentication(),
            Stage::Rewrite if !ends => self.rewrite(route),
            Stage::RequestHeaders if !ends => {
                route.request_headers.iter().map(|edits| header_edits(edits)).collect()
            }
            Stage::Pool => self.of_pool(route, head),
            _ => Vec::new(),
        }
    }

    /// Why the way ends, where no policy has told it.
    pub(super) fn ending(&self, end: &End) -> String {
        match end {
            End::Refused(failure) => self.refusal(*failure),
            End::Answered(reply) => self.answer(reply),
            End::Forwarded(_) => String::new(),
        }
    }

    fn refusal(&self, failure: Failure) -> String {
        let record = &self.exchange.record;
        let status = failure.status();
        let why = match failure {
            Failure::Denied => {
                let by = record.unusual().refused_by.as_ref().map(|by| by.to_string()).unwrap_or_default();
                let client = self.client();
                match record.unusual().refused_by.as_ref().and_then(|by| by.denied) {
                    Some(_) => format!("`{by}` refuses client {client}"),
                    None => format!("client {client} is in no network of `{by}`"),
                }
            }
            Failure::NoRoute => "no route matches".to_owned(),
            Failure::MissingHost => "it names no host".to_owned(),
            Failure::Misdirected => "its host has another certificate than the client was shown".to_owned(),
            Failure::Loop => "it has been forwarded too often: a proxy is its own endpoint".to_owned(),
            Failure::TargetTooLong => "its target is longer than the limit".to_owned(),
            Failure::HeadersTooLarge => "its header fields are more or larger than the limit".to_owned(),
            Failure::BodyTooLarge => "its body is larger than the limit".to_owned(),
            Failure::RateLimited => {
                format!("rate limit by {}", record.unusual().limited.as_deref().unwrap_or_default())
            }
            Failure::Unauthorized => self.unauthorized(),
            _ => failure.label().replace('_', " "),
        };
        let detail =
            record.unusual().detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{} {}: {why}{detail}", status.as_u16(), status.canonical_reason().unwrap_or("Error"))
    }

    fn unauthorized(&self) -> String {
        let Some(record) = &self.exchange.record.unusual().auth else { return "nobody may pass".to_owned() };
        let challenge = self.exchange.challenge();
        let why = challenge.as_ref().and_then(|challenge| challenge.to_str().ok()).and_then(|challenge| {
            let (_, why) = challenge.split_once("error_description=\"")?;
            why.strip_suffix('"').map(|why| format!(": {why}"))
        });
        let user = record.user.as_ref().map(|user| format!(" of user {user:?}")).unwrap_or_default();
        format!(
            "{} authentication{user}: {}{}",
            record.kind,
            verdict(record.verdict),
            why.unwrap_or_default()
        )
    }

    fn answer(&self, reply: &LocalReply) -> String {
        let status = reply.status;
        let location = location(reply).map(|to| format!(" to {to}")).unwrap_or_default();
        let what = match self.exchange.record.unusual().action {
            Some("redirect_https") => "redirect to HTTPS",
            Some("cors_preflight") => "answer to a CORS preflight",
            Some("max_forwards") => "answer to the last hop of Max-Forwards",
            Some("redirect") => "redirect",
            _ => "fixed answer",
        };
        format!("{} {}: {what}{location}", status.as_u16(), status.canonical_reason().unwrap_or("?"))
    }

    fn client(&self) -> &str {
        self.exchange.sender.client().ip_text().unwrap_or("without an address")
    }

    fn access(&self, access: &Access) -> String {
        let client = self.client();
        let ip = self.exchange.sender.client().ip();
        let allowed = access.allow.as_ref().and_then(|allow| ip.and_then(|ip| allow.find(ip)));
        match (allowed, &access.deny) {
            (Some(network), None) => format!("client {client} is in allow {network}"),
            (Some(network), Some(_)) => {
                format!("client {client} is in allow {network}, and in no network of deny")
            }
            (None, _) => format!("client {client} is in no network of deny"),
        }
    }

    fn not_redirected(&self, redirect: Option<&HttpsRedirect>) -> Vec<String> {
        let why = match redirect {
            None => return Vec::new(),
            Some(_) if self.exchange.sender.scheme == "https" => "it has come by HTTPS",
            Some(_) => "its path is one of those that are excepted",
        };
        vec![format!("not redirected: {why}")]
    }

    fn rate_limits<H: RequestHead>(&self, route: &Route, head: &H) -> Vec<String> {
        let told = |limit: &AskedLimit| {
            let own = route.rate_limits.iter().find(|one| one.label == limit.label)?;
            Some(self.rate_limit(own, limit, head))
        };
        self.asking.limits.iter().filter_map(told).collect()
    }

    fn rate_limit<H: RequestHead>(&self, limit: &RouteRateLimit, asked: &AskedLimit, head: &H) -> String {
        let quota = &limit.config.quota;
        let rate = rate(quota);
        let key = match &limit.config.by {
            RateKey::Route => String::new(),
            RateKey::Client => format!(" {}", self.client()),
            RateKey::Header(name) => part(head.header(name), name.as_str()),
            RateKey::Cookie(name) => part(cookie(head, name), "cookie"),
        };
        let burst = human::count(quota.burst().into());
        match asked.result {
            Ok(()) => format!("by {}{key}: {} of {burst} left at once, {rate}", limit.label, asked.left),
            Err(too_many) => {
                let wait = human::fine_duration(too_many.wait);
                let what =
                    if limit.config.dry_run { "429 but for its dry run" } else { "429 Too Many Requests" };
                format!("by {}{key}: {what}: 0 of {burst} left, {rate}, the next in {wait}", limit.label)
            }
        }
    }

    fn authentication(&self) -> Vec<String> {
        if let Some(url) = &self.would_ask {
            return vec![format!("{url} would be asked; what follows holds if it lets the request pass")];
        }
        let Some(record) = &self.exchange.record.unusual().auth else { return Vec::new() };
        let user = record.user.as_ref().map(|user| format!(" as user {user:?}")).unwrap_or_default();
        vec![format!("{}: {}{user}", record.kind, verdict(record.verdict))]
    }

    fn rewrite(&self, route: &Route) -> Vec<String> {
        let Some(rewrite) = &route.rewrite else { return Vec::new() };
        let path = rewrite.path.as_ref().map(|to| match &self.exchange.record.unusual().rewritten {
            Some(path) => format!("path {path}, {}", how_rewritten(to)),
            None => format!("path as it is: it is none that {} changes", how_rewritten(to)),
        });
        let host = rewrite.host.as_ref().map(|host| match host {
            HostHeader::Preserve => "host as it is".to_owned(),
            HostHeader::Endpoint => "host of the endpoint".to_owned(),
            HostHeader::Fixed(host) => format!("host {}", String::from_utf8_lossy(host.as_bytes())),
        });
        path.into_iter().chain(host).collect()
    }

    fn copies<H: RequestHead>(&self, mirror: &Mirror, head: &H) -> String {
        let (pool, share) = (&mirror.config.pool, mirror.config.share);
        match self.exchange.may_be_copied(mirror, head) {
            false => format!("no copy goes to pool {pool}: not of such requests"),
            true if share < 1.0 => {
                format!("a copy goes to pool {pool}, of {:.1} % of such requests", share * 100.0)
            }
            true => format!("a copy goes to pool {pool}"),
        }
    }

    /// Which pool, by what, and who is first where requests wait.
    fn of_pool<H: RequestHead>(&self, route: &Route, head: &H) -> Vec<String> {
        let split = match &route.action {
            Action::Split(split) => {
                let known = match &split.sticky {
                    Some(SplitSticky::Key(by)) => Some(hash_key(by)),
                    Some(SplitSticky::Cookie(own)) => Some(format!("cookie {}", own.name)),
                    None => None,
                };
                let by = match known {
                    Some(known) if self.exchange.new_place.is_none() => format!("by {known}"),
                    Some(known) => format!("by chance, because it has no {known}"),
                    None => "by chance: by the request's id".to_owned(),
                };
                let pool = self.exchange.pool().map(|pool| pool.name().to_string()).unwrap_or_default();
                Some(format!(
                    "pool {pool} {by}, of {}",
                    route.action.to_string().trim_start_matches("to pools ")
                ))
            }
            _ => None,
        };
        let priority = match &route.priority {
            RoutePriority::Fixed(priority) if *priority == Default::default() => None,
            RoutePriority::Fixed(priority) => Some(format!("priority {}", priority.label())),
            RoutePriority::Header(name) => {
                Some(format!("priority {}, by {name}", self.exchange.waiting.priority.label()))
            }
        };
        let limit = route.requests.as_ref().map(|requests| {
            let most = requests.limit.most().map(|most| format!(" of at most {most}")).unwrap_or_default();
            format!("{}{most} requests of the route in flight", requests.limit.in_flight())
        });
        let buffer = route.buffer_request.map(|most| {
            format!("sent to an endpoint once its body is whole, of at most {}", human::bytes(most))
        });
        let mirror = route.mirror.as_ref().map(|mirror| self.copies(mirror, head));
        split.into_iter().chain(priority).chain(limit).chain(buffer).chain(mirror).collect()
    }
}

/// The name of a stage's policy, as the docs have it.
fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Path => "path",
        Stage::Limits => "listener limits",
        Stage::ListenerAccess => "listener access",
        Stage::Host => "host",
        Stage::Certificate => "certificate",
        Stage::RedirectHttps => "redirect to https",
        Stage::Hops => "hops",
        Stage::Route => "route",
        Stage::RouteAccess => "access",
        Stage::RouteLimits => "route limits",
        Stage::RateLimit => "rate limit",
        Stage::Preflight => "cors",
        Stage::Authentication => "authentication",
        Stage::Action => "action",
        Stage::Rewrite => "rewrite",
        Stage::RequestHeaders => "request headers",
        Stage::Pool => "pool",
    }
}

fn verdict(verdict: crate::auth::Verdict) -> &'static str {
    use crate::auth::Verdict;
    match verdict {
        Verdict::Passed => "it passes",
        Verdict::Missing => "it has no credentials",
        Verdict::Refused => "its credentials are wrong",
        Verdict::Unavailable => "nothing can be found out of its credentials",
    }
}

/// As the config has it: `100/s`.
fn rate(quota: &Quota) -> String {
    let count = quota.count();
    match quota.period().as_secs() {
        1 => format!("{count}/s"),
        60 => format!("{count}/m"),
        3600 => format!("{count}/h"),
        _ => format!("{count} in {}", human::fine_duration(quota.period())),
    }
}

/// The part of a request that a limit counts by, as far as it may be shown.
fn part(value: Option<&[u8]>, name: &str) -> String {
    match value {
        None | Some(b"") => " (none, so by client)".to_owned(),
        Some(_) if is_secret(name) => format!(" {HIDDEN}"),
        Some(value) => format!(" {:?}", String::from_utf8_lossy(value)),
    }
}

/// Whether a page of another origin may read the response.
fn origin(policy: &ResponsePolicy, head: &impl RequestHead) -> Option<String> {
    let cors = policy.cors.as_ref()?;
    let Some(origin) = head.header_text(&header::ORIGIN) else {
        return Some("it names no origin: it is no request of a page of another one".to_owned());
    };
    let may = match &cors.origins {
        Origins::Any => true,
        Origins::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(origin)),
    };
    Some(match may {
        true => format!("pages of {origin} may read the response"),
        false => format!("pages of {origin} may not read the response"),
    })
}

fn how_rewritten(to: &PathRewrite) -> String {
    match to {
        PathRewrite::Prefix { strip, add } if add.is_empty() => format!("without the prefix {strip}"),
        PathRewrite::Prefix { strip, add } if strip.is_empty() => format!("with the prefix {add}"),
        PathRewrite::Prefix { strip, add } => format!("with the prefix {add} for {strip}"),
        PathRewrite::Whole(to) => format!("by {to}"),
        PathRewrite::Regex { regex, to } => format!("by {} for {}", to, regex.as_str()),
    }
}

fn header_edits(edits: &HeaderEdits) -> String {
    let named =
        |what: &str, names: Vec<String>| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let shown = |(name, value): &(http::HeaderName, crate::template::Template)| {
        format!("{name}: {}", shown_value(name, value.to_string().as_bytes()))
    };
    let parts = [
        named("sets", edits.set.iter().map(shown).collect()),
        named("adds", edits.add.iter().map(shown).collect()),
        named("removes", edits.remove.iter().map(ToString::to_string).collect()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// `the client`, `header x-user` and so on.
pub(super) fn hash_key(by: &HashKey) -> String {
    match by {
        HashKey::Client => "client".to_owned(),
        HashKey::Path => "path".to_owned(),
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query parameter {name}"),
    }
}

/// The value of `Location`.
pub(super) fn location(reply: &LocalReply) -> Option<String> {
    let (_, value) = reply.headers.iter().find(|(name, _)| *name == header::LOCATION)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What the route does with the response, in words; empty: nothing.
pub(super) fn of_response(policy: &ResponsePolicy) -> Vec<String> {
    let edits = header_edits(&policy.headers);
    let compress = policy.compress.as_ref().map(|compress| {
        let encodings = list(compress.encodings.iter().map(|encoding| encoding.as_str()));
        format!("compressed by {encodings}, as the client likes")
    });
    [
        (!edits.is_empty()).then_some(edits),
        policy.security_headers.then(|| "security headers set".to_owned()),
        policy.cookies.is_some().then(|| "cookies changed".to_owned()),
        policy.errors.is_some().then(|| "own pages of failures".to_owned()),
        compress,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A time in seconds.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
