//! Tests of the config as a whole: the text of every error, the meaning of the samples, and random texts.

use super::*;

mod meaning;
mod random;
mod refusals;
mod samples;
mod schema;

/// Only these variables exist.
fn variables(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8081".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn loaded(text: &str) -> Result<Loaded, Report> {
    parse_with(text, "evenkeel.yaml", &variables)
}

fn config(text: &str) -> Config {
    loaded(text).map_or_else(|report| panic!("{report}\n{text}"), |loaded| loaded.config)
}
