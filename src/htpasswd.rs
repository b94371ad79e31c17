//! Files of users and their passwords' hashes, as Apache's `htpasswd` writes them. Only bcrypt is read: whatever else such a
//! file can hold is broken by trying.

use std::collections::HashMap;
use std::fmt;

/// The largest cost of a hash: one of 15 takes seconds already.
const COST_MAX: u32 = 15;

/// What the salt and the sum of a hash are written in.
const LETTERS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SALT_LENGTH: usize = 22;
const SUM_LENGTH: usize = 31;

/// So many faults of one file are told.
const FAULTS_MAX: usize = 5;

/// Users by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash>,
    /// The costs of all hashes, in the order of the file.
    costs: Vec<u32>,
}

/// A bcrypt hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    text: Box<str>,
    cost: u32,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0: the file as a whole.
    pub line: usize,
    pub message: String,
    pub remedy: String,
}

/// Shows no hash.
impl fmt::Debug for Users {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} users", self.hashes.len())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "bcrypt of cost {}", self.cost)
    }
}

impl Users {
    /// `path` is named in remedies.
    pub fn parse(content: &[u8], path: &str) -> Result<Self, Vec<Fault>> {
        let (mut users, mut faults) = (Self { hashes: HashMap::new(), costs: Vec::new() }, Vec::new());
        for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Err((message, remedy)) = users.add(line, path) {
                faults.push(Fault { line: at + 1, message, remedy });
            }
        }
        if users.hashes.is_empty() && faults.is_empty() {
            let remedy = format!("add one: htpasswd -B {path} NAME");
            faults.push(Fault { line: 0, message: "it has no users".to_owned(), remedy });
        }
        faults.truncate(FAULTS_MAX);
        if faults.is_empty() { Ok(users) } else { Err(faults) }
    }

    fn add(&mut self, line: &[u8], path: &str) -> Result<(), (String, String)> {
        let form = || ("it is no `NAME:HASH`".to_owned(), format!("write it by htpasswd -B {path} NAME"));
        let (name, hash) =
            str::from_utf8(line).ok().and_then(|line| line.split_once(':')).ok_or_else(form)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(form());
        }
        let hash = Hash::parse(hash.trim_end()).map_err(|what| {
            (format!("the password of `{name}` {what}"), format!("set it anew: htpasswd -B {path} '{name}'"))
        })?;
        self.costs.push(hash.cost);
        match self.hashes.insert(name.into(), hash) {
            None => Ok(()),
            Some(_) => Err((format!("`{name}` is there twice"), "remove one of the lines".to_owned())),
        }
    }

    pub fn hash(&self, name: &str) -> Option<&Hash> {
        self.hashes.get(name)
    }

    /// The costs of all hashes; never empty.
    pub fn costs(&self) -> &[u32] {
        &self.costs
    }
}

impl Hash {
    /// The error continues "the password of NAME".
    fn parse(text: &str) -> Result<Self, String> {
        let kind = |what: &str| Err(format!("is {what}, and only bcrypt is read"));
        let bcrypt = ["$2y$", "$2b$", "$2a$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let Some(rest) = bcrypt else {
            return match text {
                "" => Err("is missing".to_owned()),
                _ if text.starts_with("$apr1$") => kind("a hash by MD5 (apr1)"),
                _ if text.starts_with("$1$") => kind("a hash by MD5 (crypt)"),
                _ if text.starts_with("$5$") || text.starts_with("$6$") => kind("a hash by SHA-2 (crypt)"),
                _ if text.starts_with("{SHA}") || text.starts_with("{SSHA}") => kind("a hash by SHA-1"),
                _ if text.starts_with("$2x$") => kind("of a faulty version of bcrypt"),
                _ if text.starts_with("$argon2") => kind("a hash by Argon2"),
                _ => kind("plain, or a hash by crypt"),
            };
        };
        let cost = rest.get(..2).filter(|_| rest.get(2..3) == Some("$")).and_then(|cost| cost.parse().ok());
        let (cost, coded) = match (cost, rest.get(3..)) {
            (Some(cost), Some(coded)) if (4..=31).contains(&cost) => (cost, coded),
            _ => return Err("is a damaged hash by bcrypt".to_owned()),
        };
        if cost > COST_MAX {
            return Err(format!("has the cost {cost}: each login would take many seconds"));
        }
        let parts = coded.split_at_checked(SALT_LENGTH).filter(|_| coded.len() == SALT_LENGTH + SUM_LENGTH);
        // Of the last letters, only two and four bits count.
        let parts = parts.and_then(|(salt, sum)| Some((whole(salt, 0b11_0000)?, whole(sum, 0b11_1100)?)));
        let (salt, sum) = parts.ok_or("is a damaged hash by bcrypt")?;
        Ok(Self { text: format!("$2b${cost:02}${salt}{sum}").into(), cost })
    }

