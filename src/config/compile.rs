//! Compiles the raw sections to a [`Config`], and reports everything that is wrong with them.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderName;

use crate::config::decode::{AutoOr, DiagnosticSink, Named, OneOrList, OrOff, Spanned, Value};
use crate::config::model::{
    Access, Action, Admin, AdminListen, Config, ListenAddress, Listener, Log, MaxMemory, Pool,
    RetryOverrides, Route, RouteLimits, RoutePriority, Server, StateDirectory, Upgrades,
};
use crate::config::raw::{AdminSection, FileSection, header_name};
use crate::config::regexes::Regexes;
use crate::config::scalar::Count;
use crate::config::secret::Secret;
use crate::config::source::{Source, Span};
use crate::config::tree::{Kind, Node};

mod access;
mod access_log;
mod actions;
mod auth;
mod balance;
mod config_tests;
mod limits;
mod listeners;
mod mirror;
mod outliers;
mod pools;
mod queues;
mod rate_limit;
mod regexes;
mod regrets;
mod response;
mod retry;
mod rewrite;
mod routes;
mod sticky;
mod templates;
mod tls;

/// The name of a listener, route or pool that is not given one.
pub(crate) const DEFAULT_NAME: &str = "default";

/// The shortest token of the admin address.
const TOKEN_BYTES_MIN: usize = 16;

/// What all parts of `compile` share: diagnostics, positions in the file, and compiled regular expressions.
pub(crate) struct Compiler<'a> {
    pub(crate) diagnostics: &'a mut DiagnosticSink,
    source: &'a Source,
    regexes: Regexes,
    /// The addresses of the file's own listeners.
    own: Vec<ListenAddress>,
    /// `server.zone`.
    zone: Option<Box<str>>,
}

impl<'a> Compiler<'a> {
    fn new(diagnostics: &'a mut DiagnosticSink, source: &'a Source, regexes: Regexes) -> Self {
        Self { diagnostics, source, regexes, own: Vec::new(), zone: None }
    }
}

impl Compiler<'_> {
    /// The number of a line, for "line 3 has it already".
    pub(crate) fn line(&self, span: Span) -> usize {
        self.source.line(span.start)
    }

    pub(crate) fn position(&self, span: Span) -> (usize, usize) {
        self.source.position(span.start)
    }

    /// Header fields by their names, in file order. Reports names that are none, and those that differ from an earlier
    /// one in case only, and leaves them out.
    fn header_fields<'a, T>(&mut self, named: &'a Named<T>) -> Vec<HeaderField<'a, T>> {
        let mut seen = HashSet::new();
        let mut fields = Vec::new();
        for (key, value) in &named.entries {
            match header_name(&key.text) {
                Err(fault) => self.diagnostics.fault(key.span, fault),
                Ok(name) if !seen.insert(name.clone()) => {
                    let remedy = "the case of header names does not matter; keep one of them";
                    self.diagnostics.error(key.span, format!("`{}` is written twice", key.text), remedy);
                }
                Ok(name) => fields.push(HeaderField { name, key: key.span, value: value.as_ref() }),
            }
        }
        fields
    }
}

/// A header field in a map of them; `None`: its value is invalid, which has been reported.
struct HeaderField<'a, T> {
    name: HeaderName,
    key: Span,
    value: Option<&'a Spanned<T>>,
}

/// The config, to be used only if `diagnostics` has no errors; `None` if none could be made.
pub(crate) fn compile(
    root: &Node,
    source: &Source,
    regexes: Regexes,
    diagnostics: &mut DiagnosticSink,
) -> Option<Config> {
    if root.is_null() {
        diagnostics.error(
            root.span,
            "the file says nothing",
            "write at least `listen: :8080` and `endpoints: [10.0.0.1:3000]`",
        );
        return None;
    }
    if !matches!(root.kind, Kind::Map(_)) {
        let remedy = "write keys and their values, such as `listen: :8080` and `endpoints: [10.0.0.1:3000]`";
        diagnostics.error(root.span, format!("the file is {}, not a section of keys", root.what()), remedy);
        return None;
    }
    let file = FileSection::decode(root, diagnostics)?;
    let form = Form::of(root, diagnostics)?;
    let mut compiler = Compiler::new(diagnostics, source, regexes);
    compiler.zone = file.server.zone.as_ref().map(|zone| zone.0.as_str().into());
    let (listeners, routes, pools) = match form {
        Form::Short => compiler.short_form(&file, root.span)?,
        Form::Long => compiler.long_form(&file),
    };
    let admin = compiler.admin(&file);
    let access_log = compiler.access_log(&file.access_log);
    Some(Config {
        text: source.text().into(),
        server: server(&file),
        admin,
        log: Log { level: file.log.level.0.clone(), format: file.log.format.value },
        access_log,
        tests: compiler.tests(&file, &routes, &pools),
        listeners,
        routes,
        pools,
    })
}

