//! What a request is hashed by, in a pool that balances by hash.

use super::Exchange;
use crate::config::{Balance, HashKey};
use crate::pool::hash_of_key;
use crate::routing::{RequestHead, cookie, query_value};
use crate::telemetry::record::ClientAddress;

impl Exchange {
    /// Finds the request's key for the balance policy. Without one, the line in the log says so.
    pub(super) fn find_hash_key<H: RequestHead>(&mut self, head: &H) {
        let Some(Balance::Hash(by)) = self.pool().map(|pool| &pool.config().balance) else {
            self.hash_key = None;
            self.set_unkeyed(false);
            return;
        };
        self.hash_key = hash_of(by, head, self.sender.client());
        self.set_unkeyed(self.hash_key.is_none());
    }

    fn set_unkeyed(&mut self, unkeyed: bool) {
        if unkeyed || self.record.unusual.is_some() {
            self.record.unusual_mut().unkeyed = unkeyed;
        }
    }
}

/// `None`: the request has no such part, or an empty one.
pub(super) fn hash_of(by: &HashKey, head: &impl RequestHead, client: &ClientAddress) -> Option<u64> {
    let of = |part: &[u8]| (!part.is_empty()).then(|| hash_of_key(part));
    match by {
        HashKey::Client => of(client.ip_text()?.as_bytes()),
        HashKey::Path => of(head.path().as_bytes()),
        HashKey::Header(name) => of(&head.joined(name)?),
        HashKey::Cookie(name) => of(cookie(head, name)?),
        HashKey::Query(name) => of(&query_value(head.query(), name)?),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn each_part_of_a_request_can_be_its_key() {
        let request = http::Request::builder()
            .uri("http://a.example/files/1?id=a%20b&id=c")
            .header("X-User", "ann")
            .header("Cookie", "x=1; session=s1");
        let head = request.body(()).expect("a request").into_parts().0;
        let client = ClientAddress::inet(([10, 0, 0, 9], 5000).into());
        let of = |by| hash_of(&by, &head, &client);
        for (by, part) in [
            (HashKey::Client, "10.0.0.9"),
            (HashKey::Path, "/files/1"),
            (HashKey::Header(HeaderName::from_static("x-user")), "ann"),
            (HashKey::Cookie("session".into()), "s1"),
            (HashKey::Query("id".into()), "a b"),
        ] {
            assert_eq!(of(by.clone()), Some(hash_of_key(part.as_bytes())), "{by:?}");
        }
        assert_eq!(of(HashKey::Cookie("other".into())), None);
        assert_eq!(hash_of(&HashKey::Client, &head, &ClientAddress::unix()), None);
    }
}
