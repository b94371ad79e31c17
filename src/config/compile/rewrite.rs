//! Compiles what an endpoint gets in the place of what the client has sent: path, host, header fields.

use std::sync::Arc;

use http::{HeaderName, header};

use super::Compiler;
use super::actions::is_of_engines;
use super::templates::PathGroups;
use crate::config::decode::Spanned;
use crate::config::model::{HeaderEdits, PathRewrite, Rewrite};
use crate::config::raw::{RequestHeadersSection, RewriteSection};
use crate::config::source::Span;
use crate::header_field::{CLAIMS, WRITTEN_AFRESH, same_name};
use crate::routing::{PathRules, path};
use crate::template::{Placeholder, Template};

impl Compiler<'_> {
    pub(super) fn rewrite(
        &mut self,
        section: &Spanned<RewriteSection>,
        groups: &mut PathGroups<'_>,
        rules: &[PathRules],
    ) -> Option<Arc<Rewrite>> {
        let RewriteSection { strip_prefix, add_prefix, path, regex, to, host, .. } = &section.value;
        let prefix = strip_prefix.as_ref().map(|one| ("strip_prefix", one.span));
        let prefix = prefix.or(add_prefix.as_ref().map(|one| ("add_prefix", one.span)));
        let whole = path.as_ref().map(|one| ("path", one.span));
        let of_regex = regex.as_ref().map(|one| ("regex", one.span));
        let of_regex = of_regex.or(to.as_ref().map(|one| ("to", one.span)));
        let mut ways = [prefix, whole, of_regex].into_iter().flatten();
        let first = ways.next().map(|(key, _)| key);
        if let (Some(first), Some((second, span))) = (first, ways.next()) {
            let message = format!("a path is rewritten in one way, and `{first}` is one already");
            self.diagnostics.error(span, message, format!("remove `{first}` or `{second}`"));
        }
        if section.complete && first.is_none() && host.is_none() {
            let remedy = "write such as { strip_prefix: /api }, or remove it";
            self.diagnostics.error(section.span, "this rewrite changes nothing", remedy);
        }
        let path = match first {
            Some("path") => Some(self.whole_path(section, groups, rules)?),
            Some("regex" | "to") => Some(self.regex_rewrite(section)?),
            Some(_) => Some(self.prefix_rewrite(section, rules)),
            None => None,
        };
        Some(Arc::new(Rewrite { path, host: host.as_ref().map(|host| host.0.clone()) }))
    }

    fn prefix_rewrite(&mut self, section: &RewriteSection, rules: &[PathRules]) -> PathRewrite {
        let mut prefix = |written: &Option<Spanned<crate::config::raw::PathText>>| -> Box<str> {
            let Some(written) = written else { return "".into() };
            let path = &*written.0;
            self.check_new_path(path, written.span, rules);
            if path == "/" {
                let message = "every path begins with `/`, so this changes nothing";
                self.diagnostics.error(written.span, message, "write such as /api, or remove it");
            }
            path.strip_suffix('/').unwrap_or(path).into()
        };
        PathRewrite::Prefix { strip: prefix(&section.strip_prefix), add: prefix(&section.add_prefix) }
    }

    fn whole_path(
        &mut self,
        section: &RewriteSection,
        groups: &mut PathGroups<'_>,
        rules: &[PathRules],
    ) -> Option<PathRewrite> {
        let written = section.path.as_ref()?;
        let template = self.template(&written.0, written.span, groups)?;
        if let Some(path) = template.fixed() {
            self.check_new_path(path, written.span, rules);
        }
        self.check_placeholders(&template, written.span);
        Some(PathRewrite::Whole(template))
    }

    fn regex_rewrite(&mut self, section: &RewriteSection) -> Option<PathRewrite> {
        match (&section.regex, &section.to) {
            (Some(regex), Some(to)) => {
                let regex = self.regex_with_groups(&regex.0, regex.span)?;
                let template = self.template_of(&to.0, to.span, &regex)?;
                self.check_placeholders(&template, to.span);
                Some(PathRewrite::Regex { regex, to: template })
            }
            (Some(one), None) if section.complete => {
                let remedy = "add what takes the place of what it finds, such as to: \"/v2/{1}\"";
                self.diagnostics.error(one.span, "`regex` needs `to`", remedy);
                None
            }
            (None, Some(one)) if section.complete => {
                let remedy = "add the expression, or write `path` for the whole path";
                self.diagnostics.error(one.span, "`to` needs `regex`", remedy);
                None
            }
            _ => None,
        }
    }

    /// A query has bytes that no path may have.
    fn check_placeholders(&mut self, template: &Template, span: Span) {
        let is_query = |one| matches!(one, Placeholder::Query | Placeholder::QuestionQuery);
        if template.placeholders().any(is_query) {
            let remedy = "remove it: endpoints get the query as it is";
            self.diagnostics.error(span, "a query cannot be part of a path", remedy);
        }
    }

    /// Refuses a path with which no request could go on.
    fn check_new_path(&mut self, new: &str, span: Span, rules: &[PathRules]) {
        let forms = || rules.iter().map(|rules| path::normalize(new, *rules));
        if forms().any(|form| form.as_deref() == Ok(new)) {
            return;
        }
        let (why, remedy) = match forms().next() {
            None => return,
            Some(Ok(normal)) => ("it is not in its normal form".to_owned(), format!("write {normal}")),
            Some(Err(fault)) => (fault.reason().to_owned(), "write another path".to_owned()),
        };
        self.diagnostics.error(span, format!("no endpoint would get this path: {why}"), remedy);
    }

    /// `strips`: the route strips a prefix of the path, which is told in `X-Forwarded-Prefix`.
    pub(super) fn request_headers(
        &mut self,
        section: &RequestHeadersSection,
        groups: &mut PathGroups<'_>,
        strips: bool,
    ) -> Option<Arc<HeaderEdits>> {
        let mut seen: Vec<(HeaderName, &'static str)> = Vec::new();
        for (list, named) in [("set", &section.set), ("add", &section.add)] {
            for (key, _) in &named.entries {
                let Ok(name) = HeaderName::from_bytes(key.text.as_bytes()) else { continue };
                self.check_name(&name, list, key.span, &mut seen);
                self.check_managed_edit(&name, list, key.span, strips);
            }
        }
        for written in section.remove.iter() {
            self.check_name(&written.0, "remove", written.span, &mut seen);
            if is_of_engines(&written.0) || written.0 == header::HOST || is_hops(&written.0) {
                let message = format!("evenkeel writes `{}` itself", written.0);
                self.diagnostics.error(written.span, message, "remove it");
            }
        }
        Some(Arc::new(HeaderEdits {
            set: self.field_templates(&section.set, groups),
            add: self.field_templates(&section.add, groups),
            remove: section.remove.iter().map(|name| name.0.clone()).collect(),
        }))
    }

    /// Refuses a name that is in two of the lists, or twice in one.
    fn check_name(
        &mut self,
        name: &HeaderName,
        list: &'static str,
        span: Span,
        seen: &mut Vec<(HeaderName, &'static str)>,
    ) {
        let is_same = |other: &HeaderName| same_name(other.as_str().as_bytes(), name.as_str().as_bytes());
        match seen.iter().find(|(other, other_list)| is_same(other) && (*other_list != list || other != name))
        {
            Some((other, other_list)) => {
                let message =
                    format!("endpoints may take `{name}` for `{other}`, which is in `{other_list}`");
                self.diagnostics.error(
                    span,
                    message,
                    "keep one of them; `set` is for both, `remove` and `add`",
                );
            }
            None => seen.push((name.clone(), list)),
        }
    }

    /// Refuses fields by which endpoints know the client, and which evenkeel writes.
    fn check_managed_edit(&mut self, name: &HeaderName, list: &str, span: Span, strips: bool) {
        let is = |other: &str| same_name(other.as_bytes(), name.as_str().as_bytes());
        let is_written = WRITTEN_AFRESH.iter().any(|other| is(other))
            || CLIENT_CERTIFICATE.iter().any(|other| is(other))
            || is_hops(name);
        let (message, remedy) = if is("host") {
            ("the host is no ordinary field".to_owned(), "write `rewrite: { host: NAME }`")
        } else if is_written {
            (
                format!("evenkeel writes `{name}` itself, of what it knows"),
                "remove it: docs/headers.md has its value",
            )
        } else if is("x-forwarded-prefix") && strips {
            (format!("`strip_prefix` writes `{name}`"), "remove one of them")
        } else if list == "add" && CLAIMS.iter().any(|other| is(other)) {
            (
                format!("endpoints believe `{name}`, which a trusted proxy may have sent, too"),
                "write it under `set`",
            )
        } else {
            return;
        };
        self.diagnostics.error(span, message, remedy);
    }
}

/// What tells endpoints of the client's certificate, where it has one.
const CLIENT_CERTIFICATE: [&str; 4] =
    ["client-cert", "client-cert-chain", "x-client-cert-fingerprint", "x-client-cert-subject"];

fn is_hops(name: &HeaderName) -> bool {
    same_name(name.as_str().as_bytes(), b"x-evenkeel-hops")
}
