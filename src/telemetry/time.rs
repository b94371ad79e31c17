//! The time formats of the logs, always in UTC: local time repeats an hour every autumn.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

thread_local! {
    /// The last second written, since the Unix epoch, and its text.
    static LAST: Cell<(u64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// `2026-11-24T12:00:01.123456Z`
pub(super) fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let Ok(since) = time.duration_since(UNIX_EPOCH) else {
        let at = civil(time);
        out.extend_from_slice(&to_the_second(at));
        return fraction(out, at.subsec_nanosecond().unsigned_abs() / 1000);
    };
    let (second, mut text) = LAST.get();
    if second != since.as_secs() {
        text = to_the_second(civil(time));
        LAST.set((since.as_secs(), text));
    }
    out.extend_from_slice(&text);
    fraction(out, since.subsec_micros());
}

fn to_the_second(at: DateTime) -> [u8; 19] {
    let mut out = Vec::with_capacity(19);
    calendar(&mut out, at);
    out.push(b'T');
    clock(&mut out, at);
    out.try_into().unwrap_or(*b"1970-01-01T00:00:00")
}

fn fraction(out: &mut Vec<u8>, micros: u32) {
    out.push(b'.');
    digits(out, micros, 6);
    out.push(b'Z');
}

/// `12:00:01.123`
pub(super) fn time_of_day(out: &mut Vec<u8>, time: SystemTime) {
    let at = civil(time);
    clock(out, at);
    out.push(b'.');
    digits(out, at.subsec_nanosecond().unsigned_abs() / 1_000_000, 3);
}

/// `24/Nov/2026:12:00:01 +0000`
pub(super) fn common_log(out: &mut Vec<u8>, time: SystemTime) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = civil(time);
    digits(out, at.day().unsigned_abs().into(), 2);
    out.push(b'/');
    let month = MONTHS.get(usize::from(at.month().unsigned_abs()).wrapping_sub(1)).unwrap_or(&"Jan");
    out.extend_from_slice(month.as_bytes());
    out.push(b'/');
    digits(out, at.year().unsigned_abs().into(), 4);
    out.push(b':');
    clock(out, at);
    out.extend_from_slice(b" +0000");
}

fn calendar(out: &mut Vec<u8>, at: DateTime) {
    digits(out, at.year().unsigned_abs().into(), 4);
    out.push(b'-');
    digits(out, at.month().unsigned_abs().into(), 2);
    out.push(b'-');
    digits(out, at.day().unsigned_abs().into(), 2);
}

fn clock(out: &mut Vec<u8>, at: DateTime) {
    digits(out, at.hour().unsigned_abs().into(), 2);
    out.push(b':');
    digits(out, at.minute().unsigned_abs().into(), 2);
    out.push(b':');
    digits(out, at.second().unsigned_abs().into(), 2);
}

fn civil(time: SystemTime) -> DateTime {
    // A clock beyond the year 9999 should not cost an error in every log line.
    Offset::UTC.to_datetime(Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Writes `value` with `width` digits, at most nine.
fn digits(out: &mut Vec<u8>, value: u32, width: usize) {
    let mut text = [b'0'; 9];
    let mut rest = value;
    for digit in text.iter_mut().rev().take(width) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[text.len() - width.min(text.len())..]);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn run(write: fn(&mut Vec<u8>, SystemTime), time: SystemTime) -> String {
        let mut out = Vec::new();
        write(&mut out, time);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn every_form_of_one_time() {
        let time = UNIX_EPOCH + Duration::new(1_795_521_601, 12_345_678);
        assert_eq!(run(rfc3339, time), "2026-11-24T12:00:01.012345Z");
        assert_eq!(run(time_of_day, time), "12:00:01.012");
        assert_eq!(run(common_log, time), "24/Nov/2026:12:00:01 +0000");
    }

    #[test]
    fn a_time_before_1970_keeps_its_form() {
        assert_eq!(run(rfc3339, UNIX_EPOCH - Duration::from_millis(1)), "1969-12-31T23:59:59.999000Z");
    }
}
