//! Names and passwords (RFC 7617).
//!
//! A name that is unknown costs a hash of the same kind as one that is known, so that the time tells nothing. Hashes are
//! computed beside the worker threads, as many at a time as half of the cores, and as many more wait as [`WAITING_MAX`]
//! says: a flood of wrong passwords takes half of the machine at most, and those whose password is remembered do not
//! notice it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::remembered::Remembered;
use super::{Answer, Passed, Verdict};
use crate::config::BasicAuth;
use crate::htpasswd::Hash;
use crate::routing::RequestHead;

/// How many requests wait until their password can be hashed, and for how long.
const WAITING_MAX: usize = 64;
const WAIT: Duration = Duration::from_secs(5);

const NOT_COMPUTED: &str = "the password's hash could not be computed";

/// A name longer than this is nobody's.
const NAME_MAX: usize = 256;

pub(super) struct BasicGate {
    /// `None`: not at all.
    remembered: Option<Remembered>,
    /// Chooses the cost of the hash for each name that is unknown.
    names: Option<Remembered>,
    challenge: HeaderValue,
    hashes: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A name and a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    user: Box<str>,
    password: Box<[u8]>,
}

/// One of those that wait; leaves when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Credentials {
    /// `None`: the request has none, or more than one pair, of which two readers could choose differently.
    pub fn of(head: &impl RequestHead) -> Option<Self> {
        let mut values = head.values(&header::AUTHORIZATION);
        let (value, None) = (values.next()?, values.next()) else { return None };
        let (scheme, coded) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let plain = STANDARD.decode(coded.trim_ascii()).ok()?;
        let colon = plain.iter().position(|byte| *byte == b':')?;
        let (user, password) = (plain.get(..colon)?, plain.get(colon + 1..)?);
        let user = str::from_utf8(user).ok().filter(|user| !user.chars().any(char::is_control))?;
        // Bcrypt ends at a NUL: other passwords would do, too.
        let is_whole = user.len() <= NAME_MAX && !password.contains(&0);
        is_whole.then(|| Self { user: user.into(), password: password.into() })
    }
}

impl BasicGate {
    pub fn new(config: &BasicAuth) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", config.realm);
        Self {
            remembered: config.remember.and_then(Remembered::new),
            names: Remembered::new(Duration::ZERO),
            challenge: HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Basic")),
            hashes: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
        }
    }

    pub async fn answer(&self, config: &BasicAuth, credentials: Option<Credentials>) -> Answer {
        let Some(credentials) = credentials else { return self.refused(Verdict::Missing, None) };
        let tag = self.remembered.as_ref().map(|known| known.tag(&credentials.user, &credentials.password));
        let known = self.remembered.as_ref().zip(tag);
        if known.is_some_and(|(known, tag)| known.knows(&tag, Instant::now())) {
            return passed(config, credentials.user);
        }
        let user = credentials.user.clone();
        match self.is_right(config, credentials).await {
            Ok(true) => {
                if let Some((known, tag)) = known {
                    known.add(tag, Instant::now());
                }
                passed(config, user)
            }
            Ok(false) => self.refused(Verdict::Refused, Some(user)),
            Err(why) => Answer::Unavailable(why.to_owned()),
        }
    }

    /// As [`Self::answer`], on this thread, and without remembering anything.
    pub fn peek(&self, config: &BasicAuth, credentials: Option<Credentials>) -> Answer {
        let Some(Credentials { user, password }) = credentials else {
            return self.refused(Verdict::Missing, None);
        };
        let known = config.users.hash(&user);
        let hash = known.cloned().unwrap_or_else(|| self.hash_of_nobody(config, &user));
        match bcrypt::verify(&password, hash.text()) {
            Ok(true) if known.is_some() => passed(config, user),
            Ok(_) => self.refused(Verdict::Refused, Some(user)),
            Err(_) => Answer::Unavailable(NOT_COMPUTED.to_owned()),
        }
    }

    async fn is_right(&self, config: &BasicAuth, credentials: Credentials) -> Result<bool, &'static str> {
        let known = config.users.hash(&credentials.user);
        let hash = known.cloned().unwrap_or_else(|| self.hash_of_nobody(config, &credentials.user));
        let is_known = known.is_some();
        let permit = {
            let waiting = Waiting(&self.waiting);
            if waiting.0.fetch_add(1, Relaxed) >= WAITING_MAX {
                return Err("too many passwords wait to be checked");
            }
            let turn = timeout(WAIT, self.hashes.clone().acquire_owned()).await;
            turn.ok().and_then(Result::ok).ok_or("checking passwords takes too long")?
        };
        // It is computed to its end, even if the client goes: until then, nobody else computes in its place.
        let computed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            bcrypt::verify(&credentials.password, hash.text())
        });
        match computed.await {
            Ok(Ok(is_right)) => Ok(is_right && is_known),
            _ => Err(NOT_COMPUTED),
        }
    }

    /// A hash with the cost of some user's, always the same for one name: so unknown names take as long as known ones.
    fn hash_of_nobody(&self, config: &BasicAuth, user: &str) -> Hash {
        let costs = config.users.costs();
        let tag = self.names.as_ref().map(|names| names.tag(user, b"")).unwrap_or_default();
        let drawn = tag.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let at = usize::try_from(drawn % (costs.len().max(1) as u64)).unwrap_or_default();
        Hash::of_nobody(costs.get(at).copied().unwrap_or_default().max(4))
    }

    fn refused(&self, verdict: Verdict, user: Option<Box<str>>) -> Answer {
        Answer::Refused { verdict, challenge: self.challenge.clone(), user }
    }
}

