//! A real name server, dnsmasq, on a port of its own.

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::wait::eventually;

/// The TTL of the addresses of hosts, in seconds.
pub const TTL: u64 = 1;

pub struct Dnsmasq {
    child: Child,
    port: u16,
    hosts: PathBuf,
    arguments: Vec<String>,
    _folder: TempDir,
}

impl Dnsmasq {
    /// Knows the names of `hosts`, in the format of /etc/hosts, and what the arguments say, and that there are no other
    /// names in `.test`; `None`, with the reason said, where dnsmasq is not installed.
    pub fn start(hosts: &str, arguments: &[String]) -> Option<Dnsmasq> {
        if Command::new("dnsmasq").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: dnsmasq is not installed");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("evk").tempdir().unwrap();
        let file = folder.path().join("hosts");
        fs::write(&file, hosts).unwrap();
        let port = free_port();
        let child = spawn(port, &file, arguments);
        Some(Dnsmasq { child, port, hosts: file, arguments: arguments.to_vec(), _folder: folder })
    }

    /// The pool's keys that have it asked.
    pub fn resolve(&self) -> String {
        format!("resolve: {{ interval: 60s, servers: ['127.0.0.1:{}'] }}", self.port)
    }

    /// It knows other hosts from now on.
    pub fn set_hosts(&self, hosts: &str) {
        fs::write(&self.hosts, hosts).unwrap();
        self.signal(Signal::SIGHUP);
    }

    /// It is another process from now on, which knows what these arguments say.
    pub fn restart(&mut self, arguments: &[String]) {
        self.end();
        self.arguments = arguments.to_vec();
        self.child = spawn(self.port, &self.hosts, &self.arguments);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(port: u16, hosts: &std::path::Path, arguments: &[String]) -> Child {
    let child = Command::new("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ])
        .args([
            "--listen-address=127.0.0.1",
            "--local=/test/",
            "--user=root",
            "--pid-file=",
            "--log-facility=-",
        ])
        .args([
            format!("--port={port}"),
            format!("--local-ttl={TTL}"),
            format!("--addn-hosts={}", hosts.display()),
        ])
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("dnsmasq to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

/// A port that is free for UDP and TCP. Others may take it before dnsmasq does, but hardly ever.
fn free_port() -> u16 {
    let free = || {
        let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
        let port = udp.local_addr().ok()?.port();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    };
    (0..100).find_map(|_| free()).expect("a port that is free for both")
}
