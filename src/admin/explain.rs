//! The question of `evenkeel explain`, as the admin address takes it.

use serde::{Deserialize, Serialize};

use super::adjust::flag;
use super::query;

/// Where it is asked.
pub const PATH: &str = "/api/v1/explain";

/// A request that is asked about, as it is written: nothing of it is checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    pub method: String,
    pub url: String,
    /// `Name: value` each.
    pub headers: Vec<String>,
    /// The address of its client; `None`: one on this machine.
    pub from: Option<String>,
    /// It comes over HTTP/2.
    pub http2: bool,
    /// The listener that it comes to, where the URL does not say it.
    pub listener: Option<String>,
}

impl ExplainRequest {
    /// Of the query of a GET; an error says what is wrong with it.
    pub(super) fn of_query(text: &str) -> Result<Self, String> {
        Ok(Self {
            method: query::value(text, "method").unwrap_or_else(|| "GET".to_owned()),
            url: query::value(text, "url").ok_or("`url` is missing: that of the request")?,
            headers: query::values(text, "header").collect(),
            from: query::value(text, "from"),
            http2: flag(text, "http2")?,
            listener: query::value(text, "listener"),
        })
    }

    /// Of the body of a POST.
    pub(super) fn of_json(text: &str) -> Result<Self, String> {
        let request: Self = serde_json::from_str(text).map_err(|error| format!("the body: {error}"))?;
        match request.url.is_empty() {
            true => Err("`url` is missing: that of the request".to_owned()),
            false if request.method.is_empty() => Ok(Self { method: "GET".to_owned(), ..request }),
            false => Ok(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_a_body_say_the_same() {
        let of_query = ExplainRequest::of_query(
            "method=POST&url=http%3A%2F%2Fa.example%2Fx&header=X-A%3A%201&header=X-B%3A%202&from=10.0.0.1&http2=true&listener=web",
        );
        let of_json = ExplainRequest::of_json(
            r#"{"method":"POST","url":"http://a.example/x","headers":["X-A: 1","X-B: 2"],"from":"10.0.0.1","http2":true,"listener":"web"}"#,
        );
        assert_eq!(of_query, of_json);
        assert_eq!(of_query.expect("valid").headers, ["X-A: 1", "X-B: 2"]);
        let least = ExplainRequest::of_query("url=http://a/").expect("valid");
        assert_eq!((least.method.as_str(), least.http2), ("GET", false));
        assert_eq!(ExplainRequest::of_json(r#"{"url":"http://a/"}"#), Ok(least));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for query in ["", "method=GET"] {
            assert!(ExplainRequest::of_query(query).expect_err(query).contains("`url` is missing"));
        }
        assert!(ExplainRequest::of_query("url=x&http2=1").expect_err("no flag").contains("true or false"));
        for body in ["", "{}", "[", r#"{"url":"http://a/","header":"x"}"#] {
            assert!(ExplainRequest::of_json(body).is_err(), "{body}");
        }
    }
}
