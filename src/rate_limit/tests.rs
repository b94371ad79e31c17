//! Limits on a virtual clock, over threads, and in memory.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn quota(count: u32, period: Duration, burst: u32) -> Quota {
    Quota::new(count, period, burst).expect("a quota")
}

fn limiters() -> [RateLimiter; 2] {
    [RateLimiter::of_one(), RateLimiter::of_keys(100)]
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate() {
    for limiter in limiters() {
        let (quota, key, start) = (quota(10, SECOND, 5), limiter.key(0, b"a"), Instant::now());
        let passes = |millis: u64| limiter.take(&quota, key, start + Duration::from_millis(millis));
        assert_eq!((0..9).filter(|_| passes(0).is_ok()).count(), 5);
        assert_eq!(passes(0), Err(TooMany { wait: Duration::from_millis(100) }));
        assert_eq!(passes(99), Err(TooMany { wait: Duration::from_millis(1) }));
        assert_eq!(passes(100), Ok(()));
        assert_eq!(passes(199), Err(TooMany { wait: Duration::from_millis(1) }));
        assert_eq!((0..9).filter(|_| passes(450).is_ok()).count(), 3);
        assert_eq!((0..9).filter(|_| passes(10_000).is_ok()).count(), 5);
    }
}

#[test]
fn keys_have_limits_of_their_own() {
    let (limiter, quota, now) = (RateLimiter::of_keys(100), quota(1, SECOND, 1), Instant::now());
    for kind in 0..2 {
        for text in ["a", "b", ""] {
            let key = limiter.key(kind, text.as_bytes());
            assert_eq!(limiter.take(&quota, key, now), Ok(()), "{kind} {text}");
            assert!(limiter.take(&quota, key, now).is_err(), "{kind} {text}");
        }
    }
    assert_eq!(limiter.keys(), 6);
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    for limiter in limiters() {
        let (quota, key, now) = (quota(1, SECOND, 2), limiter.key(0, b"a"), Instant::now());
        assert!(limiter.take(&quota, key, now).is_ok() && limiter.take(&quota, key, now).is_ok());
        limiter.give_back(&quota, key, now);
        assert!(limiter.take(&quota, key, now).is_ok());
        assert!(limiter.take(&quota, key, now).is_err());
        // Never more than a whole burst.
        (0..9).for_each(|_| limiter.give_back(&quota, key, now));
        assert_eq!((0..9).filter(|_| limiter.take(&quota, key, now).is_ok()).count(), 2);
    }
}

/// As a reload does it: the debt stays, and is never more than a burst of the new quota.
#[test]
fn another_quota_goes_on_with_what_was_counted() {
    for limiter in limiters() {
        let (key, now) = (limiter.key(0, b"a"), Instant::now());
        let slow = quota(1, SECOND, 10);
        (0..10).for_each(|_| limiter.take(&slow, key, now).expect("a burst"));
        let fast = quota(100, SECOND, 50);
        assert!(limiter.take(&fast, key, now).is_err(), "it does not begin anew");
        let soon = now + Duration::from_millis(500);
        assert_eq!((0..99).filter(|_| limiter.take(&fast, key, soon).is_ok()).count(), 50);
    }
}

#[test]
fn the_key_that_was_not_seen_for_longest_is_forgotten() {
    let (limiter, quota, start) =
        (RateLimiter::of_keys(3), quota(1, Duration::from_secs(60), 1), Instant::now());
    let take = |name: &str, at| limiter.take(&quota, limiter.key(0, name.as_bytes()), start + at * SECOND);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(take(name, at as u32), Ok(()));
    }
    assert!(take("a", 3).is_err(), "seen again, so that `b` is the oldest");
    assert_eq!(take("d", 4), Ok(()));
    assert_eq!((limiter.keys(), limiter.forgotten()), (3, 1));
    for name in ["a", "c", "d"] {
        assert!(take(name, 5).is_err(), "{name}");
    }
    assert_eq!(take("b", 6), Ok(()), "it begins anew");
    // Keys whose time has passed make room without loss, and the table does not grow for them.
    for number in 0..1000 {
        assert_eq!(take(&number.to_string(), 1000 + 100 * number), Ok(()));
    }
    assert_eq!((limiter.keys(), limiter.forgotten()), (3, 2));
}

