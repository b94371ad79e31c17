//! A record as one of its readers is shown it.

use std::ops::Deref;

use crate::config::FieldNames;
use crate::pool::Endpoint;
use crate::telemetry::record::{Captured, FieldPlace, NamedRecord, TextParts};
use crate::wait_queue::WaitsFor;

#[derive(Clone, Copy)]
pub(in crate::telemetry) struct Shown<'a> {
    pub record: NamedRecord<'a>,
    /// The record's own, or with what is secret masked.
    pub parts: TextParts<'a>,
    /// The header fields and cookies to show.
    pub fields: Option<&'a FieldNames>,
    /// Values of fields that are secret are masked.
    pub masks: bool,
    /// The request has not ended yet.
    pub in_flight: Option<InFlight<'a>>,
    /// The share of such requests that have a line; `None`: all have.
    pub sampled: Option<f64>,
}

/// Where a request is that has not ended yet.
#[derive(Clone, Copy)]
pub(in crate::telemetry) enum InFlight<'a> {
    /// It waits.
    For(WaitsFor),
    /// It is sent to this endpoint.
    At(&'a Endpoint),
}

impl<'a> Shown<'a> {
    /// With all that a record has of itself.
    pub fn new(record: NamedRecord<'a>) -> Self {
        let parts = record.record.text.parts();
        Self { record, parts, fields: None, masks: false, in_flight: None, sampled: None }
    }

    /// The captured values of one place that are shown.
    pub fn captured<'s>(
        &'s self,
        captured: &'s Captured,
        place: FieldPlace,
    ) -> impl Iterator<Item = (&'s str, &'s [u8])> {
        let named = self.fields.into_iter().flat_map(move |names| captured.named(place, names));
        named.map(|(name, value)| {
            let is_hidden = self.masks && super::secrets::is_secret_field(name);
            (name, if is_hidden { super::secrets::MASK } else { value })
        })
    }
}

impl<'a> Deref for Shown<'a> {
    type Target = NamedRecord<'a>;

    fn deref(&self) -> &NamedRecord<'a> {
        &self.record
    }
}
