//! Many requests at once, and who answered them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::client::Client;
use super::response::{End, Response};

/// How often each body came back.
pub type Tally = BTreeMap<String, usize>;

/// Sends `each` GETs on each of `clients` connections at once; every response must be a 200.
pub fn load(address: &str, clients: usize, each: usize) -> Tally {
    let senders: Vec<JoinHandle<Tally>> = (0..clients)
        .map(|_| {
            let address = address.to_owned();
            thread::spawn(move || {
                let mut client = Client::connect(&address);
                let mut tally = Tally::new();
                for _ in 0..each {
                    *tally.entry(client.get("/load").expect(200).text().to_owned()).or_default() += 1;
                }
                tally
            })
        })
        .collect();
    let mut all = Tally::new();
    for sender in senders {
        for (name, count) in sender.join().expect("every request is answered 200") {
            *all.entry(name).or_default() += count;
        }
    }
    all
}

/// Clients that send GETs one after another until they are stopped.
pub struct SteadyLoad {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl SteadyLoad {
    pub fn start(address: &str, clients: usize) -> SteadyLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..clients)
            .map(|_| {
                let (address, stop) = (address.to_owned(), Arc::clone(&stop));
                thread::spawn(move || send_until(&address, &stop))
            })
            .collect();
        SteadyLoad { stop, senders }
    }

    /// Stops it: how many requests were sent, and what went wrong with those that were not answered 200.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        let mut failures = Vec::new();
        for sender in self.senders {
            let (count, failed) = sender.join().unwrap();
            sent += count;
            failures.extend(failed);
        }
        (sent, failures)
    }
}

fn send_until(address: &str, stop: &AtomicBool) -> (usize, Vec<String>) {
    let mut sent = 0;
    let mut failures = Vec::new();
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        sent += 1;
        match one(&mut client, address) {
            Ok(response) if response.status == 200 && response.end == End::Whole => {
                if response.header("connection").is_some_and(|value| value == "close") {
                    client = None;
                }
            }
            Ok(response) => {
                failures.push(format!("{} {:?}", response.status, response.end));
                client = None;
            }
            Err(error) => {
                failures.push(error.to_string());
                client = None;
            }
        }
    }
    (sent, failures)
}

fn one(client: &mut Option<Client>, address: &str) -> io::Result<Response> {
    let client = client.get_or_insert_with(|| Client::connect(address));
    client.try_send("GET /load HTTP/1.1\r\nHost: test.example\r\n\r\n")?;
    client.try_response_to("GET")
}