/// Compiles the `admin` section of a file without other sections.
pub(crate) fn admin_alone(root: &Node, source: &Source, diagnostics: &mut DiagnosticSink) -> Option<Admin> {
    let file = FileSection::decode(root, diagnostics)?;
    Some(Compiler::new(diagnostics, source, Regexes::default()).admin(&file))
}

/// The unix sockets of an `admin` section in which no token is looked for.
pub(crate) fn admin_sockets_alone(
    root: &Node,
    source: &Source,
    diagnostics: &mut DiagnosticSink,
) -> Option<Admin> {
    let file = FileSection::decode(root, diagnostics)?;
    let mut compiler = Compiler::new(diagnostics, source, Regexes::default());
    let mut listen = compiler.admin_addresses(&file.admin, true);
    listen.retain(|address| !matches!(address, AdminListen::Tcp(_)));
    let metrics_endpoints = file.admin.metrics_endpoints.0 as usize;
    (!listen.is_empty()).then_some(Admin { listen, token: None, metrics_endpoints })
}

/// Compiles the `server` section of a file without other sections.
pub(crate) fn server_alone(root: &Node, diagnostics: &mut DiagnosticSink) -> Option<Server> {
    FileSection::decode(root, diagnostics).map(|file| server(&file))
}

/// The two forms of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Short,
    Long,
}

const SHORT_KEYS: [&str; 2] = ["listen", "endpoints"];
const LONG_KEYS: [&str; 3] = ["listeners", "routes", "pools"];

impl Form {
    fn of(root: &Node, diagnostics: &mut DiagnosticSink) -> Option<Form> {
        let Kind::Map(entries) = &root.kind else { return None };
        let first = |keys: &[&str]| {
            entries.iter().map(|(key, _)| key).find(|key| keys.contains(&key.text.as_str())).cloned()
        };
        match (first(&SHORT_KEYS), first(&LONG_KEYS)) {
            (Some(short), Some(long)) => {
                let message = format!(
                    "`{}` belongs to the short form, but `{}` to the long one",
                    short.text, long.text
                );
                let remedy = "write either `listen` and `endpoints`, or `listeners`, `routes` and `pools`";
                diagnostics.error(short.span, message, remedy);
                Some(Form::Long)
            }
            (Some(_), None) => Some(Form::Short),
            (None, Some(_)) => Some(Form::Long),
            (None, None) => {
                let remedy = "write `listen` and `endpoints`, or `listeners`, `routes` and `pools`";
                diagnostics.error(root.span, "the file has no listeners", remedy);
                None
            }
        }
    }
}

type Parts = (Vec<Listener>, Vec<Route>, Vec<Pool>);

