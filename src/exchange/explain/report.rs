//! The explanation as tools get it: `docs/explain.md` has its fields.

use serde::{Deserialize, Serialize};

use crate::pool::explain::PoolExplanation;

/// What would become of a request, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explanation {
    pub request: RequestExplanation,
    pub answer: AnswerExplanation,
    pub listener: ListenerExplanation,
    /// The generation of the config that was asked; absent for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    pub path: PathExplanation,
    /// In the order of the file.
    pub routes: Vec<RouteExplanation>,
    #[serde(default)]
    pub routes_left_out: usize,
    /// What the policies that the config has say, in their fixed order, up to the one at which the way ends.
    pub steps: Vec<Step>,
    /// Those that the request does not come to.
    #[serde(default)]
    pub not_reached: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersExplanation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolExplanation>,
    /// The part of the request by which its pool balances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<TimesExplanation>,
    /// What is done with the response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response: Vec<String>,
}

/// The request as it is understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestExplanation {
    pub method: String,
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The address of the client, as far as it is believed.
    pub client: String,
    /// The address that it comes from, where that is a trusted proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// `http` or `https`, as far as it is believed.
    pub scheme: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes to an endpoint.
    Forward,
    /// It waits for an endpoint, or for room.
    Wait,
    /// The config answers it.
    Answer,
    Refuse,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerExplanation {
    pub verdict: Verdict,
    /// In a sentence.
    pub text: String,
    /// Of an answer made here; absent: the endpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The label of the failure, as the access log has it; of a request that waits, if it waits in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The list that refuses the client, as the access log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// The rate limit that refuses the request, as the access log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<String>,
    /// What answers it, as the access log has it: `redirect`, `respond` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The service on whose word all of this depends, and that was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_passed_by: Option<String>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenerExplanation {
    pub name: String,
    pub address: String,
    /// `native` or `pingora`.
    pub engine: String,
    pub tls: bool,
    /// Why this one.
    pub why: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathExplanation {
    pub sent: String,
    /// The normal form, which routes match, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<String>,
    /// The path that the endpoint gets, where the route rewrites it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteVerdict {
    Chosen,
    /// It matches, and another one comes first.
    Matches,
    Fails,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteExplanation {
    pub name: String,
    pub verdict: RouteVerdict,
    /// The first condition that is not met: `host`, `path`, `method`, `header`, `query`, `client`, `not` or `enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub why: String,
}

/// What one policy says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub policy: String,
    pub text: String,
    /// The way ends here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub value: String,
}

/// The header fields of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadersExplanation {
    pub before: Vec<Field>,
    /// As the endpoint gets them, in the form of HTTP/1.1.
    pub after: Vec<Field>,
}

/// Times and attempts; `None`: no limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimesExplanation {
    /// For the whole request.
    pub deadline_seconds: Option<f64>,
    pub connect_seconds: f64,
    /// From the request's end to the end of the response's head.
    pub response_seconds: f64,
    /// Between two pieces of the response's body.
    pub idle_seconds: f64,
    pub attempt_seconds: Option<f64>,
    /// Attempts after the first.
    pub retries: u8,
    /// The failures after which there are some: `connect`, `reset`, `timeout`, and statuses.
    pub retry_on: Vec<String>,
    /// It may reach an endpoint twice, by its method; otherwise only failed connects are followed by another attempt.
    pub repeatable: bool,
    /// Retries that the pool's budget allows now.
    pub budget_left: Option<u64>,
    /// When a second attempt is begun beside the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_seconds: Option<f64>,
}
