//! Asks name servers for addresses and SRV records, and the hosts file for addresses before them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::Instant;

use crate::file;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The files are read again when they have not been for this long.
const FILES_HOLD: Duration = Duration::from_millis(500);

/// The longest wait for one name server, so that there is time for another.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The most records of one answer that are used.
const RECORDS_MAX: usize = 1024;

/// The addresses of a host.
pub(super) struct Host {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
    /// A family whose addresses are not known, because only the question for the other one was answered.
    pub unanswered: Option<Family>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The SRV records of a name; at least one.
pub(super) struct Service {
    pub records: Vec<ServiceRecord>,
    pub ttl: Duration,
}

pub(super) struct ServiceRecord {
    pub priority: u16,
    pub weight: u16,
    pub host: String,
    pub port: u16,
}

/// Name servers: those of the system, as its files say at the moment, or others.
#[derive(Debug)]
pub(crate) struct Dns {
    /// Empty: the system's.
    servers: Vec<SocketAddr>,
    client: tokio::sync::Mutex<Option<(Instant, Arc<Client>)>>,
}

/// The system's files, empty where they are missing or not used.
#[derive(Debug, PartialEq, Eq, Default)]
struct Files {
    resolv_conf: Vec<u8>,
    hosts: Vec<u8>,
}

struct Client {
    files: Files,
    resolver: TokioResolver,
    hosts: Hosts,
}

/// Records of one type, or why there are none.
type Records = Result<(Vec<RData>, Duration), NoRecords>;

enum NoRecords {
    /// The name is unknown (NXDOMAIN).
    NoName,
    /// The name has records of other types only.
    NoneOfType,
    Unanswered(String),
}

// === impl Dns ===

impl Dns {
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), client: tokio::sync::Mutex::default() }
    }

    /// The addresses of a host; at least one.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        self.host(host).await.map(|host| host.addresses)
    }

    /// The addresses of a host, at least one, and how long they hold.
    pub(super) async fn host(&self, host: &str) -> Result<Host, String> {
        let client = self.client().await?;
        let name = Name::from_ascii(host).map_err(|error| error.to_string())?;
        if let Some(known) = client.in_hosts_file(&name) {
            return Ok(known);
        }
        let (v4, v6) =
            tokio::join!(client.records(name.clone(), RecordType::A), client.records(name, RecordType::AAAA));
        merged(v4, v6)
    }

    pub(super) async fn service(&self, name: &str) -> Result<Service, String> {
        let client = self.client().await?;
        let name = Name::from_ascii(name).map_err(|error| error.to_string())?;
        let (data, ttl) =
            client.records(name, RecordType::SRV).await.map_err(|none| none.reason("SRV record"))?;
        let record = |data| match data {
            RData::SRV(srv) if !srv.target.is_root() => Some(ServiceRecord {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_ascii().trim_end_matches('.').to_lowercase(),
                port: srv.port,
            }),
            _ => None,
        };
        let records: Vec<_> = data.into_iter().filter_map(record).filter(|record| record.port > 0).collect();
        if records.is_empty() {
            return Err("its SRV records say that the service is not offered".to_owned());
        }
        Ok(Service { records, ttl })
    }

    /// The client for the system's files as they are now.
    async fn client(&self) -> Result<Arc<Client>, String> {
        let mut current = self.client.lock().await;
        if let Some((at, client)) = &*current
            && (!self.servers.is_empty() || at.elapsed() < FILES_HOLD)
        {
            return Ok(client.clone());
        }
        let files = if self.servers.is_empty() { Files::read().await } else { Files::default() };
        let same = current.take().map(|(_, client)| client).filter(|client| client.files == files);
        let client = match same {
            Some(client) => client,
            None => Arc::new(Client::new(files, &self.servers)?),
        };
        *current = Some((Instant::now(), client.clone()));
        Ok(client)
    }
}

// === impl Files ===

impl Files {
    async fn read() -> Self {
        let read = |path| file::read(Path::new(path), FILE_BYTES_MAX).unwrap_or_default();
        let both =
            tokio::task::spawn_blocking(move || Self { resolv_conf: read(RESOLV_CONF), hosts: read(HOSTS) });
        both.await.unwrap_or_default()
    }
}

// === impl Client ===

impl Client {
    fn new(files: Files, servers: &[SocketAddr]) -> Result<Self, String> {
        let (config, mut options) = match servers {
            [] => system_config(&files.resolv_conf)?,
            servers => (own_config(servers), ResolverOpts::default()),
        };
        options.timeout = options.timeout.min(SERVER_TIMEOUT);
        // In the order in which they are written, as the system's own resolver asks them.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        // An answer is held here, and no name is asked for before its time.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&*files.hosts).map_err(|error| format!("cannot read {HOSTS}: {error}"))?;
        Ok(Self { files, resolver, hosts })
    }

    /// The addresses that the hosts file has, of both families: a name in it is not asked for elsewhere.
    fn in_hosts_file(&self, name: &Name) -> Option<Host> {
        let types = [RecordType::A, RecordType::AAAA].into_iter();
        let found: Vec<_> = types
            .filter_map(|family| self.hosts.lookup_static_host(&Query::query(name.clone(), family)))
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect();
        (!found.is_empty()).then_some(Host { addresses: found, ttl: Duration::MAX, unanswered: None })
    }

