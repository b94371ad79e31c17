//! What a process costs that has nothing to do.

use http::Request;

use crate::harness::http2::{connect, request, runtime};
use crate::harness::{Endpoint, Engine, Proxy, engine, eventually};

/// Pingora's timeouts are kept by a thread that wakes a hundred times a second from the first one on, also in a process
/// that has nothing more to do: none is set by probes, the admin address, or what is carried by us.
#[test]
fn no_thread_wakes_for_nothing() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint])
        .health_check("type: http, path: /healthz, interval: 100ms")
        .listener("h2c: true");
    let proxy = builder.start();
    let probes = || endpoint.requests().iter().filter(|seen| seen.target() == "/healthz").count();
    eventually("a second probe", || (probes() > 1).then_some(()));
    assert!(proxy.metrics().contains("evenkeel_build_info"));
    runtime().block_on(async {
        let client = connect(&proxy.address()).await;
        let post = Request::post("http://test.example/x").body(()).unwrap();
        assert_eq!(request(&client, post, &["a body"]).await.status, 200);
        let refused = Request::get("http://test.example/%2e%2e/%00").body(()).unwrap();
        assert_eq!(request(&client, refused, &[]).await.status, 400);
    });
    proxy.get("/x").expect(200);
    let waking = |names: &[String]| names.iter().filter(|name| name.contains("Timer")).count();
    if engine() == Engine::Pingora {
        // Its own way, which is taken in tests only, has it. A new thread has the name of the one that began it at first.
        eventually("the thread", || (waking(&proxy.threads()) == 1).then_some(()));
    } else {
        let names = proxy.threads();
        assert_eq!(waking(&names), 0, "{names:?}");
    }
}
