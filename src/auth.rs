//! Who may pass a route: each kind of authentication is a [`Gate`], which turns a request into a [`Check`], and that into
//! an [`Answer`].
//!
//! A check owns what it needs of its request, so that an engine can wait for it while it watches the client. Whatever
//! goes wrong in it lets nothing through.

// What a client or an auth service sends must never end a worker.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::expect_used, clippy::string_slice, clippy::unreachable)
)]

mod basic;
mod forward;
mod jwt;
mod key_cache;
mod remembered;
mod service_connection;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::config::Auth;
use crate::routing::RequestHead;
use basic::{BasicGate, Credentials};
use forward::{ForwardGate, Subrequest};
use jwt::JwtGate;

/// The authentication of a route, with what it remembers.
pub struct Gate {
    config: Arc<Auth>,
    kind: Kind,
}

enum Kind {
    Basic(Box<BasicGate>),
    Forward(Box<ForwardGate>),
    Jwt(JwtGate),
}

/// What a gate is told of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// The host and port that the client has asked for.
    pub host: &'a str,
    /// The client's address; `None`: it has none.
    pub client: Option<&'a str>,
}

/// A question whether one request may pass.
pub struct Check {
    gate: Arc<Gate>,
    question: Question,
}

enum Question {
    Basic(Option<Credentials>),
    /// `None`: what the request has cannot be asked about.
    Forward(Option<Box<Subrequest>>),
    /// The token.
    Jwt(Option<String>),
}

/// The answer to a [`Check`].
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Passed(Passed),
    /// 401, with the value of `WWW-Authenticate`.
    Refused {
        verdict: Verdict,
        challenge: HeaderValue,
        user: Option<Box<str>>,
    },
    /// The auth service has answered the request.
    Answered(ServiceReply),
    /// Nothing is known of the client: 503.
    Unavailable(String),
}

/// What a request that has passed takes along.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub user: Option<Box<str>>,
    /// The fields that its endpoint gets, of those in [`Gate::managed`].
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The values of `Set-Cookie` that its client gets with the response.
    pub cookies: Vec<HeaderValue>,
}

/// The answer of an auth service that lets a request not pass.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceReply {
    pub status: StatusCode,
    pub fields: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// The request has no credentials.
    Missing,
    Refused,
    Unavailable,
}

impl Gate {
    pub fn new(config: Arc<Auth>) -> Self {
        let kind = match &*config {
            Auth::Basic(basic) => Kind::Basic(Box::new(BasicGate::new(basic))),
            Auth::Forward(forward) => Kind::Forward(Box::new(ForwardGate::new(forward))),
            Auth::Jwt(jwt) => Kind::Jwt(JwtGate::new(jwt)),
        };
        Self { config, kind }
    }

    pub fn config(&self) -> &Arc<Auth> {
        &self.config
    }

    /// The fields that endpoints get of it alone: those of clients are removed, in all forms.
    pub fn managed(&self) -> impl Iterator<Item = &HeaderName> {
        self.config.managed()
    }

    /// Whether endpoints get `Authorization`.
    pub fn passes_authorization(&self) -> bool {
        match &*self.config {
            Auth::Basic(basic) => basic.pass_on,
            Auth::Forward(_) => true,
            Auth::Jwt(jwt) => jwt.pass_on,
        }
    }

    /// The question whether this request may pass.
    pub fn check(self: &Arc<Self>, head: &impl RequestHead, circumstances: Circumstances<'_>) -> Check {
        let question = match (&self.kind, &*self.config) {
            (Kind::Forward(_), Auth::Forward(forward)) => {
                Question::Forward(Subrequest::new(forward, head, circumstances).map(Box::new))
            }
            (Kind::Jwt(_), Auth::Jwt(jwt)) => Question::Jwt(jwt::token_of(jwt, head)),
            _ => Question::Basic(Credentials::of(head)),
        };
        Check { gate: self.clone(), question }
    }
}

impl Check {
    /// Asks. Takes limited time, and lets nothing through when that is over.
    pub async fn answer(self) -> Answer {
        match (&self.gate.kind, &*self.gate.config, self.question) {
            (Kind::Basic(gate), Auth::Basic(config), Question::Basic(credentials)) => {
                gate.answer(config, credentials).await
            }
            (Kind::Forward(gate), Auth::Forward(config), Question::Forward(subrequest)) => {
                gate.answer(config, subrequest).await
            }
            (Kind::Jwt(gate), Auth::Jwt(config), Question::Jwt(token)) => gate.answer(config, token).await,
            _ => Answer::Unavailable("another kind of authentication was asked for".to_owned()),
        }
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What the answer would be, without asking anybody and without remembering anything; `None`: a service has to be
    /// asked. May compute the hash of a password, which takes a while.
    pub fn peek(self) -> Option<Answer> {
        match (&self.gate.kind, &*self.gate.config, self.question) {
            (Kind::Basic(gate), Auth::Basic(config), Question::Basic(credentials)) => {
                Some(gate.peek(config, credentials))
            }
            (Kind::Jwt(gate), Auth::Jwt(config), Question::Jwt(token)) => gate.peek(config, token),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "a check ({})", self.gate.config.kind())
    }
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Passed, Self::Missing, Self::Refused, Self::Unavailable];

    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}
