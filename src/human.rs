//! Numbers, times and foreign text formatted for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// `0B`, `999B`, `1.2kB`, `34MB`: powers of 1000, two or three digits.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if value < 1000 {
        return format!("{value}B");
    }
    let mut scaled = value as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(scaled < 9.95);
    format!("{scaled:.decimals$}{}", UNITS[unit])
}

/// The duration of a request: `0.42ms`, `3.4ms`, `120ms`, `1.2s`, `75s`.
pub fn fine_duration(value: Duration) -> String {
    let millis = value.as_secs_f64() * 1000.0;
    match millis {
        ms if ms < 0.995 => format!("{ms:.2}ms"),
        ms if ms < 9.95 => format!("{ms:.1}ms"),
        ms if ms < 999.5 => format!("{ms:.0}ms"),
        ms if ms < 9950.0 => format!("{:.1}s", ms / 1000.0),
        ms => format!("{:.0}s", ms / 1000.0),
    }
}

/// The age of a state: `45s`, `12m 05s`, `2h 03m`, `3d 04h`.
pub fn coarse_duration(value: Duration) -> String {
    let seconds = value.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Seconds since the Unix epoch, as [`date`] takes them; 0 before it.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `2026-11-24 12:00:01 UTC`, from seconds since the Unix epoch.
pub fn date(seconds: f64) -> String {
    let since = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    let time = Timestamp::from_duration(since).unwrap_or_default();
    Offset::UTC.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `1,234,567`
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Foreign text with hostile characters escaped, for a terminal.
pub fn safe(text: &str) -> String {
    crate::escape::to_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits() {
        let shown =
            [0, 999, 1000, 1234, 9949, 9950, 99_499, 999_499, 999_500, 1_200_000, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            ["0B", "999B", "1.0kB", "1.2kB", "9.9kB", "10kB", "99kB", "999kB", "1.0MB", "1.2MB", "18EB"]
        );
    }

    #[test]
    fn fine_durations() {
        let shown = [0, 420, 3400, 9960, 120_000, 999_600, 1_200_000, 75_000_000]
            .map(|micros| fine_duration(Duration::from_micros(micros)));
        assert_eq!(shown, ["0.00ms", "0.42ms", "3.4ms", "10ms", "120ms", "1.0s", "1.2s", "75s"]);
    }

    #[test]
    fn coarse_durations() {
        let shown = [0, 59, 60, 725, 7380, 86_400, 273_600].map(|s| coarse_duration(Duration::from_secs(s)));
        assert_eq!(shown, ["0s", "59s", "1m 00s", "12m 05s", "2h 03m", "1d 00h", "3d 04h"]);
    }

    #[test]
    fn dates_are_those_of_utc() {
        let shown = [1_795_521_601.9, 0.0, f64::NAN, f64::MAX].map(date);
        let epoch = "1970-01-01 00:00:00 UTC";
        assert_eq!(shown, ["2026-11-24 12:00:01 UTC", epoch, epoch, epoch]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