    /// A hash of that cost, which no password has.
    pub fn of_nobody(cost: u32) -> Self {
        let text = format!("$2b${cost:02}$....................................................O");
        Self { text: text.into(), cost }
    }

    /// In its normal form.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn cost(&self) -> u32 {
        self.cost
    }
}

/// The text with only those bits of its last letter that count; `None`: a letter is of no hash.
fn whole(text: &str, counting: usize) -> Option<String> {
    let values = text.bytes().map(|letter| LETTERS.iter().position(|known| *known == letter));
    let last = values.collect::<Option<Vec<_>>>()?.pop()?;
    let mut whole = text.to_owned();
    whole.pop();
    whole.push(char::from(*LETTERS.get(last & counting)?));
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$6jTmaRmS7MSEqGiOu.0ry.RNeTV47SDHyEcvpVpSJZ7vKXeVAvJHq";

    fn faults(content: &str) -> Vec<(usize, String)> {
        let faults = Users::parse(content.as_bytes(), "/etc/users").expect_err("it is faulty");
        faults.into_iter().map(|fault| (fault.line, fault.message)).collect()
    }

    #[test]
    fn users_have_hashes_by_bcrypt() {
        let text = format!("# ours\r\nbob:{HASH}\r\n\nalice and eve:{}\n", HASH.replace("2y$04", "2a$12"));
        let users = Users::parse(text.as_bytes(), "/etc/users").expect("a valid file");
        assert_eq!(users.hash("bob").map(Hash::text), Some(&*HASH.replace("2y", "2b")));
        assert_eq!(users.hash("alice and eve").map(Hash::cost), Some(12));
        assert_eq!((users.hash("eve"), users.costs()), (None, &[4, 12][..]));
        assert_eq!(format!("{users:?}"), "2 users");
    }

    #[test]
    fn other_hashes_are_named_and_never_shown() {
        for (hash, what) in [
            ("$apr1$hdVBE7dC$0M6nq8SbMlZ4cvv1V2Dsm1", "MD5 (apr1)"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("$6$rounds$abc", "SHA-2"),
            ("rl5FQ9k.h2iXs", "plain, or a hash by crypt"),
            ("$2x$04$6jTmaRmS7MSEqGiOu.0ry.RNeTV47SDHyEcvpVpSJZ7vKXeVAvJHq", "faulty"),
            (&HASH[..40], "damaged"),
            ("$2y$4$", "damaged"),
            ("$2y$", "damaged"),
            (&HASH.replace("$04$", "$20$"), "cost 20"),
            ("", "missing"),
        ] {
            let found = faults(&format!("\nbob:{hash}"));
            assert_eq!(found.len(), 1, "{hash}");
            assert!(found[0].0 == 2 && found[0].1.contains(what), "{found:?}");
            assert!(hash.len() < 5 || !found[0].1.contains(hash), "{found:?}");
        }
    }

    #[test]
    fn lines_are_whole_and_names_are_there_once() {
        assert_eq!(faults("")[0].0, 0);
        assert_eq!(faults("bob")[0].1, "it is no `NAME:HASH`");
        assert_eq!(faults(&format!(":{HASH}"))[0].1, "it is no `NAME:HASH`");
        assert_eq!(faults(&format!("a:{HASH}\na:{HASH}")), [(2, "`a` is there twice".to_owned())]);
        assert_eq!(faults(&"x\n".repeat(50)).len(), FAULTS_MAX);
    }

    #[test]
    fn nobodys_hash_is_a_hash() {
        let nobody = Hash::of_nobody(4);
        assert_eq!(Hash::parse(nobody.text()), Ok(nobody.clone()));
        assert!(!bcrypt::verify("", nobody.text()).expect("a hash"));
    }

    #[test]
    fn hashes_are_those_that_htpasswd_makes() {
        let made = Hash::parse(&bcrypt::hash("open sesame", 4).expect("a hash")).expect("one that is read");
        assert!(bcrypt::verify("open sesame", made.text()).expect("a hash"));
        assert_eq!(whole("ab/", 0b11_0000).as_deref(), Some("ab."));
        assert_eq!(whole("ab9", 0b11_1100).as_deref(), Some("ab6"));
    }
}
