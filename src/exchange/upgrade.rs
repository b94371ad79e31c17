//! Switches of protocols (RFC 9110, section 7.8): which of those that a client asks for are passed on, and whether a
//! response with status 101 is an answer to it.

use http::header;

use crate::config::Upgrades;
use crate::routing::RequestHead;
use crate::websocket;

const WEBSOCKET: &str = "websocket";

/// The protocols that a client has asked for and may get; at least one.
#[derive(Debug)]
pub(super) struct Upgrade {
    protocols: Vec<String>,
    /// The client has asked for others, too.
    is_partial: bool,
}

impl Upgrade {
    /// `None`: the request goes on as if it had not asked.
    pub fn of(head: &impl RequestHead, allowed: &Upgrades) -> Option<Self> {
        let asked: Vec<String> = match head.joined(&header::UPGRADE) {
            Some(list) => str::from_utf8(&list).ok()?.split(',').map(|one| one.trim().to_owned()).collect(),
            // Of an HTTP/2 client (RFC 8441).
            None => vec![WEBSOCKET.to_owned()],
        };
        let count = asked.len();
        let may_be_websocket = head.method() == "GET" && has_no_body(head);
        let may_pass = |protocol: &String| {
            !protocol.is_empty()
                && allowed.allow(protocol)
                && (may_be_websocket || !protocol.eq_ignore_ascii_case(WEBSOCKET))
        };
        let protocols: Vec<String> = asked.into_iter().filter(may_pass).collect();
        (!protocols.is_empty()).then_some(Self { is_partial: protocols.len() < count, protocols })
    }

    /// What to send in `Upgrade`, if that is not what the client has sent.
    pub fn replacement(&self) -> Option<String> {
        self.is_partial.then(|| self.protocols.join(", "))
    }

    /// Checks a response with status 101. `key`: the client's `Sec-WebSocket-Key`.
    pub fn check_switch<'a>(
        &self,
        key: Option<&[u8]>,
        mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Result<(), &'static str> {
        let mut named = fields.clone().filter(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"));
        let (Some((_, protocol)), None) = (named.next(), named.next()) else {
            return Err("the endpoint switches to a protocol that it does not name");
        };
        let is_it = |asked: &&String| asked.as_bytes().eq_ignore_ascii_case(protocol.trim_ascii());
        let asked = self.protocols.iter().find(is_it);
        let asked = asked.ok_or("the endpoint switches to a protocol that was not asked for")?;
        if !asked.eq_ignore_ascii_case(WEBSOCKET) {
            return Ok(());
        }
        let accept = key.and_then(|key| str::from_utf8(key).ok()).map(websocket::accept_key);
        let is_accept = |(name, value): (&[u8], &[u8])| {
            name.eq_ignore_ascii_case(b"sec-websocket-accept")
                && accept.as_ref().is_some_and(|accept| accept.as_bytes() == value.trim_ascii())
        };
        let why = "the endpoint has agreed to another handshake (Sec-WebSocket-Accept)";
        fields.any(is_accept).then_some(()).ok_or(why)
    }
}

fn has_no_body(head: &impl RequestHead) -> bool {
    let is_zero = |length: &[u8]| length.iter().all(|digit| *digit == b'0');
    head.header(&header::CONTENT_LENGTH).is_none_or(is_zero)
        && head.header(&header::TRANSFER_ENCODING).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, fields: &[(&str, &str)], allowed: &Upgrades) -> Option<Vec<String>> {
        let mut request = http::Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        Upgrade::of(&head, allowed).map(|upgrade| upgrade.protocols)
    }

    #[test]
    fn what_a_route_allows_is_passed_on() {
        let only = |names: &[&str]| Upgrades::Only(names.iter().map(|name| (*name).into()).collect());
        let websocket = [("upgrade", "WebSocket")];
        assert_eq!(asked("GET", &websocket, &Upgrades::default()), Some(vec!["WebSocket".into()]));
        assert_eq!(asked("POST", &websocket, &Upgrades::Any), None);
        assert_eq!(asked("GET", &[("upgrade", "websocket"), ("content-length", "5")], &Upgrades::Any), None);
        assert_eq!(asked("GET", &websocket, &only(&[])), None);
        let tcp = [("upgrade", "tcp"), ("content-length", "5")];
        assert_eq!(asked("POST", &tcp, &Upgrades::default()), None);
        assert_eq!(asked("POST", &tcp, &only(&["TCP"])), Some(vec!["tcp".into()]));
        let spdy = [("upgrade", "SPDY/3.1, other")];
        for allowed in [only(&["spdy"]), only(&["spdy/3.1"])] {
            assert_eq!(asked("POST", &spdy, &allowed), Some(vec!["SPDY/3.1".into()]));
        }
        assert_eq!(asked("POST", &spdy, &only(&["spdy/4"])), None);
        assert_eq!(asked("POST", &spdy, &Upgrades::Any).map(|all| all.len()), Some(2));
    }

    #[test]
    fn a_switch_is_to_what_was_asked_for() {
        let upgrade = Upgrade { protocols: vec!["websocket".into(), "tcp".into()], is_partial: false };
        let check = |fields: &[(&'static str, &'static str)]| {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            upgrade.check_switch(Some(b"dGhlIHNhbXBsZSBub25jZQ=="), fields.iter().copied()).is_ok()
        };
        assert!(check(&[("Upgrade", "TCP")]));
        assert!(!check(&[]) && !check(&[("Upgrade", "other")]) && !check(&[("Upgrade", "tcp, other")]));
        assert!(!check(&[("Upgrade", "tcp"), ("Upgrade", "tcp")]));
        let right = ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(check(&[("Upgrade", "WebSocket"), right]) && !check(&[("Upgrade", "websocket")]));
        assert!(!check(&[("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")]));
    }
}
