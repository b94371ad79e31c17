//! The comparison. Every field of the compared types is named here, so that a new one cannot be forgotten.

use std::collections::{HashMap, HashSet};

use super::{ConfigDiff, DiffItem, SetDiff};
use crate::config::{
    Action, Admin, Config, EndpointAttributes, EndpointSpec, Listener, Pool, ResponsePolicy, Route, Server,
};

/// The names of the fields that differ, each with `prefix`. Fields after `but` are not compared. The type is
/// destructured, so that a field which is not listed is a compile error.
macro_rules! differing {
    ($old:expr, $new:expr, $type:ident { $($field:ident),* } but { $($left:ident),* }, $prefix:literal) => {{
        let $type { $($field: _,)* $($left: _,)* } = &$new;
        let mut keys: Vec<String> = Vec::new();
        $(
            if $old.$field != $new.$field {
                keys.push(concat!($prefix, stringify!($field)).to_owned());
            }
        )*
        keys
    }};
}

/// What the field `access` is in the file.
const ACCESS: &str = "allow or deny";

pub(super) fn between(old: &Config, new: &Config) -> ConfigDiff {
    ConfigDiff {
        listeners: set_diff(&old.listeners, &new.listeners, |listener| listener.name.to_string(), listener),
        routes: set_diff(&old.routes, &new.routes, |route| route.name.to_string(), route),
        pools: set_diff(&old.pools, &new.pools, |pool| pool.name.to_string(), pool),
        endpoints: set_diff(&endpoints(old), &endpoints(new), PoolEndpoint::identity, endpoint),
        reordered: common_names(&old.routes, &new.routes) != common_names(&new.routes, &old.routes),
        log: old.log != new.log,
        access_log: old.access_log != new.access_log,
        upgrade: upgrade_keys(old, new),
    }
}

/// The description of an item.
struct Described {
    item: DiffItem,
    /// The keys that differ from the previous item; empty if there is none.
    keys: Vec<String>,
}

fn set_diff<T>(
    old: &[T],
    new: &[T],
    identity: impl Fn(&T) -> String,
    describe: impl Fn(Option<&T>, &T) -> Described,
) -> SetDiff {
    let index = |things: &[T]| -> HashMap<String, usize> {
        things.iter().enumerate().map(|(index, thing)| (identity(thing), index)).collect()
    };
    let (had, has) = (index(old), index(new));
    let mut difference = SetDiff::default();
    for thing in new {
        match had.get(&identity(thing)).and_then(|at| old.get(*at)) {
            None => difference.added.push(describe(None, thing).item),
            Some(was) => match describe(Some(was), thing) {
                Described { keys, .. } if keys.is_empty() => difference.kept += 1,
                Described { item, keys } => difference.changed.push(DiffItem { keys, ..item }),
            },
        }
    }
    let is_gone = |thing: &&T| !has.contains_key(&identity(thing));
    difference.removed.extend(old.iter().filter(is_gone).map(|thing| describe(None, thing).item));
    difference
}

fn listener(was: Option<&Listener>, is: &Listener) -> Described {
    let keys = was.map(|was| {
        differing!(was, is, Listener {
            address, socket, engine, tls, redirect_https, hsts, h2c, http2, trusted_proxies, access, proxy_protocol, half_close, errors, paths,
            limits, connections, timeouts
        } but { name }, "")
    });
    // In the file, the fields of `connections` are keys of `limits`.
    let written = |key: String| match key.as_str() {
        "access" => ACCESS.to_owned(),
        _ => key.replace("connections", "limits"),
    };
    let mut keys: Vec<String> = keys.unwrap_or_default().into_iter().map(written).collect();
    keys.dedup();
    let note = match was {
        Some(was) if was.address != is.address => {
            Some(format!("moves from {} to {}", was.address, is.address))
        }
        Some(_) => None,
        None => Some(format!("on {}", is.address)),
    };
    Described { item: DiffItem { name: is.name.to_string(), note, ..DiffItem::default() }, keys }
}

