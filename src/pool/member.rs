//! An endpoint as a member of one pool.

use std::sync::Arc;

use pingora_load_balancing::Backend;

use super::check_id::CheckId;
use super::endpoint::Endpoint;
use crate::config::EndpointAttributes;

/// Travels in `Backend::ext`.
#[derive(Debug, Clone)]
pub struct Member {
    pub endpoint: Arc<Endpoint>,
    /// Index in the config, because Pingora sorts its backends by address.
    pub index: usize,
    pub attributes: EndpointAttributes,
    /// What the pool's health check asks it; `None`: there is no health check.
    pub(super) check: Option<CheckId>,
}

impl Member {
    pub fn of(backend: &Backend) -> Option<&Self> {
        backend.ext.get()
    }
}
