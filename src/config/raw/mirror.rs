//! Copies of requests for another pool.

use http::Method;

use crate::config::decode::List;
use crate::config::scalar::{Count, Name, NonZeroPeriod, Percent, SizeIn};
use crate::config::section::section;

section! {
    /// A pool that gets copies of the requests, whose answers are dropped. No request waits for its copy.
    MirrorSection "`mirror`" {
        /// The pool that gets the copies; not one of those that get the requests themselves.
        pool: Name, required "shadow";
        /// How many of the requests are copied, by lot.
        share: Percent = "100%";
        /// The methods whose requests are copied. Default: all.
        methods: List<Method> = [];
        /// The largest body that is copied; a request with a larger one is not.
        body_size: SizeIn<1024, { 64 * 1024 * 1024 }> = "64KiB";
        /// How many copies may be under way at a time; beyond it, requests are not copied.
        requests: Count<1, 100_000> = 100;
        /// How long a copy may take, from its connect to the end of its answer.
        timeout: NonZeroPeriod = "10s";
    }
}
