//! Signed tokens.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{ALIASES, guarded, read_as};
use crate::harness::{ASKS_FOR_WEBSOCKET, Endpoint, nobody_listens};

/// A key of an issuer, with its name.
struct Key(&'static str, Ed25519KeyPair);

impl Key {
    fn new(id: &'static str) -> Self {
        Key(id, Ed25519KeyPair::generate().unwrap())
    }

    fn public(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.1.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.0, "use": "sig", "x": x })
    }

    fn token(&self, claims: Value) -> String {
        let head = json!({ "alg": "EdDSA", "kid": self.0 });
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{head}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.1.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
}

fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>() }).to_string()
}

/// Seconds from now.
fn after(seconds: i64) -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + seconds
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn only_a_good_token_passes() {
    let (endpoint, key, stranger) = (Endpoint::named("a"), Key::new("one"), Key::new("one"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set(&[&key])).unwrap();
    let keys = "issuer: https://login, audience: [shop, office], set: { Remote-User: sub, X-Roles: realm.roles }, realm: api";
    let proxy = guarded(&endpoint, &format!("{{ jwt: {{ jwks: {}, {keys} }} }}", file.display())).start();
    let good = json!({
        "iss": "https://login", "aud": ["x", "shop"], "exp": after(60), "sub": "bob", "realm": { "roles": ["a", "b"] },
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let unsigned = {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#);
        format!("{head}.{}.", URL_SAFE_NO_PAD.encode(good.to_string()))
    };
    let (missing, invalid) = ("Bearer realm=\"api\"", "Bearer realm=\"api\", error=\"invalid_token\"");
    for (number, (fields, challenge)) in [
        (String::new(), missing),
        ("Authorization: Basic eDp5\r\n".to_owned(), missing),
        (bearer(&key.token(good.clone())) + &bearer("x"), missing),
        (bearer("x"), invalid),
        (bearer(&unsigned), invalid),
        (bearer(&stranger.token(good.clone())), invalid),
        (bearer(&key.token(with("exp", json!(after(-60))))), invalid),
        (bearer(&key.token(with("nbf", json!(after(60))))), invalid),
        (bearer(&key.token(with("iss", json!("https://other")))), invalid),
        (bearer(&key.token(with("aud", json!("other")))), invalid),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        let response = proxy.client().request("GET", &target, &fields).expect(401);
        let told = response.header("www-authenticate").unwrap();
        assert!(told == challenge || (challenge == invalid && told.starts_with(invalid)), "{number}: {told}");
        assert_eq!(proxy.record(&target).text("auth"), "jwt");
    }
    let mut client = proxy.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: x\r\n{ASKS_FOR_WEBSOCKET}\r\n"));
    assert_eq!(client.response().status, 401);
    assert_eq!(endpoint.count(), 0);
    let token = bearer(&key.token(good));
    for alias in ALIASES {
        let target = format!("/{alias}");
        let forged = format!("{alias}: root\r\nX_Roles: admin\r\nConnection: {alias}, X-Roles\r\n");
        proxy.client().request("GET", &target, &(forged + &token)).expect(200);
        let seen = endpoint.seen(&target);
        assert_eq!(read_as(&seen.head.raw, "Remote-User").len(), 1, "{}", seen.head.raw);
        assert_eq!((seen.header("remote-user"), seen.header("x-roles")), (Some("bob"), Some("a,b")));
        assert!(seen.head.has("authorization"), "it is passed on by default");
        assert_eq!(proxy.record(&target).text("user"), "bob");
    }
}

/// Keys of a URL are fetched for the first token, and once more for a key that is not among them; when they cannot be
/// fetched, the last ones stay.
#[test]
fn keys_of_a_url_are_fetched_when_they_are_needed() {
    let (endpoint, old, new) = (Endpoint::named("a"), Key::new("old"), Key::new("new"));
    let answer = Arc::new(Mutex::new(set(&[&old])));
    let answers = answer.clone();
    let mut issuer = Endpoint::scripted("issuer", move |exchange| exchange.answer(&answers.lock().unwrap()));
    let auth =
        format!("{{ jwt: {{ jwks: 'http://{}/keys', cookie: session, refresh: 1ms }} }}", issuer.address());
    let proxy = guarded(&endpoint, &auth).start();
    let cookie = |key: &Key| format!("Cookie: a=b; session={}\r\n", key.token(json!({ "exp": after(60) })));
    assert_eq!(issuer.count(), 0, "nobody has needed them");
    for _ in 0..10 {
        proxy.client().request("GET", "/x", &cookie(&old)).expect(200);
    }
    proxy.client().request("GET", "/x", &cookie(&new)).expect(401);
    proxy.client().request("GET", "/x", "").expect(401);
    assert!(issuer.count() <= 2, "unknown keys make no flood: {}", issuer.count());
    *answer.lock().unwrap() = set(&[&old, &new]);
    crate::harness::within(std::time::Duration::from_secs(20), "the new key is known", || {
        (proxy.client().request("GET", "/x", &cookie(&new)).status == 200).then_some(())
    });
    issuer.refuse();
    for _ in 0..5 {
        proxy.client().request("GET", "/x", &cookie(&old)).expect(200);
    }
    let nobody = nobody_listens();
    let auth = format!("{{ jwt: {{ jwks: 'http://{}/keys' }} }}", nobody.address());
    let proxy = guarded(&endpoint, &auth).start();
    proxy.client().request("GET", "/none", &bearer(&new.token(json!({ "exp": after(60) })))).expect(503);
    assert_eq!(proxy.record("/none").cause(), "auth_unavailable");
    assert_eq!(endpoint.count_of("/none"), 0);
}
