//! Compiles what a route does with a request: exactly one of `pool`, `split`, `redirect` and `respond`.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::balance::hash_word;
use super::routes::pool_names;
use super::templates::PathGroups;
use super::{Compiler, HeaderField};
use crate::config::decode::{List, Named, ShortOr, Spanned};
use crate::config::model::{Action, Redirect, Respond, SameSite, SetCookie, Split, SplitShare, SplitSticky};
use crate::config::raw::{
    FileSection, RedirectForm, RespondForm, RespondSection, RouteSection, SplitForm, SplitPoolSection,
    SplitStickyForm, SplitStickySection, TemplateText,
};
use crate::config::scalar::Name;
use crate::config::source::Span;
use crate::config::suggest;
use crate::header_field::{is_connection_specific, is_framing};
use crate::template::Template;
use crate::{authority, file};

/// The largest file that is an answer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The pools of the file.
pub(super) struct Pools<'a> {
    file: &'a FileSection,
    names: HashSet<&'a str>,
}

impl<'a> Pools<'a> {
    pub(super) fn of(file: &'a FileSection) -> Self {
        Self { file, names: pool_names(file).collect() }
    }
}

impl Compiler<'_> {
    pub(super) fn action(
        &mut self,
        section: &Spanned<RouteSection>,
        pools: &Pools<'_>,
        groups: &mut PathGroups<'_>,
    ) -> Option<Action> {
        let RouteSection { pool, split, redirect, respond, .. } = &section.value;
        let written = [
            pool.as_ref().map(|one| ("pool", one.span)),
            split.as_ref().map(|one| ("split", one.span)),
            redirect.as_ref().map(|one| ("redirect", one.span)),
            respond.as_ref().map(|one| ("respond", one.span)),
        ];
        let mut written = written.into_iter().flatten();
        let first = written.next().map(|(key, _)| key);
        if let (Some(first), Some((second, span))) = (first, written.next()) {
            let message = format!("a route does one thing, and `{first}` is one already");
            self.diagnostics.error(span, message, format!("remove `{first}` or `{second}`"));
        }
        match (pool, split, redirect, respond) {
            (Some(pool), ..) => self.known_pool(pool, pools).map(Action::Forward),
            (_, Some(split), ..) => self.split(split, pools).map(Arc::new).map(Action::Split),
            (_, _, Some(redirect), _) => self.redirect(redirect, groups).map(Arc::new).map(Action::Redirect),
            (.., Some(respond)) => self.respond(respond, groups).map(Arc::new).map(Action::Respond),
            (None, None, None, None) => {
                if section.complete {
                    let remedy = "add `pool: NAME`, or one of `split`, `redirect` and `respond`";
                    self.diagnostics.error(section.span, "this route does nothing with a request", remedy);
                }
                None
            }
        }
    }

    /// Refuses keys that say how requests are forwarded, at a route that forwards none.
    pub(super) fn check_answered_here(&mut self, section: &RouteSection, action: &Action) {
        let answers = match action {
            Action::Forward(_) | Action::Split(_) => return,
            Action::Redirect(_) => "redirects its requests",
            Action::Respond(_) => "answers its requests itself",
        };
        let optional = |key, span: Option<Span>| (key, span.unwrap_or_default(), span.is_some());
        let written = [
            optional("mirror", section.mirror.as_ref().map(|one| one.span)),
            optional("rewrite", section.rewrite.as_ref().map(|one| one.span)),
            optional("request_headers", section.request_headers.as_ref().map(|one| one.span)),
            ("retry", section.retry.span, section.retry.written),
            ("upgrades", section.upgrades.span, section.upgrades.written),
            ("expected_statuses", section.expected_statuses.span, section.expected_statuses.written),
            ("buffer_request", section.buffer_request.span, section.buffer_request.written),
            ("limits.response_rate", section.limits.response_rate.span, section.limits.response_rate.written),
            ("limits.requests", section.limits.requests.span, section.limits.requests.written),
        ];
        for (key, span, _) in written.into_iter().filter(|(.., is_written)| *is_written) {
            let message = format!("this route {answers}, so `{key}` means nothing");
            self.diagnostics.error(span, message, "remove it");
        }
    }

    pub(super) fn known_pool(&mut self, written: &Spanned<Name>, pools: &Pools<'_>) -> Option<Arc<str>> {
        let name = written.0.as_str();
        if pools.file.pools.is_some() && !pools.names.contains(name) {
            let remedy = || suggest::remedy(name, pool_names(pools.file), "the pools are");
            self.diagnostics.error_with(written.span, format!("there is no pool `{name}`"), remedy);
        }
        Some(name.into())
    }

    fn split(&mut self, form: &Spanned<SplitForm>, pools: &Pools<'_>) -> Option<Split> {
        let (list, sticky) = match &form.value {
            ShortOr::Short(list) => (list, None),
            ShortOr::Long(section) => (&section.pools.as_ref()?.value, Some(&section.sticky)),
        };
        let shares = self.shares(list, pools);
        if list.is_complete() && list.iter().all(|share| share.complete) {
            let message = match shares.iter().any(|share| share.weight > 0) {
                _ if shares.is_empty() => Some("`split` has no pools"),
                false => Some("no pool gets anything"),
                true => None,
            };
            if let Some(message) = message {
                let remedy = "write such as [{ pool: api, weight: 95 }, { pool: canary, weight: 5 }]";
                self.diagnostics.error(form.span, message, remedy);
            }
        }
        let sticky = match sticky.and_then(|sticky| Some((sticky.as_option()?, sticky.span))) {
            Some((sticky, span)) => Some(self.split_sticky(sticky, span)?),
            None => None,
        };
        Some(Split { shares, sticky })
    }

    fn split_sticky(&mut self, form: &SplitStickyForm, span: Span) -> Option<SplitSticky> {
        let section = match form {
            ShortOr::Short(word) => return Some(SplitSticky::Key(hash_word(*word))),
            ShortOr::Long(section) => section,
        };
        let SplitStickySection { set_cookie, ttl, header, cookie, query, complete } = section;
        let Some(name) = set_cookie else {
            if ttl.written && *complete {
                let remedy = "add `set_cookie: NAME`, or remove it";
                self.diagnostics.error(ttl.span, "`ttl` is that of a cookie that is set here", remedy);
            }
            let parts = (header.as_ref(), cookie.as_ref(), query.as_ref());
            let remedy = "write one of `set_cookie`, `header`, `cookie` and `query`";
            return self.hash_part(span, parts, *complete, ("`sticky`", remedy)).map(SplitSticky::Key);
        };
        if header.is_some() || cookie.is_some() || query.is_some() {
            let message = "`set_cookie` and another key both say what keeps a client at its pool";
            self.diagnostics.error(name.span, message, "keep one of them");
        }
        let ttl = ttl.as_option().map(|ttl| ttl.0);
        let (name, path, same_site) = (name.0.clone(), "/".into(), SameSite::Lax);
        Some(SplitSticky::Cookie(SetCookie { name, ttl, path, same_site }))
    }

    fn shares(&mut self, list: &List<SplitPoolSection>, pools: &Pools<'_>) -> Vec<SplitShare> {
        let mut shares: Vec<SplitShare> = Vec::new();
        for section in list.iter() {
            let Some(name) = &section.pool else { continue };
            let Some(pool) = self.known_pool(name, pools) else { continue };
            if shares.iter().any(|share| share.pool == pool) {
                let message = format!("the pool `{pool}` has a share already");
                self.diagnostics.error(name.span, message, "add the weights");
            }
            shares.push(SplitShare { pool, weight: section.weight.0 as u32 });
        }
        shares
    }

    fn redirect(&mut self, form: &Spanned<RedirectForm>, groups: &mut PathGroups<'_>) -> Option<Redirect> {
        let (to, span, status) = match &form.value {
            ShortOr::Short(to) => (to, form.span, StatusCode::PERMANENT_REDIRECT),
            ShortOr::Long(section) => {
                let to = section.to.as_ref()?;
                (&to.value, to.span, section.status.0)
            }
        };
        let to = self.template(&to.0, span, groups)?;
        if let Err(Fault { message, remedy }) = check_location(&to) {
            self.diagnostics.error(span, message, remedy);
            return None;
        }
        Some(Redirect { to, status })
    }

    fn respond(&mut self, form: &Spanned<RespondForm>, groups: &mut PathGroups<'_>) -> Option<Respond> {
        let section = match &form.value {
            ShortOr::Short(status) => {
                let status = StatusCode::from_u16(status.0 as u16).ok()?;
                return Some(Respond { status, body: None, content_type: None, headers: Vec::new() });
            }
            ShortOr::Long(section) => section,
        };
        let status = StatusCode::from_u16(section.status.0 as u16).ok()?;
        let (body, default_type) = self.respond_body(section)?;
        let headers = self.field_templates(&section.headers, groups);
        let content_type = section.content_type.as_ref().map(|written| (written.span, written.0.clone()));
        if let (Some((span, _)), None) = (&content_type, &body) {
            self.diagnostics.error(*span, "an answer without a body has no type", "add `body` or `file`");
        }
        let content_type =
            content_type.map(|(_, value)| value).or(default_type.map(HeaderValue::from_static));
        Some(Respond { status, body, content_type, headers })
    }

    /// The body, and its type if none is written. `None`: it is invalid, which has been reported.
    fn respond_body(&mut self, section: &RespondSection) -> Option<(Option<Bytes>, Option<&'static str>)> {
        let written = section.body.as_ref().map(|body| body.span);
        let span = written.or(section.file.as_ref().map(|file| file.span));
        if let (Some(span), 204 | 205 | 304) = (span, section.status.0) {
            let message = format!("an answer with status {} has no body", section.status.0);
            self.diagnostics.error(span, message, "remove it, or write another status");
        }
        match (&section.body, &section.file) {
            (Some(_), Some(file)) => {
                let message = "an answer has one body, and `body` is one already";
                self.diagnostics.error(file.span, message, "remove `body` or `file`");
                None
            }
            (Some(body), None) => Some((Some(body.0.clone().into()), Some("text/plain; charset=utf-8"))),
            (None, Some(file)) => {
                let content = self.respond_file(&file.0, file.span)?;
                Some((Some(content), Some(type_of(&file.0))))
            }
            (None, None) => Some((None, None)),
        }
    }

    fn respond_file(&mut self, path: &Path, span: Span) -> Option<Bytes> {
        match file::read(path, FILE_BYTES_MAX) {
            Ok(content) => Some(content.into()),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                let remedy = "write a file of at most 1 MiB that this process can read";
                self.diagnostics.error(span, message, remedy);
                None
            }
        }
    }

    /// Header fields with placeholders, none of which an engine writes itself.
    pub(super) fn field_templates(
        &mut self,
        named: &Named<TemplateText>,
        groups: &mut PathGroups<'_>,
    ) -> Vec<(HeaderName, Template)> {
        let mut fields = Vec::new();
        for HeaderField { name, key, value } in self.header_fields(named) {
            if is_of_engines(&name) {
                let message = format!("evenkeel writes `{name}` itself");
                self.diagnostics.error(key, message, "remove it");
            }
            if let Some(value) = value
                && let Some(template) = self.template(&value.0, value.span, groups)
            {
                fields.push((name, template));
            }
        }
        fields
    }
}