fn passed(config: &BasicAuth, user: Box<str>) -> Answer {
    let value = HeaderValue::from_bytes(user.as_bytes()).ok();
    let fields = config.user_header.clone().zip(value).into_iter().collect();
    Answer::Passed(Passed { user: Some(user), fields, cookies: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::htpasswd::Users;
    use crate::tls::WatchedFile;

    fn config(cost: u32) -> BasicAuth {
        let hash = bcrypt::hash("open sesame", cost).expect("a hash");
        let users = Users::parse(format!("alice:{hash}\n").as_bytes(), "users").expect("valid");
        BasicAuth {
            users: Arc::new(users),
            file: WatchedFile::with(std::path::Path::new("users"), b""),
            realm: "x".into(),
            user_header: None,
            pass_on: false,
            remember: Some(Duration::from_secs(60)),
        }
    }

    fn login(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials { user: user.into(), password: password.as_bytes().into() })
    }

    fn has_passed(answer: &Answer) -> bool {
        matches!(answer, Answer::Passed(_))
    }

    #[tokio::test]
    async fn a_right_password_is_not_hashed_again_and_others_wait_no_longer_than_may_be() {
        let config = config(4);
        let gate = BasicGate::new(&config);
        assert!(has_passed(&gate.answer(&config, login("alice", "open sesame")).await));
        // From now on nothing can be hashed.
        gate.waiting.store(WAITING_MAX, Relaxed);
        assert!(has_passed(&gate.answer(&config, login("alice", "open sesame")).await));
        for (user, password) in [("alice", "open"), ("bob", "open sesame"), ("", "")] {
            let answer = gate.answer(&config, login(user, password)).await;
            assert!(matches!(answer, Answer::Unavailable(_)), "{answer:?}");
        }
        assert_eq!(gate.waiting.load(Relaxed), WAITING_MAX, "who is refused gives its place back");
        gate.waiting.store(0, Relaxed);
        assert!(!has_passed(&gate.answer(&config, login("alice", "open")).await));
    }

    /// Otherwise the time would tell which names are users.
    #[tokio::test]
    async fn an_unknown_name_costs_what_a_known_one_costs() {
        let config = config(4);
        let gate = BasicGate::new(&config);
        for name in 0..100 {
            assert_eq!(gate.hash_of_nobody(&config, &name.to_string()).cost(), 4);
        }
        // The quickest of many are those that nothing has held up.
        let mut differences = Vec::new();
        for _ in 0..5 {
            let mut quickest = [Duration::MAX; 2];
            for _ in 0..100 {
                for (user, quickest) in ["alice", "mallory"].into_iter().zip(&mut quickest) {
                    let begun = Instant::now();
                    let answer = gate.answer(&config, login(user, "wrong")).await;
                    *quickest = begun.elapsed().min(*quickest);
                    assert!(matches!(answer, Answer::Refused { verdict: Verdict::Refused, .. }));
                }
            }
            let [known, unknown] = quickest.map(|time| time.as_secs_f64());
            differences.push((known - unknown).abs() / known);
            if differences.iter().any(|difference| *difference < 0.05) {
                return;
            }
        }
        panic!("{differences:?}");
    }

    /// An unknown name is always as slow, and those of a file with several costs are as slow as its users.
    #[test]
    fn names_have_costs_of_users() {
        let hashes: String =
            [4, 6].map(|cost| format!("user-{cost}:{}\n", bcrypt::hash("x", cost).expect("a hash"))).concat();
        let users = Arc::new(Users::parse(hashes.as_bytes(), "users").expect("valid"));
        let config = BasicAuth { users, ..config(4) };
        let gate = BasicGate::new(&config);
        let cost = |name: u32| gate.hash_of_nobody(&config, &name.to_string()).cost();
        let high = (0..1000).filter(|name| cost(*name) == 6).count();
        assert!((400..600).contains(&high), "{high} of 1000");
        assert!((0..100).all(|name| cost(name) == cost(name)));
    }

    #[test]
    fn credentials_are_read_in_one_way_only() {
        let of = |values: &[&str]| {
            let mut request = http::Request::builder();
            for value in values {
                request = request.header("authorization", *value);
            }
            let (head, ()) = request.body(()).expect("a request").into_parts();
            Credentials::of(&head).map(|read| (read.user.to_string(), read.password.to_vec()))
        };
        let alice = Some(("alice".to_owned(), b"a:b".to_vec()));
        assert_eq!(of(&["Basic YWxpY2U6YTpi"]), alice);
        assert_eq!(of(&["bAsIc   YWxpY2U6YTpi "]), alice);
        assert_eq!(of(&["Basic Og=="]), Some((String::new(), vec![])));
        for wrong in [
            &[][..],
            &["Basic"],
            &["Basic "],
            &["BasicYWxpY2U6YTpi"],
            &["Basic YWxpY2U6YTpi", "Basic YWxpY2U6YTpi"],
            &["Basic YWxpY2U6YTpi YWxpY2U6YTpi"],
            &["Basic YWxpY2U="],
            &["Bearer YWxpY2U6YTpi"],
            // A control character in the name, and a NUL in the password.
            &["Basic YQpiOng="],
            &["Basic YTpiAGM="],
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
