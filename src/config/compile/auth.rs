//! Compiles the authentication of routes.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderName;

use super::{Compiler, HeaderField};
use crate::config::auth::{Auth, BasicAuth, ForwardAuth, JwtAuth, JwtKeys};
use crate::config::decode::{List, ShortOr, Spanned};
use crate::config::model::{EndpointProtocol, HeaderEdits};
use crate::config::raw::{
    AskMethod, AuthForm, BasicSection, FilePath, ForwardSection, HeaderNameText, JwtSection, KeysText,
    PoolTlsSection, RouteSection,
};
use crate::config::source::Span;
use crate::header_field::{CLAIMS, WRITTEN_AFRESH, is_connection_specific, is_framing, same_name};
use crate::htpasswd::Users;
use crate::jwks::KeySet;
use crate::tls::WatchedFile;
use crate::{file, tls};

/// More than any file of users takes.
const FILE_MAX: u64 = 16 << 20;

impl Compiler<'_> {
    /// `edits` are those that the route makes itself.
    pub(super) fn auth(&mut self, route: &RouteSection, edits: Option<&HeaderEdits>) -> Option<Arc<Auth>> {
        let auth = self.auth_of(&route.auth)?;
        if let Some((edits, written)) = edits.zip(route.request_headers.as_ref()) {
            let changed = edits.set.iter().chain(&edits.add).map(|(name, _)| name).chain(&edits.remove);
            for name in changed.filter(|name| auth.managed().any(|managed| is_same(managed, name))) {
                let message = format!("`{name}` is what authentication says of the client");
                self.diagnostics.error(written.span, message, "remove it here, or from `auth`");
            }
        }
        Some(auth)
    }

    fn auth_of(&mut self, form: &Spanned<AuthForm>) -> Option<Arc<Auth>> {
        let section = form.as_option()?;
        let auth = match (&section.basic, &section.forward, &section.jwt) {
            (Some(basic), None, None) => match &basic.value {
                ShortOr::Short(file) => self.users(file, basic.span).map(|(users, file)| {
                    Auth::Basic(BasicAuth {
                        users,
                        file,
                        realm: "restricted".into(),
                        user_header: None,
                        pass_on: false,
                        remember: Some(std::time::Duration::from_secs(300)),
                    })
                }),
                ShortOr::Long(section) => self.basic(section).map(Auth::Basic),
            },
            (None, Some(forward), None) => self.forward(forward).map(Auth::Forward),
            (None, None, Some(jwt)) => self.jwt(jwt).map(Auth::Jwt),
            (None, None, None) => {
                if section.complete {
                    let remedy = "write `basic: FILE` or `forward: { url: URL }`, or `auth: off`";
                    self.diagnostics.error(form.span, "`auth` says nothing of who may pass", remedy);
                }
                None
            }
            _ => {
                let message = "a route has one kind of authentication";
                self.diagnostics.error(form.span, message, "keep one key of `auth`");
                None
            }
        };
        auth.map(Arc::new)
    }

    fn basic(&mut self, section: &BasicSection) -> Option<BasicAuth> {
        let user_header = section.user_header.as_ref();
        if let Some(name) = user_header {
            self.check_managed(&name.0, name.span);
        }
        let written = section.file.as_ref()?;
        let (users, file) = self.users(&written.value, written.span)?;
        Some(BasicAuth {
            users,
            file,
            realm: section.realm.0.as_str().into(),
            user_header: user_header.map(|name| name.0.clone()),
            pass_on: section.pass_on.0,
            remember: section.remember.as_option().map(|time| time.0),
        })
    }

    fn users(&mut self, FilePath(path): &FilePath, span: Span) -> Option<(Arc<Users>, WatchedFile)> {
        let shown = path.display().to_string();
        let content = match file::read(path, FILE_MAX) {
            Ok(content) => content,
            Err(error) => {
                let remedy = format!("make it by `htpasswd -cB {shown} NAME`, readable by this process");
                self.diagnostics.error(span, format!("cannot read {shown}: {error}"), remedy);
                return None;
            }
        };
        self.warn_if_readable(path, span);
        match Users::parse(&content, &shown) {
            Ok(users) => Some((Arc::new(users), tls::WatchedFile::with(path, &content))),
            Err(faults) => {
                for fault in faults {
                    let place = match fault.line {
                        0 => shown.clone(),
                        line => format!("line {line} of {shown}"),
                    };
                    self.diagnostics.error(span, format!("{place}: {}", fault.message), fault.remedy);
                }
                None
            }
        }
    }

    fn forward(&mut self, section: &ForwardSection) -> Option<ForwardAuth> {
        let set = self.field_names(&section.set, |compiler, name, span| compiler.check_managed(name, span));
        let pass = self.field_names(&section.pass, |compiler, name, span| compiler.check_passed(name, span));
        for (name, span) in section.pass.iter().map(|name| (&name.0, name.span)) {
            if section.pass.written && set.iter().any(|set| is_same(set, name)) {
                let message = format!("the service sets `{name}`, so what clients send in it tells nothing");
                self.diagnostics.error(span, message, "remove it from `pass` or from `set`");
            }
        }
        let url = section.url.as_ref()?;
        let tls = self.tls_with(&url.0, url.span, section.tls.as_ref())?;
        Some(ForwardAuth {
            url: url.0.as_str().into(),
            tls,
            own_method: section.method.value == AskMethod::Same,
            pass,
            set,
            timeout: section.timeout.0,
        })
    }

    fn jwt(&mut self, section: &JwtSection) -> Option<JwtAuth> {
        let fields = self.header_fields(&section.set);
        let mut set = Vec::new();
        for HeaderField { name, key, value } in fields {
            self.check_managed(&name, key);
            set.extend(value.map(|claim| (name, claim.0.as_str().into())));
        }
        let written = section.jwks.as_ref()?;
        let keys = match &written.value {
            KeysText::File(FilePath(path)) => self.keys_of(path, written.span)?,
            KeysText::Url(url) => JwtKeys::Url {
                url: url.as_str().into(),
                tls: self.tls_with(url, written.span, section.tls.as_ref())?,
                refresh: section.refresh.0,
            },
        };
        let audience = section.audience.iter().flat_map(|list| list.0.iter());
        Some(JwtAuth {
            keys,
            issuer: section.issuer.as_ref().map(|issuer| issuer.0.as_str().into()),
            audience: audience.map(|audience| audience.0.as_str().into()).collect(),
            leeway: section.leeway.0,
            cookie: section.cookie.as_ref().map(|name| name.0.as_str().into()),
            set,
            user: section.user.0.as_str().into(),
            pass_on: section.pass_on.0,
            realm: section.realm.0.as_str().into(),
        })
    }

    fn keys_of(&mut self, path: &std::path::Path, span: Span) -> Option<JwtKeys> {
        let shown = path.display();
        let remedy = "write there what the issuer has at its `jwks_uri`";
        let content = match file::read(path, FILE_MAX) {
            Ok(content) => content,
            Err(error) => {
                self.diagnostics.error(span, format!("cannot read {shown}: {error}"), remedy);
                return None;
            }
        };
        match KeySet::parse(&content) {
            Ok(keys) => {
                Some(JwtKeys::File { keys: Arc::new(keys), file: tls::WatchedFile::with(path, &content) })
            }
            Err(what) => {
                self.diagnostics.error(span, format!("{shown} {what}"), remedy);
                None
            }
        }
    }

    /// TLS with a service at this URL; the inner `None`: it has none.
    fn tls_with(
        &mut self,
        url: &str,
        span: Span,
        section: Option<&Spanned<PoolTlsSection>>,
    ) -> Option<Option<Arc<tls::ClientTls>>> {
        match (section, url.starts_with("https:")) {
            (Some(tls), false) => {
                let remedy = "write a URL of https, or remove `tls`";
                self.diagnostics.error(tls.span, "the URL is one of http, which has no TLS", remedy);
                None
            }
            (Some(tls), true) => Some(Some(self.pool_tls(tls, &[], EndpointProtocol::Http11)?)),
            (None, true) => Some(Some(self.system_tls(span)?)),
            (None, false) => Some(None),
        }
    }

    /// TLS that trusts the system's authorities.
    fn system_tls(&mut self, span: Span) -> Option<Arc<tls::ClientTls>> {
        let settings =
            tls::ClientSettings { name: None, ca: None, identity: None, verify: true, http2: false };
        match tls::ClientTls::new(settings) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => {
                self.diagnostics.error(span, error.message, error.remedy);
                None
            }
        }
    }

    fn field_names(
        &mut self,
        list: &Spanned<List<HeaderNameText>>,
        check: impl Fn(&mut Self, &HeaderName, Span),
    ) -> Vec<HeaderName> {
        let mut known: HashSet<&HeaderName> = HashSet::new();
        for name in list.iter() {
            if !known.insert(&name.0) {
                let message = format!("`{}` is there twice", name.0);
                self.diagnostics.error(name.span, message, "remove one of them");
            }
            check(self, &name.0, name.span);
        }
        list.iter().map(|name| name.0.clone()).collect()
    }

    /// Refuses fields that evenkeel writes itself, or that belong to the connection.
    fn check_managed(&mut self, name: &HeaderName, span: Span) {
        let bytes = name.as_str().as_bytes();
        let is_own = WRITTEN_AFRESH.iter().any(|own| same_name(own.as_bytes(), bytes))
            || is_connection_specific(bytes)
            || is_framing(bytes)
            || is_one_of(name, &["host", "te", "trailer", "upgrade", "cookie"]);
        if is_own {
            let message = format!("`{name}` is no field that authentication may set");
            self.diagnostics.error(span, message, "write another one, such as Remote-User");
        }
    }

    /// Refuses fields that the service gets afresh, or that belong to the connection.
    fn check_passed(&mut self, name: &HeaderName, span: Span) {
        let bytes = name.as_str().as_bytes();
        let is_claim = CLAIMS.iter().chain(&WRITTEN_AFRESH).any(|own| same_name(own.as_bytes(), bytes));
        if is_claim || bytes.starts_with(b"x-forwarded-") || bytes.starts_with(b"x-original-") {
            let message = format!("what a client sends in `{name}` must not reach the auth service");
            self.diagnostics.error(span, message, "remove it: X-Forwarded-* are written afresh");
        } else if is_connection_specific(bytes)
            || is_framing(bytes)
            || is_one_of(name, &["host", "te", "trailer", "upgrade", "expect"])
        {
            let message = format!("`{name}` belongs to a connection, or to a body");
            self.diagnostics.error(span, message, "remove it");
        }
    }
}

fn is_same(one: &HeaderName, other: &HeaderName) -> bool {
    same_name(one.as_str().as_bytes(), other.as_str().as_bytes())
}

fn is_one_of(name: &HeaderName, names: &[&str]) -> bool {
    names.iter().any(|other| same_name(other.as_bytes(), name.as_str().as_bytes()))
}
