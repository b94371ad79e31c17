//! Each route, and the first of its conditions that the request does not meet.

use super::conditions::{in_words, kind};
use super::{Asked, RouteExplanation, RouteVerdict, Stage};
use crate::config;
use crate::exchange::decide;
use crate::routing::{RequestHead, RouteOutcome, first_failed};

impl Asked {
    /// In the order of the file, at most `most`, and how many more there are; none where the request does not come to
    /// routing. `head` has the path that was matched.
    pub fn explain_routes<H: RequestHead>(&self, head: &H, most: usize) -> (Vec<RouteExplanation>, usize) {
        if self.asking.stage < Stage::Route {
            return (Vec::new(), 0);
        }
        let client = self.exchange.sender.client().ip();
        let outcome = decide(&self.snapshot, head, client).trace;
        let explain = |(index, route): (usize, &config::Route)| {
            let (verdict, failed, why) = match outcome {
                RouteOutcome::Matched(chosen, summary) if chosen == index => {
                    (RouteVerdict::Chosen, None, summary.to_string())
                }
                _ if !route.enabled => (RouteVerdict::Fails, Some("enabled"), "it is not enabled".to_owned()),
                _ => match first_failed(&route.matches, head, client) {
                    Some(failed) => {
                        let why = in_words(failed, &route.matches, head, client);
                        (RouteVerdict::Fails, Some(kind(failed)), why)
                    }
                    None => (RouteVerdict::Matches, None, self.comes_first(&outcome)),
                },
            };
            RouteExplanation { name: route.name.to_string(), verdict, failed: failed.map(Into::into), why }
        };
        let routes = &self.snapshot.config().routes;
        let mut all: Vec<RouteExplanation> = routes.iter().enumerate().map(explain).collect();
        let left_out = all.len().saturating_sub(most);
        if left_out > 0 {
            keep_nearest(&mut all, most);
        }
        (all, left_out)
    }

    fn comes_first(&self, outcome: &RouteOutcome) -> String {
        let chosen = outcome.route().and_then(|index| self.snapshot.routes().get(index));
        let name = chosen.map_or("another one", |route| &route.name);
        format!("it matches, and {name} comes first")
    }
}

/// Keeps those that came nearest, in their order.
fn keep_nearest(all: &mut Vec<RouteExplanation>, most: usize) {
    let distance = |route: &RouteExplanation| match (route.verdict, route.failed.as_deref()) {
        (RouteVerdict::Chosen, _) => 0,
        (RouteVerdict::Matches, _) => 1,
        (RouteVerdict::Fails, Some("enabled")) => 4,
        (RouteVerdict::Fails, Some("host")) => 5,
        (RouteVerdict::Fails, Some("path")) => 3,
        (RouteVerdict::Fails, _) => 2,
    };
    let mut order: Vec<(u8, usize)> =
        all.iter().enumerate().map(|(at, route)| (distance(route), at)).collect();
    order.sort_unstable();
    let mut kept: Vec<usize> = order.into_iter().take(most).map(|(_, at)| at).collect();
    kept.sort_unstable();
    let mut at = 0..;
    all.retain(|_| at.next().is_some_and(|at| kept.binary_search(&at).is_ok()));
}
