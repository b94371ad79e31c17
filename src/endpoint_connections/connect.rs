//! Opens connections to endpoints.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use crate::config;
use crate::endpoint_connections::idle_pool::IdlePool;
use crate::exchange::{Failed, Failure};
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::os_error;
use crate::permits::Permit;
use crate::pool::Endpoint;
use crate::tls::ClientTls;

/// By when a connect that begins now must have a descriptor: at half of its time, so that a lack of descriptors is not
/// taken for a slow endpoint.
pub fn descriptor_deadline(pool: &config::Pool) -> tokio::time::Instant {
    tokio::time::Instant::now() + pool.timeouts.connect / 2
}

/// Opens a connection to an endpoint. Callers limit its time; only the wait for a descriptor is limited here. Where
/// there is none, idle connections are closed.
pub async fn open(
    idle_pool: &IdlePool,
    endpoint: &Endpoint,
    pool: &config::Pool,
    descriptor_deadline: tokio::time::Instant,
) -> Result<Stream, Failed> {
    let socket = socket(idle_pool, endpoint, pool, descriptor_deadline);
    let socket = socket.await.map_err(|error| Failed::new(Failure::of_connect(&error), error.to_string()))?;
    match &pool.tls {
        None => Ok(Stream::Plain(socket)),
        Some(tls) => secured(socket, tls, endpoint).await,
    }
}

/// How long to wait for a connection to close before looking for idle ones again.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes a permit for a connection to an endpoint, which may have only so many. Where all are taken, an idle one is closed,
/// of any worker: over HTTP/1.1 there is one, as there are no more requests than connections, or will be in a moment.
async fn permit(idle_pool: &IdlePool, endpoint: &Endpoint, pool: &config::Pool) -> Permit {
    let most = pool.limits.endpoint_connections.and_then(|most| usize::try_from(most).ok());
    loop {
        if let Some(permit) = endpoint.connections().take(most.unwrap_or(usize::MAX)) {
            return permit;
        }
        if !idle_pool.descriptors.close_one_to(endpoint) {
            endpoint.connections().released(PAUSE).await;
        }
    }
}

async fn socket(
    idle_pool: &IdlePool,
    endpoint: &Endpoint,
    pool: &config::Pool,
    descriptor_deadline: tokio::time::Instant,
) -> io::Result<Socket> {
    let short = || io::Error::from_raw_os_error(libc::EMFILE);
    let is_over = || descriptor_deadline <= tokio::time::Instant::now();
    let mut of_endpoint = Some(permit(idle_pool, endpoint, pool).await);
    let mut again = false;
    loop {
        let descriptor = tokio::time::timeout_at(descriptor_deadline, idle_pool.descriptors.take(idle_pool));
        let descriptor = descriptor.await.map_err(|_| short())?;
        match Socket::connect(endpoint, pool.timeouts.write).await {
            Ok(socket) => return Ok(socket.holding(descriptor, of_endpoint.take())),
            Err(error) if os_error::is_of_descriptors(&error) && !is_over() => {
                drop(descriptor);
                idle_pool.descriptors.relieve(idle_pool, again).await;
                again = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Boxed to keep the future of a connect without TLS small.
fn secured<'a>(
    socket: Socket,
    tls: &'a ClientTls,
    endpoint: &'a Endpoint,
) -> Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send + 'a>> {
    Box::pin(async move {
        let failed = |detail: String| Failed::new(Failure::EndpointTls, detail);
        let authority = endpoint.authority();
        let name = tls.name(authority).ok_or_else(|| failed(format!("{authority} has no name to verify")))?;
        Stream::secured(socket, tls, name).await.map_err(|error| failed(error.to_string()))
    })
}
