//! Signed tokens (RFC 7515, RFC 7519) and the public keys that they are checked with (RFC 7517).
//!
//! What a token says of its algorithm never decides alone: a key fits only algorithms of its own kind, and there are no
//! symmetric ones, so neither `none` nor a public key taken for a secret can be asked for.

use std::fmt;

use aws_lc_rs::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// More keys than any issuer has at a time.
const KEYS_MAX: usize = 100;

/// Keys tried for a token that does not name its own.
const TRIED_MAX: usize = 8;

/// The public keys of an issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: Option<Box<str>>,
    material: Material,
    /// The only algorithm that it is for; `None`: all of its kind.
    algorithm: Option<Box<str>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Points in uncompressed form.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A token whose signature has not been checked.
pub struct Token<'a> {
    algorithm: String,
    key_id: Option<String>,
    /// Head and claims, as they were signed.
    signed: &'a [u8],
    claims: &'a str,
    signature: Vec<u8>,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("it is no signed token")]
    Malformed,
    #[error("no key fits it")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} keys", self.0.len())
    }
}

impl KeySet {
    /// Keys of other kinds, and those that are for encryption, are passed over. The error continues "the file".
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(content).map_err(|error| format!("is no JSON: {error}"))?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("has no list `keys`")?;
        if list.len() > KEYS_MAX {
            return Err(format!("has more than {KEYS_MAX} keys"));
        }
        let keys: Vec<Key> = list.iter().filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err("has no public key for RS, PS, ES256, ES384 or EdDSA".to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether a key of that id is there; without an id, whether any is.
    pub fn has(&self, id: Option<&str>) -> bool {
        id.is_none() || self.0.iter().any(|key| key.id.as_deref() == id)
    }

    /// The claims of a token that one of the keys has signed.
    pub fn verify(&self, token: &Token<'_>) -> Result<Map<String, Value>, Invalid> {
        let id = token.key_id.as_deref();
        let fitting = self.0.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        let mut fault = Invalid::UnknownKey;
        for check in fitting.filter_map(|key| key.check_for(&token.algorithm)).take(TRIED_MAX) {
            if check.verifies(token.signed, &token.signature) {
                return match decoded(token.claims).ok_or(Invalid::Malformed)? {
                    Value::Object(claims) => Ok(claims),
                    _ => Err(Invalid::Malformed),
                };
            }
            fault = Invalid::Signature;
        }
        Err(fault)
    }
}

/// A key with the algorithm that a token asks for.
enum Check<'a> {
    Rsa(&'static RsaParameters, &'a [u8], &'a [u8]),
    Other(&'static dyn VerificationAlgorithm, &'a [u8]),
}

impl Check<'_> {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(parameters, n, e) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            Self::Other(algorithm, key) => {
                UnparsedPublicKey::new(*algorithm, key).verify(message, signature).is_ok()
            }
        }
    }
}

impl Key {
    fn of(written: &Value) -> Option<Self> {
        let text = |name: &str| written.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self { id: text("kid").map(Into::into), material, algorithm: text("alg").map(Into::into) })
    }

    /// `None`: the key is not for that algorithm.
    fn check_for(&self, algorithm: &str) -> Option<Check<'_>> {
        if self.algorithm.as_deref().is_some_and(|own| own != algorithm) {
            return None;
        }
        match &self.material {
            Material::Rsa { n, e } => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return None,
                };
                Some(Check::Rsa(parameters, n, e))
            }
            Material::P256(key) => {
                (algorithm == "ES256").then_some(Check::Other(&signature::ECDSA_P256_SHA256_FIXED, key))
            }
            Material::P384(key) => {
                (algorithm == "ES384").then_some(Check::Other(&signature::ECDSA_P384_SHA384_FIXED, key))
            }
            Material::Ed25519(key) => {
                (algorithm == "EdDSA").then_some(Check::Other(&signature::ED25519, key))
            }
        }
    }
}

