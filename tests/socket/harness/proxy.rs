//! The proxy under test: a process, what it says, and what may be done to it.

mod output;
mod said;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::config::{BINARY, OWN_BINARY, ProxyBuilder};
use super::response::Response;
use super::wait::{PATIENCE, eventually, within};
use output::Lines;

pub use output::Output;
pub use said::{Event, Record};

pub struct Proxy {
    command: Command,
    child: Child,
    /// The process that serves: the child, or its successor.
    pid: u32,
    folder: TempDir,
    config: String,
    stderr: Lines,
    stdout: Lines,
    /// Descriptors it had open when it was ready.
    descriptors: usize,
}

/// How a proxy ended, and what it said until then.
#[derive(Debug)]
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stderr: String,
    pub stdout: String,
    pub after: Duration,
}

impl Proxy {
    /// A config with one pool of these endpoints, to which every request goes.
    pub fn to<E: std::fmt::Display>(endpoints: impl IntoIterator<Item = E>) -> ProxyBuilder {
        ProxyBuilder::new().pool("default", endpoints)
    }

    pub fn config() -> ProxyBuilder {
        ProxyBuilder::new()
    }

    #[track_caller]
    pub(super) fn start(command: Command, folder: TempDir, config: String, output: Output) -> Proxy {
        let mut proxy = Proxy::spawn(command, folder, config, output);
        proxy.wait_until_ready();
        proxy
    }

    /// Ends the process and starts another one in its place: whatever it says is said anew.
    #[track_caller]
    pub fn restarted(self) -> Proxy {
        self.restarted_after(Signal::SIGTERM)
    }

