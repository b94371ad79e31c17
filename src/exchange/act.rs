//! What the route does with an admitted request: forward it to a pool, redirect it, or answer it.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::passage::{Passage, Stage};
use super::{Admitted, Exchange, Failure, LocalReply};
use crate::config::{Action, Redirect, Respond};
use crate::template::{Placeholder, Template, Values};

impl Exchange {
    /// Does what the route says, once nothing speaks against the request.
    pub(super) fn act(&mut self, passage: &mut impl Passage) -> Result<Admitted, Failure> {
        passage.reached(Stage::Action);
        let Some(route) = self.route() else { return Err(Failure::NoRoute) };
        let (action, reply) = match &route.action {
            Action::Forward(_) | Action::Split(_) => {
                passage.reached(Stage::Rewrite);
                self.rewrite()?;
                passage.reached(Stage::RequestHeaders);
                self.check_header_edits()?;
                return Ok(Admitted::Forward);
            }
            Action::Redirect(redirect) => ("redirect", self.redirect(redirect)?),
            Action::Respond(respond) => ("respond", self.respond(respond)?),
        };
        self.record.unusual_mut().action = Some(action);
        Ok(Admitted::Reply(reply))
    }

    fn redirect(&self, redirect: &Redirect) -> Result<LocalReply, Failure> {
        let location = location(&redirect.to, &self.template_values())?;
        let mut reply = self.own_reply(redirect.status);
        reply.headers.push((header::LOCATION, location));
        Ok(reply)
    }

    fn respond(&self, respond: &Respond) -> Result<LocalReply, Failure> {
        let mut reply = self.own_reply(respond.status);
        if let Some(body) = &respond.body {
            reply.set_body(body.clone(), respond.content_type.clone());
        } else if respond.status.as_u16() < 400 {
            reply.set_body(Bytes::new(), None);
        }
        let values = self.template_values();
        for (name, value) in &respond.headers {
            let value = field_value(value, &values)?;
            reply.headers.retain(|(other, _)| other != name);
            reply.headers.push((name.clone(), value));
        }
        Ok(reply)
    }

    /// A reply that says its status, with what all replies have.
    fn own_reply(&self, status: StatusCode) -> LocalReply {
        let text = &self.record.text;
        let mut reply = LocalReply::new(status, Some(text.accept()), text.request_id());
        self.add_strict_transport(&mut reply);
        reply
    }
}

/// The value of a field for one request; what could end the field is refused.
pub(super) fn field_value(template: &Template, values: &Values<'_>) -> Result<HeaderValue, Failure> {
    let mut value = Vec::new();
    template.render(values, &mut value);
    HeaderValue::from_bytes(&value).map_err(|_| Failure::BadRequest)
}

/// The value of `Location`, which names no other host than the config allows: browsers take what begins with `//` for
/// the URL of another host.
pub(super) fn location(to: &Template, values: &Values<'_>) -> Result<HeaderValue, Failure> {
    if to.placeholders().any(|placeholder| placeholder == Placeholder::Host) && !names_host(values.authority)
    {
        return Err(Failure::MissingHost);
    }
    // The target `*` is no path of a URL.
    let path = if values.path.starts_with('/') { values.path } else { "/" };
    let mut url = Vec::new();
    to.render(&Values { path, ..*values }, &mut url);
    let slashes = url.iter().take_while(|byte| **byte == b'/').count();
    let url = url.get(slashes.saturating_sub(1)..).unwrap_or_default();
    let is_url = url.iter().all(|byte| byte.is_ascii_graphic());
    HeaderValue::from_bytes(url).ok().filter(|_| is_url).ok_or(Failure::BadRequest)
}

/// Whether a host is there, and consists of what hosts do.
fn names_host(authority: &str) -> bool {
    let host = crate::authority::host(authority);
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(&byte);
    !host.is_empty() && host.bytes().all(is_of_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(to: &str, values: &Values<'_>) -> Result<String, Failure> {
        let template = Template::parse(to, |_| Some(1)).expect("a template");
        location(&template, values).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn a_location_names_no_other_host() {
        let groups = crate::template::Groups::new("/evil.example", [Some(0..0), Some(0..13)].into_iter());
        let values = Values {
            authority: "Example.com:8080",
            scheme: "http",
            path: "//evil.example/x",
            query: Some("a=\\b"),
            groups: Some(&groups),
            ..Values::default()
        };
        for (to, expected) in [
            ("{path}", Ok("/evil.example/x")),
            ("/{1}{?query}", Ok("/evil.example?a=\\b")),
            ("https://{host}{path}", Ok("https://example.com//evil.example/x")),
            ("{scheme}://{host}:{port}/", Ok("http://example.com:8080/")),
        ] {
            assert_eq!(sent(to, &values), expected.map(str::to_owned), "{to}");
        }
        let star = Values { path: "*", ..values };
        assert_eq!(sent("https://a.example{path}", &star), Ok("https://a.example/".to_owned()));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for authority in ["", "a/b", "a b", "a\\b", "a?b", "\u{fc}"] {
            let values = Values { authority, path: "/", ..Values::default() };
            assert_eq!(sent("https://{host}{path}", &values), Err(Failure::MissingHost), "{authority}");
        }
        for query in ["a\r\nb: c", "a b", "\u{fc}", "\u{7f}"] {
            let values = Values { path: "/", query: Some(query), ..Values::default() };
            assert_eq!(sent("/x{?query}", &values), Err(Failure::BadRequest), "{query}");
        }
    }
}
