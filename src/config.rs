//! The config file: what is written (`raw`), what it means (`model`), and how one becomes the other (`compile`).

pub mod model;

pub use model::*;
