//! What an operator has changed of one endpoint by hand, in place of what the config says: a drain, another weight.
//!
//! Both may be in force at a time. Each ends by itself, if it has an end, or when it is taken back.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What is changed of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointChange {
    Drain,
    Undrain,
    Weight(u16),
    /// Back to the weight of the config.
    ResetWeight,
}

/// Who has changed it, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByHand {
    pub by: String,
    /// `None`: until it is taken back.
    pub until: Option<End>,
}

/// A moment at which something ends by itself, however the clock is set meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "SystemTime", into = "SystemTime")]
pub struct End {
    /// For people and for other processes.
    pub time: SystemTime,
    timer: Instant,
}

/// Handed from process to process at upgrades: fields may be added with a default, and none removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adjustment {
    pub drain: Option<ByHand>,
    pub weight: Option<(u16, ByHand)>,
}

/// The adjustment of one endpoint, and what requests read of it.
#[derive(Debug, Default)]
pub(super) struct AdjustmentState {
    /// [`DRAINING`], and [`HAS_WEIGHT`] with the weight in the low bits.
    in_force: AtomicU32,
    /// Boxed, because few endpoints have one.
    adjustment: Mutex<Option<Box<Adjustment>>>,
}

const DRAINING: u32 = 1 << 16;
const HAS_WEIGHT: u32 = 1 << 17;

// === impl End ===

impl End {
    pub fn after(limit: Duration) -> Self {
        Self { time: SystemTime::now() + limit, timer: Instant::now() + limit }
    }
}

impl From<SystemTime> for End {
    fn from(time: SystemTime) -> Self {
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        Self { time, timer: Instant::now() + left }
    }
}

impl From<End> for SystemTime {
    fn from(end: End) -> Self {
        end.time
    }
}

// === impl Adjustment ===

impl Adjustment {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn change(&mut self, change: EndpointChange, order: ByHand) {
        match change {
            EndpointChange::Drain => self.drain = Some(order),
            EndpointChange::Undrain => self.drain = None,
            EndpointChange::Weight(weight) => self.weight = Some((weight, order)),
            EndpointChange::ResetWeight => self.weight = None,
        }
    }

    /// The timers that are running, each with the change that it brings.
    fn ends(&self) -> impl Iterator<Item = (Instant, EndpointChange)> {
        let end = |order: &ByHand, change| Some((order.until?.timer, change));
        let drain = self.drain.as_ref().and_then(|order| end(order, EndpointChange::Undrain));
        let weight = self.weight.as_ref().and_then(|(_, order)| end(order, EndpointChange::ResetWeight));
        drain.into_iter().chain(weight)
    }

    fn in_force(&self) -> u32 {
        let draining = if self.drain.is_some() { DRAINING } else { 0 };
        draining | self.weight.as_ref().map_or(0, |(weight, _)| HAS_WEIGHT | u32::from(*weight))
    }
}

// === impl AdjustmentState ===

impl AdjustmentState {
    pub fn new(adjustment: Adjustment) -> Self {
        let state = Self::default();
        state.store(&mut state.adjustment.lock(), adjustment);
        state
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.in_force.load(Relaxed) == 0
    }

    pub fn is_draining(&self) -> bool {
        self.in_force.load(Relaxed) & DRAINING != 0
    }

    /// The weight in place of the config's.
    pub fn weight(&self) -> Option<u16> {
        let in_force = self.in_force.load(Relaxed);
        (in_force & HAS_WEIGHT != 0).then_some(in_force as u16)
    }

    pub fn get(&self) -> Adjustment {
        self.adjustment.lock().as_deref().cloned().unwrap_or_default()
    }

    pub fn change(&self, change: EndpointChange, order: ByHand) {
        let mut current = self.adjustment.lock();
        let mut adjustment = current.as_deref().cloned().unwrap_or_default();
        adjustment.change(change, order);
        self.store(&mut current, adjustment);
    }

    /// When the next part of it ends by itself.
    pub fn next_end(&self) -> Option<Instant> {
        self.adjustment.lock().as_deref()?.ends().map(|(end, _)| end).min()
    }

    /// Ends what is to end by itself until `now`, and returns the changes that this is.
    pub fn end_due(&self, now: Instant) -> Vec<EndpointChange> {
        let mut current = self.adjustment.lock();
        let Some(mut adjustment) = current.as_deref().cloned() else { return Vec::new() };
        let due: Vec<_> =
            adjustment.ends().filter(|(end, _)| *end <= now).map(|(_, change)| change).collect();
        for change in &due {
            adjustment.change(*change, ByHand { by: String::new(), until: None });
        }
        self.store(&mut current, adjustment);
        due
    }

    /// The caller holds the lock, so that what requests read is never older.
    fn store(&self, current: &mut Option<Box<Adjustment>>, adjustment: Adjustment) {
        self.in_force.store(adjustment.in_force(), Relaxed);
        *current = (!adjustment.is_empty()).then(|| Box::new(adjustment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seconds: Option<u64>) -> ByHand {
        ByHand { by: "uid 0".into(), until: seconds.map(|seconds| End::after(Duration::from_secs(seconds))) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_and_a_weight_end_each_at_its_time() {
        let state = AdjustmentState::default();
        assert!(state.is_empty() && state.next_end().is_none());
        state.change(EndpointChange::Drain, order(Some(10)));
        state.change(EndpointChange::Weight(256), order(Some(5)));
        assert_eq!((state.is_draining(), state.weight()), (true, Some(256)));
        let now = Instant::now();
        assert_eq!(state.next_end(), Some(now + Duration::from_secs(5)));
        assert_eq!(state.end_due(now + Duration::from_secs(4)), []);
        assert_eq!(state.end_due(now + Duration::from_secs(5)), [EndpointChange::ResetWeight]);
        assert_eq!((state.is_draining(), state.weight()), (true, None));
        assert_eq!(state.end_due(now + Duration::from_secs(60)), [EndpointChange::Undrain]);
        assert!(state.is_empty() && state.get().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_order_replaces_the_end_of_an_earlier_one() {
        let state = AdjustmentState::default();
        state.change(EndpointChange::Drain, order(Some(1)));
        state.change(EndpointChange::Drain, order(None));
        assert_eq!((state.is_draining(), state.next_end()), (true, None));
        state.change(EndpointChange::Weight(0), order(None));
        assert_eq!(state.weight(), Some(0), "which is another weight than none");
        state.change(EndpointChange::Undrain, order(None));
        assert_eq!((state.is_draining(), state.weight()), (false, Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_ends_it_at_the_same_time() {
        let state = AdjustmentState::default();
        state.change(EndpointChange::Drain, order(Some(60)));
        let json = serde_json::to_string(&state.get()).expect("JSON");
        let inherited = AdjustmentState::new(serde_json::from_str(&json).expect("an adjustment"));
        assert!(inherited.is_draining());
        let left = inherited.next_end().expect("it ends") - Instant::now();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
        let empty: Adjustment = serde_json::from_str("{\"of_a_later_version\": 1}").expect("an adjustment");
        assert!(empty.is_empty());
    }
}
