//! Another service says who may pass.
//!
//! It gets what it needs to know of a request, written afresh; of the client's own fields only those that the config names.
//! Only an answer with 2xx lets a request pass.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use pingora_http::RequestHeader;
use tokio::time::timeout;

use super::service_connection::{Service, ServiceAnswer};
use super::{Answer, Circumstances, Passed, ServiceReply};
use crate::config::ForwardAuth;
use crate::header_field::{is_connection_specific, is_framing};
use crate::routing::RequestHead;

pub(super) struct ForwardGate {
    /// `None`: the URL names no service, which the config has refused.
    service: Option<Service>,
}

/// The question to the service.
pub(super) struct Subrequest(RequestHeader);

impl ForwardGate {
    pub fn new(config: &ForwardAuth) -> Self {
        let url = config.url.parse::<Uri>().ok();
        Self { service: url.and_then(|url| Service::new(&url, config.tls.as_ref())) }
    }

    pub async fn answer(&self, config: &ForwardAuth, subrequest: Option<Box<Subrequest>>) -> Answer {
        let (Some(service), Some(subrequest)) = (&self.service, subrequest) else {
            return Answer::Unavailable("the auth service cannot be asked about it".to_owned());
        };
        match timeout(config.timeout, service.ask(&subrequest.0)).await {
            Ok(Ok(answer)) if answer.status.is_success() => Answer::Passed(passed(config, &answer.headers)),
            Ok(Ok(answer)) if answer.status.is_informational() => {
                Answer::Unavailable(format!("the auth service answers {}", answer.status))
            }
            Ok(Ok(answer)) => Answer::Answered(reply(answer)),
            Ok(Err(why)) => Answer::Unavailable(format!("the auth service: {why}")),
            Err(_) => {
                let limit = config.timeout.as_millis();
                Answer::Unavailable(format!("the auth service: no answer within {limit} ms"))
            }
        }
    }
}

impl Subrequest {
    /// `None`: the request has what no field can hold.
    pub fn new(
        config: &ForwardAuth,
        head: &impl RequestHead,
        circumstances: Circumstances<'_>,
    ) -> Option<Self> {
        let url: Uri = config.url.parse().ok()?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let method = if config.own_method { head.method() } else { "GET" };
        let mut request = RequestHeader::build(method, path.as_bytes(), Some(config.pass.len() + 8)).ok()?;
        request.insert_header(header::HOST, url.authority()?.as_str()).ok()?;
        for name in &config.pass {
            // Cookies are one field in HTTP/1.1, which several of HTTP/2 become.
            if *name == header::COOKIE {
                if let Some(value) = head.joined(name) {
                    request.append_header(name.clone(), &*value).ok()?;
                }
                continue;
            }
            for value in head.values(name) {
                request.append_header(name.clone(), value).ok()?;
            }
        }
        let Circumstances { scheme, host, client } = circumstances;
        let uri = match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        let whole = (!host.is_empty()).then(|| format!("{scheme}://{host}{uri}"));
        for (name, value) in [
            ("x-forwarded-method", Some(head.method())),
            ("x-forwarded-proto", Some(scheme)),
            ("x-forwarded-host", Some(host).filter(|host| !host.is_empty())),
            ("x-forwarded-uri", Some(&*uri)),
            ("x-forwarded-for", client),
            ("x-original-method", Some(head.method())),
            ("x-original-url", whole.as_deref()),
        ] {
            if let Some(value) = value {
                request.insert_header(name, value.as_bytes()).ok()?;
            }
        }
        Some(Self(request))
    }
}

fn passed(config: &ForwardAuth, headers: &HeaderMap) -> Passed {
    let user = config.set.first().and_then(|name| headers.get(name));
    let user = user.and_then(|user| str::from_utf8(user.as_bytes()).ok()).filter(|user| !user.is_empty());
    Passed {
        user: user.map(Into::into),
        fields: (config.set.iter())
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())))
            .collect(),
        cookies: headers.get_all(header::SET_COOKIE).iter().cloned().collect(),
    }
}

/// What the client gets of an answer.
fn reply(answer: ServiceAnswer) -> ServiceReply {
    let is_passed_on = |name: &HeaderName| {
        let bytes = name.as_str().as_bytes();
        !is_connection_specific(bytes)
            && !is_framing(bytes)
            && !matches!(
                name.as_str(),
                "date" | "proxy-authenticate" | "server" | "te" | "trailer" | "upgrade" | "content-length"
            )
    };
    let fields: Vec<(HeaderName, HeaderValue)> = answer
        .headers
        .iter()
        .filter(|(name, _)| is_passed_on(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    ServiceReply { status: answer.status, fields, body: answer.body }
}
