//! Cookies that are set here.

use std::fmt::Write;
use std::time::Duration;

/// A cookie, without its value. It is always `HttpOnly`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCookie {
    pub name: String,
    /// `None`: until the browser is closed.
    pub ttl: Option<Duration>,
    pub path: String,
    pub same_site: SameSite,
}

/// Whether a cookie is sent with requests from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

impl SameSite {
    /// As the cookie has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

impl SetCookie {
    /// The value of `Set-Cookie`.
    pub fn with_value(&self, value: &str, secure: bool) -> String {
        let Self { name, path, same_site, ttl } = self;
        let mut text = format!("{name}={value}; Path={path}; HttpOnly; SameSite={}", same_site.as_str());
        if let Some(ttl) = ttl {
            let _ = write!(text, "; Max-Age={}", ttl.as_secs());
        }
        if secure {
            text.push_str("; Secure");
        }
        text
    }
}
