//! `Location` and `Content-Location` of an endpoint that knows its paths by another prefix than clients do.

use super::cookies::moved;
use crate::config::PrefixChange;

/// The location to send instead; `None`: it stays as it is, because it leads elsewhere, or has the client's prefix.
///
/// `authority` is the host that the client has asked for.
pub fn with_prefix(location: &[u8], change: &PrefixChange, authority: &str) -> Option<Vec<u8>> {
    let text = str::from_utf8(location).ok()?;
    let (site, path) = split_site(text, authority)?;
    // An endpoint may know the prefix, by X-Forwarded-Prefix.
    let rest = path.strip_prefix(&*change.to).filter(|_| change.from.is_empty());
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        return None;
    }
    // Browsers take what begins with two slashes for the URL of another host.
    let path = moved(path, change).filter(|path| !path.starts_with("//"))?;
    Some(format!("{site}{path}").into_bytes())
}

/// Scheme and host, if they are the client's or left out, and the path with what follows.
fn split_site<'a>(location: &'a str, authority: &str) -> Option<(&'a str, &'a str)> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(("", location));
    }
    let begin = location.find("//")? + 2;
    let scheme = location.get(..begin - 2)?.to_ascii_lowercase();
    let path = location.get(begin..)?.find('/')? + begin;
    let is_ours = location.get(begin..path)?.eq_ignore_ascii_case(authority);
    let is_http = ["", "http:", "https:"].contains(&&*scheme);
    (is_ours && is_http).then(|| location.split_at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(location: &str, from: &str, to: &str) -> String {
        let change = PrefixChange { from: from.into(), to: to.into() };
        let moved = with_prefix(location.as_bytes(), &change, "example.com:8080");
        moved.map_or_else(|| location.to_owned(), |bytes| String::from_utf8(bytes).expect("a text"))
    }

    #[test]
    fn a_location_gets_the_prefix_that_the_client_has_used() {
        for (location, expected) in [
            ("/login?next=%2Fx", "/api/login?next=%2Fx"),
            ("/", "/api"),
            ("/?a=/b", "/api/?a=/b"),
            ("http://example.com:8080/x", "http://example.com:8080/api/x"),
            ("https://EXAMPLE.com:8080/x", "https://EXAMPLE.com:8080/api/x"),
            ("//example.com:8080/x", "//example.com:8080/api/x"),
            // It has it already, or leads elsewhere.
            ("/api", "/api"),
            ("/api/x", "/api/x"),
            ("/apis", "/api/apis"),
            ("x", "x"),
            ("../x", "../x"),
            ("?page=2", "?page=2"),
            ("//other.example/x", "//other.example/x"),
            ("http://other.example/x", "http://other.example/x"),
            ("http://example.com/x", "http://example.com/x"),
            ("ftp://example.com:8080/x", "ftp://example.com:8080/x"),
            ("http://example.com:8080", "http://example.com:8080"),
            ("", ""),
        ] {
            assert_eq!(of(location, "", "/api"), expected, "{location}");
        }
    }

    #[test]
    fn an_added_prefix_is_taken_off() {
        for (location, expected) in [("/v1/x", "/api/x"), ("/v1", "/api"), ("/x", "/x"), ("/v10", "/v10")] {
            assert_eq!(of(location, "/v1", "/api"), expected, "{location}");
        }
        assert_eq!(of("/v1/x", "/v1", ""), "/x");
        assert_eq!(of("/v1//evil.example", "/v1", ""), "/v1//evil.example");
    }
}
