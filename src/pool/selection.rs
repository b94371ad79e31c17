//! The balance policies as Pingora's `LoadBalancer` wants them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::balance::{MayProbe, PickInput, hash};
use super::picker::{PickSettings, Picker};
use super::rotation::Rotation;

/// Picks by the policy of a [`Picker`].
///
/// Pingora builds a new selection at each change of membership; the picker outlives it, with the position reached.
pub struct Selection {
    picker: Arc<Picker>,
}

impl BackendSelection for Selection {
    type Iter = TryOrder;
    type Config = Arc<Picker>;

    fn build_with_config(backends: &BTreeSet<Backend>, picker: &Arc<Picker>) -> Self {
        picker.set_members(backends);
        Self { picker: picker.clone() }
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Self::build_with_config(backends, &Arc::new(Picker::new(PickSettings::default(), Arc::default())))
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> TryOrder {
        let (rotation, turn) = self.picker.next_turn(false);
        let key = (!key.is_empty()).then(|| hash::of_key(key));
        let may_probe = MayProbe::Never;
        let input = PickInput { turn, key, sticky: None, may_probe, now: Instant::now() };
        TryOrder { rotation: Guard::into_inner(rotation), input, step: 0 }
    }
}

/// The endpoints in the order in which one request should try them: the one that the policy picks, then all in turn.
pub struct TryOrder {
    rotation: Arc<Rotation>,
    input: PickInput,
    step: usize,
}

impl BackendIter for TryOrder {
    fn next(&mut self) -> Option<&Backend> {
        let step = self.step;
        self.step += 1;
        self.rotation.backend(&self.input, step)
    }
}