    #[track_caller]
    pub fn restarted_after(mut self, signal: Signal) -> Proxy {
        self.signal(signal);
        self.ended();
        self.child = self.command.spawn().expect("it was run before");
        self.pid = self.child.id();
        self.stderr = Lines::read(self.child.stderr.take().expect("stderr is piped"));
        self.stdout = Lines::read(self.child.stdout.take().expect("stdout is piped"));
        self.wait_until_ready();
        self
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        eventually("the proxy to be ready", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the proxy ended at its start: {ended:?}");
            self.events().iter().any(|event| event.message() == "ready").then_some(())
        });
        if self.folder().join("admin.sock").exists() {
            // The admin address has its descriptors once it answers.
            self.admin("/livez");
        }
        self.descriptors = self.open_descriptors();
    }

    pub(super) fn spawn(mut command: Command, folder: TempDir, config: String, output: Output) -> Proxy {
        let mut child = command.spawn().expect("the proxy's binary can be run");
        let stderr = Lines::read(child.stderr.take().expect("stderr is piped"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let stdout = match output {
            Output::Read => Lines::read(stdout),
            Output::Stalled => Lines::keep(Some(stdout)),
            Output::Closed => Lines::keep(None),
        };
        let pid = child.id();
        Proxy { command, child, pid, folder, config, stderr, stdout, descriptors: 0 }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder().join("evenkeel.yaml")
    }

    pub fn access_log_path(&self) -> PathBuf {
        self.folder().join("access.log")
    }

    /// The config that it was started with.
    pub fn config_text(&self) -> &str {
        &self.config
    }

    /// Where its first listener is bound.
    pub fn address(&self) -> String {
        self.listening(None)
    }

    /// Where the listener of that name is bound.
    pub fn address_of(&self, listener: &str) -> String {
        self.listening(Some(listener))
    }

    fn listening(&self, name: Option<&str>) -> String {
        eventually("the address of a listener", || {
            self.events()
                .iter()
                .filter(|event| event.message() == "listening")
                .find(|event| name.is_none_or(|name| event.text("listener") == name))
                .map(|event| event.text("address").to_owned())
        })
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    /// A GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.client().request("GET", target, "Connection: close\r\n")
    }

    // --- what it says

    pub fn events(&self) -> Vec<Event> {
        self.stderr.snapshot().iter().filter_map(|line| Event::parse(line)).collect()
    }

    /// Everything that it wrote to its standard error.
    pub fn stderr(&self) -> String {
        self.stderr.snapshot().join("\n")
    }

    pub fn stdout(&self) -> Vec<String> {
        self.stdout.snapshot()
    }

    /// The first event that meets the condition; waits for it.
    #[track_caller]
    pub fn event(&self, what: &str, meets: impl Fn(&Event) -> bool) -> Event {
        self.event_within(PATIENCE, what, meets)
    }

    #[track_caller]
    pub fn event_within(&self, limit: Duration, what: &str, meets: impl Fn(&Event) -> bool) -> Event {
        within(limit, what, || self.events().into_iter().find(|event| meets(event)))
    }

    /// The changes of state of one endpoint, in order.
    pub fn changes_of(&self, endpoint: &str) -> Vec<Event> {
        let of_endpoint = |event: &Event| {
            event.message().starts_with("endpoint is ") && event.text("endpoint").contains(endpoint)
        };
        self.events().into_iter().filter(of_endpoint).collect()
    }

    /// Waits until the last that it said about an endpoint is this state.
    #[track_caller]
    pub fn wait_until(&self, endpoint: &str, state: &str) -> Duration {
        let start = Instant::now();
        eventually(&format!("{endpoint} to be {state}"), || {
            let status = self.endpoint_status(endpoint)?;
            (status["state"] == state).then_some(())
        });
        start.elapsed()
    }

    /// The records of all requests until now, from the access log file.
    pub fn records(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.access_log_path()).unwrap_or_default();
        // A line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(Record::parse).collect()
    }

    /// The only record of requests for this target; waits for it.
    #[track_caller]
    pub fn record(&self, target: &str) -> Record {
        let mut found = self.records_of(target, 1);
        assert_eq!(found.len(), 1, "records of {target}");
        found.remove(0)
    }

    /// The records of requests for this target, once there are `count`.
    #[track_caller]
    pub fn records_of(&self, target: &str, count: usize) -> Vec<Record> {
        eventually(&format!("{count} records of {target}"), || {
            let found: Vec<Record> =
                self.records().into_iter().filter(|record| record.text("target") == target).collect();
            (found.len() >= count).then_some(found)
        })
    }

    // --- its admin socket

    /// A GET at its admin socket.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Response {
        let address = format!("unix:{}", self.folder().join("admin.sock").display());
        Client::connect(&address)
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .response()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.admin("/status").expect(200).body).expect("/status is JSON")
    }

    /// What `/status` says about the endpoint, in whatever pool; `None` if it is in none.
    pub fn endpoint_status(&self, endpoint: &str) -> Option<Value> {
        let status = self.status();
        let pools = status["pools"].as_array().expect("/status has pools").clone();
        pools
            .iter()
            .flat_map(|pool| pool["endpoints"].as_array().cloned().unwrap_or_default())
            .find(|found| found["address"].as_str().is_some_and(|address| address.contains(endpoint)))
    }

    pub fn metrics(&self) -> String {
        self.admin("/metrics").expect(200).text().to_owned()
    }

    /// The sum of all samples of a metric whose labels contain each of `labels`; 0 if there are none.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        said::metric(&self.metrics(), name, labels)
    }

    /// Waits until the sum is this: what a request has held is given back a moment after its response.
    #[track_caller]
    pub fn metric_becomes(&self, name: &str, sum: f64) {
        eventually(&format!("{name} to be {sum}"), || (self.metric(name, &[]) == sum).then_some(()));
    }

    /// Runs a command against its admin socket, and waits for its end.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Ended {
        let start = Instant::now();
        let output = Command::new(BINARY)
            .args(arguments)
            .arg(format!("--admin=unix:{}", self.folder().join("admin.sock").display()))
            .output()
            .expect("the binary can be run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
        Ended {
            code: output.status.code(),
            stderr: text(output.stderr),
            stdout: text(output.stdout),
            after: start.elapsed(),
        }
    }

    /// Writes a config for its next reload.
    pub fn write_config(&self, config: &str) {
        fs::write(self.config_path(), config).unwrap();
    }

    // --- its process

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid.cast_signed()), signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Puts a shell script in the place of its own binary; in it, `$BINARY` is the true one.
    pub fn replace_binary(&self, script: &str) {
        let (path, new) = (self.folder().join(OWN_BINARY), self.folder().join("new"));
        fs::write(&new, format!("#!/bin/sh\nBINARY={BINARY}\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Upgrades it; from then on this is the successor.
    #[track_caller]
    pub fn upgrade(&mut self) {
        let Ended { code, stderr, stdout: said, .. } = self.command(&["upgrade"]);
        assert_eq!(code, Some(0), "{stderr}");
        let pids: Vec<u32> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert_eq!(pids.first(), Some(&self.pid), "{said}");
        self.pid = *pids.last().unwrap();
        assert_eq!(self.status()["pid"], self.pid);
    }

    /// From now on this is the process that has taken over.
    #[track_caller]
    pub fn follow_successor(&mut self) {
        let is_successor =
            |pid: &u32| *pid != self.pid && words(*pid, "environ").contains("EVENKEEL_SUCCESSOR=");
        self.pid = eventually("a successor", || self.processes().into_iter().find(is_successor));
    }

    /// All processes with its arguments, whoever started them.
    pub fn processes(&self) -> Vec<u32> {
        let ours = self.folder().to_string_lossy().into_owned();
        let all = fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| ["cmdline", "environ"].iter().any(|file| words(*pid, file).contains(&ours)))
            .collect()
    }

    /// Writes a new config and asks for it to be loaded.
    pub fn reload(&self, config: &str) {
        fs::write(self.config_path(), config).unwrap();
        self.signal(Signal::SIGHUP);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(&mut self) -> Ended {
        self.ended_within(PATIENCE)
    }

    #[track_caller]
    pub fn ended_within(&mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        let status = within(limit, "the end of the proxy", || self.child.try_wait().unwrap());
        let after = start.elapsed();
        // A successor has the same pipe.
        if self.processes().is_empty() {
            self.stderr.wait_for_end();
            self.stdout.wait_for_end();
        }
        Ended { code: status.code(), stderr: self.stderr(), stdout: self.stdout().join("\n"), after }
    }

    /// Lets it open no descriptor from this number on; those that it has stay open.
    #[track_caller]
    pub fn limit_descriptors(&self, most: usize) {
        let pid = self.child.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={most}:")]).status();
        assert!(done.expect("prlimit is part of util-linux").success());
    }

    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Its resident memory now, in bytes.
    pub fn memory(&self) -> usize {
        self.proc_status("VmRSS:")
    }

    /// Its resident memory has never been larger than it was `before` by as many bytes.
    #[track_caller]
    pub fn grew_less_than(&self, bytes: usize, before: usize) {
        let grown = self.proc_status("VmHWM:").saturating_sub(before);
        assert!(grown < bytes, "memory grew by {grown} bytes");
    }

    fn proc_status(&self, key: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect("a line of that name");
        let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok()).collect()
    }

    /// The processor time it has used, user and system.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which may hold blanks, `utime` and `stime` are the 12th and 13th, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// What holds after every fault: the process lives, nothing panicked, the next request is served, and no
    /// descriptor is left over beyond those of connections that endpoints still hold (`kept`).
    #[track_caller]
    pub fn is_unharmed(&mut self, kept: usize) {
        assert!(self.is_running(), "the proxy has ended");
        let is_panic = |line: &String| line.contains("panicked at") || line.contains("evenkeel::panic");
        let panicked = self.stderr.snapshot().into_iter().find(is_panic);
        assert_eq!(panicked, None);
        self.get("/after").expect(200);
        // The engine `pingora` has a second handle of each connection.
        let most = self.descriptors + 2 * kept + 4;
        eventually(&format!("at most {most} descriptors"), || {
            (self.open_descriptors() <= most).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for successor in self.processes() {
            let _ = kill(Pid::from_raw(successor.cast_signed()), Signal::SIGKILL);
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.access_log_path()).unwrap_or_default();
            eprintln!("--- config\n{}\n--- standard error\n{}", self.config, self.stderr());
            eprintln!(
                "--- standard output\n{}\n--- access log\n{}",
                tail(&self.stdout().join("\n")),
                tail(&log)
            );
        }
    }
}

/// What a process was started with; empty if it has ended.
fn words(pid: u32, file: &str) -> String {
    let words = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&words).into_owned()
}

/// The end of a long text: enough to see what happened last.
fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
    &text[start..]
}
