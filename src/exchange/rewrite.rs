//! The path that an endpoint gets in the place of the one that was matched.
//!
//! What comes out is judged like what came in: a path that is not in its normal form is refused, so that no endpoint
//! takes it for another one than the route that owns it.

use super::{Exchange, Failure};
use crate::config::{PathRewrite, PrefixChange};
use crate::routing::{PathRules, path};
use crate::template::Values;

/// A rewritten path, and what was stripped of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten<'a> {
    pub path: String,
    pub stripped: Option<&'a str>,
}

impl Exchange {
    /// Rewrites the path, if the route says so. The engine gets it by [`Exchange::take_new_path`].
    pub(super) fn rewrite(&mut self) -> Result<(), Failure> {
        if let Some(unusual) = &mut self.record.unusual {
            unusual.rewritten = None;
        }
        let Some(rewrite) = self.route().and_then(|route| route.rewrite.as_ref()?.path.as_ref()) else {
            return Ok(());
        };
        let rewritten = match rewritten(rewrite, &self.template_values(), self.listener().paths) {
            Ok(None) => return Ok(()),
            Ok(Some(rewritten)) => (rewritten.path, rewritten.stripped.map(Box::from)),
            Err(reason) => {
                self.record.unusual_mut().detail = Some(reason.into());
                return Err(Failure::BadRequest);
            }
        };
        let (path, stripped): (String, Option<Box<str>>) = rewritten;
        self.record.unusual_mut().rewritten = Some(path.as_str().into());
        if let Some(matched) = &mut self.matched {
            (matched.new_path, matched.stripped) = (Some(path), stripped);
        }
        Ok(())
    }

    /// The path that the engine has to put in the place of the matched one before it opens an attempt; `None`: it stays.
    pub fn take_new_path(&mut self) -> Option<String> {
        self.matched.as_mut()?.new_path.take()
    }

    /// How the endpoint's paths differ from the client's, if by a prefix.
    pub(super) fn prefix_change(&self) -> Option<PrefixChange> {
        self.record.unusual().rewritten.as_ref()?;
        match self.route()?.rewrite.as_ref()?.path.as_ref()? {
            PathRewrite::Prefix { strip, add } => {
                Some(PrefixChange { from: add.to_string(), to: strip.to_string() })
            }
            PathRewrite::Whole(_) | PathRewrite::Regex { .. } => None,
        }
    }

    /// The prefix that `rewrite` has stripped of the path.
    pub fn stripped_prefix(&self) -> Option<&str> {
        self.matched.as_ref()?.stripped.as_deref()
    }
}

/// The path that the endpoint gets; `None`: the one that was matched. The error says what is wrong with it.
pub(super) fn rewritten<'a>(
    rewrite: &'a PathRewrite,
    values: &Values<'_>,
    rules: PathRules,
) -> Result<Option<Rewritten<'a>>, &'static str> {
    // The target `*` is no path.
    if !values.path.starts_with('/') {
        return Ok(None);
    }
    let mut stripped = None;
    let path = match rewrite {
        PathRewrite::Prefix { strip, add } => {
            let Some(rest) = strip_prefix(values.path, strip) else { return Ok(None) };
            stripped = Some(&**strip).filter(|strip| !strip.is_empty());
            match format!("{add}{rest}") {
                path if path.is_empty() => "/".to_owned(),
                path => path,
            }
        }
        PathRewrite::Whole(to) => text(|out| to.render(values, out))?,
        PathRewrite::Regex { regex, to } => {
            let Some(groups) = regex.groups(values.path) else { return Ok(None) };
            let place = groups.range(0).unwrap_or_default();
            let (before, after) = (values.path.get(..place.start), values.path.get(place.end..));
            text(|out| {
                out.extend_from_slice(before.unwrap_or_default().as_bytes());
                to.render(&Values { groups: Some(&groups), ..*values }, out);
                out.extend_from_slice(after.unwrap_or_default().as_bytes());
            })?
        }
    };
    judge(&path, rules)?;
    Ok(Some(Rewritten { path, stripped }))
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> Result<String, &'static str> {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).map_err(|_| "the rewritten path is no text")
}

