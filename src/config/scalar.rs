//! Types of scalars: numbers, durations, sizes, words, names.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value as Json, json};

use super::decode::{Fault, Scalar, is_off, shown};
use super::suggest;

/// Any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Scalar for Text {
    const WHAT: &'static str = "a text";
    const REMEDY: &'static str = "write one text, in quotes if it has special characters";

    fn parse(text: &str) -> Result<Text, Fault> {
        Ok(Text(text.to_owned()))
    }

    fn scalar_schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// The name of a listener, route or pool: short and safe in logs, metrics and commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

const NAME_BYTES_MAX: usize = 100;

impl Scalar for Name {
    const WHAT: &'static str = "a name";
    const REMEDY: &'static str = "use letters, digits, `-`, `_` and `.`, at most 100 of them";

    fn parse(text: &str) -> Result<Name, Fault> {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(is_safe) { Ok(Name(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$" })
    }
}

/// A protocol that `Upgrade` names, or `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProtocolName(pub(crate) String);

impl Scalar for ProtocolName {
    const WHAT: &'static str = "a protocol";
    const REMEDY: &'static str = "write a name such as websocket, or name/version, or any";

    fn parse(text: &str) -> Result<ProtocolName, Fault> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte);
        let name = text.split('/').next().unwrap_or_default();
        if ["http", "h2", "h2c"].iter().any(|http| http.eq_ignore_ascii_case(name)) {
            let message = format!("`{text}` is a version of HTTP, to which no client may switch");
            return Err(Fault::new(message, "remove it: `h2c: true` at a listener takes HTTP/2 without TLS"));
        }
        let is_name = !name.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_token);
        if is_name { Ok(ProtocolName(text.to_owned())) } else { Err(Self::fault(text)) }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-][A-Za-z0-9!#$%&'*+.^_`|~/-]{0,99}$" })
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl Scalar for Flag {
    const WHAT: &'static str = "true or false";
    const REMEDY: &'static str = "write true or false";

    fn parse(text: &str) -> Result<Flag, Fault> {
        match text {
            "true" | "True" | "TRUE" => Ok(Flag(true)),
            "false" | "False" | "FALSE" => Ok(Flag(false)),
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// `on` or `off`, or the booleans that YAML 1.1 takes them for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl Scalar for Switch {
    const WHAT: &'static str = "on or off";
    const REMEDY: &'static str = "write on or off";

    fn parse(text: &str) -> Result<Switch, Fault> {
        match text {
            "on" | "On" | "ON" | "true" | "True" | "TRUE" => Ok(Switch(true)),
            _ if is_off(text) => Ok(Switch(false)),
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "enum": ["on", "off", true, false] })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Scalar for Count<MIN, MAX> {
    const WHAT: &'static str = "a whole number";
    const REMEDY: &'static str = "write digits only";

    fn parse(text: &str) -> Result<Self, Fault> {
        let range = format!("write a whole number from {MIN} to {MAX}");
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(Fault::new(Self::fault(text).message, range));
        }
        if text.len() > 1 && text.starts_with('0') {
            let meant = text.trim_start_matches('0');
            let meant = if meant.is_empty() { "0" } else { meant };
            let message = format!("`{}` starts with 0, which some readers take for octal", shown(text));
            return Err(Fault::new(message, format!("write {}", shown(meant))));
        }
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Count(number)),
            _ => Err(Fault::new(format!("`{}` is out of range", shown(text)), range)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A part of a whole: `80%`, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl Scalar for Percent {
    const WHAT: &'static str = "a percentage";
    const REMEDY: &'static str = "write one from 0% to 100%, such as 20%";

    fn parse(text: &str) -> Result<Self, Fault> {
        let number = text.strip_suffix('%').map(str::trim_end);
        let is_number = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let parsed = number.filter(is_number).and_then(|number| number.parse::<f64>().ok());
        match parsed.filter(|percent| *percent <= 100.0) {
            Some(percent) => Ok(Self(percent / 100.0)),
            None if text.parse::<u8>().is_ok_and(|number| number <= 100) => {
                Err(Fault::new(Self::fault(text).message, format!("add the sign: {text}%")))
            }
            None => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{1,3}([.][0-9]+)? *%$", "examples": ["20%"] })
    }
}

/// A number for each second: `10/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u32);

const RATE_MAX: u32 = 1_000_000;

impl Scalar for Rate {
    const WHAT: &'static str = "a rate";
    const REMEDY: &'static str = "write a whole number for each second, such as 10/s";

    fn parse(text: &str) -> Result<Self, Fault> {
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().ok().filter(|number| *number <= RATE_MAX),
            false => None,
        };
        match text.strip_suffix("/s").map(str::trim_end).and_then(number) {
            Some(number) => Ok(Self(number)),
            None if number(text).is_some() => {
                Err(Fault::new(Self::fault(text).message, format!("add the unit: {text}/s")))
            }
            None => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{1,7} */s$", "examples": ["10/s"] })
    }
}

const DURATION_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$";
/// `Strict-Transport-Security` of two years is usual.
const DURATION_MAX: Duration = Duration::from_hours(DURATION_DAYS_MAX * 24);
const DURATION_DAYS_MAX: u64 = 3 * 366;

/// Parses a duration as the file and the command line have it, such as `1m30s`; `None` if it is invalid or too long.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = after;
    }
    Some(total).filter(|total| *total <= DURATION_MAX && !text.is_empty())
}

fn duration_fault(text: &str) -> Fault {
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    if !number.is_empty() && ["ms", "s", "m", "h", "d"].contains(&unit) {
        let remedy = format!("write {DURATION_DAYS_MAX}d at most");
        return Fault::new(format!("`{}` is too long", shown(text)), remedy);
    }
    let remedy = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("add the unit: {0}s, {0}ms or {0}m", shown(text))
    } else {
        duration_meant(text).map_or_else(|| Period::REMEDY.to_owned(), |meant| format!("write {meant}"))
    };
    Fault::new(format!("`{}` is not a duration", shown(text)), remedy)
}

/// `5 s`, `10sec` and `2min` are durations to other programs.
fn duration_meant(text: &str) -> Option<String> {
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{number}{unit}")).filter(|meant| duration(meant).is_some())
}

/// A duration, zero included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl Scalar for Period {
    const WHAT: &'static str = "a duration";
    const REMEDY: &'static str = "write a duration such as 250ms, 5s or 2m";

    fn parse(text: &str) -> Result<Period, Fault> {
        duration(text).map(Period).ok_or_else(|| duration_fault(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN, "examples": ["250ms", "5s", "2m"] })
    }
}

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NonZeroPeriod(pub(crate) Duration);

impl Scalar for NonZeroPeriod {
    const WHAT: &'static str = "a duration";
    const REMEDY: &'static str = Period::REMEDY;

    fn parse(text: &str) -> Result<NonZeroPeriod, Fault> {
        let duration = duration(text).ok_or_else(|| duration_fault(text))?;
        if duration.is_zero() {
            return Err(Fault::new(
                "this duration may not be zero",
                "write a longer one; `24h` is as good as never",
            ));
        }
        Ok(NonZeroPeriod(duration))
    }

    fn scalar_schema() -> Json {
        Period::scalar_schema()
    }
}

/// A number of bytes above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Scalar for Size {
    const WHAT: &'static str = "a size";
    const REMEDY: &'static str = "write a size such as 512B, 64KiB or 10MiB";

    fn parse(text: &str) -> Result<Size, Fault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        // A plain number is bytes. A leading 0 is refused, since some readers take it for octal.
        let is_unit =
            matches!(unit, "" | "B" | "KiB" | "MiB" | "GiB" | "TiB" | "kB" | "KB" | "MB" | "GB" | "TB");
        let size = text
            .parse::<ByteSize>()
            .ok()
            .filter(|_| is_unit && !number.is_empty() && (number == "0" || !number.starts_with('0')));
        match size.map(|size| size.as_u64()) {
            Some(0) => Err(Fault::new("this size may not be zero", Self::REMEDY)),
            Some(bytes) if bytes < u64::MAX / 2 => Ok(Size(bytes)),
            _ => Err(Fault::new(Self::fault(text).message, size_remedy(text))),
        }
    }

    fn scalar_schema() -> Json {
        let written = "^[0-9]+([KMGT]iB|[kKMGT]?B)?$";
        json!({ "type": ["string", "integer"], "pattern": written, "minimum": 1, "examples": ["32KiB", "10MiB"] })
    }
}

/// `10m` and `64 k` are sizes to other programs.
fn size_remedy(text: &str) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return Size::REMEDY.to_owned(),
    };
    let meant = format!("{number}{unit}");
    let is_size = meant != text && Size::parse(&meant).is_ok();
    if is_size { format!("write {meant}") } else { Size::REMEDY.to_owned() }
}