fn route(was: Option<&Route>, is: &Route) -> Described {
    let keys = was.map(
        |was| differing!(was, is, Route { matches, enabled, access, rate_limits, action, mirror, rewrite, request_headers, limits, buffer_request, timeout, timeout_header, retry, upgrades, expected_statuses, priority, auth } but { name, path_groups, response }, ""),
    );
    let written = |key: String| match key.as_str() {
        "matches" => "match".to_owned(),
        "action" => is.action.key().to_owned(),
        "access" => ACCESS.to_owned(),
        "rate_limits" => "rate_limit".to_owned(),
        _ => key,
    };
    let mut keys: Vec<String> = keys.unwrap_or_default().into_iter().map(written).collect();
    keys.extend(was.map(|was| response(was, is)).unwrap_or_default());
    let note = match was {
        Some(was) if was.action != is.action => Some(match (&is.action, &was.action) {
            (Action::Forward(is), Action::Forward(was)) => format!("goes to pool {is}, not to {was}"),
            (is, was) => format!("{is}; before: {was}"),
        }),
        Some(_) => None,
        None => Some(is.action.to_string()),
    };
    Described { item: DiffItem { name: is.name.to_string(), note, ..DiffItem::default() }, keys }
}

/// The keys of a route that are about its responses.
fn response(was: &Route, is: &Route) -> Vec<String> {
    let nothing = ResponsePolicy::default();
    let was = was.response.as_deref().unwrap_or(&nothing);
    let is = is.response.as_deref().unwrap_or(&nothing);
    let keys = differing!(was, *is, ResponsePolicy { headers, security_headers, cookies, cors, errors, intercept_errors, compress } but {}, "");
    let written = |key: String| match key.as_str() {
        "headers" | "cookies" => format!("response_{key}"),
        _ => key,
    };
    keys.into_iter().map(written).collect()
}

fn pool(was: Option<&Pool>, is: &Pool) -> Described {
    let keys = was.map(|was| {
        differing!(was, is, Pool {
            balance, zone, endpoints, health_check, sticky, outliers, slow_start, when_none_healthy, protocol, tls, timeouts, connections, limits, retry, host, resolve
        } but { name }, "")
    });
    let keys = keys.unwrap_or_default();
    let note = (!keys.is_empty()).then(|| "its round robin starts over".to_owned());
    Described { item: DiffItem { name: is.name.to_string(), note, ..DiffItem::default() }, keys }
}

/// An endpoint and the name of its pool.
struct PoolEndpoint<'a> {
    pool: &'a str,
    spec: &'a EndpointSpec,
}

impl PoolEndpoint<'_> {
    fn identity(&self) -> String {
        format!("{} {}", self.pool, self.spec.address)
    }
}

fn endpoints(config: &Config) -> Vec<PoolEndpoint<'_>> {
    let pools = config.pools.iter();
    pools.flat_map(|pool| pool.endpoints.iter().map(|spec| PoolEndpoint { pool: &pool.name, spec })).collect()
}

fn endpoint(was: Option<&PoolEndpoint<'_>>, is: &PoolEndpoint<'_>) -> Described {
    let keys =
        was.map(|was| differing!(was.spec.attributes, is.spec.attributes, EndpointAttributes { weight, backup, zone } but {}, ""));
    let mut keys = keys.unwrap_or_default();
    // The identity has the URL of a list, and not how often it is fetched.
    if was.is_some_and(|was| was.spec.address != is.spec.address) {
        keys.push("interval".to_owned());
    }
    let item =
        DiffItem { name: is.spec.address.to_string(), pool: Some(is.pool.to_owned()), ..DiffItem::default() };
    Described { item, keys }
}

/// The names of the routes that are also in `others`, in the order of `routes`.
fn common_names<'a>(routes: &'a [Route], others: &[Route]) -> Vec<&'a str> {
    let known: HashSet<&str> = others.iter().map(|route| &*route.name).collect();
    routes.iter().map(|route| &*route.name).filter(|name| known.contains(name)).collect()
}

fn upgrade_keys(old: &Config, new: &Config) -> Vec<String> {
    // A reload can change the fields that are ignored here.
    let Config { server, admin, text: _, log: _, access_log: _, listeners: _, routes: _, pools: _, tests: _ } =
        new;
    let mut keys = differing!(old.server, server, Server {
        threads, max_connections, max_http2_requests, max_memory, drain, drain_idle, drain_delay, upgrade_timeout, watch, state
    } but {}, "server.");
    keys.extend(differing!(old.admin, admin, Admin { listen, token, metrics_endpoints } but {}, "admin."));
    keys
}
