//! Changes of cookies, and of paths that endpoints know by other names than clients.

use crate::config::{CookieEdits, PrefixChange};

/// The cookie to send instead; `None`: it stays as it is.
///
/// A cookie named `__Host-` keeps its path, its missing domain and its flag, without which browsers refuse it.
pub fn edited(edits: &CookieEdits, cookie: &[u8]) -> Option<Vec<u8>> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let first = parts.next()?;
    let begins = |prefix: &[u8]| {
        let name = first.trim_ascii_start();
        name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    let (is_host, is_secure) = (begins(b"__Host-"), begins(b"__Host-") || begins(b"__Secure-"));
    let mut out = first.to_vec();
    let (mut secure, mut http_only) = (false, false);
    for part in parts {
        let (key, value) = attribute(part);
        let replaced = match key.to_ascii_lowercase().as_str() {
            "path" if !is_host => path(edits, value).map(|path| format!(" Path={path}")),
            "domain" if !is_host => domain(edits, value),
            "secure" => {
                secure = is_secure || edits.secure != Some(false);
                (!secure).then(String::new)
            }
            "httponly" => {
                http_only = edits.http_only != Some(false);
                (!http_only).then(String::new)
            }
            "samesite" => edits.same_site.map(|_| String::new()),
            _ => None,
        };
        match replaced.as_deref() {
            None => out.extend([b";", part].concat()),
            Some("") => {}
            Some(other) => out.extend([b";", other.as_bytes()].concat()),
        }
    }
    if edits.secure == Some(true) && !secure {
        out.extend_from_slice(b"; Secure");
    }
    if edits.http_only == Some(true) && !http_only {
        out.extend_from_slice(b"; HttpOnly");
    }
    if let Some(same_site) = edits.same_site {
        out.extend_from_slice(b"; SameSite=");
        out.extend_from_slice(same_site.as_str().as_bytes());
    }
    (out != cookie).then_some(out)
}

/// Name and value; empty if it is no text.
fn attribute(part: &[u8]) -> (&str, &str) {
    let text = str::from_utf8(part).unwrap_or_default();
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.trim(), value.trim())
}

fn path(edits: &CookieEdits, path: &str) -> Option<String> {
    edits.paths.iter().find_map(|change| moved(path, change))
}

fn domain(edits: &CookieEdits, value: &str) -> Option<String> {
    let written = value.strip_prefix('.').unwrap_or(value);
    let change = edits.domains.iter().find(|change| change.from.eq_ignore_ascii_case(written))?;
    Some(change.to.as_ref().map_or_else(String::new, |domain| format!(" Domain={domain}")))
}

/// The path with another beginning, in whole segments; `None`: it does not begin with `from`.
pub fn moved(path: &str, change: &PrefixChange) -> Option<String> {
    let rest = path.strip_prefix(&*change.from)?;
    let ends_segment = rest.is_empty() || rest.starts_with(['/', '?', '#']);
    match rest {
        _ if !path.starts_with('/') || !ends_segment => None,
        "" | "/" if !change.to.is_empty() => Some(change.to.clone()),
        _ if change.to.is_empty() && !rest.starts_with('/') => Some(format!("/{rest}")),
        _ => Some(format!("{}{rest}", change.to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DomainChange, SameSite};

    fn edits() -> CookieEdits {
        let change = |from: &str, to: &str| PrefixChange { from: from.into(), to: to.into() };
        CookieEdits {
            paths: vec![change("/app", ""), change("/old", "/new")],
            domains: vec![
                DomainChange { from: "internal.example".into(), to: Some("example.com".into()) },
                DomainChange { from: "gone.example".into(), to: None },
            ],
            ..CookieEdits::default()
        }
    }

    fn text(edits: &CookieEdits, cookie: &str) -> String {
        let edited = edited(edits, cookie.as_bytes()).unwrap_or_else(|| cookie.into());
        String::from_utf8(edited).expect("a text")
    }

    #[test]
    fn paths_and_domains_change_in_whole_segments_and_names() {
        for (cookie, expected) in [
            ("a=1; Path=/app", "a=1; Path=/"),
            ("a=1; path=/app/; HttpOnly", "a=1; Path=/; HttpOnly"),
            ("a=1;Path=/app/x", "a=1; Path=/x"),
            ("a=1; Path=/application", "a=1; Path=/application"),
            ("a=1; Path=/old", "a=1; Path=/new"),
            ("a=1; Path=/old/x", "a=1; Path=/new/x"),
            ("a=1; Path=", "a=1; Path="),
            ("a=Path=/app", "a=Path=/app"),
            ("a=1; Domain=.Internal.Example; Path=/x", "a=1; Domain=example.com; Path=/x"),
            ("a=1; Domain=sub.internal.example", "a=1; Domain=sub.internal.example"),
            ("a=1; Domain=gone.example; Secure", "a=1; Secure"),
            ("__Host-a=1; Path=/app; Secure", "__Host-a=1; Path=/app; Secure"),
        ] {
            assert_eq!(text(&edits(), cookie), expected, "{cookie}");
        }
        assert_eq!(edited(&edits(), b"a=\xff; Path=/app"), Some(b"a=\xff; Path=/".to_vec()));
    }

    #[test]
    fn flags_are_added_and_removed_once() {
        let on = CookieEdits {
            secure: Some(true),
            http_only: Some(true),
            same_site: Some(SameSite::Lax),
            ..CookieEdits::default()
        };
        let expected = "a=1; Secure; HttpOnly; SameSite=Lax";
        for cookie in ["a=1", "a=1; SameSite=None", "a=1; secure; SAMESITE=strict", expected] {
            let edited = text(&on, cookie).to_ascii_lowercase();
            assert_eq!(edited, expected.to_ascii_lowercase(), "{cookie}");
        }
        let off = CookieEdits { secure: Some(false), http_only: Some(false), ..CookieEdits::default() };
        assert_eq!(text(&off, "a=1; Secure; Path=/; HttpOnly"), "a=1; Path=/");
        assert_eq!(text(&off, "__Secure-a=1; Secure"), "__Secure-a=1; Secure");
    }

    #[test]
    fn a_root_may_move_too() {
        let to_app = PrefixChange { from: String::new(), to: "/app".into() };
        for (path, expected) in [("/", "/app"), ("/x", "/app/x"), ("/?a", "/app/?a")] {
            assert_eq!(moved(path, &to_app).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(moved("x", &to_app), None);
        let to_root = PrefixChange { from: "/v1".into(), to: String::new() };
        for (path, expected) in [("/v1", "/"), ("/v1?a", "/?a"), ("/v1/x", "/x")] {
            assert_eq!(moved(path, &to_root).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(moved("/v10", &to_root), None);
    }
}
