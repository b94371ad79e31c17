//! A real nginx with a site's configuration, on ports of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::{Captures, Regex};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::eventually;

/// Where it is, if not on the PATH of those who are not root.
const BINARIES: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

pub struct Nginx {
    child: Child,
    folder: TempDir,
    ports: Vec<Port>,
}

/// A port as the configuration has it, and the one in its place.
struct Port {
    written: String,
    own: u16,
    /// Bound and not listening, so that nobody else takes it.
    _reserved: Socket,
}

fn binary() -> Option<&'static str> {
    let runs = |binary: &&str| Command::new(binary).arg("-v").stderr(Stdio::null()).status().is_ok();
    BINARIES.into_iter().find(runs)
}

impl Nginx {
    pub fn is_installed() -> bool {
        binary().is_some()
    }

    /// Runs the text of a file such as those in /etc/nginx/conf.d.
    pub fn start(text: &str, folder: TempDir) -> Nginx {
        let mut ports = Vec::new();
        let text = with_ports(text, &mut ports);
        fs::write(folder.path().join("site.conf"), text).unwrap();
        fs::write(folder.path().join("nginx.conf"), main_file(folder.path())).unwrap();
        let log = fs::File::create(folder.path().join("stderr.log")).unwrap();
        let child = Command::new(binary().expect("it is installed"))
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stderr(log)
            .spawn()
            .unwrap();
        let mut nginx = Nginx { child, folder, ports };
        let first = nginx.ports.first().expect("it listens").own;
        eventually("nginx to listen", || {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {}", nginx.told());
            TcpStream::connect((Ipv4Addr::LOCALHOST, first)).ok()
        });
        nginx
    }

    /// Where it listens in the place of the port that is written.
    pub fn address(&self, written: &str) -> Option<String> {
        let port = self.ports.iter().find(|port| port.written == written)?;
        Some(format!("127.0.0.1:{}", port.own))
    }

    /// The warnings and errors in its log.
    pub fn told(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Around the site, what the packages of nginx have there, for one process that stays in the foreground.
fn main_file(folder: &Path) -> String {
    let folder = folder.display();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        kinds.iter().map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n")).collect();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n{temporary}    include {folder}/site.conf;\n}}\n"
    )
}

/// Listens on loopback alone.
fn with_ports(text: &str, ports: &mut Vec<Port>) -> String {
    let listen = Regex::new(r"listen +(\[::\]:)?(?:[0-9.]+:)?([0-9]+)([^;]*);").expect("an expression");
    let replace = |found: &Captures<'_>| {
        if found.get(1).is_some() {
            return String::new();
        }
        let known = ports.iter().find(|port| port.written == found[2]).map(|port| port.own);
        let own = known.unwrap_or_else(|| {
            let port = reserve(&found[2]);
            ports.push(port);
            ports.last().expect("one was added").own
        });
        format!("listen 127.0.0.1:{own}{};", &found[3])
    };
    listen.replace_all(text, replace).into_owned()
}

fn reserve(written: &str) -> Port {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let own = socket.local_addr().unwrap().as_socket().unwrap().port();
    Port { written: written.to_owned(), own, _reserved: socket }
}
