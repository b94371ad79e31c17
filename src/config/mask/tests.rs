use super::*;
use crate::config::{parse_with, raw};

/// The text with its secrets masked.
fn shown_text(text: &str) -> String {
    masked(text, &regions(text))
}

/// Every secret in these texts contains `hunter2`.
#[track_caller]
fn assert_hidden(text: &str, kept: &[&str]) {
    let shown = shown_text(text);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(shown.len(), text.len(), "bytes must not move");
    assert_eq!(shown.chars().count(), text.chars().count(), "columns must not move");
    for word in kept {
        assert!(shown.contains(word), "{word} is gone: {shown}");
    }
}

#[test]
fn values_of_secret_keys_are_hidden_however_they_are_written() {
    for (text, kept) in [
        ("admin:\n  token: hunter2\n  listen: x\n", &["token: *******\n", "listen: x"][..]),
        ("admin: { token: hunter2, listen: x }\n", &["{ token: *******, listen: x }"]),
        ("admin: { token: \"hunter2, }\", listen: x }\n", &["listen: x"]),
        ("admin: { token: hunter2,more, listen: x }\n", &["listen: x"]),
        ("admin: { token: a{b}hunter2, listen: x }\n", &["listen: x"]),
        ("X-Api-Key: /hunter2\nlisten: x\n", &["listen: x"]),
        ("{\"token\":\"hunter2\",\"listen\":\"x\"}\n", &["\"listen\":\"x\""]),
        ("'token' : 'it''s hunter2'\nlisten: x\n", &["listen: x"]),
        ("token: \"a\\\"hunter2\"\nlisten: x\n", &["listen: x"]),
        ("token:hunter2\nlisten: x\n", &["listen: x"]),
        ("token: hunter2 # or hunter2\nlisten: x\n", &["listen: x"]),
        ("# token: hunter2\nlisten: x\n", &["listen: x"]),
        ("token: |\n  one\n  hunter2\nlisten: x\n", &["token: *\n", "listen: x"]),
        ("token: >-\n\n  hunter2\nlisten: x\n", &["listen: x"]),
        ("token: one\n  hunter2\nlisten: x\n", &["listen: x"]),
        ("token: \"one\n  hunter2\"\nlisten: x\n", &["listen: x"]),
        ("tokens:\n- hunter2\n- hunter2\nlisten: x\n", &["listen: x"]),
        ("tokens: [a,\n  hunter2]\nlisten: x\n", &["listen: x"]),
        ("- token: hunter2\n  listen: x\n", &["listen: x"]),
        ("secret: { a: b, c: [hunter2] }\nlisten: x\n", &["listen: x"]),
        ("token: ümläut-hunter2-\u{1f511}\nlisten: x\n", &["listen: x"]),
        ("token: ${TOKEN:-hunter2}\nlisten: x\n", &["listen: x"]),
        ("a: { token: ${TOKEN:-hunter2}, listen: x }\n", &["listen: x"]),
        ("token: \"hunter2\nlisten: x\n", &["token: "]),
        ("token: [hunter2\nlisten: x\n", &["token: "]),
        ("token: hunter2", &["token: *******"]),
        ("token: hunter2\r\nlisten: x\r\n", &["listen: x"]),
    ] {
        assert_hidden(text, kept);
    }
}

#[test]
fn secrets_are_known_by_many_names_and_by_slips_of_them() {
    for key in [
        "token",
        "tokn",
        "toekn",
        "Token",
        "admin_token",
        "password",
        "pasword",
        "PASSWORD",
        "db-passwd",
        "secret",
        "secert",
        "client_secret",
        "Authorization",
        "authorisation",
        "Proxy-Authorization",
        "Cookie",
        "api_key",
        "X-Api-Key",
        "apikey",
        "private_key",
        "key",
        "credentials",
        "to\u{200b}ken",
        "bearer",
        "passphrase",
    ] {
        assert!(is_secret(key), "{key}");
        assert_hidden(&format!("{key}: Bearer hunter2\nlisten: x\n"), &["listen: x"]);
    }
}

#[test]
fn what_else_holds_secrets_is_hidden() {
    for (text, kept) in [
        ("endpoints: [http://me:hunter2@10.0.0.1:80]\n", &["@10.0.0.1:80"][..]),
        ("host: \"https://hunter2@x/y@z\"\n", &["@x/y@z"]),
        ("request: GET http://x/?token=hunter2&user=me\n", &["&user=me"]),
        ("level: password=hunter2,info\n", &["info"]),
        (
            "key: |\n  -----BEGIN PRIVATE KEY-----\n  hunter2\n  -----END PRIVATE KEY-----\nlisten: x\n",
            &["listen: x"],
        ),
        (
            "a: -----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\nlisten: x\n",
            &["listen: x"],
        ),
        ("a: -----BEGIN PRIVATE KEY-----\nhunter2\n", &["a: "]),
    ] {
        assert_hidden(text, kept);
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "certificates: [{ cert: /tls/site.pem, key: /tls/site.key }]\nkey: \"/tls/site.key\"\n",
        "token: ${TOKEN}\nlisten: x\n",
        "a: { token: \"${TOKEN}\", listen: x }\n",
        "pools:\n  token-service:\n    endpoints: [10.0.0.1:80]\n  key: [10.0.0.2:80]\n  \"cookie\": [a]\nlog: {}\n",
        "routes:\n  - { name: token, pool: cookie }\n",
        "sticky: { cookie: session, key: /etc/sticky.key }\n",
        "access_log: { cookies: [lang, theme] }\n",
        "address: 127.0.0.1:80\nendpoints: [a:80, http://b/x@y]\n",
        "",
        "\n\n",
    ] {
        assert_eq!(shown_text(text), text);
    }
    assert_hidden("headers: { cookie: a=hunter2 }\n", &["headers"]);
    assert_hidden("access_log: { cookies: [a=hunter2] }\n", &["access_log"]);
    assert_hidden("headers: { Cookie: hunter2 }\n", &["headers"]);
    assert_hidden("pools:\n  web:\n    token: hunter2\n", &["web"]);
    assert_hidden("pools:\n  web: [a]\nadmin:\n  token: hunter2\n", &["web"]);
}

