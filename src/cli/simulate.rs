//! `evenkeel simulate`: what the pool of a config makes of slow, failing and dying endpoints, on a virtual clock.

mod picture;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use super::config_file::ConfigFile;
use super::{Exit, fail, fail_to_load, fail_usage, print, print_json, print_warnings};
use crate::config;
use crate::simulate::scenario::{self, Fault, ForEndpoint, Load, RequestForm, Scenario, USUAL_LOAD};

/// Simulate traffic, and endpoints that are slow, fail or die, on a virtual clock.
///
/// The balance policy, the health checks, the ejections, the limits and the retries are those of the config, and the code
/// of a running process. No socket is opened, and the same arguments give the same result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An ENDPOINT is its address in the config, a part of it that no other has, or `all`. @10s is from the tenth second on, @10s+20s for twenty seconds.

  evenkeel simulate evenkeel.yaml --rate 1200/s --slow 10.0.0.1:3000=10x@10s+20s")]
pub struct Simulate {
    #[command(flatten)]
    config: ConfigFile,

    /// Requests a second, which come by chance [default: 60 % of what the endpoints can serve]
    #[arg(long, value_name = "N/s", value_parser = scenario::rate)]
    rate: Option<f64>,
    /// So many clients instead, each with its next request as soon as it has a response
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = scenario::count)]
    clients: Option<usize>,
    /// How long requests come
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = scenario::time)]
    time: Duration,
    /// How long an endpoint takes for a request, on average; of one endpoint by ENDPOINT=TIME [default: 10ms]
    #[arg(long, value_name = "[ENDPOINT=]TIME", value_parser = scenario::service)]
    service: Vec<ForEndpoint<Duration>>,
    /// Every request takes exactly that time, instead of times by chance (exponential)
    #[arg(long)]
    constant: bool,
    /// How many requests an endpoint works on at a time; others queue there [default: 4]
    #[arg(long, value_name = "[ENDPOINT=]N", value_parser = scenario::workers)]
    workers: Vec<ForEndpoint<usize>>,

    /// The endpoint dies: it refuses connections, and resets those it has
    #[arg(long, value_name = "ENDPOINT@TIME", value_parser = scenario::kill)]
    kill: Vec<Fault>,
    /// The endpoint stops, as by SIGSTOP: it takes connections and answers nothing
    #[arg(long, value_name = "ENDPOINT@TIME", value_parser = scenario::stop)]
    stop: Vec<Fault>,
    /// The endpoint takes so many times longer
    #[arg(long, value_name = "ENDPOINT=Nx@TIME", value_parser = scenario::slow)]
    slow: Vec<Fault>,
    /// The endpoint answers with that status at once, or a part of the requests: ENDPOINT=503:30%@10s
    #[arg(long, value_name = "ENDPOINT=STATUS@TIME", value_parser = scenario::fail)]
    fail: Vec<Fault>,

    /// What is asked for. Here and in header fields, {user} is the number of the client.
    #[arg(long, value_name = "URL", default_value = "http://localhost/")]
    url: String,
    /// The method of the requests
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header field of the requests
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    fields: Vec<String>,
    /// How many different clients there are, each with an address of its own
    #[arg(long, value_name = "N", default_value = "1000", value_parser = scenario::count)]
    users: usize,
    /// Where all chance comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Draw shares and times into this file as well
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

// === impl Simulate ===

impl Simulate {
    pub fn execute(self) -> Exit {
        let loaded = match config::load(self.config.path()) {
            Ok(loaded) => loaded,
            Err(error) => return fail_to_load(&error),
        };
        print_warnings(&loaded.warnings);
        let report = match crate::simulate::run(loaded.config, &self.scenario()) {
            Ok(report) => report,
            Err(error) => return fail_usage(error),
        };
        if let Some(file) = &self.svg
            && let Err(error) = std::fs::write(file, picture::draw(&report))
        {
            return fail(format!("cannot write {}: {error}", file.display()));
        }
        if !self.json {
            print(&table::render(&report));
            return Exit::Done;
        }
        match serde_json::to_string_pretty(&report) {
            Ok(text) => {
                print_json(&text);
                Exit::Done
            }
            Err(error) => fail(error),
        }
    }

    fn scenario(&self) -> Scenario {
        let load = match (self.rate, self.clients) {
            (Some(rate), _) => Load::Rate(rate),
            (None, Some(clients)) => Load::Clients(clients),
            (None, None) => Load::Part(USUAL_LOAD),
        };
        Scenario {
            load,
            time: self.time,
            service: self.service.clone(),
            workers: self.workers.clone(),
            constant: self.constant,
            faults: [&self.kill, &self.stop, &self.slow, &self.fail].into_iter().flatten().cloned().collect(),
            request: RequestForm {
                method: self.method.clone(),
                url: self.url.clone(),
                fields: self.fields.clone(),
            },
            users: self.users,
            seed: self.seed,
        }
    }
}
