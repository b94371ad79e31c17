//! What the proxy says about itself: events, access log records, metrics.

use serde_json::Value;

/// A line of the event log.
#[derive(Debug, Clone)]
pub struct Event(pub Value);

impl Event {
    /// `None` where the line is not an event.
    pub(super) fn parse(line: &str) -> Option<Event> {
        let value: Value = serde_json::from_str(line).ok()?;
        value.is_object().then_some(Event(value))
    }

    pub fn message(&self) -> &str {
        self.text("message")
    }

    pub fn level(&self) -> &str {
        self.text("level")
    }

    /// A field as text; "" if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }
}

/// A line of the access log.
#[derive(Debug, Clone)]
pub struct Record(pub Value);

impl Record {
    #[track_caller]
    pub(super) fn parse(line: &str) -> Record {
        Record(serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}")))
    }

    pub fn status(&self) -> u64 {
        self.number("status")
    }

    /// "" where it ended well.
    pub fn cause(&self) -> &str {
        self.text("cause")
    }

    /// A field as text; "" if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Whether the field is `true`.
    pub fn is_true(&self, field: &str) -> bool {
        self.0[field] == true
    }

    /// A field as a whole number; 0 if it is not there.
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_default()
    }

    /// A field as seconds; 0 if it is not there.
    pub fn seconds(&self, field: &str) -> f64 {
        self.0[field].as_f64().unwrap_or_default()
    }

    /// Each attempt: the endpoint, and how it ended (a status or a failure's label).
    pub fn attempts(&self) -> Vec<(String, String)> {
        let attempts = self.0["attempts"].as_array().cloned().unwrap_or_default();
        attempts
            .iter()
            .map(|attempt| {
                let endpoint = attempt["endpoint"].as_str().unwrap_or_default().to_owned();
                let result = match attempt["status"].as_u64() {
                    Some(status) => status.to_string(),
                    None => attempt["failure"].as_str().unwrap_or_default().to_owned(),
                };
                (endpoint, result)
            })
            .collect()
    }

    /// How each attempt ended.
    pub fn results(&self) -> Vec<String> {
        self.attempts().into_iter().map(|(_, result)| result).collect()
    }

    /// The endpoint of each attempt.
    pub fn endpoints(&self) -> Vec<String> {
        self.attempts().into_iter().map(|(endpoint, _)| endpoint).collect()
    }

    /// Why the endpoint was passed over, if it was.
    pub fn skipped(&self, endpoint: &str) -> Option<String> {
        let skipped = self.0["skipped"].as_array().cloned().unwrap_or_default();
        let found = skipped.iter().find(|skipped| skipped["endpoint"] == endpoint)?;
        found["reason"].as_str().map(str::to_owned)
    }
}

/// The sum of all samples of a metric whose labels contain each of `labels`.
pub(super) fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (found, rest) = sample.split_once('{').unwrap_or((sample, ""));
            let wanted = found == name && labels.iter().all(|label| rest.contains(label));
            if wanted { value.parse::<f64>().ok() } else { None }
        })
        .sum()
}
