//! Session tickets (RFC 5077; RFC 8446, section 4.6.1): clients store their sessions, encrypted by this process.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::crypto::GetRandomFailed;
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;

use super::{TlsLoadError, TlsSetting, WatchedFile};
use crate::key_file::{self, KEY_BYTES, Key};

/// Uses the keys of a file, which several machines may share, or else own keys, which rotate.
///
/// With own keys, a ticket is valid for `lifetime` at most: each key encrypts for half of it, and only decrypts for the
/// other half. The keys of a file are valid as long as they are in the file.
pub fn ticketer(
    lifetime: Duration,
    keys: Option<&Path>,
    watched_files: &mut Vec<WatchedFile>,
) -> Result<Arc<dyn ProducesTickets>, TlsLoadError> {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(2);
    let Some(path) = keys else {
        let rotating = TicketRotator::new(seconds / 2, own_keys);
        return rotating.map(|rotating| Arc::new(rotating) as _).map_err(|error| {
            TlsLoadError::new(TlsSetting::TicketKeys, format!("no random key: {error}"), "try again")
        });
    };
    let (content, source) = WatchedFile::read(TlsSetting::TicketKeys, path)?;
    watched_files.push(source);
    let keys = key_file::keys(&content).and_then(|keys| keys.iter().map(sealing_key).collect());
    match keys {
        Some(keys) => Ok(Arc::new(Keys { keys, lifetime: seconds })),
        None => Err(TlsLoadError::new(
            TlsSetting::TicketKeys,
            format!("{} holds no keys", path.display()),
            key_file::REMEDY,
        )),
    }
}

fn own_keys() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    let mut bytes = [0; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| GetRandomFailed)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| GetRandomFailed)?;
    Ok(Box::new(Keys { keys: vec![key], lifetime: u32::MAX }))
}

fn sealing_key(key: &Key) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, key).ok()
}

/// Ticket keys: the first one encrypts, all decrypt.
struct Keys {
    keys: Vec<RandomizedNonceKey>,
    lifetime: u32,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keys").field("count", &self.keys.len()).finish_non_exhaustive()
    }
}

/// A ticket is the nonce, followed by the encrypted session.
impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.keys.first()?.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut opened = sealed.to_vec();
            let plain = key.open_in_place(Nonce::from(nonce), Aad::empty(), &mut opened).ok()?.len();
            opened.truncate(plain);
            Some(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(of: &[char]) -> Keys {
        let text: String = of.iter().map(|digit| format!("{}\n", digit.to_string().repeat(64))).collect();
        let keys = key_file::keys(text.as_bytes()).expect("keys");
        let keys = keys.iter().filter_map(sealing_key).collect();
        Keys { keys, lifetime: 60 }
    }

    #[test]
    fn the_machines_that_share_a_key_read_each_others_tickets() {
        let ticket = keys(&['a']).encrypt(b"a session").expect("a ticket");
        assert_eq!(keys(&['b', 'a']).decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(keys(&['b']).decrypt(&ticket), None);
        assert_ne!(keys(&['a']).encrypt(b"a session").as_ref(), Some(&ticket));
    }

    #[test]
    fn what_was_tampered_with_is_no_ticket() {
        let ticket = keys(&['a']).encrypt(b"a session").expect("a ticket");
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(keys(&['a']).decrypt(&other), None, "byte {at}");
        }
        assert_eq!(keys(&['a']).decrypt(&ticket[..20]), None);
        assert_eq!(keys(&['a']).decrypt(b""), None);
    }
}
