//! Which endpoint a client's cookie stands for.
//!
//! The cookie of an endpoint is a MAC of its pool's name and its address: whoever has no key can make none, and it tells
//! nothing of the address. Any process with the same keys makes the same, so that nothing has to be shared or kept.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::endpoint::Endpoint;
use super::member::Member;
use crate::config::Sticky;
use crate::key_file::Key;

const TAG_BYTES: usize = 16;

/// What stands for an endpoint in a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StickyTag([u8; TAG_BYTES]);

/// The tags of all members of a pool.
#[derive(Debug, Default)]
pub(super) struct StickyTags {
    /// With the tags of all keys, the index of the member.
    members: HashMap<StickyTag, u32>,
    /// By the index of the member, the tag of the first key.
    tags: Box<[StickyTag]>,
}

impl StickyTag {
    /// Of a cookie's value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The cookie's value.
    pub fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn of(key: &Key, pool: &str, endpoint: &Endpoint) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        // No name has a NUL.
        for part in ["evenkeel sticky 1", pool, &endpoint.target().to_string()] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(byte, of_mac)| *byte = *of_mac);
        Self(tag)
    }
}

impl StickyTags {
    pub fn new(sticky: &Sticky, pool: &str, members: &[Member]) -> Self {
        let tags = |key: &Key| -> Box<[StickyTag]> {
            members.iter().map(|member| StickyTag::of(key, pool, &member.endpoint)).collect()
        };
        let by_key: Vec<Box<[StickyTag]>> = sticky.keys.iter().map(tags).collect();
        let indexed = by_key.iter().flat_map(|tags| tags.iter().copied().zip(0..));
        Self { members: indexed.collect(), tags: by_key.into_iter().next().unwrap_or_default() }
    }

    /// The index of the member that a tag stands for; `None`: it is gone, or was never one.
    pub fn member(&self, tag: StickyTag) -> Option<u32> {
        self.members.get(&tag).copied()
    }

    /// The tag of a member, by its index.
    pub fn tag(&self, index: usize) -> Option<StickyTag> {
        self.tags.get(index).copied()
    }
}

/// What a client's cookie came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// It had none.
    New,
    /// It is where it was.
    Kept,
    /// Its endpoint is gone, down, ejected or has failed it.
    Moved,
}

impl Stuck {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Moved => "moved",
        }
    }
}

/// A pool's cookies, and its name, which is part of them.
#[derive(Debug, Clone)]
pub(super) struct StickyPool {
    pub sticky: Arc<Sticky>,
    pub name: Arc<str>,
}

impl Sticky {
    /// The value of `Set-Cookie` for an endpoint's tag.
    pub fn set_cookie(&self, tag: StickyTag, secure: bool) -> String {
        self.cookie.with_value(&tag.text(), secure)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::{self, SameSite, SetCookie};
    use crate::pool::adjust::{AdjustOrder, PoolChoice, adjust};
    use crate::pool::adjustment::EndpointChange;
    use crate::pool::tests::{no_wait, pool_config, set};
    use crate::pool::{MayProbe, PickRequest, Picked, Pool, TriedEndpoints};

    fn sticky(keys: Vec<Key>) -> Sticky {
        let ttl = Some(Duration::from_secs(60));
        let cookie = SetCookie { name: "s".into(), ttl, path: "/".into(), same_site: SameSite::Lax };
        Sticky { cookie, keys }
    }

    fn pool(keys: Vec<Key>, weights: &[(u16, bool)]) -> Arc<Pool> {
        let sticky = Some(Arc::new(sticky(keys)));
        let config = config::Pool { sticky, ..pool_config(weights, no_wait()) };
        let pool = Pool::new(config, None, &Arc::default());
        (0..weights.len()).for_each(|index| set(&pool, index, true));
        pool
    }

    /// The endpoint's index, and its tag.
    fn pick(pool: &Pool, sticky: Option<StickyTag>, tried: &TriedEndpoints) -> (usize, StickyTag) {
        let request =
            PickRequest { tried, key: None, sticky, may_probe: MayProbe::AtOnce, now: Instant::now() };
        let Picked::Endpoint { endpoint, tag, .. } = pool.pick(&request) else { panic!("there is one") };
        let members = pool.members();
        let index = members.iter().position(|member| Arc::ptr_eq(&member.endpoint, &endpoint));
        (index.expect("a member"), tag.expect("it is sticky"))
    }

    #[test]
    fn a_client_stays_and_moves_once_when_its_endpoint_is_down() {
        let (pool, none) = (pool(vec![[1; 32]], &[(1, false); 4]), TriedEndpoints::default());
        let (home, tag) = pick(&pool, None, &none);
        assert!((0..20).all(|_| pick(&pool, Some(tag), &none) == (home, tag)));
        set(&pool, home, false);
        let (away, new) = pick(&pool, Some(tag), &none);
        assert!(away != home && new != tag);
        set(&pool, home, true);
        assert!((0..20).all(|_| pick(&pool, Some(new), &none) == (away, new)));
        // A retry goes elsewhere.
        let mut tried = TriedEndpoints::default();
        tried.add(pool.members()[away].endpoint.clone());
        assert_ne!(pick(&pool, Some(new), &tried).0, away);
    }

    #[test]
    fn another_process_with_the_keys_makes_the_same_and_one_without_does_not() {
        let none = TriedEndpoints::default();
        let four = [(1, false); 4];
        let (_, tag) = pick(&pool(vec![[1; 32]], &four), None, &none);
        let home = |keys: Vec<Key>| {
            let pool = pool(keys, &four);
            let homes: Vec<usize> = (0..4).map(|_| pick(&pool, Some(tag), &none).0).collect();
            homes.iter().all(|one| *one == homes[0]).then_some(homes[0])
        };
        assert_eq!(home(vec![[1; 32]]), home(vec![[2; 32], [1; 32]]), "an old key is understood");
        assert!(home(vec![[1; 32]]).is_some() && home(vec![[2; 32]]).is_none());
    }

    #[test]
    fn a_draining_endpoint_keeps_its_clients_and_gets_no_others() {
        let (pool, none) = (pool(vec![[1; 32]], &[(1, false); 2]), TriedEndpoints::default());
        let (home, tag) = pick(&pool, None, &none);
        let endpoint = pool.members()[home].endpoint.label().to_string();
        let (pools, change) = (PoolChoice::Sole, EndpointChange::Drain);
        let order = AdjustOrder { endpoint, pools, change, limit: None, force: false };
        adjust(std::slice::from_ref(&pool), &order, "uid 0").expect("another one is left");
        assert!((0..10).all(|_| pick(&pool, Some(tag), &none).0 == home));
        assert!((0..10).all(|_| pick(&pool, None, &none).0 != home));
    }

    #[test]
    fn the_cookie_says_what_it_must() {
        let tag = StickyTag([0xff; TAG_BYTES]);
        let cookie = sticky(vec![[1; 32]]).set_cookie(tag, true);
        assert_eq!(cookie, "s=_____________________w; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert_eq!(StickyTag::parse(tag.text().as_bytes()), Some(tag));
        for wrong in ["", "a", "10.0.0.1:80", &"A".repeat(24), "=____________________w"] {
            assert_eq!(StickyTag::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
