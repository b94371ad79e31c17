use std::sync::Weak;

use tokio::net::TcpListener;

use super::*;
use crate::net::descriptors::Descriptors;
use crate::pool::Pool;
use crate::snapshot::Snapshot;

/// An endpoint that accepts HTTP/2 requests and never answers.
async fn endpoint() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut connection) = h2::server::handshake(stream).await {
                    while connection.accept().await.is_some() {}
                }
            });
        }
    });
    port
}

fn pool(port: u16, extra: &str) -> Arc<Pool> {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ pool: p }}]\npools:\n  p:\n    \
         endpoints: [127.0.0.1:{port}]\n    protocol: h2\n    health_check: off\n    {extra}\n"
    );
    let config = config::parse(&text, "test").unwrap_or_else(|report| panic!("{report}"));
    Snapshot::build(config, None).pool("p").expect("there is one").clone()
}

fn connections(descriptors: usize) -> Arc<Connections> {
    Connections::new(IdlePool::new(Arc::new(Descriptors::new(descriptors))))
}

/// Opens `count` connections, each with one request.
async fn places(connections: &Arc<Connections>, pool: &Pool, count: usize) -> Vec<StreamPermit> {
    let endpoint = pool.members().swap_remove(0).endpoint;
    let mut places = Vec::new();
    for _ in 0..count {
        let permit = connections.permit(&endpoint, pool.config(), Duration::from_secs(60)).await;
        places.push(permit.expect("it is there"));
    }
    places
}

fn are_there(connections: &[Weak<Open>]) -> Vec<bool> {
    connections.iter().map(|open| open.strong_count() > 0).collect()
}

#[tokio::test]
async fn the_one_that_has_been_idle_for_the_longest_goes_first() {
    let pool = pool(endpoint().await, "connections: { streams: 1 }");
    let connections = connections(100);
    let mut places = places(&connections, &pool, 4).await;
    let opened: Vec<_> = places.iter().map(|permit| Arc::downgrade(&permit.open)).collect();
    let _busy = places.remove(1);
    for permit in [places.remove(1), places.remove(0), places.remove(0)] {
        drop(permit);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for there in [[true, true, false, true], [false, true, false, true], [false, true, false, false]] {
        assert_eq!(connections.close_oldest(), 1);
        assert_eq!(are_there(&opened), there);
    }
    assert_eq!(connections.close_oldest(), 0, "the last one is in use");
}

#[tokio::test]
async fn all_that_are_idle_go_where_memory_is_short() {
    let pool = pool(endpoint().await, "connections: { streams: 1 }");
    let connections = connections(100);
    let mut places = places(&connections, &pool, 3).await;
    let opened: Vec<_> = places.iter().map(|permit| Arc::downgrade(&permit.open)).collect();
    places.truncate(1);
    connections.idle_pool.descriptors.close_all_idle();
    assert_eq!(are_there(&opened), [true, false, false]);
}

/// Requests that wait for another one's connect report the lack of descriptors, too.
#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_is_nobodys_connect_timeout() {
    let pool = pool(endpoint().await, "timeouts: { connect: 10s }");
    let endpoint = pool.members().swap_remove(0).endpoint;
    let connections = connections(0);
    let begun = tokio::time::Instant::now();
    let permit = || connections.permit(&endpoint, pool.config(), pool.config().timeouts.connect);
    let (first, second, third) = tokio::join!(permit(), permit(), permit());
    for permit in [first, second, third] {
        assert_eq!(permit.expect_err("there is no descriptor").failure, Failure::ResourcesShort);
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
