//! What is known of the process: its last samples, its events, and whether it answers.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::rows::{self, Group, Totals};
use super::sample::{Event, Order, Sample};

/// Rates and percentiles are of this time, or of the interval if that is longer.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// Events that are kept.
const EVENTS_MAX: usize = 500;

/// What comes from asking the process.
#[derive(Debug)]
pub(super) enum Answer {
    Sample(Box<Sample>),
    /// Why there is none.
    Silent(String),
    /// What became of an order.
    Ordered(Order, Result<String, String>),
}

pub(super) struct Model {
    /// The oldest is [`WINDOW`] old or a bit more, as soon as there is such a one; all are of the same process.
    samples: VecDeque<Sample>,
    /// Since when it does not answer, and why.
    silent: Option<(Timestamp, String)>,
    /// The oldest first: those of the process, and what was seen from here.
    events: VecDeque<Event>,
    /// Of the newest event of the process.
    last_event: String,
}

// === impl Model ===

impl Model {
    pub fn new(first: Sample) -> Self {
        let mut model = Self {
            samples: VecDeque::new(),
            silent: None,
            events: VecDeque::new(),
            last_event: String::new(),
        };
        model.add(first, Timestamp::UNIX_EPOCH);
        model
    }

    pub fn take(&mut self, answer: Answer, now: Timestamp) {
        match answer {
            Answer::Sample(sample) => {
                if self.silent.take().is_some() {
                    self.tell(format!("pid {} answers", sample.status.pid), now);
                }
                self.add(*sample, now);
            }
            Answer::Silent(why) => match &mut self.silent {
                Some((_, silent)) => *silent = why,
                None => {
                    self.tell(format!("no answer: {why}"), now);
                    self.silent = Some((now, why));
                }
            },
            Answer::Ordered(order, outcome) => {
                let (command, endpoint) = (order.command.name(), &order.endpoint);
                self.tell(
                    match outcome {
                        Ok(said) => said,
                        Err(why) => format!("{command} of {endpoint} refused: {why}"),
                    },
                    now,
                );
            }
        }
    }

    /// Adds what was seen from here to the events.
    pub fn tell(&mut self, text: String, now: Timestamp) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        self.push(Event { at, text: format!("top      {}", crate::human::safe(&text)) });
    }

    fn add(&mut self, sample: Sample, now: Timestamp) {
        let last = self.samples.back().map(|last| (last.status.pid, last.status.generation));
        if let Some((pid, generation)) = last {
            let after = &sample.status;
            if pid != after.pid {
                self.tell(format!("pid {} has taken the place of pid {pid}", after.pid), now);
                // Its counts are others.
                self.samples.clear();
                self.last_event.clear();
            } else if generation != after.generation {
                self.tell(format!("generation {} is in force", after.generation), now);
            }
        }
        self.add_events(&sample.events);
        self.samples.push_back(sample);
        let newest = self.newest().at;
        while self.samples.len() > 2 && newest.saturating_sub(self.samples[1].at) >= WINDOW {
            self.samples.pop_front();
        }
    }

    /// Events come again in each sample for a minute.
    fn add_events(&mut self, events: &[Event]) {
        for event in events.iter().filter(|event| event.at >= self.last_event).collect::<Vec<_>>() {
            if !self.events.contains(event) {
                self.push(event.clone());
            }
        }
        if let Some(last) = events.last() {
            self.last_event.clone_from(&last.at);
        }
    }

    fn push(&mut self, event: Event) {
        let at = self.events.partition_point(|before| before.at <= event.at);
        self.events.insert(at, event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// There is one from the beginning on.
    pub fn newest(&self) -> &Sample {
        self.samples.back().expect("`new` has added one, and the last one is never taken away")
    }

    fn oldest(&self) -> Option<&Sample> {
        self.samples.front()
    }

    pub fn groups(&self) -> Vec<Group> {
        rows::groups(self.newest(), self.oldest())
    }

    pub fn totals(&self) -> Totals {
        rows::totals(self.newest(), self.oldest())
    }

    /// Since when the process does not answer, and why.
    pub fn silent(&self) -> Option<&(Timestamp, String)> {
        self.silent.as_ref()
    }

    /// The last ones, the oldest of them first.
    pub fn last_events(&self, count: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().skip(self.events.len().saturating_sub(count))
    }
}