    async fn records(&self, name: Name, of: RecordType) -> Records {
        self.resolver.clear_cache();
        let lookup = self.resolver.lookup(name, of).await.map_err(NoRecords::of)?;
        let answers = lookup.answers();
        // Of aliases on the way to the records, too.
        let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or_default();
        let wanted = answers.iter().filter(|record| record.record_type() == of).take(RECORDS_MAX);
        let data: Vec<RData> = wanted.map(|record| record.data.clone()).collect();
        if data.is_empty() {
            return Err(NoRecords::NoneOfType);
        }
        Ok((data, Duration::from_secs(ttl.into())))
    }
}

/// Omits what is long.
impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").finish_non_exhaustive()
    }
}

/// What resolv.conf(5) says; without a name server, the one of this machine.
fn system_config(resolv_conf: &[u8]) -> Result<(ResolverConfig, ResolverOpts), String> {
    let parsed = system_conf::parse_resolv_conf(resolv_conf);
    let with_default = || {
        let text = [resolv_conf, b"\nnameserver 127.0.0.1\n"].concat();
        system_conf::parse_resolv_conf(text).map_err(|error| format!("cannot use {RESOLV_CONF}: {error}"))
    };
    let (config, options) = parsed.or_else(|_| with_default())?;
    let (domain, search, servers) = config.into_parts();
    // The domain of this machine is searched only where no others are named.
    let domain = domain.filter(|_| search.is_empty());
    Ok((ResolverConfig::from_parts(domain, search, servers), options))
}

fn own_config(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|one: &mut ConnectionConfig| one.port = address.port());
        server
    };
    ResolverConfig::from_name_servers(servers.iter().map(server).collect())
}

/// The answers for both families; a failure only if none has an address.
fn merged(v4: Records, v6: Records) -> Result<Host, String> {
    let (mut addresses, mut ttl, mut unanswered, mut reason) = (Vec::new(), Duration::MAX, None, None);
    for (family, records) in [(Family::V4, v4), (Family::V6, v6)] {
        match records {
            Ok((data, of_family)) => {
                addresses.extend(data.iter().filter_map(RData::ip_addr));
                ttl = ttl.min(of_family);
            }
            Err(NoRecords::Unanswered(why)) => (unanswered, reason) = (Some(family), Some(why)),
            Err(absent) => reason = reason.or(Some(absent.reason("address"))),
        }
    }
    match reason {
        Some(reason) if addresses.is_empty() => Err(reason),
        _ => Ok(Host { addresses, ttl, unanswered }),
    }
}

// === impl NoRecords ===

impl NoRecords {
    fn of(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Self::NoName,
                ResponseCode::NoError => Self::NoneOfType,
                code => Self::Unanswered(format!("the name server answers {code}")),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Self::Unanswered(format!("the name server answers {code}"))
            }
            NetError::Timeout => Self::Unanswered("the name server does not answer".to_owned()),
            other => Self::Unanswered(other.to_string()),
        }
    }

    fn reason(self, of: &str) -> String {
        match self {
            Self::NoName => "no such name (NXDOMAIN)".to_owned(),
            Self::NoneOfType => format!("it has no {of}"),
            Self::Unanswered(reason) => reason,
        }
    }
}

// === impl Family ===

impl Family {
    pub fn has(self, ip: &IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, AAAA};

    use super::*;

    fn v4(last: u8, ttl: u64) -> Records {
        Ok((vec![RData::A(A::new(10, 0, 0, last))], Duration::from_secs(ttl)))
    }

    #[test]
    fn both_families_are_one_answer_with_the_shorter_ttl() {
        let v6 = Ok((vec![RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1))], Duration::from_secs(3)));
        let Ok(Host { addresses, ttl, unanswered }) = merged(v4(1, 60), v6) else { panic!("no answer") };
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["10.0.0.1", "::1"]);
        assert_eq!((ttl, unanswered), (Duration::from_secs(3), None));
    }

    #[test]
    fn a_family_that_is_absent_is_told_from_one_that_is_not_answered() {
        let absent = || Err(NoRecords::NoneOfType);
        let silent = || Err(NoRecords::Unanswered("silence".to_owned()));
        assert_eq!(merged(v4(1, 60), absent()).map(|host| host.unanswered), Ok(None));
        assert_eq!(merged(v4(1, 60), silent()).map(|host| host.unanswered), Ok(Some(Family::V6)));
        assert_eq!(merged(absent(), absent()).err().as_deref(), Some("it has no address"));
        assert_eq!(merged(absent(), silent()).err().as_deref(), Some("silence"));
    }

    #[test]
    fn a_name_in_the_hosts_file_is_asked_for_nowhere_else() {
        let hosts = b"127.0.0.1 app.test app\n::1 app.test\n".to_vec();
        let client = Client::new(Files { hosts, ..Files::default() }, &[]).expect("a client");
        let found = |name: &str| {
            let known = client.in_hosts_file(&Name::from_ascii(name).expect("a name"));
            known.map(|host| host.addresses.len())
        };
        assert_eq!(found("app.test"), Some(2));
        assert_eq!(found("app"), Some(1));
        assert_eq!(found("other.test"), None);
    }

    #[test]
    fn resolv_conf_is_read_as_the_system_reads_it() {
        let (config, options) =
            system_config(b"nameserver 127.0.0.53\nsearch a.test b.test\noptions ndots:5\n")
                .expect("it is valid");
        assert_eq!((config.name_servers().len(), config.search().len(), options.ndots), (1, 2, 5));
        assert!(config.domain().is_none());
        let (config, _) = system_config(b"").expect("there is a default");
        assert_eq!(config.name_servers()[0].ip.to_string(), "127.0.0.1");
    }
}