#[test]
fn a_table_remembers_as_many_keys_as_it_says_and_not_many_more() {
    for most in [1, 2, 7, 1000, 1024, 5000, 100_000] {
        let (limiter, quota, now) = (RateLimiter::of_keys(most), quota(1, SECOND, 1), Instant::now());
        let key = |number: usize| limiter.key(0, &number.to_le_bytes());
        assert!((0..most).all(|number| limiter.take(&quota, key(number), now).is_ok()));
        assert!((0..most).all(|number| limiter.take(&quota, key(number), now).is_err()), "{most}");
        assert_eq!((limiter.keys(), limiter.forgotten()), (most, 0));
        assert!((most..3 * most).all(|number| limiter.take(&quota, key(number), now).is_ok()));
        assert!(limiter.keys() <= most + most / 4, "{most}: {}", limiter.keys());
        assert_eq!(limiter.keys() as u64 + limiter.forgotten(), 3 * most as u64);
    }
}

/// Reads how much of this process is resident.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).expect("pages").parse().expect("a number");
    pages * 4096
}

/// A million keys take at most 64 MB, also while more come and go.
#[test]
fn a_million_keys_fit_in_64_megabytes() {
    const KEYS: u64 = 1_000_000;
    let before = resident_bytes();
    let (limiter, quota, now) = (RateLimiter::of_keys(KEYS as usize), quota(1, SECOND, 1), Instant::now());
    let take = |number: u64| limiter.take(&quota, limiter.key(0, &number.to_le_bytes()), now);
    assert!((0..KEYS).all(|number| take(number).is_ok()));
    assert_eq!((limiter.keys(), limiter.forgotten()), (KEYS as usize, 0));
    assert!((KEYS - 1000..KEYS).all(|number| take(number).is_err()));
    assert!((KEYS..3 * KEYS).all(|number| take(number).is_ok()));
    let taken = resident_bytes().saturating_sub(before);
    assert!(taken <= 64_000_000, "{taken} bytes");
    assert!(taken >= 16_000_000, "{taken} bytes: the measurement sees them");
    assert!(limiter.keys() <= 1_050_000, "{}", limiter.keys());
}

/// Four threads that all want more than there is get exactly as much as one would.
#[test]
fn a_limit_is_exact_over_threads() {
    for limiter in limiters() {
        let (quota, start) = (quota(1000, SECOND, 100), Instant::now());
        let key = limiter.key(0, b"all");
        let passed = AtomicUsize::new(0);
        let step = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        // Steps of 10 us of virtual time: 100 times the rate.
                        let at = step.fetch_add(1, Ordering::Relaxed);
                        if at > 300_000 {
                            return;
                        }
                        let now = start + Duration::from_micros(10 * at);
                        passed.fetch_add(limiter.take(&quota, key, now).is_ok().into(), Ordering::Relaxed);
                    }
                });
            }
        });
        // Three seconds, and the burst.
        let passed = passed.into_inner();
        assert!((3070..=3101).contains(&passed), "{passed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// In no window of time pass more than the burst and what the rate allows in it; and who asks all the time gets what
    /// the rate allows, within 1 %.
    #[test]
    fn no_window_has_more_than_its_share(
        count in 1_u32..5000,
        burst in 1_u32..200,
        by_keys: bool,
        gaps in prop::collection::vec((0_u64..3_000, 1_usize..8), 200..600),
    ) {
        let limiter = if by_keys { RateLimiter::of_keys(10) } else { RateLimiter::of_one() };
        let (quota, start) = (quota(count, SECOND, burst), Instant::now());
        let key = limiter.key(0, b"a");
        let (mut micros, mut passed) = (0, VecDeque::new());
        for (gap, requests) in gaps {
            micros += gap;
            for _ in 0..requests {
                if limiter.take(&quota, key, start + Duration::from_micros(micros)).is_ok() {
                    passed.push_back(micros);
                }
            }
        }
        for (index, begin) in passed.iter().enumerate().step_by(7) {
            for (other, end) in passed.iter().enumerate().skip(index).step_by(5) {
                let allowed = f64::from(burst) + (end - begin) as f64 * f64::from(count) / 1e6 * 1.001;
                prop_assert!(((other - index) as f64) < allowed + 0.001, "{index}..{other}");
            }
        }
    }

    #[test]
    fn who_asks_all_the_time_gets_the_rate(count in 1_u32..3000, burst in 1_u32..100, together in 1_u32..50) {
        let (limiter, quota, start) = (RateLimiter::of_keys(10), quota(count, SECOND, burst), Instant::now());
        let key = limiter.key(0, b"a");
        let together = together.min(burst);
        // Twice the rate, in bursts of `together`, for as long as ten thousand requests take.
        let pause = Duration::from_secs_f64(f64::from(together) / f64::from(count) / 2.0);
        let mut passed = 0;
        for step in 0..20_000 / together {
            for _ in 0..together {
                passed += u32::from(limiter.take(&quota, key, start + pause * step).is_ok());
            }
        }
        let expected = f64::from(burst) + f64::from(20_000 / together * together) / 2.0;
        prop_assert!((f64::from(passed) / expected - 1.0).abs() < 0.01, "{passed} of {expected}");
    }
}
