//! How a route finds out who its clients are.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::htpasswd::Users;
use crate::jwks::KeySet;
use crate::tls::{ClientTls, WatchedFile};

/// The authentication of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    Basic(BasicAuth),
    Forward(ForwardAuth),
    Jwt(JwtAuth),
}

/// Names and passwords (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    pub users: Arc<Users>,
    /// The file that the users are from.
    pub file: WatchedFile,
    pub realm: Box<str>,
    /// The field in which endpoints get the user's name; `None`: they do not get it.
    pub user_header: Option<HeaderName>,
    /// Endpoints get `Authorization`, too.
    pub pass_on: bool,
    /// How long a password that was right is remembered; `None`: not at all.
    pub remember: Option<Duration>,
}

/// Another service says who may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// `http` or `https`, without user and fragment.
    pub url: Box<str>,
    /// `None`: the URL is none of HTTPS.
    pub tls: Option<Arc<ClientTls>>,
    /// The service gets the request's own method instead of GET.
    pub own_method: bool,
    /// The fields of the request that the service gets.
    pub pass: Vec<HeaderName>,
    /// The fields of its answer that endpoints get. The first one names the user.
    pub set: Vec<HeaderName>,
    /// For its whole answer.
    pub timeout: Duration,
}

/// Signed tokens (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuth {
    pub keys: JwtKeys,
    /// `None`: any issuer's.
    pub issuer: Option<Box<str>>,
    /// One of these; empty: for anybody.
    pub audience: Vec<Box<str>>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The cookie that has the token; `None`: `Authorization` has it.
    pub cookie: Option<Box<str>>,
    /// Fields that endpoints get, each with its claim.
    pub set: Vec<(HeaderName, Box<str>)>,
    /// The claim that names the user in the log.
    pub user: Box<str>,
    /// Endpoints get `Authorization`, too.
    pub pass_on: bool,
    pub realm: Box<str>,
}

/// The public keys of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    File {
        keys: Arc<KeySet>,
        file: WatchedFile,
    },
    /// `tls`: as in [`ForwardAuth`]. `refresh`: how old they get.
    Url {
        url: Box<str>,
        tls: Option<Arc<ClientTls>>,
        refresh: Duration,
    },
}

impl Auth {
    /// The label of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Basic(_) => "basic",
            Self::Forward(_) => "forward",
            Self::Jwt(_) => "jwt",
        }
    }

    /// The files whose change makes another config of this.
    pub fn watched_files(&self) -> &[WatchedFile] {
        match self {
            Self::Basic(basic) => std::slice::from_ref(&basic.file),
            Self::Forward(ForwardAuth { tls, .. })
            | Self::Jwt(JwtAuth { keys: JwtKeys::Url { tls, .. }, .. }) => {
                tls.as_ref().map_or(&[], |tls| &tls.watched_files)
            }
            Self::Jwt(JwtAuth { keys: JwtKeys::File { file, .. }, .. }) => std::slice::from_ref(file),
        }
    }

    /// The fields that endpoints get of it alone: those of clients are removed.
    pub fn managed(&self) -> impl Iterator<Item = &HeaderName> {
        let (named, of_claims) = match self {
            Self::Basic(basic) => (basic.user_header.as_slice(), &[][..]),
            Self::Forward(forward) => (&*forward.set, &[][..]),
            Self::Jwt(jwt) => (&[][..], &*jwt.set),
        };
        named.iter().chain(of_claims.iter().map(|(name, _)| name))
    }
}
