//! What a tap is asked for, as a query has it.

use std::time::Duration;

use http::HeaderName;

use crate::admin::adjust::{flag, limit};
use crate::admin::query;
use crate::config::{self, FieldNames, suggest};
use crate::telemetry::share::Share;
use crate::telemetry::tap::{Filter, HeaderFilter, TapFormat, TapRequest};

/// All that a query may have; `file` is what each request to the admin address may have.
const PARAMETERS: [&str; 21] = [
    "listener",
    "route",
    "pool",
    "endpoint",
    "status",
    "slow",
    "client",
    "method",
    "host",
    "path",
    "header",
    "share",
    "count",
    "for",
    "in_flight",
    "format",
    "colours",
    "request_headers",
    "response_headers",
    "secrets",
    "file",
];

/// Values of one parameter, and header fields to show: each of them costs every request.
const VALUES_MAX: usize = 32;

/// A tap, and when it ends by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TapOrder {
    pub request: TapRequest,
    /// After so many requests.
    pub count: Option<u64>,
    /// After this time.
    pub limit: Option<Duration>,
}

impl TapOrder {
    /// An error says what is wrong with the query.
    pub fn of(query: &str) -> Result<Self, String> {
        check_names(query)?;
        let one = |name| query::value(query, name);
        let request = TapRequest {
            filter: filter(query)?,
            in_flight: flag(query, "in_flight")?,
            format: format(query)?,
            secrets: flag(query, "secrets")?,
            fields: FieldNames {
                request: all(query, "request_headers", header_name)?.into(),
                response: all(query, "response_headers", header_name)?.into(),
                cookies: Box::default(),
            },
        };
        let count = one("count").map(|text| match text.parse() {
            Ok(count @ 1..) => Ok(count),
            _ => Err("`count` is a whole number from 1".to_owned()),
        });
        Ok(Self {
            request,
            count: count.transpose()?,
            limit: one("for").map(|text| limit(&text)).transpose()?,
        })
    }
}

fn check_names(query: &str) -> Result<(), String> {
    let mut names =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    match names.find(|name| !PARAMETERS.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let remedy = suggest::remedy(name, PARAMETERS, "there are");
            Err(format!("a tap has no parameter `{name}`: {remedy}"))
        }
    }
}

fn filter(query: &str) -> Result<Filter, String> {
    let texts = |name| all(query, name, |text| Ok(text.to_owned()));
    let one = |name| query::value(query, name);
    Ok(Filter {
        listeners: texts("listener")?,
        routes: texts("route")?,
        pools: texts("pool")?,
        endpoints: texts("endpoint")?,
        statuses: all(query, "status", config::statuses)?,
        slow: one("slow").map(|text| slow(&text)).transpose()?,
        clients: all(query, "client", config::network)?.into_iter().collect(),
        methods: all(query, "method", |text| Ok(text.to_ascii_uppercase()))?,
        hosts: texts("host")?,
        paths: each(query, "path", |text| Ok(text.to_owned()))?,
        headers: each(query, "header", header)?,
        share: one("share").map(|text| config::percentage(&text).map(Share::new)).transpose()?,
    })
}

/// The values of a parameter, which may come several times, each with several values between commas.
fn all<T>(query: &str, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let texts: Vec<String> = query::values(query, name).collect();
    bounded(name, texts.iter().flat_map(|text| text.split(',')).map(str::trim).map(parse))
}

/// The same, of one in which commas have no meaning.
fn each<T>(query: &str, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    bounded(name, query::values(query, name).map(|text| parse(&text)))
}

fn bounded<T>(name: &str, values: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let values: Vec<T> = values.take(VALUES_MAX + 1).collect::<Result<_, _>>()?;
    match values.len() > VALUES_MAX {
        true => Err(format!("`{name}` has more than {VALUES_MAX} values")),
        false => Ok(values),
    }
}

fn slow(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "`slow` is a time such as 1s or 250ms".to_owned())
}

/// `name` or `name: value`.
fn header(text: &str) -> Result<HeaderFilter, String> {
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value.trim())));
    Ok(HeaderFilter { name: header_name(name.trim())?, value: value.map(str::to_owned) })
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("`{text}` is no name of a header field"))
}

fn format(query: &str) -> Result<TapFormat, String> {
    match query::value(query, "format").as_deref() {
        None | Some("json") => Ok(TapFormat::Json),
        Some("text") => Ok(TapFormat::Text { colours: flag(query, "colours")? }),
        Some(_) => Err("`format` is json or text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_to_show() {
        let order = TapOrder::of(
            "route=api,web&route=x&status=5xx,404&slow=1s&client=10.0.0.0%2F8&method=get&path=%2Fv1%2Ca&header=X-Tenant%3A%20acme\
             &header=via&share=10%25&count=3&for=30s&in_flight=true&format=text&request_headers=Accept,x-a",
        );
        let TapOrder { request, count, limit } = order.expect("it is valid");
        let filter = &request.filter;
        assert_eq!(filter.routes, ["api", "web", "x"]);
        assert_eq!(filter.statuses, [500..=599, 404..=404]);
        assert_eq!((filter.slow, filter.share), (Some(Duration::from_secs(1)), Some(Share::new(0.1))));
        assert_eq!((&*filter.methods, &*filter.paths), (&["GET".to_owned()][..], &["/v1,a".to_owned()][..]));
        assert_eq!(filter.headers[0].value.as_deref(), Some("acme"));
        assert_eq!((filter.headers[1].name.as_str(), &filter.headers[1].value), ("via", &None));
        assert!(request.in_flight && !request.secrets);
        assert_eq!(request.format, TapFormat::Text { colours: false });
        assert_eq!(request.fields.request.len(), 2);
        assert_eq!((count, limit), (Some(3), Some(Duration::from_secs(30))));
        assert_eq!(TapOrder::of("").expect("all").request.filter, Filter::default());
    }

    #[test]
    fn what_is_wrong_with_a_query_is_said() {
        for (query, fault) in [
            ("rout=api", "no parameter `rout`: did you mean `route`"),
            ("status=6xx", "`6xx` is not"),
            ("status=", "is not"),
            ("slow=1", "`slow` is a time"),
            ("client=10.0.0.1%2F8", "bits set beyond"),
            ("header=a%20b", "no name of a header field"),
            ("share=10", "add the sign"),
            ("count=0", "from 1"),
            ("for=0s", "more than none"),
            ("format=xml", "json or text"),
            ("secrets=yes", "true or false"),
        ] {
            let error = TapOrder::of(query).expect_err(query);
            assert!(error.contains(fault), "{query}: {error}");
        }
        let many = (0..33).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(TapOrder::of(&format!("route={many}")).is_err_and(|error| error.contains("more than 32")));
    }
}
