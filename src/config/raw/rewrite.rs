//! What an endpoint gets in the place of what the client has sent.

use serde_json::{Value as Json, json};

use super::actions::TemplateText;
use super::balance::HeaderNameText;
use super::matching::{PathText, RegexText};
use super::pool::HostSetting;
use crate::config::decode::{Fault, List, Named, Scalar, shown};
use crate::config::section::section;

section! {
    /// What an endpoint gets in the place of the request's path and host. The path that comes out must be in its normal
    /// form; otherwise the request is answered 400. The query stays as it is.
    RewriteSection "`rewrite`" {
        /// Whole segments that are taken off the beginning of the path. Where the path does not begin with them, it stays
        /// as it is. Endpoints are told in `X-Forwarded-Prefix`.
        strip_prefix: PathText, optional;
        /// What is put before the path, after `strip_prefix`.
        add_prefix: PathText, optional;
        /// The whole path, with placeholders.
        path: NewPathText, optional;
        /// What this expression finds in the path, the first time, is replaced by `to`.
        regex: RegexText, optional;
        /// What takes the place of what `regex` finds, with placeholders; `{1}` and `{name}` are its groups.
        to: ReplacementText, optional;
        /// The `Host` that endpoints see, in the place of the pool's `host`: `preserve`, `endpoint`, or a fixed host.
        host: HostSetting, optional;
    }
}

section! {
    /// Changes of the header fields that endpoints get. Values may have placeholders. A name stands for all that an endpoint
    /// may take for the same: without case, and with `_` and `.` equal to `-`.
    RequestHeadersSection "`request_headers`" {
        /// One field of each name, in the place of all that the client has sent.
        set: Named<TemplateText> = {};
        /// One more field of each name.
        add: Named<TemplateText> = {};
        /// Names of fields that endpoints do not get.
        remove: List<HeaderNameText> = [];
    }
}

/// A path as an endpoint gets it, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewPathText(pub(crate) String);

impl Scalar for NewPathText {
    const WHAT: &'static str = PathText::WHAT;
    const REMEDY: &'static str = "write a path such as /v1, with placeholders such as {path} or {1}";

    fn parse(text: &str) -> Result<NewPathText, Fault> {
        let ReplacementText(text) = ReplacementText::parse(text)?;
        match text.starts_with('/') || text.starts_with("{path}") {
            true => Ok(NewPathText(text)),
            false => {
                let message = format!("the path `{}` does not start with a slash", shown(&text));
                Err(Fault::new(message, format!("write /{}", shown(&text))))
            }
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["/index.html", "/v2/{1}"] })
    }
}

/// A part of a path, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplacementText(pub(crate) String);

impl Scalar for ReplacementText {
    const WHAT: &'static str = "a part of a path";
    const REMEDY: &'static str = "write such as /v2/{1}, in quotes";

    fn parse(text: &str) -> Result<ReplacementText, Fault> {
        if let Some((path, _)) = text.split_once(['?', '#']) {
            let path = path.strip_suffix('{').unwrap_or(path);
            let message = format!("`{}` is more than a path", shown(text));
            return Err(Fault::new(message, format!("write {}: the query stays as it is", shown(path))));
        }
        match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(ReplacementText(text.to_owned())),
            false => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "examples": ["/v2/{1}"] })
    }
}
