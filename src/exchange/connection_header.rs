//! What a client or endpoint may remove from a message by naming it in `Connection` (RFC 9110, section 7.6.1).

use http::HeaderName;

use super::edits::Edits;
use crate::header_field::{CLAIMS, WRITTEN_AFRESH, same_name};

/// Fields that `Connection` cannot remove, because the receiver relies on them; those in which proxies tell endpoints of
/// clients are added to them.
const PROTECTED: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "authorization", "cookie", "x-evenkeel-hops"];

/// Names read from one field: each costs a look at every field of the message. The engines refuse requests with more.
const NAMES_MAX: usize = 64;

/// Removes the fields that `connection`, the value of a `Connection` field, names, unless they are protected.
pub fn remove_named(edits: &mut Edits, connection: &str, upgrade: bool) {
    // The usual values, which are removed in any case, as hop-by-hop fields.
    let is_usual = |name: &str| name.eq_ignore_ascii_case("keep-alive") || name.eq_ignore_ascii_case("close");
    if is_usual(connection) {
        return;
    }
    for name in connection.split(',').map(str::trim).take(NAMES_MAX) {
        if is_usual(name) {
            continue;
        }
        let mut protected = PROTECTED.iter().chain(&WRITTEN_AFRESH).chain(&CLAIMS);
        let stays = protected.any(|protected| same_name(protected.as_bytes(), name.as_bytes()))
            || (upgrade && name.eq_ignore_ascii_case("upgrade"));
        if !stays && let Ok(name) = HeaderName::try_from(name) {
            edits.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(connection: &str, upgrade: bool) -> Vec<String> {
        let mut edits = Edits::default();
        remove_named(&mut edits, connection, upgrade);
        edits.remove_hop_by_hop(upgrade);
        edits.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn fields_named_by_connection_go() {
        let removed = removed("close, Keep-Alive, X-Secret-Of-Hop ,, bad name", false);
        for name in ["close", "keep-alive", "x-secret-of-hop", "upgrade"] {
            assert_eq!(removed.iter().filter(|removed| *removed == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn fields_that_somebody_trusts_stay() {
        let names =
            "authorization, x-forwarded-for, host, x_real_ip, x.request.id, client-cert, x-evenkeel-hops";
        let removed = removed(names, false);
        assert!(!removed.iter().any(|name| names.contains(name.as_str())), "{removed:?}");
    }

    #[test]
    fn an_upgrade_keeps_its_field() {
        assert!(!removed("Upgrade", true).contains(&"upgrade".into()));
    }
}
