//! What must hold for any bytes whatever: one module a fuzz target, each with a function `check` that panics if it does
//! not. The models are written after the specifications, with regular expressions and copies, and share nothing with
//! what they judge. `tests/codec` asks the same checks of the corpus and of generated input, with the stable toolchain.

pub mod chunked_body;
pub mod config;
mod model;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;
pub mod route;