impl Compiler<'_> {
    fn short_form(&mut self, file: &FileSection, root: Span) -> Option<Parts> {
        let name: Arc<str> = DEFAULT_NAME.into();
        self.check_short_form(file, root);
        self.own = file.listen.iter().map(|listen| listen.value.clone()).collect();
        let pool = self.pool_of_list(&name, file.endpoints.as_ref()?)?;
        let listener = self.default_listener(name.clone(), file.listen.as_ref()?);
        let route = Route {
            name: name.clone(),
            matches: Default::default(),
            enabled: true,
            access: Access::default(),
            rate_limits: Arc::new([]),
            action: Action::Forward(name),
            mirror: None,
            rewrite: None,
            request_headers: None,
            limits: RouteLimits::default(),
            buffer_request: None,
            timeout: None,
            timeout_header: None,
            retry: RetryOverrides::default(),
            upgrades: Upgrades::default(),
            priority: RoutePriority::default(),
            auth: None,
            expected_statuses: Vec::new(),
            path_groups: Vec::new(),
            response: None,
        };
        Some((vec![listener], vec![route], vec![pool]))
    }

    fn check_short_form(&mut self, file: &FileSection, root: Span) {
        let remedy = |key: &str, example: &str| format!("add `{key}: {example}`");
        match (&file.listen, &file.endpoints) {
            (Some(listen), None) if file.complete => {
                self.diagnostics.error(
                    listen.span,
                    "`listen` needs `endpoints`",
                    remedy("endpoints", "[10.0.0.1:3000]"),
                );
            }
            (None, Some(endpoints)) if file.complete => {
                self.diagnostics.error(
                    endpoints.span,
                    "`endpoints` needs `listen`",
                    remedy("listen", ":8080"),
                );
            }
            (None, None) if file.complete => {
                let remedy = "write `listen: :8080` and `endpoints: [10.0.0.1:3000]`";
                self.diagnostics.error(root, "`listen` and `endpoints` have no values", remedy);
            }
            _ => {}
        }
    }

    fn long_form(&mut self, file: &FileSection) -> Parts {
        let listeners = self.listeners(file);
        self.own = listeners.iter().map(|listener| listener.address.clone()).collect();
        let pools = self.pools(file);
        let routes = self.routes(file, &listeners);
        self.unused_pools(file, &routes);
        self.check_waits(file);
        self.check_retries(file);
        self.warn_of_regrets(file);
        (listeners, routes, pools)
    }

    fn admin(&mut self, file: &FileSection) -> Admin {
        let section = &file.admin;
        let token = section.token.as_ref().map(|token| token.value.clone());
        if let Some(written) = &section.token {
            self.check_token(written);
        }
        // A token that is wrong has been reported.
        let has_token = token.is_some() || !section.complete;
        let metrics_endpoints = section.metrics_endpoints.0 as usize;
        Admin { listen: self.admin_addresses(section, has_token), token, metrics_endpoints }
    }

    fn admin_addresses(&mut self, section: &AdminSection, has_token: bool) -> Vec<AdminListen> {
        let addresses = match section.listen.as_ref().map(|listen| (listen.span, &listen.value)) {
            None => return vec![AdminListen::Default],
            Some((_, OrOff::Off)) => return Vec::new(),
            Some((span, OrOff::On(OneOrList(addresses)))) if addresses.length == 0 => {
                self.diagnostics.error(span, "this list has no address", "write `off` for none");
                return Vec::new();
            }
            Some((_, OrOff::On(OneOrList(addresses)))) => addresses,
        };
        let mut listen: Vec<AdminListen> = Vec::new();
        for address in addresses.iter() {
            if listen.contains(&address.value) {
                self.diagnostics.error(
                    address.span,
                    format!("{} is written twice", address.value),
                    "keep one of them",
                );
            }
            self.check_admin_address(address, has_token);
            listen.push(address.value.clone());
        }
        if !listen.iter().any(|address| matches!(address, AdminListen::Unix(_))) {
            listen.insert(0, AdminListen::Default);
        }
        listen
    }

    fn check_admin_address(&mut self, written: &Spanned<AdminListen>, has_token: bool) {
        if let AdminListen::Tcp(address) = written.value
            && !address.ip().is_loopback()
            && !has_token
        {
            let message =
                format!("the admin address {address} can be reached from elsewhere, and has no token");
            let remedy = format!("add `token: \"${{ADMIN_TOKEN}}\"`, or write 127.0.0.1:{}", address.port());
            self.diagnostics.error(written.span, message, remedy);
        }
    }

    fn check_token(&mut self, token: &Spanned<Secret>) {
        if self.diagnostics.is_unbraced(token.span) {
            self.diagnostics.error(token.span, "this token is a variable without braces", "");
        } else if !token.is_sendable() {
            let remedy = "use letters, digits and `-`";
            self.diagnostics.error(token.span, "a token cannot have these characters", remedy);
        } else if token.expose().len() < TOKEN_BYTES_MIN {
            let message =
                format!("a token has {TOKEN_BYTES_MIN} characters at least: shorter ones can be guessed");
            self.diagnostics.error(token.span, message, "write what `openssl rand -hex 16` prints");
        }
    }
}

/// `None` if it is `auto`.
fn count<const MIN: u64, const MAX: u64>(written: &AutoOr<Count<MIN, MAX>>) -> Option<usize> {
    match written {
        AutoOr::Auto => None,
        AutoOr::Value(count) => Some(usize::try_from(count.0).unwrap_or(usize::MAX)),
    }
}

fn server(file: &FileSection) -> Server {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Server {
        threads: file.server.threads.as_ref().map_or_else(cores, |threads| threads.0 as usize),
        max_connections: count(&file.server.max_connections.value),
        max_http2_requests: count(&file.server.max_http2_requests.value),
        max_memory: match file.server.max_memory.value {
            OrOff::Off => MaxMemory::Off,
            OrOff::On(AutoOr::Auto) => MaxMemory::OfGroup,
            OrOff::On(AutoOr::Value(size)) => MaxMemory::Bytes(size.0),
        },
        drain: file.server.drain.0,
        drain_idle: file.server.drain_idle.0,
        drain_delay: file.server.drain_delay.0,
        upgrade_timeout: file.server.upgrade_timeout.0,
        watch: file.server.watch.0,
        state: file.server.state.as_ref().map_or(StateDirectory::Default, |state| state.value.clone()),
    }
}
