//! Which endpoint a scenario means, and what ails it when.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Ailments, HEALTHY};
use super::scenario::{Fault, FaultKind, ForEndpoint, ScenarioError};

/// Stands for each endpoint.
const ALL: &str = "all";

/// The endpoints of the simulated pool, by which those of a scenario are known.
pub struct Names<'a> {
    pub pool: &'a str,
    pub labels: &'a [Arc<str>],
}

impl Names<'_> {
    /// The endpoints that are meant by an address, a part of one that no other has, or `all`.
    pub fn find(&self, given: &str) -> Result<Vec<usize>, ScenarioError> {
        if given == ALL {
            return Ok((0..self.labels.len()).collect());
        }
        let labels = || self.labels.iter().enumerate();
        if let Some((index, _)) = labels().find(|(_, label)| &***label == given) {
            return Ok(vec![index]);
        }
        let found: Vec<usize> =
            labels().filter(|(_, label)| label.contains(given)).map(|(index, _)| index).collect();
        match found[..] {
            [_] => Ok(found),
            [] => Err(ScenarioError::UnknownEndpoint {
                given: given.to_owned(),
                pool: self.pool.to_owned(),
                known: listed(self.labels.iter()),
            }),
            _ => Err(ScenarioError::AmbiguousEndpoint {
                given: given.to_owned(),
                found: listed(found.iter().filter_map(|index| self.labels.get(*index))),
            }),
        }
    }

    /// The value of each endpoint.
    pub fn values<T: Clone>(&self, given: &[ForEndpoint<T>], usual: T) -> Result<Vec<T>, ScenarioError> {
        let mut values = vec![usual; self.labels.len()];
        for ForEndpoint { endpoint, value } in given {
            for index in self.find(endpoint.as_deref().unwrap_or(ALL))? {
                values[index] = value.clone();
            }
        }
        Ok(values)
    }
}

/// At most ten, so that an error stays readable.
fn listed<'a>(labels: impl Iterator<Item = &'a Arc<str>>) -> String {
    let labels: Vec<&str> = labels.map(|label| &**label).collect();
    let more = labels.len().saturating_sub(10);
    let shown = labels[..labels.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A fault with the endpoints that it is about.
#[derive(Debug)]
pub struct Ailing {
    pub endpoints: Vec<usize>,
    pub fault: Fault,
}

impl Ailing {
    /// `end`: of the simulation.
    pub fn all(faults: &[Fault], names: &Names<'_>, end: Duration) -> Result<Vec<Self>, ScenarioError> {
        let ailing = faults.iter().map(|fault| {
            let endpoints = names.find(&fault.endpoint)?;
            if fault.begin >= end {
                return Err(ScenarioError::AfterEnd {
                    endpoint: fault.endpoint.clone(),
                    at: fault.begin,
                    end,
                });
            }
            Ok(Self { endpoints, fault: fault.clone() })
        });
        ailing.collect()
    }

    fn is_at(&self, endpoint: usize, now: Duration) -> bool {
        let Fault { begin, end, .. } = self.fault;
        begin <= now && end.is_none_or(|end| now < end) && self.endpoints.contains(&endpoint)
    }
}

/// What ails an endpoint now.
pub fn ailments(all: &[Ailing], endpoint: usize, now: Duration) -> Ailments {
    let mut ailments = HEALTHY;
    for ailing in all.iter().filter(|ailing| ailing.is_at(endpoint, now)) {
        match ailing.fault.kind {
            FaultKind::Kill => ailments.killed = true,
            FaultKind::Stop => ailments.stopped = true,
            FaultKind::Slow(times) => ailments.slow *= times,
            FaultKind::Fail { status, part } => ailments.fails = Some((status, part)),
        }
    }
    ailments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scenario;

    fn labels() -> Vec<Arc<str>> {
        ["10.0.0.1:80", "10.0.0.10:80", "10.0.0.2:80"].map(Into::into).to_vec()
    }

    fn names(labels: &[Arc<str>]) -> Names<'_> {
        Names { pool: "api", labels }
    }

    #[test]
    fn an_endpoint_is_known_by_a_part_of_its_address() {
        let labels = labels();
        let find = |given: &str| names(&labels).find(given).map_err(|error| error.to_string());
        assert_eq!(find("10.0.0.1:80"), Ok(vec![0]));
        assert_eq!(find("0.2:"), Ok(vec![2]));
        assert_eq!(find("all"), Ok(vec![0, 1, 2]));
        let unknown = find("10.0.0.3:80").expect_err("it is not there");
        assert_eq!(
            unknown,
            "no endpoint of pool api is called 10.0.0.3:80; it has: 10.0.0.1:80, 10.0.0.10:80, 10.0.0.2:80"
        );
        assert!(find("10.0.0.1").expect_err("there are two").contains("10.0.0.1:80, 10.0.0.10:80"));
    }

    #[test]
    fn faults_add_up_while_they_last() {
        let (labels, second) = (labels(), Duration::from_secs(1));
        let faults = [
            scenario::slow("0.2:=5x@10s+10s").expect("it is right"),
            scenario::slow("all=2x@15s+10s").expect("it is right"),
            scenario::kill("0.2:@30s").expect("it is right"),
        ];
        let all = Ailing::all(&faults, &names(&labels), 60 * second).expect("they are right");
        let slow = |at: u32| ailments(&all, 2, at * second).slow;
        assert_eq!([9, 10, 15, 20, 25].map(slow), [1.0, 5.0, 10.0, 2.0, 1.0]);
        assert!(ailments(&all, 2, 30 * second).killed && !ailments(&all, 0, 30 * second).killed);
        let late = Ailing::all(&faults, &names(&labels), 30 * second).expect_err("the end is before");
        assert_eq!(
            late.to_string(),
            "0.2:: 30s is not before the end of the simulation at 30s; simulate more with --for"
        );
    }
}
