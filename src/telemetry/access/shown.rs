//! A record as one of its readers is shown it.

use std::borrow::Cow;
use std::ops::Deref;

use super::secrets::{MASK, is_secret_field, masked};

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

    /// Has it written with what is likely to be secret masked: values in URLs, and of fields by their names.
    pub fn masked(self, write: impl FnOnce(&Shown<'_>)) {
        let (target, referer) = (masked(self.parts.target), masked(self.parts.referer));
        let parts = TextParts { target: &target, referer: &referer, ..self.parts };
        write(&Shown { parts, masks: true, ..self });
    }

    /// The captured values of one place that are shown.
    pub fn captured<'s>(
        &'s self,
        captured: &'s Captured,
        place: FieldPlace,
    ) -> impl Iterator<Item = (&'s str, Cow<'s, [u8]>)> {
        let named = self.fields.into_iter().flat_map(move |names| captured.named(place, names));
        named.map(|(name, value)| {
            let shown = match self.masks {
                false => Cow::Borrowed(value),
                true if is_secret_field(name) => Cow::Borrowed(MASK),
                // `Location` and others hold URLs.
                true => masked(value),
            };
            (name, shown)
        })
    }
}

impl<'a> Deref for Shown<'a> {
    type Target = NamedRecord<'a>;

    fn deref(&self) -> &NamedRecord<'a> {
        &self.record
    }
}
