//! The answer to an order that changes something of an endpoint by hand.

use serde::Serialize;

use crate::admin::{Adjust, Caller, OperationOutcome};
use crate::human;
use crate::pool::status::{ByHandStatus, EndpointStatus};
use crate::pool::{self, Adjusted, EndpointChange};
use crate::snapshot::Snapshot;

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    endpoints: &'a [Adjusted],
}

/// Carries out an order. Waits for nothing.
pub(super) fn carry_out(snapshot: &Snapshot, adjust: &Adjust, caller: &Caller) -> OperationOutcome {
    let adjusted = match pool::adjust(snapshot.pools(), &adjust.order, caller.as_str()) {
        Ok(adjusted) => adjusted,
        Err(error) => return OperationOutcome::refused(format!("{error}\n")),
    };
    OperationOutcome::done(match adjust.json {
        // Texts and numbers alone: this cannot fail.
        true => serde_json::to_string(&Answer { endpoints: &adjusted }).unwrap_or_default(),
        false => adjusted.iter().map(|adjusted| text(adjusted, adjust.order.change)).collect(),
    })
}

fn text(
    Adjusted { pool, endpoint, others_that_can_serve: others, changed }: &Adjusted,
    change: EndpointChange,
) -> String {
    let EndpointStatus { address, weight, in_flight, .. } = endpoint;
    let said = match change {
        EndpointChange::Drain => {
            let until = until(endpoint.drained.as_ref(), "undrain");
            let rest = match others {
                0 => "no other endpoint can serve".to_owned(),
                1 => "1 other endpoint serves".to_owned(),
                others => format!("{others} other endpoints serve"),
            };
            let in_flight = match in_flight {
                0 => "none in flight".to_owned(),
                in_flight => format!("{} in flight go on", human::count(*in_flight)),
            };
            format!("gets no new requests until {until}; {in_flight}, {rest}")
        }
        EndpointChange::Undrain if *changed => "is no longer drained".to_owned(),
        EndpointChange::Undrain => "was not drained".to_owned(),
        EndpointChange::Weight(_) => {
            let by_hand = endpoint.weight_by_hand.as_ref();
            let file = by_hand.map_or(*weight, |weight| weight.file);
            let until = until(by_hand.map(|weight| &weight.by_hand), "weight reset");
            format!("has weight {weight} (file: {file}) until {until}")
        }
        EndpointChange::ResetWeight => format!("has weight {weight}, that of the file"),
    };
    format!("{address} of pool {pool} {said}\n")
}

fn until(by_hand: Option<&ByHandStatus>, command: &str) -> String {
    match by_hand.and_then(|by_hand| by_hand.until) {
        Some(until) => human::date(until),
        None => format!("`evenkeel {command}`"),
    }
}
