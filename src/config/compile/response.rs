//! Compiles what a route does with responses.

use std::ops::RangeInclusive;
use std::sync::Arc;

use http::{HeaderName, Method, header};

use super::templates::PathGroups;
use super::{Compiler, HeaderField};
use crate::config::decode::{DiagnosticSink, Named, ShortOr, Spanned, Value, shown};
use crate::config::model::{
    Compress, CookieEdits, Cors, CorsHeaders, DomainChange, Engine, ErrorPage, ErrorPages, HeaderEdits,
    Listener, Origins, PrefixChange, ResponsePolicy, SameSite,
};
use crate::config::raw::{
    CompressForm, CompressSection, CorsHeaderText, CorsSection, FilePath, HeaderNameText, OriginText,
    ResponseCookiesSection, ResponseHeadersSection, RouteSection,
};
use crate::config::source::Span;
use crate::config::tree::{Kind, Node};
use crate::file;
use crate::header_field::{is_connection_specific, is_framing};

/// What responses say about other origins, which `cors` writes.
const CORS_FIELDS: &str = "access-control-";

/// The largest page of a failure, in bytes.
const ERROR_PAGE_MAX: u64 = 1 << 20;

impl Compiler<'_> {
    /// `None`: the route changes nothing of its responses.
    pub(super) fn response_policy(
        &mut self,
        section: &RouteSection,
        listeners: &[Listener],
        groups: &mut PathGroups<'_>,
    ) -> Option<Arc<ResponsePolicy>> {
        self.check_native(section, listeners);
        let cors = section.cors.as_option().map(|cors| self.cors(cors, section));
        let policy = ResponsePolicy {
            headers: self.response_headers(&section.response_headers, cors.is_some(), groups),
            security_headers: section.security_headers.0,
            cookies: self.cookie_edits(&section.response_cookies),
            cors,
            errors: self.error_pages(&section.errors),
            intercept_errors: section.intercept_errors.0,
            compress: section.compress.as_option().map(compress),
        };
        policy.shared()
    }

    /// Refuses what the engine `pingora` does not do with requests and responses.
    fn check_native(&mut self, section: &RouteSection, listeners: &[Listener]) {
        if !listeners.iter().any(|listener| listener.engine == Engine::Pingora) {
            return;
        }
        let is_compressed = section.compress.as_option().is_some();
        for (key, span, written) in [
            ("compress", section.compress.span, is_compressed),
            ("intercept_errors", section.intercept_errors.span, section.intercept_errors.0),
            (
                "limits.response_rate",
                section.limits.response_rate.span,
                section.limits.response_rate.as_option().is_some(),
            ),
            (
                "mirror",
                section.mirror.as_ref().map(|one| one.span).unwrap_or_default(),
                section.mirror.is_some(),
            ),
            ("buffer_request", section.buffer_request.span, section.buffer_request.as_option().is_some()),
        ] {
            if written {
                let message = format!("a listener has `engine: pingora`, which has no `{key}`");
                let remedy = "remove it, or write `engine: native` at the listener";
                self.diagnostics.error(span, message, remedy);
            }
        }
    }

    /// The pages, whose files are read; `None`: there are none.
    pub(super) fn error_pages(&mut self, named: &Named<FilePath>) -> Option<Arc<ErrorPages>> {
        let mut pages: Vec<ErrorPage> = Vec::new();
        for (key, path) in &named.entries {
            let Some(statuses) = error_statuses(&key.text) else {
                let message = format!("`{}` is no status of a failure", shown(&key.text));
                self.diagnostics.error(key.span, message, "write one such as 502, or a class: 4xx or 5xx");
                continue;
            };
            if pages.iter().any(|page| page.statuses == statuses) {
                let message = format!("`{}` is written twice", shown(&key.text));
                self.diagnostics.error(key.span, message, "keep one of them");
            }
            let page = path.as_ref().and_then(|path| self.error_page(statuses, path));
            pages.extend(page);
        }
        pages.sort_by_key(|page| page.statuses.end() - page.statuses.start());
        (!pages.is_empty()).then(|| Arc::new(ErrorPages(pages)))
    }

    fn error_page(&mut self, statuses: RangeInclusive<u16>, path: &Spanned<FilePath>) -> Option<ErrorPage> {
        let file = &path.0;
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let Some(content_type) = content_type(&ending.to_ascii_lowercase()) else {
            let message = format!("the name of {} does not say what it is", file.display());
            self.diagnostics.error(path.span, message, "end it in .html, .json, .txt, .xml or .svg");
            return None;
        };
        match file::read(file, ERROR_PAGE_MAX) {
            Ok(body) => Some(ErrorPage { statuses, content_type, body: body.into() }),
            Err(error) => {
                let message = format!("cannot read {}: {error}", file.display());
                self.diagnostics.error(
                    path.span,
                    message,
                    "write the path of a file that this process may read",
                );
                None
            }
        }
    }

    fn response_headers(
        &mut self,
        section: &ResponseHeadersSection,
        has_cors: bool,
        groups: &mut PathGroups<'_>,
    ) -> HeaderEdits {
        let mut compiled = HeaderEdits::default();
        for HeaderField { name, key, value } in self.header_fields(&section.set) {
            self.check_response_field(&name, key, has_cors);
            let value = value.and_then(|value| self.template(&value.0, value.span, groups));
            compiled.set.extend(value.map(|value| (name, value)));
        }
        for HeaderField { name, key, value } in self.header_fields(&section.add) {
            self.check_response_field(&name, key, has_cors);
            for value in value.into_iter().flat_map(|values| values.0.iter()) {
                let value = self.template(&value.0, value.span, groups);
                compiled.add.extend(value.map(|value| (name.clone(), value)));
            }
        }
        for Spanned { value: HeaderNameText(name), span, .. } in section.remove.0.iter() {
            self.check_response_field(name, *span, has_cors);
            if compiled.set.iter().any(|(other, _)| other == name) {
                let message = format!("`{name}` is removed here, and set by `set`");
                self.diagnostics.error(
                    *span,
                    message,
                    "keep one of them: `set` replaces what endpoints send",
                );
            }
            compiled.remove.push(name.clone());
        }
        compiled
    }

    /// Refuses names that are written by others.
    fn check_response_field(&mut self, name: &HeaderName, span: Span, has_cors: bool) {
        let text = name.as_str();
        let of_connection =
            ["close", "te", "trailer", "upgrade", "proxy-authenticate", "proxy-authorization"];
        let (why, remedy) = if is_framing(text.as_bytes()) {
            ("says where a message ends, which evenkeel writes itself", "remove it")
        } else if is_connection_specific(text.as_bytes()) || of_connection.contains(&text) {
            ("belongs to one connection, and evenkeel writes it itself", "remove it")
        } else if *name == header::STRICT_TRANSPORT_SECURITY {
            ("is written by the listener, over TLS only", "write `hsts` at the listener instead")
        } else if text.starts_with("grpc-") {
            ("is the result of a gRPC call", "remove it")
        } else if has_cors && text.starts_with(CORS_FIELDS) {
            ("is written by this route's `cors`", "say it there, or remove `cors`")
        } else {
            return;
        };
        self.diagnostics.error(span, format!("`{text}` {why}"), remedy);
    }

    /// `None`: cookies pass as they are.
    fn cookie_edits(&mut self, section: &ResponseCookiesSection) -> Option<CookieEdits> {
        let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
        let paths = section.path.0.iter();
        let domains = section.domain.0.iter();
        let edits = CookieEdits {
            // What lacks one of its keys has been reported.
            paths: paths
                .filter_map(|change| change.from.as_ref().zip(change.to.as_ref()))
                .map(|(from, to)| PrefixChange { from: trimmed(&from.0), to: trimmed(&to.0) })
                .collect(),
            domains: domains
                .filter_map(|change| change.from.as_ref().zip(change.to.as_ref()))
                .map(|(from, to)| DomainChange {
                    from: from.0.clone(),
                    to: to.as_option().map(|domain| domain.0.clone()),
                })
                .collect(),
            secure: section.secure.as_ref().map(|switch| switch.0),
            http_only: section.http_only.as_ref().map(|switch| switch.0),
            same_site: section.same_site.as_ref().map(|word| word.value),
        };
        if let (Some(SameSite::None), Some(Spanned { value, span, .. })) = (edits.same_site, &section.secure)
            && !value.0
        {
            let message = "browsers refuse cookies with `SameSite=None` that are not `Secure`";
            self.diagnostics.error(*span, message, "write `secure: on`");
        }
        (edits != CookieEdits::default()).then_some(edits)
    }

    fn cors(&mut self, section: &CorsSection, route: &RouteSection) -> Cors {
        let origins: Vec<&Spanned<OriginText>> =
            section.origins.iter().flat_map(|origins| origins.0.iter()).collect();
        self.check_cors(section, route, &origins);
        let any = origins.iter().any(|origin| origin.value == OriginText::Any);
        let patterns = origins.iter().filter_map(|origin| match &origin.value {
            OriginText::Any => None,
            OriginText::Pattern(pattern) => Some(pattern.clone()),
        });
        let all_headers = section.headers.0.iter().any(|name| name.value == CorsHeaderText::Any);
        let names = section.headers.0.iter().filter_map(|name| match &name.value {
            CorsHeaderText::Any => None,
            CorsHeaderText::Named(name) => Some(name.clone()),
        });
        Cors {
            origins: if any { Origins::Any } else { Origins::Only(patterns.collect()) },
            methods: section.methods.0.iter().map(|method| method.value.clone()).collect(),
            headers: if all_headers { CorsHeaders::Any } else { CorsHeaders::Only(names.collect()) },
            expose: section.expose.0.iter().map(|name| name.0.clone()).collect(),
            credentials: section.credentials.0,
            max_age: section.max_age.0,
        }
    }

    fn check_cors(&mut self, section: &CorsSection, route: &RouteSection, origins: &[&Spanned<OriginText>]) {
        if let Some(any) = origins.iter().find(|origin| origin.value == OriginText::Any) {
            if section.credentials.0 {
                let message = "with `credentials`, every page could read what its visitors see";
                self.diagnostics.error(any.span, message, "list the origins, or write `credentials: off`");
            }
            if origins.len() > 1 {
                let message = "`\"*\"` is every origin, the others of this list among them";
                self.diagnostics.error(any.span, message, "keep it alone, or remove it");
            }
        }
        if let Some(written) = section.origins.as_ref().filter(|written| written.0.length == 0) {
            self.diagnostics.error(written.span, "this list has no origin", "write one, or `cors: off`");
        }
        let methods = &route.r#match.methods;
        if methods.length > 0 && !methods.iter().any(|method| method.value == Method::OPTIONS) {
            let message = "browsers ask by OPTIONS first, which this route with `cors` does not match";
            self.diagnostics.error(methods.span, message, "add OPTIONS to the methods");
        }
    }
}

/// A status of a failure, or a class of them.
fn error_statuses(text: &str) -> Option<RangeInclusive<u16>> {
    match text {
        "4xx" | "4XX" => Some(400..=499),
        "5xx" | "5XX" => Some(500..=599),
        _ if text.len() != 3 => None,
        _ => text.parse().ok().filter(|status| (400..600).contains(status)).map(|status| status..=status),
    }
}

fn content_type(ending: &str) -> Option<&'static str> {
    Some(match ending {
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

fn compress(form: &CompressForm) -> Compress {
    let section = match form {
        ShortOr::Long(section) => section,
        ShortOr::Short(_) => {
            let nothing = Node { span: Span::default(), kind: Kind::Map(Vec::new()) };
            let section = CompressSection::decode(&nothing, &mut DiagnosticSink::default());
            return compressed(&section.expect("a section of no keys can be read"));
        }
    };
    compressed(section)
}

fn compressed(section: &CompressSection) -> Compress {
    Compress {
        encodings: section.encodings.0.iter().map(|encoding| encoding.value).collect(),
        types: section.types.0.iter().map(|pattern| pattern.value.clone()).collect(),
        min_size: section.min_size.0,
        level: u8::try_from(section.level.0).unwrap_or(u8::MAX),
    }
}
