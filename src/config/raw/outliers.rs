//! When an endpoint is ejected for its answers.

use crate::config::decode::OrOff;
use crate::config::scalar::{Count, NonZeroPeriod, Percent};
use crate::config::section::section;

section! {
    /// Ejects endpoints for a time because of their answers to requests, whatever their health check says. Failures are
    /// connects that fail, answers that do not come or break off, and statuses from 500 that the route does not expect.
    OutliersSection "`outliers`" {
        /// Failures in a row that eject an endpoint. `off`: any number.
        failures: OrOff<Count<1, 10_000>> = 5;
        /// An endpoint is ejected whose rate of success in `window` is below this, and below that of the others. Answers of
        /// 429 count as failures here. `off`: any rate.
        success_rate: OrOff<Percent> = "80%";
        /// An endpoint is ejected that takes so many times longer to the first byte than the others, on average over
        /// `window`.
        latency: OrOff<Count<2, 1_000>> = "off";
        /// How many requests in `window` it takes to judge by `success_rate` and `latency`.
        min_requests: Count<1, 1_000_000> = 50;
        /// The time that `success_rate` and `latency` look back.
        window: NonZeroPeriod = "10s";
        /// How long an ejection lasts, times how often it has happened in a row. After it, one request finds out whether
        /// the endpoint answers, and its share of the traffic grows over `slow_start`, or 5 s.
        time: NonZeroPeriod = "10s";
        /// The longest ejection.
        max_time: NonZeroPeriod = "5m";
        /// The most endpoints that are ejected at a time. One may always be while two are left, and the last never is.
        max_ejected: Percent = "50%";
    }
}
