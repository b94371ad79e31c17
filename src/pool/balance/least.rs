//! The endpoint with the least load: of all in a small pool, of two by chance in a large one.

use smallvec::SmallVec;

use super::{Group, PickInput, chance};

/// The most endpoints that are all looked at. In larger pools two are, by chance: their load is nearly as even (the power
/// of two choices; Mitzenmacher, TPDS 2001), and many proxies do not all go to the same endpoint.
const SCAN_MAX: usize = 8;

/// How often another second choice is drawn where the first and the second are the same.
const DRAWS: u64 = 8;

/// Times that differ by less are the same to `least_time`: between endpoints that are equally fast, small differences
/// must not decide.
const SAME_TIME: f64 = 1.25;

/// `least_requests`: fewest requests in flight by weight. None is less than some, whatever the weights.
pub(super) fn by_requests<const CLAIMS: bool>(
    group: &Group,
    input: &PickInput<CLAIMS>,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let load = |position| {
        let member = group.member(position)?;
        let in_flight = member.endpoint.exact_in_flight();
        Some(if in_flight == 0 { 0.0 } else { (in_flight + 1) as f64 / f64::from(group.weight(position)) })
    };
    least(group, input, may, |position| load(position).unwrap_or(f64::INFINITY), 1.0)
}

/// `least_time`: least time to the first byte, times requests in flight, by weight.
pub(super) fn by_time<const CLAIMS: bool>(
    group: &Group,
    input: &PickInput<CLAIMS>,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let own = group.own(input.turn).filter(|own| may(*own));
    let is_starved = |own: &usize| {
        group.member(*own).is_some_and(|member| {
            let time = member.endpoint.response_time();
            time.is_starved(input.now) && (!CLAIMS || time.claim_starved(input.now))
        })
    };
    let load = |position| {
        let member = group.member(position)?;
        Some(
            member
                .endpoint
                .response_time()
                .expected(member.endpoint.exact_in_flight(), group.weight(position)),
        )
    };
    own.filter(is_starved)
        .or_else(|| least(group, input, may, |position| load(position).unwrap_or(f64::INFINITY), SAME_TIME))
}

/// The least loaded of those that `may` be picked: of equals, the first from the one on whose turn it is. A load is
/// equal to the least up to `same` times it.
fn least<const CLAIMS: bool>(
    group: &Group,
    input: &PickInput<CLAIMS>,
    may: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> f64,
    same: f64,
) -> Option<usize> {
    let (own, count) = (group.own(input.turn)?, group.len());
    let in_order = || (own..count).chain(0..own).filter(|position| may(*position));
    if count <= SCAN_MAX {
        let loads: SmallVec<[(f64, usize); SCAN_MAX]> =
            in_order().map(|position| (load(position), position)).collect();
        let least = loads.iter().map(|(load, _)| *load).reduce(f64::min)?;
        return loads.into_iter().find(|(load, _)| *load <= least * same).map(|(_, position)| position);
    }
    let first = in_order().next()?;
    let draw = |step: u64| group.draw(chance::mix(input.turn as u64 ^ step << 56));
    let other = (0..DRAWS).map(draw).find(|position| *position != first && may(*position));
    let Some(second) = other.or_else(|| in_order().nth(1)) else { return Some(first) };
    Some(if load(first) <= load(second) * same { first } else { second })
}
