//! The least round-robin balancer on Pingora: `bare-pingora ADDRESS THREADS ORIGIN,... [--cert FILE --key FILE]`.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Balancer(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let origin = self.0.select(b"", 16).ok_or_else(|| Error::explain(InternalError, "no origin"))?;
        Ok(Box::new(HttpPeer::new(origin, false, String::new())))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, threads, origins, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: bare-pingora ADDRESS THREADS ORIGIN,... [--cert FILE --key FILE]");
        std::process::exit(64);
    };
    let conf = ServerConf {
        threads: threads.parse().expect("a number of threads"),
        upstream_keepalive_pool_size: 4096,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let origins = LoadBalancer::try_from_iter(origins.split(',')).expect("addresses of origins");
    let mut service = http_proxy_service(&server.configuration, Balancer(Arc::new(origins)));
    match rest {
        [_, cert, _, key] => {
            let mut tls = TlsSettings::intermediate(cert, key).expect("a certificate and its key");
            tls.enable_h2();
            service.add_tls_with_settings(address, None, tls);
        }
        _ => service.add_tcp(address),
    }
    server.add_service(service);
    server.run_forever();
}
