//! The own zone first: how the traffic is divided between the endpoints of this process's zone and the others.

/// The most traffic of an endpoint, relative to the mean of all.
const OWN_MAX: f64 = 1.2;

/// What a weight is multiplied by, so that parts of it are whole numbers.
const UNIT: f64 = 100.0;

/// The factors of weights in the own zone and elsewhere, where `own` and `all` are the sums of weights. `None` for the
/// others: the own zone takes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Factors {
    pub own: u32,
    pub others: Option<u32>,
}

/// `None`: there is nothing to divide. Otherwise the own zone gets all traffic, unless its endpoints would get more than
/// 1.2 times the mean: what is beyond that is spread over the others.
pub(super) fn factors(own: u64, all: u64) -> Option<Factors> {
    if own == 0 || own == all {
        return None;
    }
    let (own, all) = (own as f64, all as f64);
    let whole = all / own;
    let factors = match whole <= OWN_MAX {
        true => Factors { own: UNIT as u32, others: None },
        false => {
            let others = (all - OWN_MAX * own) / (all - own);
            Factors { own: (OWN_MAX * UNIT) as u32, others: Some((others * UNIT).round().max(1.0) as u32) }
        }
    };
    Some(factors)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Balance};
    use crate::pool::tests::{no_wait, pool_config, set};
    use crate::pool::{MayProbe, PickRequest, Picked, Pool, TriedEndpoints};

    /// How many of a thousand requests each endpoint gets; those of zone `a` are this process's own.
    fn counts(balance: Balance, zones: &str, down: &[usize]) -> Vec<usize> {
        let mut config = pool_config(&vec![(1, false); zones.len()], no_wait());
        (config.balance, config.zone) = (balance, Some("a".into()));
        for (spec, zone) in config.endpoints.iter_mut().zip(zones.chars()) {
            spec.attributes.zone = Some(zone.to_string().into());
        }
        let pool = Pool::new(config::Pool { ..config }, None, &Default::default());
        (0..zones.len()).for_each(|index| set(&pool, index, !down.contains(&index)));
        let (tried, mut counts) = (TriedEndpoints::default(), vec![0; zones.len()]);
        for _ in 0..1_000 {
            let request = PickRequest {
                tried: &tried,
                key: None,
                sticky: None,
                may_probe: MayProbe::AtOnce,
                now: Instant::now(),
            };
            let Picked::Endpoint { endpoint, .. } = pool.pick(&request) else { panic!("there is one") };
            let label = endpoint.label();
            let members = pool.members();
            let index = members.iter().position(|member| member.endpoint.label() == label).expect("a member");
            counts[index] += 1;
        }
        counts
    }

    #[test]
    fn the_own_zone_gets_all_that_it_can_take() {
        for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::Random] {
            let all = counts(balance.clone(), "aaaaab", &[]);
            assert_eq!(all[5], 0, "{balance:?}: {all:?}");
            let thirds = counts(balance.clone(), "aabbcc", &[]);
            assert!(thirds[..2].iter().all(|count| (180..=220).contains(count)), "{balance:?}: {thirds:?}");
            assert!(thirds[2..].iter().all(|count| (130..=170).contains(count)), "{balance:?}: {thirds:?}");
        }
    }

    #[test]
    fn without_an_own_endpoint_the_others_share_it() {
        assert_eq!(counts(Balance::RoundRobin, "bbbb", &[]), [250; 4]);
        assert_eq!(counts(Balance::RoundRobin, "abbbb", &[0]), [0, 250, 250, 250, 250]);
        assert_eq!(counts(Balance::RoundRobin, "aaaaab", &[0, 1, 2, 3, 4])[5], 1_000);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_its_part(own in 1u64..1_000, others in 1u64..1_000) {
            let all = own + others;
            let Factors { own: factor, others: rest } = factors(own, all).expect("there are two zones");
            let total = own as f64 * f64::from(factor) + others as f64 * f64::from(rest.unwrap_or(0));
            let mean = total / all as f64;
            prop_assert!(f64::from(factor) <= 1.21 * mean, "{} of {}", factor, mean);
            prop_assert!(rest.is_none_or(|rest| f64::from(rest) <= 1.01 * mean));
        }
    }
}