/// A mask that hides ordinary values makes errors hard to read.
#[test]
fn of_our_own_keys_only_secrets_are_masked() {
    let schema = raw::schema().to_string();
    let keys = regex::Regex::new(r#""([a-z0-9_]+)":\{"[^{}]*"description"#).expect("a pattern");
    let mut seen = 0;
    for key in keys.captures_iter(&schema).map(|captures| captures[1].to_owned()) {
        assert_eq!(
            is_secret(&key),
            ["token", "key", "keys", "cookie", "cookies", "credentials"].contains(&key.as_str()),
            "{key}"
        );
        seen += 1;
    }
    for key in ["listeners", "pools", "endpoints", "headers", "address", "limits", "timeouts", "key_exchange"]
    {
        assert!(!is_secret(key), "{key}");
    }
    assert!(seen > 10, "only {seen} keys");
}

#[test]
fn messages_are_without_secrets() {
    for (message, secret, instead, expected) in [
        ("`hunter2` is no flag", "hunter2", HIDDEN, "`***` is no flag"),
        ("`hunter2` is no flag", "hunter2", "${FLAG}", "`${FLAG}` is no flag"),
        ("`hunte...` is long", "hunter2 and more", HIDDEN, "`***` is long"),
        ("write [hunter2]", "hunter2", HIDDEN, "write [***]"),
        ("write hunter-two:80", "http://hunter-two/", HIDDEN, "write ***:80"),
        ("add the unit: 12345s", "12345", HIDDEN, "add the unit: ***s"),
        ("`a` is no token", "a", HIDDEN, "`***` is no token"),
        ("`é` of `secret`", "x", HIDDEN, "`é` of `secret`"),
        ("nothing of it", "", HIDDEN, "nothing of it"),
    ] {
        assert_eq!(conceal(message, secret, instead), expected);
    }
}

fn report(text: &str) -> String {
    let lookup = |name: &str| (name == "SECRET").then(|| "hunter2:\u{fc}ber".to_owned());
    parse_with(text, "f.yaml", &lookup)
        .map(|loaded| loaded.warnings)
        .unwrap_or_else(|report| report)
        .to_string()
}

/// No report on a file with a secret shows the secret.
#[test]
fn no_report_tells_a_secret() {
    for text in [
        "admin: { token: hunter2, listn: x }\n",
        "admin: { tokn: hunter2 }\n",
        "admin: { token: hunter2: 5 }\n",
        "admin: { token: hunter2 listen: x\n",
        "admin: { token: [hunter2] }\n",
        "admin: { token: \"hunter2 \\u00e4\" }\n",
        "admin: { token: \"hunter\\u0032 x\" }\n",
        "admin:\n  token: hunter2\n   listen: x\n",
        "admin:\n\ttoken: hunter2\n",
        "x: &a hunter2 b\nadmin: { token: *a }\n",
        "admin: { token: !x hunter2 }\n",
        "server: { drain: \"${SECRET}\", threads: \"${SECRET}\" }\nlisten: \"${SECRET}\"\nendpoints: [\"${SECRET}\"]\n",
        "log: { level: \"${SECRET}\" }\n",
        "listen: :80\nendpoints: [\"http://me:hunter2@10.0.0.1\"]\n",
        "pools: { a: { endpoints: [a:1], health_check: { type: http, headers: { Authorization: \"hunter2\\n\" } } } }\n",
        "token: hunter2\nlisten: :80\n",
        "key: hunter2\n",
        "listeners: [{ address: \":443\", tls: { certificates: [{ cert: /a, key: hunter2 }] } }]\n",
    ] {
        let report = report(text);
        assert!(!report.contains("hunter"), "{report}");
        assert!(!report.contains("\u{fc}ber"), "{report}");
        assert!(report.contains(" --> f.yaml:"), "{report}");
    }
    let debug = format!("{:?}", parse_with("admin: { token: hunter2 }\n", "f", &|_| None));
    assert!(!debug.contains("hunter2"), "{debug}");
    let right = "listen: :80\nendpoints: [a:80]\nadmin: { token: hunter2-hunter2-hunter2 }\n";
    let debug = format!("{:?}", parse_with(right, "f", &|_| None).expect("it is right"));
    assert!(!debug.contains("hunter2"), "{debug}");
}

proptest::proptest! {
    /// Masking keeps the offsets of all characters.
    #[test]
    fn masks_move_nothing(text in "([a-z:{}\\[\\],\"' \n#=|&*$é\u{1f511}-]|token: |key: |pools:|://|-----BEGIN PRIVATE KEY){0,60}") {
        let shown = shown_text(&text);
        proptest::prop_assert_eq!(shown.len(), text.len());
        let moved = text.char_indices().zip(shown.char_indices()).find(|((a, _), (b, _))| a != b);
        proptest::prop_assert!(moved.is_none());
    }

    /// A secret in a file with random errors is not in its report.
    #[test]
    fn no_broken_file_tells_its_secret(before in "[a-z:{}\\[\\],\"' \n-]{0,12}", after in "[a-z:{}\\[\\],\"' \n-]{0,12}") {
        let text = format!("{before}\nadmin: {{ token: hunter2, listen: x }}\n{after}");
        let report = report(&text);
        proptest::prop_assert!(!report.contains("hunter2"), "{report}");
    }
}
