//! Counts what comes of the lines, in groups.

use std::collections::HashMap;

use jiff::Timestamp;

use super::fate::{Act, Compared, Difference, Verdict, compare};
use super::judge::{Judge, Memory, NAMES_MAX};
use super::line::Line;
use super::report::{Destination, Example, Group, NotJudged, Report, Unreadable};

/// The most groups that are kept apart: names in a log could be without end.
const GROUPS_MAX: usize = 1_000;

/// The longest part of a request that is shown.
const SHOWN_MAX: usize = 200;

const NO_HOST: &str = "the log has no hosts: say with --host whom its requests asked for";

#[derive(Default)]
pub(super) struct Tally {
    lines: u64,
    same: u64,
    groups: HashMap<Difference, Counted>,
    /// Lines of groups beyond those.
    others: u64,
    not_judged: HashMap<&'static str, Counted>,
    /// Of lines that cannot be read; the example has the reason.
    unreadable: Option<Counted>,
    /// By route and pool.
    destinations: HashMap<(String, Option<String>), u64>,
    /// By index of the name: requests whose decision asked for a field that the log has not.
    asked: Vec<u64>,
    tells_no_decision: u64,
    span: Option<(Timestamp, Timestamp)>,
}

/// How many there are, and the first.
struct Counted {
    count: u64,
    first: Example,
}

// === impl Tally ===

impl Tally {
    pub fn add(&mut self, number: u64, line: Result<Line<'_>, String>, judge: &Judge, memory: &mut Memory) {
        self.lines += 1;
        match line {
            Ok(line) => self.add_line(number, &line, judge, memory),
            Err(reason) => Counted::add(&mut self.unreadable, || Example { line: number, request: reason }),
        }
    }

    fn add_line(&mut self, number: u64, line: &Line<'_>, judge: &Judge, memory: &mut Memory) {
        let (from, to) = self.span.unwrap_or((line.at, line.at));
        self.span = Some((from.min(line.at), to.max(line.at)));
        self.tells_no_decision += u64::from(!line.tells_decision);
        let example = || Example { line: number, request: shown(line) };
        if line.has_request() && judge.lacks_host(line) {
            return self.add_not_judged(NO_HOST, example);
        }
        let verdict = judge.judge(line, memory);
        match compare(line, &verdict) {
            Compared::NotJudged(reason) => return self.add_not_judged(reason, example),
            Compared::Same => self.same += 1,
            Compared::Different(difference) => self.add_different(*difference, example),
        }
        self.note(verdict);
    }

    fn add_not_judged(&mut self, reason: &'static str, example: impl FnOnce() -> Example) {
        let mut counted = self.not_judged.remove(reason);
        Counted::add(&mut counted, example);
        self.not_judged.extend(counted.map(|counted| (reason, counted)));
    }

    fn add_different(&mut self, difference: Difference, example: impl FnOnce() -> Example) {
        if let Some(counted) = self.groups.get_mut(&difference) {
            counted.count += 1;
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(difference, Counted { count: 1, first: example() });
        } else {
            self.others += 1;
        }
    }

    fn note(&mut self, verdict: Verdict) {
        if verdict.asked != 0 {
            self.asked.resize(NAMES_MAX, 0);
            let is_asked = |index: usize| verdict.asked >> index & 1;
            self.asked.iter_mut().enumerate().for_each(|(index, count)| *count += is_asked(index));
        }
        if let Some(route) = verdict.fate.route {
            let pool = verdict.fate.pool.filter(|_| matches!(verdict.fate.act, Act::Forwarded { .. }));
            *self.destinations.entry((route, pool)).or_default() += 1;
        }
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.same += other.same;
        self.others += other.others;
        self.tells_no_decision += other.tells_no_decision;
        for (difference, counted) in other.groups {
            if self.groups.len() < GROUPS_MAX || self.groups.contains_key(&difference) {
                let mut own = self.groups.remove(&difference);
                counted.add_to(&mut own);
                self.groups.extend(own.map(|own| (difference, own)));
            } else {
                self.others += counted.count;
            }
        }
        for (reason, counted) in other.not_judged {
            let mut own = self.not_judged.remove(reason);
            counted.add_to(&mut own);
            self.not_judged.extend(own.map(|own| (reason, own)));
        }
        other.unreadable.into_iter().for_each(|counted| counted.add_to(&mut self.unreadable));
        for (destination, count) in other.destinations {
            *self.destinations.entry(destination).or_default() += count;
        }
        self.asked.resize(self.asked.len().max(other.asked.len()), 0);
        self.asked.iter_mut().zip(other.asked).for_each(|(own, other)| *own += other);
        self.span = match (self.span, other.span) {
            (Some((from, to)), Some((other_from, other_to))) => {
                Some((from.min(other_from), to.max(other_to)))
            }
            (own, other) => own.or(other),
        };
    }

    pub fn report(self, judge: &Judge) -> Report {
        let mut groups: Vec<_> = self.groups.into_iter().map(group).collect();
        groups.sort_by(|a, b| b.requests.cmp(&a.requests).then(a.example.line.cmp(&b.example.line)));
        let mut not_judged: Vec<_> = self.not_judged.into_iter().map(not_judged).collect();
        not_judged.sort_by_key(|other| std::cmp::Reverse(other.requests));
        let mut destinations: Vec<_> = self.destinations.into_iter().map(destination).collect();
        destinations.sort_by(|a, b| b.requests.cmp(&a.requests).then(a.route.cmp(&b.route)));
        let names = judge.names.iter().zip(self.asked).filter(|(_, requests)| *requests > 0);
        Report {
            lines: self.lines,
            from: self.span.map(|(from, _)| from.to_string()),
            to: self.span.map(|(_, to)| to.to_string()),
            same: self.same,
            different: groups.iter().map(|group| group.requests).sum::<u64>() + self.others,
            groups,
            other_groups: self.others,
            not_judged,
            unreadable: self.unreadable.map(|Counted { count, first }| Unreadable {
                lines: count,
                line: first.line,
                reason: first.request,
            }),
            headers_absent: names.map(|(name, requests)| (name.to_string(), requests)).collect(),
            tells_no_decision: self.tells_no_decision,
            destinations,
        }
    }
}

fn group((difference, Counted { count, first }): (Difference, Counted)) -> Group {
    let Difference { was, now, path, unsure } = difference;
    Group { requests: count, was, now, path, unsure, example: first }
}

fn not_judged((reason, Counted { count, first }): (&'static str, Counted)) -> NotJudged {
    NotJudged { requests: count, reason, example: first }
}

fn destination(((route, pool), requests): ((String, Option<String>), u64)) -> Destination {
    Destination { route, pool, requests }
}

// === impl Counted ===

impl Counted {
    fn add(to: &mut Option<Self>, example: impl FnOnce() -> Example) {
        match to {
            Some(counted) => counted.count += 1,
            None => *to = Some(Self { count: 1, first: example() }),
        }
    }

    fn add_to(self, to: &mut Option<Self>) {
        *to = Some(match to.take() {
            None => self,
            Some(own) => {
                let count = own.count + self.count;
                let first = if own.first.line <= self.first.line { own.first } else { self.first };
                Self { count, first }
            }
        });
    }
}

/// `GET example.com/v1/x`, cut where it is long.
fn shown(line: &Line<'_>) -> String {
    let whole = format!("{} {}{}", line.method, line.host, line.target);
    match whole.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}
