//! What a request costs, without a clock: how often and how much memory it allocates. A regression fails, and what has
//! become better is to be written down here.
//!
//! The proxy runs in this process, and so do a client and an endpoint that allocate nothing once they are warm.

#![expect(clippy::panic, clippy::print_stdout, reason = "this is a test, and what it finds is to be seen")]

mod peers;

use std::alloc::System;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use evenkeel::config;
use evenkeel::server::inherit::InheritedSockets;
use evenkeel::server::{self, Start};
use peers::response;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Before anything is counted: connections are opened, and what is kept for the next request is made.
const WARM: usize = 200;
/// What is found is the least of some rounds: on a busy machine the log's queue grows during one of them.
const ROUNDS: usize = 4;
const COUNTED: usize = 1_000;

const IDLE: usize = 1_500;
/// Of one idle connection, but for what the kernel and the allocator have for it.
const IDLE_BYTES: f64 = 1_143.0;

/// Of all connections that are gone: buffers and lines of the log for the next ones, and no more with each of them.
const GONE_BYTES: usize = 200_000;

/// Of one request. What is found may be 5 % more.
#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: f64,
    bytes: f64,
}

/// A proxy in this process, in front of that endpoint.
fn proxy(folder: &std::path::Path) -> SocketAddr {
    let address = peers::free_address();
    let text = format!(
        "server: {{ threads: 1 }}\nadmin: {{ listen: 'unix:{}/admin.sock' }}\n\
         access_log: {{ output: '{}/access.log', format: json }}\n\
         listeners: [{{ name: a, address: '{address}' }}]\nroutes: [{{ pool: p }}]\n\
         pools: {{ p: {{ endpoints: ['{}'], health_check: off }} }}\n",
        folder.display(),
        folder.display(),
        peers::endpoint(),
    );
    let config = config::parse(&text, "test").expect("a config");
    let inherited = InheritedSockets::receive();
    thread::spawn(move || server::run(Start { config, file: None, invocation: None, inherited }));
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return address;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the proxy does not listen");
}

fn cost_of(mut request: impl FnMut()) -> Cost {
    (0..WARM).for_each(|_| request());
    let of_each = |all: usize| all as f64 / COUNTED as f64;
    let rounds = (0..ROUNDS).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..COUNTED).for_each(|_| request());
        let change = region.change();
        let allocations = of_each(change.allocations + change.reallocations);
        Cost { allocations, bytes: of_each(change.bytes_allocated) }
    });
    rounds.min_by(|one, other| one.bytes.total_cmp(&other.bytes)).expect("some rounds")
}

#[track_caller]
fn at_most(what: &str, found: Cost, most: Cost) {
    println!("{what}: {:.2} allocations, {:.0} bytes", found.allocations, found.bytes);
    assert!(found.allocations <= most.allocations * 1.05, "{what}: {found:?}, at most {most:?} and 5 %");
    assert!(found.bytes <= most.bytes * 1.05, "{what}: {found:?}, at most {most:?} and 5 %");
}

#[test]
fn what_requests_allocate() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = proxy(folder.path());
    let mut memory = [0; 4096];

    let plain = b"GET /x HTTP/1.1\r\nHost: test.example\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
    let mut kept = TcpStream::connect(address).expect("a connection");
    let cost = cost_of(|| {
        kept.write_all(plain).expect("the request goes out");
        response(&mut kept, &mut memory);
    });
    at_most("a request", cost, Cost { allocations: 2.0, bytes: 2800.0 });

    let post = b"POST /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 4\r\n\r\n\r\n\r\n";
    let cost = cost_of(|| {
        kept.write_all(post).expect("the request goes out");
        response(&mut kept, &mut memory);
    });
    at_most("a request with a body", cost, Cost { allocations: 2.0, bytes: 2780.0 });

    // Its deadline is the next one: nobody looks at the others' for a while.
    let silent = TcpStream::connect(address).expect("a connection");
    thread::sleep(Duration::from_millis(500));
    let before = held();
    let cost = cost_of(|| {
        let mut new = TcpStream::connect(address).expect("a connection");
        new.write_all(plain).expect("the request goes out");
        response(&mut new, &mut memory);
    });
    at_most("a connection and its request", cost, Cost { allocations: 8.0, bytes: 3970.0 });
    // Until the last one has been seen to go.
    let left = settled(GONE_BYTES, || held().saturating_sub(before));
    println!("connections that are gone: {left} bytes");
    assert!(left < GONE_BYTES, "{} connections that are gone hold {left} bytes", WARM + ROUNDS * COUNTED);
    drop(silent);

    // The second time where the log's queue has grown meanwhile, on a busy machine.
    let each = (0..2).map(|_| idle(address, plain)).find(|each| *each <= IDLE_BYTES * 1.05);
    assert!(each.is_some(), "an idle connection holds more than {IDLE_BYTES} bytes and 5 %");
}

/// Bytes that are held for one idle connection.
fn idle(address: SocketAddr, request: &[u8]) -> f64 {
    let mut memory = [0; 4096];
    let before = held();
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| {
            let mut new = TcpStream::connect(address).expect("a connection");
            new.write_all(request).expect("the request goes out");
            response(&mut new, &mut memory);
            new
        })
        .collect();
    // Until what the last response has left behind is put away.
    let most = (IDLE_BYTES * 1.05) as usize * idle.len();
    let each = settled(most, || held().saturating_sub(before)) as f64 / idle.len() as f64;
    println!("an idle connection: {each:.0} bytes");
    drop(idle);
    // Until they have been seen to go.
    settled(before + GONE_BYTES, held);
    each
}

/// What is held as soon as it is less than this; whatever it is after ten seconds.
fn settled(most: usize, held: impl Fn() -> usize) -> usize {
    for _ in 0..1000 {
        if held() < most {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    held()
}

/// Bytes that are allocated now.
fn held() -> usize {
    let all = ALLOCATOR.stats();
    all.bytes_allocated - all.bytes_deallocated
}