impl<'a> Token<'a> {
    /// Reads a token in compact form.
    pub fn read(text: &'a str) -> Result<Self, Invalid> {
        let mut parts = text.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Invalid::Malformed);
        };
        let signed = text.as_bytes().get(..head.len() + 1 + claims.len()).ok_or(Invalid::Malformed)?;
        let head = decoded(head).ok_or(Invalid::Malformed)?;
        // What must be understood to read the token (`crit`) is not: nothing of it is known here.
        let algorithm = head.get("alg").and_then(Value::as_str).filter(|_| head.get("crit").is_none());
        let key_id = match head.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(Invalid::Malformed)?.to_owned()),
        };
        Ok(Self {
            algorithm: algorithm.ok_or(Invalid::Malformed)?.to_owned(),
            key_id,
            signed,
            claims,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Invalid::Malformed)?,
        })
    }

    /// The key that it says to be signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
    };
    use serde_json::json;

    use super::*;

    fn coded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn signed(algorithm: &str, id: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let head = coded(json!({ "alg": algorithm, "kid": id, "typ": "JWT" }).to_string());
        let text = format!("{head}.{}", coded(json!({ "sub": "bob" }).to_string()));
        format!("{text}.{}", coded(sign(text.as_bytes())))
    }

    fn claims(keys: &KeySet, token: &str) -> Result<String, Invalid> {
        keys.verify(&Token::read(token)?).map(|claims| claims["sub"].as_str().unwrap_or_default().to_owned())
    }

    struct Issuer {
        rsa: RsaKeyPair,
        p256: EcdsaKeyPair,
        p384: EcdsaKeyPair,
        ed: Ed25519KeyPair,
    }

    impl Issuer {
        fn new() -> Self {
            Self {
                rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
                p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
                p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
                ed: Ed25519KeyPair::generate().expect("a key"),
            }
        }

        fn rsa(&self, encoding: &'static dyn signature::RsaEncoding, message: &[u8]) -> Vec<u8> {
            let mut out = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(encoding, &SystemRandom::new(), message, &mut out).expect("a signature");
            out
        }

        fn ec(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
            pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
        }

        fn keys(&self) -> Value {
            let ec = |pair: &EcdsaKeyPair, id: &str, curve: &str| {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "kid": id, "crv": curve, "x": coded(x), "y": coded(y) })
            };
            // A sequence of two numbers in DER, of which the first has 256 bytes after a zero.
            let (n, e) = (&self.rsa.public_key().as_ref()[9..265], [1, 0, 1]);
            json!({ "keys": [
                { "kty": "oct", "kid": "secret", "k": "c2VjcmV0" },
                { "kty": "RSA", "kid": "encrypts", "use": "enc", "n": coded(n), "e": coded(e) },
                { "kty": "RSA", "kid": "rsa", "use": "sig", "n": coded(n), "e": coded(e) },
                { "kty": "RSA", "kid": "ps", "alg": "PS512", "n": coded(n), "e": coded(e) },
                ec(&self.p256, "p256", "P-256"),
                ec(&self.p384, "p384", "P-384"),
                { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": coded(self.ed.public_key()) },
            ] })
        }
    }

    #[test]
    fn a_key_checks_algorithms_of_its_own_kind_alone() {
        let issuer = Issuer::new();
        let keys = KeySet::parse(issuer.keys().to_string().as_bytes()).expect("keys");
        let bob = Ok("bob".to_owned());
        assert_eq!(claims(&keys, &signed("RS256", "rsa", |text| issuer.rsa(&RSA_PKCS1_SHA256, text))), bob);
        assert_eq!(claims(&keys, &signed("PS512", "ps", |text| issuer.rsa(&RSA_PSS_SHA512, text))), bob);
        assert_eq!(claims(&keys, &signed("ES256", "p256", |text| Issuer::ec(&issuer.p256, text))), bob);
        assert_eq!(claims(&keys, &signed("ES384", "p384", |text| Issuer::ec(&issuer.p384, text))), bob);
        assert_eq!(claims(&keys, &signed("EdDSA", "ed", |text| issuer.ed.sign(text).as_ref().to_vec())), bob);
        for (algorithm, id) in [
            ("none", "rsa"),
            ("None", "ed"),
            ("", "rsa"),
            ("HS256", "rsa"),
            ("HS256", "secret"),
            ("RS256", "p256"),
            ("RS256", "ps"),
            ("RS256", "encrypts"),
            ("ES256", "p384"),
            ("EdDSA", "p256"),
            ("RS256", "unknown"),
        ] {
            for signature in [vec![], b"x".to_vec(), vec![0; 64], vec![0; 256]] {
                let token = signed(algorithm, id, |_| signature.clone());
                assert_eq!(claims(&keys, &token), Err(Invalid::UnknownKey), "{algorithm} {id}");
            }
        }
    }

    /// The public key taken for the secret of a HMAC, and the like.
    #[test]
    fn a_forged_token_is_none() {
        let issuer = Issuer::new();
        let keys = KeySet::parse(issuer.keys().to_string().as_bytes()).expect("keys");
        let good = signed("ES256", "p256", |text| Issuer::ec(&issuer.p256, text));
        let (text, signature) = good.rsplit_once('.').expect("a signature");
        let (head, claimed) = text.split_once('.').expect("claims");
        let root = coded(json!({ "sub": "root" }).to_string());
        for (forged, fault) in [
            (format!("{head}.{root}.{signature}"), Invalid::Signature),
            (format!("{head}.{claimed}.{}", coded([0; 64])), Invalid::Signature),
            (format!("{head}.{claimed}."), Invalid::Signature),
            (format!("{head}.{claimed}"), Invalid::Malformed),
            (format!("{good}.x"), Invalid::Malformed),
            (format!(".{good}"), Invalid::Malformed),
            (format!("{head}=.{claimed}.{signature}"), Invalid::Malformed),
            (String::new(), Invalid::Malformed),
            (
                format!("{}.{claimed}.{signature}", coded(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#)),
                Invalid::Malformed,
            ),
            (format!("{}.{claimed}.{signature}", coded(r#"{"alg":"ES256","kid":1}"#)), Invalid::Malformed),
            (format!("{}.{claimed}.{signature}", coded(r#"["ES256"]"#)), Invalid::Malformed),
        ] {
            assert_eq!(claims(&keys, &forged), Err(fault), "{forged}");
        }
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, issuer.p256.public_key().as_ref());
        let confused = signed("HS256", "p256", |text| aws_lc_rs::hmac::sign(&hmac, text).as_ref().to_vec());
        assert_eq!(claims(&keys, &confused), Err(Invalid::UnknownKey));
    }

    #[test]
    fn sets_of_keys_are_read_leniently_but_not_taken_for_empty() {
        for wrong in
            ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"YQ"},1]}"#]
        {
            assert!(KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let many = json!({ "keys": vec![json!({}); KEYS_MAX + 1] });
        assert!(KeySet::parse(many.to_string().as_bytes()).is_err());
    }
}
