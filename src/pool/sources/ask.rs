//! One question to one source.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::dns::{Dns, Host, Service};
use super::lists::Lists;
use super::{Found, HOLD_MIN, http};
use crate::config::{EndpointAddress, EndpointAttributes, Resolve};

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a file with a list is read.
const FILE_HOLD: Duration = Duration::from_millis(500);

/// The largest weight that SRV records get here, which is that of the config.
const WEIGHT_MAX: u64 = 256;

/// What a source has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) struct Answer {
    /// In an order that depends on nothing but what is in it; never empty.
    pub found: Arc<[Found]>,
    /// How long it is not asked again.
    pub hold: Duration,
}

/// Asks sources as one pool's config says.
#[derive(Debug, Clone)]
pub(in crate::pool) struct Asker {
    dns: Arc<Dns>,
    lists: Arc<Lists>,
    resolve: Resolve,
}

impl Asker {
    /// `previous` is that of the pool before, whose name servers it goes on with if they are the same.
    pub fn new(resolve: &Resolve, previous: Option<&Self>) -> Self {
        let same = previous.filter(|previous| previous.resolve.servers == resolve.servers);
        let dns = same.map_or_else(|| Arc::new(Dns::new(&resolve.servers)), |same| same.dns.clone());
        let lists = previous.map(|previous| previous.lists.clone()).unwrap_or_default();
        Self { dns, lists, resolve: resolve.clone() }
    }

    /// Whether both ask the same servers.
    pub fn asks_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dns, &other.dns)
    }

    /// The longest time from one question to the next.
    pub fn longest_hold(&self, source: &EndpointAddress) -> Duration {
        match source {
            EndpointAddress::File(_) => FILE_HOLD,
            EndpointAddress::Http(list) => list.interval,
            _ => self.resolve.interval,
        }
    }

    /// Forgets what is known of lists that are not `wanted`.
    pub fn retain(&self, wanted: impl Fn(&EndpointAddress) -> bool) {
        self.lists.retain(wanted);
    }

    /// `last` is what the source named last.
    pub async fn ask(self, source: EndpointAddress, last: Arc<[Found]>) -> Result<Answer, String> {
        let longest = self.longest_hold(&source);
        in_time(async {
            let (found, ttl) = match &source {
                EndpointAddress::Name { host, port } => {
                    let (found, ttl) = self.host(host, *port, &last).await?;
                    (sorted(found).into(), ttl)
                }
                EndpointAddress::Srv(name) => self.service(name, &last).await?,
                EndpointAddress::File(path) => (self.lists.read(&source, path).await?, longest),
                EndpointAddress::Http(list) => {
                    let text = http::fetch(list, &self.dns).await?;
                    (self.lists.parsed(&source, &list.url, text).await?, longest)
                }
                EndpointAddress::Inet(_) | EndpointAddress::Unix(_) => {
                    return Err("it is no source".to_owned());
                }
            };
            Ok(Answer { found, hold: hold(ttl, longest) })
        })
        .await
    }

    /// The addresses of a host that have a route.
    async fn host(&self, host: &str, port: u16, last: &[Found]) -> Result<(Vec<Found>, Duration), String> {
        let Host { mut addresses, ttl, unanswered } = self.dns.host(host).await?;
        let authority: Arc<str> = format!("{host}:{port}").into();
        // Nothing is known of a family whose question was not answered, so that the last answer stays.
        addresses.extend(
            last.iter()
                .filter(|found| found.authority.as_ref() == Some(&authority))
                .filter_map(|found| match found.address {
                    EndpointAddress::Inet(address) => Some(address.ip()),
                    _ => None,
                })
                .filter(|ip| unanswered.is_some_and(|family| family.has(ip))),
        );
        // 0.0.0.0 is how some name servers refuse an answer, and to connect to it reaches this machine.
        addresses.retain(|ip| !ip.is_unspecified());
        let all = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        let (routed, unrouted): (Vec<_>, Vec<_>) = all.partition(has_route);
        if routed.is_empty() {
            if unrouted.is_empty() {
                return Err("its address is unspecified (0.0.0.0 or ::)".to_owned());
            }
            let addresses: Vec<String> = unrouted.iter().map(|address| address.ip().to_string()).collect();
            return Err(format!("there is no route to {}", addresses.join(", ")));
        }
        let found = |address| Found {
            address: EndpointAddress::Inet(address),
            authority: Some(authority.clone()),
            attributes: None,
        };
        Ok((routed.into_iter().map(found).collect(), ttl))
    }

    /// The addresses of the hosts that SRV records name. Those with the lowest priority number come first; the others
    /// are backups.
    async fn service(&self, name: &str, last: &Arc<[Found]>) -> Result<(Arc<[Found]>, Duration), String> {
        let Service { records, mut ttl } = self.dns.service(name).await?;
        let lowest = records.iter().map(|record| record.priority).min().unwrap_or_default();
        let mut hosts = JoinSet::new();
        for backup in [false, true] {
            let tier: Vec<_> = records.iter().filter(|record| (record.priority > lowest) == backup).collect();
            let weights = scaled(&tier.iter().map(|record| record.weight).collect::<Vec<_>>());
            for (record, weight) in tier.into_iter().zip(weights) {
                let (asker, last, host, port) =
                    (self.clone(), last.clone(), record.host.clone(), record.port);
                let attributes = EndpointAttributes { weight, backup, zone: None };
                hosts.spawn(async move { asker.service_host(&host, port, attributes, &last).await });
            }
        }
        let (mut all, mut failure) = (Vec::new(), None);
        while let Some(host) = hosts.join_next().await {
            match host.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok((found, of_host)) => {
                    ttl = ttl.min(of_host);
                    all.extend(found);
                }
                Err(reason) => failure = failure.or(Some(reason)),
            }
        }
        if all.is_empty() { Err(failure.unwrap_or_default()) } else { Ok((sorted(all).into(), ttl)) }
    }

    /// The addresses of one host of an SRV record, or those that it had last.
    async fn service_host(
        &self,
        host: &str,
        port: u16,
        attributes: EndpointAttributes,
        last: &[Found],
    ) -> Result<(Vec<Found>, Duration), String> {
        let (found, ttl) = self.host(host, port, last).await.or_else(|reason| {
            let authority = format!("{host}:{port}");
            let is_of_host = |found: &&Found| found.authority.as_deref() == Some(&*authority);
            let kept: Vec<Found> = last.iter().filter(is_of_host).cloned().collect();
            if kept.is_empty() { Err(format!("{host}: {reason}")) } else { Ok((kept, HOLD_MIN)) }
        })?;
        let of_record = |found| Found { attributes: Some(attributes.clone()), ..found };
        Ok((found.into_iter().map(of_record).collect(), ttl))
    }
}

