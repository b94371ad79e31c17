//! The orders that change something of an endpoint by hand.

use std::time::Duration;

use super::query;
use crate::config;
use crate::pool::{AdjustOrder, EndpointChange, PoolChoice};

/// The word for the weight of the config.
const RESET: &str = "reset";

/// Weights are those of the config.
const WEIGHT_MAX: u16 = 256;

/// How long a change may last that ends by itself.
const LIMIT_MAX: Duration = Duration::from_hours(366 * 24);

/// An order, and how it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    pub order: AdjustOrder,
    /// Answer with JSON in place of text.
    pub json: bool,
}

impl Adjust {
    /// The order at a path of the admin address; an error says what is wrong with the query.
    pub(super) fn at(path: &str, query: &str) -> Result<Option<Self>, String> {
        let change = match path {
            "/drain" => EndpointChange::Drain,
            "/undrain" => EndpointChange::Undrain,
            "/weight" => {
                let weight =
                    query::value(query, "weight").ok_or("`weight` is missing: 0 to 256, or reset")?;
                weight_change(&weight)?
            }
            _ => return Ok(None),
        };
        let endpoint =
            query::value(query, "endpoint").ok_or("`endpoint` is missing: the one that is meant")?;
        let limit = query::value(query, "for").map(|text| limit(&text)).transpose()?;
        if limit.is_some() && matches!(change, EndpointChange::Undrain | EndpointChange::ResetWeight) {
            return Err("`for` is of a drain or a weight: what goes back to the config stays so".to_owned());
        }
        let pools = match (query::value(query, "pool"), flag(query, "all_pools")?) {
            (Some(_), true) => return Err("either `pool` or `all_pools`, not both".to_owned()),
            (Some(name), false) => PoolChoice::Named(name),
            (None, true) => PoolChoice::All,
            (None, false) => PoolChoice::Sole,
        };
        let order = AdjustOrder { endpoint, pools, change, limit, force: flag(query, "force")? };
        Ok(Some(Self { order, json: flag(query, "json")? }))
    }

    /// The name of the command for this order.
    pub fn name(&self) -> &'static str {
        match self.order.change {
            EndpointChange::Drain => "drain",
            EndpointChange::Undrain => "undrain",
            EndpointChange::Weight(_) | EndpointChange::ResetWeight => "weight",
        }
    }
}

pub(super) fn flag(query: &str, name: &str) -> Result<bool, String> {
    match query::value(query, name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("`{name}` is true or false")),
    }
}

/// Parses a weight from 0 to 256, or `reset`.
pub fn weight_change(text: &str) -> Result<EndpointChange, String> {
    if text == RESET {
        return Ok(EndpointChange::ResetWeight);
    }
    match text.parse() {
        Ok(weight @ 0..=WEIGHT_MAX) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(EndpointChange::Weight(weight))
        }
        _ => Err(format!("a weight is from 0 to {WEIGHT_MAX}, or `{RESET}` for that of the config")),
    }
}

/// Parses how long a change lasts, such as `10m`.
pub fn limit(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Some(time) if !time.is_zero() && time <= LIMIT_MAX => Ok(time),
        Some(_) => Err("the time is more than none and at most 366d".to_owned()),
        None => Err("the time is written as 30s, 10m or 2h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(path: &str, query: &str) -> Result<Adjust, String> {
        Adjust::at(path, query).map(|found| found.expect("an order"))
    }

    #[test]
    fn orders_are_read_from_a_query() {
        let adjust = order("/drain", "endpoint=10.0.0.1%3A3000&for=10m&pool=api&json=true").expect("valid");
        assert!(adjust.json && !adjust.order.force);
        assert_eq!(
            (adjust.name(), adjust.order),
            (
                "drain",
                AdjustOrder {
                    endpoint: "10.0.0.1:3000".into(),
                    pools: PoolChoice::Named("api".into()),
                    change: EndpointChange::Drain,
                    limit: Some(Duration::from_secs(600)),
                    force: false,
                }
            )
        );
        let adjust = order("/weight", "endpoint=a&weight=256&all_pools=true&force=true").expect("valid");
        assert_eq!(adjust.order.change, EndpointChange::Weight(256));
        assert_eq!((adjust.order.pools, adjust.order.force), (PoolChoice::All, true));
        let reset = order("/weight", "endpoint=a&weight=reset").expect("valid");
        assert_eq!(reset.order.change, EndpointChange::ResetWeight);
        assert_eq!(Adjust::at("/drain/", "endpoint=a"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_an_order_is_said() {
        for (path, query, fault) in [
            ("/drain", "", "`endpoint` is missing"),
            ("/weight", "endpoint=a", "`weight` is missing"),
            ("/weight", "endpoint=a&weight=257", "from 0 to 256"),
            ("/weight", "endpoint=a&weight=-1", "from 0 to 256"),
            ("/weight", "endpoint=a&weight=%2B1", "from 0 to 256"),
            ("/drain", "endpoint=a&for=10", "written as 30s"),
            ("/drain", "endpoint=a&for=0s", "more than none"),
            ("/drain", "endpoint=a&for=367d", "at most 366d"),
            ("/undrain", "endpoint=a&for=1m", "goes back to the config"),
            ("/weight", "endpoint=a&weight=reset&for=1m", "goes back to the config"),
            ("/drain", "endpoint=a&pool=b&all_pools=true", "not both"),
            ("/drain", "endpoint=a&force=yes", "`force` is true or false"),
        ] {
            let error = order(path, query).expect_err(query);
            assert!(error.contains(fault), "{path}?{query}: {error}");
        }
    }
}
