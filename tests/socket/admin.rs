//! The admin address: who may ask, what is answered, and that the numbers are true.

mod access;
mod addresses;
mod metrics;
mod prometheus;
mod status;
mod strangers;
mod tap;
mod top;
