//! Logs and counts panics. A panic ends at most its request, and tokio swallows it: without this hook it goes
//! unnoticed.

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Makes each panic an error event with message, location and thread, and adds it to `counter`.
pub fn install_panic_hook(counter: Arc<AtomicU64>) {
    panic::set_hook(Box::new(move |info| {
        counter.fetch_add(1, Ordering::Relaxed);
        report(info);
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let thread = thread::current();
    log::error!(
        target: "evenkeel::panic",
        panic = message(info.payload()), location = location.as_str(), thread = thread.name().unwrap_or("unnamed");
        "a bug: please report this panic"
    );
}

fn message(payload: &dyn Any) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(message) => message,
        None => payload.downcast_ref::<String>().map_or("no message", String::as_str),
    }
}