/// Whether only the engines write that field: it is about the connection, or frames the body.
pub(super) fn is_of_engines(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "trailer" | "te" | "upgrade")
        || is_connection_specific(name.as_bytes())
        || is_framing(name.as_bytes())
}

struct Fault {
    message: String,
    remedy: String,
}

/// Refuses a redirect whose host a request could choose: browsers take what stands before the first slash, `?` or `#` for
/// it.
fn check_location(to: &Template) -> Result<(), Fault> {
    let fault = |message: &str, remedy: &str| Err(Fault { message: message.into(), remedy: remedy.into() });
    let text = to.as_str();
    let schemes = ["https://", "http://", "{scheme}://"];
    let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        let is_path = (text.starts_with('/') && !text.starts_with("//")) || text.starts_with("{path}");
        return match is_path {
            true => Ok(()),
            false => fault(
                "this is neither a URL nor a path",
                "write such as \"https://www.example.com{path}{?query}\", or a path that begins with a slash",
            ),
        };
    };
    let ends = ["/", "?", "#", "{path}", "{?query}"];
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    // What stands for the host and the port here is one of each.
    let shown = host.replace("{host}", "host.example").replace("{port}", "443");
    if shown.contains(['{', '@']) {
        return fault(
            "a request could choose the host of this URL",
            "write the host, or {host} and {port}, with a slash or {path} behind it",
        );
    }
    match authority::check(shown.as_bytes()) {
        Ok(()) if !shown.is_empty() => Ok(()),
        _ => fault("this URL has no host", "write such as \"https://www.example.com{path}{?query}\""),
    }
}

/// The type of a file by its ending.
fn type_of(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/vnd.microsoft.icon",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_chooses_the_host_of_a_redirect() {
        let check = |to: &str| {
            let template = Template::parse(to, |name| name.parse().ok()).expect("a template");
            check_location(&template).map_err(|fault| fault.message).err().unwrap_or_default()
        };
        for to in [
            "https://www.example.com{path}{?query}",
            "https://{host}{path}",
            "{scheme}://{host}:{port}/x/{1}",
            "https://www.{host}:8443/",
            "http://[2001:db8::1]:80{?query}",
            "/new/{1}",
            "{path}",
            "https://www.example.com",
        ] {
            assert_eq!(check(to), "", "{to}");
        }
        for to in ["//x{path}", "{1}", "{host}/x", "www.example.com", "ftp://x/", "{?query}", "HTTPS:{path}"]
        {
            assert!(check(to).contains("neither"), "{to}");
        }
        for to in ["https://x{1}", "https://{1}/", "https://x{query}/", "https://a@b/", "https://x{client}"] {
            assert!(check(to).contains("choose the host"), "{to}");
        }
        for to in ["https://{path}", "https:///x", "https://:80/"] {
            assert!(check(to).contains("no host"), "{to}");
        }
    }
}
