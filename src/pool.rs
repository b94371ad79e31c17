//! Pools of endpoints: their live state, how one is picked, and the health checks.

pub mod status;
