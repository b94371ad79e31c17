//! Faults 11 to 17 at random: whatever an endpoint sends, and whenever it stops, no client gets what is not its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Client, End, Endpoint, Exchange, Proxy};

const CASES: usize = 480;
const WORKERS: usize = 8;

/// Responses to begin with; each is followed by one that nobody has asked for.
const RESPONSES: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
];
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";

const PIECES: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    "0",
    "5",
    "f",
    "\0",
    "\u{7f}",
    ",",
    ";",
    "chunked",
    "0\r\n\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 50\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    POISON,
];

/// Random, and the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % most
    }

    /// A response with something done to it.
    fn response(&mut self) -> Vec<u8> {
        let mut bytes = RESPONSES[self.below(RESPONSES.len())].as_bytes().to_vec();
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = PIECES[self.below(PIECES.len())].as_bytes()[0],
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            }
        }
        if self.below(2) == 0 {
            bytes.extend_from_slice(POISON.as_bytes());
        }
        bytes
    }
}

fn answer(exchange: &mut Exchange, number: usize) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1));
    random.below(2);
    exchange.drain_body();
    exchange.send(random.response());
    match random.below(3) {
        0 => exchange.close(),
        1 => exchange.reset(),
        _ => {}
    }
}

/// A GET that must be answered with its own target, on this connection if it is still good.
fn is_answered(proxy: &Proxy, client: Option<Client>, target: &str) {
    if let Some(mut client) = client
        && client.try_send(format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n")).is_ok()
        && let Ok(response) = client.try_response_to("GET")
    {
        assert_eq!(response.expect(200).text(), target);
        return;
    }
    assert_eq!(proxy.get(target).expect(200).text(), target);
}

/// Asks for mutated responses, and after each of them for what is the client's own, on its connection and on another.
fn suffer(proxy: &Proxy, worker: usize) {
    for n in 0..CASES / WORKERS {
        let mut honest = proxy.client();
        honest.get(&format!("/before/{worker}/{n}")).expect(200);
        let mut client = proxy.client();
        let method = ["GET", "HEAD", "POST"][n % 3];
        client.send(format!(
            "{method} /x/{worker}/{n} HTTP/1.1\r\nHost: test.example\r\nContent-Length: 0\r\n\r\n"
        ));
        // Whatever comes, or nothing: the client is only as good as its endpoint.
        let good = client.try_response_to(method).is_ok_and(|response| {
            response.end == End::Whole && response.header("connection") != Some("close")
        });
        is_answered(proxy, good.then_some(client), &format!("/mine/{worker}/{n}"));
        is_answered(proxy, Some(honest), &format!("/honest/{worker}/{n}"));
    }
}

#[test]
fn no_client_gets_what_is_not_its_own() {
    let turn = AtomicUsize::new(0);
    let endpoint = Endpoint::scripted("a", move |exchange| match exchange.target().to_owned() {
        target if target.starts_with("/x") => answer(exchange, turn.fetch_add(1, Ordering::SeqCst)),
        target => exchange.answer(&target),
    });
    let mut proxy = Proxy::to([&endpoint])
        .server("threads: 1, drain: 10s")
        .with("timeouts: { response: 1s, idle: 1s }")
        .start();
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let proxy = &proxy;
            scope.spawn(move || suffer(proxy, worker));
        }
    });
    proxy.is_unharmed(endpoint.open());
}