/// How long an answer holds that is good for `ttl`.
fn hold(ttl: Duration, longest: Duration) -> Duration {
    ttl.max(HOLD_MIN).min(longest)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
}

/// In order of address. Of several with one address, the first that is no backup stays.
fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    let is_backup = |one: &Found| one.attributes.as_ref().is_some_and(|attributes| attributes.backup);
    found.sort_by(|one, other| {
        let key = |found: &Found| (found.address.clone(), is_backup(found), found.authority.clone());
        key(one).cmp(&key(other))
    });
    found.dedup_by(|one, other| one.address == other.address);
    found
}

/// The weights of SRV records as those of endpoints, in the same proportion as far as it goes. A record with weight 0
/// has a small chance beside others, and the same as others that all have 0 (RFC 2782).
fn scaled(weights: &[u16]) -> Vec<u16> {
    let divisor =
        weights.iter().fold(0, |divisor, weight| greatest_common_divisor(divisor, u64::from(*weight)));
    let most = weights.iter().copied().max().map_or(0, u64::from);
    if most == 0 {
        return vec![1; weights.len()];
    }
    let scale = |weight: u64| match most / divisor {
        largest if largest <= WEIGHT_MAX => weight / divisor,
        _ => (weight * WEIGHT_MAX + most / 2) / most,
    };
    weights.iter().map(|weight| scale(u64::from(*weight)).max(1) as u16).collect()
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// Whether this machine knows a way to the address. A UDP socket that is connected sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let unspecified: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = UdpSocket::bind((unspecified, 0)).and_then(|socket| socket.connect(address));
    !connected.is_err_and(|error| {
        // Without support for its family, a socket cannot be opened or bound.
        error.raw_os_error() == Some(libc::EAFNOSUPPORT)
            || matches!(
                error.kind(),
                io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::AddrNotAvailable
                    | io::ErrorKind::InvalidInput
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_srv_records_keep_their_proportions() {
        assert_eq!(scaled(&[10, 20, 30]), [1, 2, 3]);
        assert_eq!(scaled(&[0, 0]), [1, 1]);
        assert_eq!(scaled(&[0, 5]), [1, 1]);
        assert_eq!(scaled(&[0, 50, 75]), [1, 2, 3]);
        assert_eq!(scaled(&[65_535, 32_768, 1]), [256, 128, 1]);
        assert_eq!(scaled(&[7]), [1]);
        assert!(scaled(&[]).is_empty());
    }

    #[test]
    fn an_answer_holds_for_its_ttl_within_bounds() {
        let seconds = Duration::from_secs;
        let interval = seconds(10);
        for (ttl, held) in [(0, 1), (1, 1), (7, 7), (3600, 10)] {
            assert_eq!(hold(seconds(ttl), interval), seconds(held), "{ttl}");
        }
        assert_eq!(hold(Duration::MAX, interval), interval, "the hosts file");
        assert_eq!(
            hold(seconds(7), Duration::from_millis(100)),
            Duration::from_millis(100),
            "as it is written"
        );
    }

    #[test]
    fn an_address_counts_once_and_rather_not_as_a_backup() {
        let found = |last: u8, weight, backup| Found {
            address: EndpointAddress::Inet(([10, 0, 0, last], 80).into()),
            authority: None,
            attributes: Some(EndpointAttributes { weight, backup, zone: None }),
        };
        let all = vec![found(2, 1, false), found(1, 2, true), found(1, 3, false)];
        assert_eq!(sorted(all), [found(1, 3, false), found(2, 1, false)]);
    }

    #[test]
    fn an_address_without_a_route_is_told_apart() {
        assert!(has_route(&([127, 0, 0, 1], 80).into()));
        // 240.0.0.0/4 is reserved: Linux has no route to it.
        assert!(!has_route(&"[fe80::1]:80".parse().expect("an address")), "which link is meant is not said");
    }

    #[tokio::test]
    async fn names_are_really_looked_up() {
        let asker = Asker::new(&Resolve { interval: Duration::from_secs(10), servers: Vec::new() }, None);
        let ask = |host: &str| {
            asker.clone().ask(EndpointAddress::Name { host: host.into(), port: 80 }, Arc::default())
        };
        let localhost = ask("localhost").await.expect("an answer");
        assert_eq!(localhost.found[0].address.to_string(), "127.0.0.1:80");
        assert_eq!(localhost.hold, Duration::from_secs(10));
        ask("nowhere.invalid").await.expect_err("nobody has that name");
    }
}
