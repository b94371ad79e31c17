//! Health checks: what they ask, when they believe it, and what happens when nothing is healthy.

mod checks;
mod none_healthy;
mod timing;