/// A size from `MIN` to `MAX` bytes, both of them whole KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeIn<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Scalar for SizeIn<MIN, MAX> {
    const WHAT: &'static str = Size::WHAT;
    const REMEDY: &'static str = Size::REMEDY;

    fn parse(text: &str) -> Result<Self, Fault> {
        let Size(bytes) = Size::parse(text)?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Self(bytes));
        }
        let range = format!("write a size from {} to {}", in_units(MIN), in_units(MAX));
        Err(Fault::new(format!("`{}` is out of range", shown(text)), range))
    }

    fn scalar_schema() -> Json {
        Size::scalar_schema()
    }
}

/// A size in the largest unit in which it is a whole number.
pub(crate) fn in_units(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// The fault of a text that is not one of `words`.
pub(crate) fn word_fault(text: &str, what: &str, words: &[&str]) -> Fault {
    let others = if words.len() == 1 { "in this version there is only" } else { "write one of" };
    let remedy = suggest::remedy(text, words.iter().copied(), others);
    Fault::new(format!("`{}` is not {what}", shown(text)), remedy)
}

/// Implements [`Scalar`] for an enum that is written as one of a few words.
macro_rules! words {
    ($ty:ty, $what:literal { $($word:literal => $value:expr),* $(,)? }) => {
        impl $crate::config::decode::Scalar for $ty {
            const WHAT: &'static str = $what;
            const REMEDY: &'static str = concat!("write one of", $(" ", $word),*);

            fn parse(text: &str) -> Result<Self, $crate::config::decode::Fault> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err($crate::config::scalar::word_fault(text, $what, &[$($word),*])),
                }
            }

            fn scalar_schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(Period::parse(text), Ok(Period(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "s", "5", "5 s", "5sec", "1.5s", "-1s", "99999999999999999999s", "9999999d", "1e3s"]
        {
            assert!(Period::parse(text).is_err(), "{text}");
        }
        assert_eq!(Period::parse("30").map_err(|f| f.remedy), Err("add the unit: 30s, 30ms or 30m".into()));
        assert_eq!(Period::parse("730d"), Ok(Period(Duration::from_hours(17_520))));
        let too_long = Period::parse("3650d").map_err(|fault| (fault.message, fault.remedy));
        assert_eq!(too_long, Err(("`3650d` is too long".into(), "write 1098d at most".into())));
        assert!(NonZeroPeriod::parse("0s").is_err());
    }

    #[test]
    fn percentages_have_their_sign() {
        for (text, part) in [("0%", 0.0), ("80%", 0.8), ("12.5 %", 0.125), ("100%", 1.0)] {
            assert_eq!(Percent::parse(text), Ok(Percent(part)), "{text}");
        }
        for text in ["", "%", "101%", "-1%", "1e1%", "0x1%", "nan%", "1.2.3%"] {
            assert!(Percent::parse(text).is_err(), "{text}");
        }
        assert_eq!(Percent::parse("20").map_err(|fault| fault.remedy), Err("add the sign: 20%".into()));
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("512B", 512),
            ("64KiB", 65_536),
            ("10MiB", 10_485_760),
            ("1kB", 1_000),
            ("1MB", 1_000_000),
            ("100", 100),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "064", "0", "KiB", "64K", "64 KiB", "-1B", "0B", "1.5MiB", "99999999999TiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_for_each_second() {
        for (text, rate) in [("10/s", 10), ("0/s", 0), ("5 /s", 5), ("1000000/s", 1_000_000)] {
            assert_eq!(Rate::parse(text), Ok(Rate(rate)), "{text}");
        }
        for text in ["", "/s", "10", "10/m", "-1/s", "+1/s", "1.5/s", "10/s ", "1000001/s", "99999999999/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        assert_eq!(Rate::parse("10").map_err(|fault| fault.remedy), Err("add the unit: 10/s".into()));
    }

    #[test]
    fn numbers_are_what_they_look_like() {
        type Small = Count<1, 10>;
        assert_eq!(Small::parse("10"), Ok(Count(10)));
        for text in ["", "0", "11", "010", "1e1", "0x1", "1_0", "+1", "-1", "1.0", "99999999999999999999"] {
            assert!(Small::parse(text).is_err(), "{text}");
        }
    }
}
