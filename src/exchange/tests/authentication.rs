//! Requests whose route asks who they are from.

use http::{HeaderName, HeaderValue};

use super::*;
use crate::auth::{Answer, Passed, Verdict};

/// One route with an auth service, or without.
fn snapshot(auth: &str, before: Option<&Snapshot>) -> Arc<Snapshot> {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ name: r, pool: p, auth: {auth} }}]\n\
         pools: {{ p: {{ endpoints: [127.0.0.1:1], health_check: off }} }}"
    );
    Arc::new(Snapshot::build(config::parse(&text, "test").expect("a valid config"), before))
}

const ASKS: &str = "{ forward: { url: 'http://127.0.0.1:9/', set: [X-User, X-Groups] } }";

fn passed(user: &str) -> Answer {
    let fields = vec![(HeaderName::from_static("x-user"), HeaderValue::from_str(user).expect("a value"))];
    let cookies = vec![HeaderValue::from_static("s=1")];
    Answer::Passed(Passed { user: Some(user.into()), fields, cookies })
}

fn edits_of(exchange: &Exchange, head: &http::request::Parts) -> Vec<String> {
    let mut edits = Edits::default();
    exchange.request_edits(head, ["x-user, X_Groups"].into_iter(), &mut edits);
    let own = edits.iter().filter(|(name, _)| name.starts_with("x-user") || name.starts_with("x-groups"));
    own.map(|(name, action)| format!("{name} {action:?}")).collect()
}

#[test]
fn what_a_client_says_of_its_user_is_replaced() {
    let head = head("GET", "/", &[]);
    let snapshot = snapshot(ASKS, None);
    let mut exchange = begin(&snapshot, &head);
    let admitted = exchange.admit(&head, [9].into_iter());
    assert!(matches!(admitted, Ok(Admitted::Authenticate(_))), "{admitted:?}");
    let admitted = exchange.authenticated(passed("bob"));
    assert!(matches!(admitted, Ok(Admitted::Forward)), "{admitted:?}");
    let edits = edits_of(&exchange, &head);
    assert_eq!(edits.last().map(String::as_str), Some("x-user Append([98, 111, 98])"), "{edits:?}");
    assert!(edits.contains(&"x-user Remove".to_owned()) && edits.contains(&"x-groups Remove".to_owned()));
    let record = exchange.finish(Some(200), 0, Instant::now());
    let auth = record.unusual().auth.as_ref().expect("it was asked about");
    assert_eq!((auth.kind, auth.verdict, auth.user.as_deref()), ("forward", Verdict::Passed, Some("bob")));
}

/// Nor may it come in trailers, which some endpoints merge into the header.
#[test]
fn what_a_client_says_of_its_user_is_withheld_from_trailers() {
    let head = head("GET", "/", &[]);
    let mut exchange = begin(&snapshot(ASKS, None), &head);
    assert!(exchange.admit(&head, [9].into_iter()).is_ok() && exchange.authenticated(passed("bob")).is_ok());
    let mut names: Vec<String> = exchange.withheld_names().iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["x-groups", "x-user"]);
}

/// A new config never lets a request pass that its route would have to ask about.
#[test]
fn a_request_that_is_routed_anew_is_asked_about_anew() {
    let head = head("GET", "/", &[]);
    let open = snapshot("off", None);
    let mut exchange = begin(&open, &head);
    assert!(matches!(exchange.admit(&head, [9].into_iter()), Ok(Admitted::Forward)));
    let now = Instant::now();
    let asks = snapshot(ASKS, Some(&open));
    let rerouted = exchange.reroute(scope(&asks), &head, now);
    assert!(matches!(rerouted, Ok(Some(Admitted::Authenticate(_)))), "{rerouted:?}");
    assert!(matches!(exchange.authenticated(passed("bob")), Ok(Admitted::Forward)));
    // The same service has let it pass already; another one has not.
    let same = snapshot(ASKS, Some(&asks));
    let rerouted = exchange.reroute(scope(&same), &head, now);
    assert!(matches!(rerouted, Ok(Some(Admitted::Forward))), "{rerouted:?}");
    assert_eq!(edits_of(&exchange, &head).len(), 3);
    let other = snapshot(&ASKS.replace(":9/", ":8/"), Some(&same));
    let rerouted = exchange.reroute(scope(&other), &head, now);
    assert!(matches!(rerouted, Ok(Some(Admitted::Authenticate(_)))), "{rerouted:?}");
    let refused = exchange.authenticated(Answer::Unavailable("x".into()));
    assert!(matches!(refused, Err(Failure::AuthUnavailable)), "{refused:?}");
    // What an old route knows of the user is no field of a new one.
    let open = snapshot("off", Some(&other));
    let rerouted = exchange.reroute(scope(&open), &head, now);
    assert!(matches!(rerouted, Ok(Some(Admitted::Forward))), "{rerouted:?}");
    assert!(!edits_of(&exchange, &head).iter().any(|edit| edit.contains("Append")));
    assert_eq!(exchange.finish(Some(200), 0, now).unusual().auth, None);
}

#[test]
fn a_client_that_is_refused_is_challenged() {
    let head = head("GET", "/", &[]);
    let snapshot = snapshot(ASKS, None);
    let mut exchange = begin(&snapshot, &head);
    assert!(matches!(exchange.admit(&head, [9].into_iter()), Ok(Admitted::Authenticate(_))));
    let challenge = HeaderValue::from_static("Basic realm=\"x\"");
    let answer = Answer::Refused { verdict: Verdict::Missing, challenge: challenge.clone(), user: None };
    assert!(matches!(exchange.authenticated(answer), Err(Failure::Unauthorized)));
    exchange.failed(Failure::Unauthorized, None);
    let reply = exchange.local_reply(Failure::Unauthorized);
    assert!(reply.headers.contains(&(header::WWW_AUTHENTICATE, challenge)), "{:?}", reply.headers);
    assert!(edits_of(&exchange, &head).iter().all(|edit| edit.ends_with("Remove")), "whatever happens to it");
}