/// What is left of the path without whole segments; `None`: it does not begin with them.
fn strip_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn judge(new: &str, rules: PathRules) -> Result<(), &'static str> {
    let is_of_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>`\\".contains(&byte);
    if !new.starts_with('/') || !new.bytes().all(is_of_path) {
        return Err("the rewritten path is no path");
    }
    match path::normalize(new, rules) {
        Ok(normal) if normal == new => Ok(()),
        Ok(_) | Err(_) => Err("the rewritten path is not in its normal form"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{EscapedSlashes, Regex};
    use crate::template::Template;

    const RULES: PathRules = PathRules { merge_slashes: true, escaped_slashes: EscapedSlashes::Keep };

    fn of(rewrite: &PathRewrite, path: &str) -> Result<Option<String>, &'static str> {
        let values = Values { path, query: Some("q=/../"), ..Values::default() };
        rewritten(rewrite, &values, RULES).map(|rewritten| rewritten.map(|rewritten| rewritten.path))
    }

    fn prefix(strip: &str, add: &str) -> PathRewrite {
        PathRewrite::Prefix { strip: strip.into(), add: add.into() }
    }

    fn regex(pattern: &str, to: &str) -> PathRewrite {
        let regex = Regex::with_groups(pattern).expect("a pattern");
        let to = Template::parse(to, |name| regex.group_number(name)).expect("a template");
        PathRewrite::Regex { regex, to }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        for (rewrite, path, expected) in [
            (prefix("/api", ""), "/api/x", Some("/x")),
            (prefix("/api", ""), "/api", Some("/")),
            (prefix("/api", ""), "/api/", Some("/")),
            (prefix("/api", ""), "/apis/x", None),
            (prefix("/api", ""), "/api../admin", None),
            (prefix("/api", ""), "/api%2F..", None),
            (prefix("/api", "/v1"), "/api", Some("/v1")),
            (prefix("/api", "/v1"), "/api/x/", Some("/v1/x/")),
            (prefix("", "/v1"), "/x", Some("/v1/x")),
            (prefix("/api", ""), "*", None),
        ] {
            assert_eq!(of(&rewrite, path), Ok(expected.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn what_an_expression_finds_is_replaced() {
        for (pattern, to, path, expected) in [
            ("^/u/([0-9]+)$", "/users/{1}", "/u/7", Some("/users/7")),
            ("^/u/(?P<id>[^/]+)", "/users/{id}", "/u/7/x", Some("/users/7/x")),
            ("^/u/([0-9]+)$", "/users/{1}", "/v/7", None),
            ("%C3%A9", "e", "/caf%C3%A9", Some("/cafe")),
            ("^.*$", "/x{path}", "/a", Some("/x/a")),
        ] {
            assert_eq!(of(&regex(pattern, to), path), Ok(expected.map(str::to_owned)), "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_normal_path_is_refused() {
        for (pattern, to, path) in [
            // The length of what was found cuts an escape, or leaves dots.
            ("^/api", "", "/api../admin"),
            ("^/a/", "/", "/a//x"),
            ("^/api", "/..", "/api/x"),
            ("/x", "", "/x"),
            ("^.", "", "/x"),
            ("^/", "/%2e%2e/", "/x"),
            ("^/", "/%", "/41"),
            ("^/(.)", "/{1}%5C..", "/x"),
            ("^/x$", "/x{?query}", "/x"),
            ("^/x$", "/a#b", "/x"),
            ("^/x$", "/..;/admin", "/x"),
        ] {
            let result = of(&regex(pattern, to), path);
            assert!(result.is_err(), "{pattern} {to} {path}: {result:?}");
        }
    }
}
