//! A resolver for the proxy alone that can be made to fail: the proxy runs in a mount namespace in which other files
//! replace `/etc/hosts`, `/etc/resolv.conf` and `/etc/nsswitch.conf`.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::settings::NAME;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const NSSWITCH_CONF: &str = "/etc/nsswitch.conf";

/// Arguments of `unshare` for a mount namespace: as root, and as any other user.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// The address of a DNS server that takes queries and answers none.
const SILENT_SERVER: &str = "127.0.77.53";

#[derive(Debug)]
pub(super) struct Resolver {
    hosts: PathBuf,
    /// Arguments of `unshare`.
    way: &'static [&'static str],
    /// Shell commands that mount the files.
    mounts: String,
    /// The socket of the DNS server. If the port may not be bound, queries are refused instead of unanswered.
    _silent: Option<UdpSocket>,
}

impl Resolver {
    /// Writes the files and tests whether names are looked up in them; an error says why not.
    pub(super) fn prepare(folder: &Folder) -> Result<Self, String> {
        let written = Self::files(folder).map_err(|error| error.to_string())?;
        let mut why = String::new();
        for way in WAYS {
            let resolver = Self {
                hosts: folder.file("hosts"),
                way,
                mounts: written.clone(),
                _silent: UdpSocket::bind((SILENT_SERVER, 53)).ok(),
            };
            match resolver.looks_up() {
                Ok(()) => return Ok(resolver),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Writes the files; returns the commands that mount them.
    fn files(folder: &Folder) -> io::Result<String> {
        let resolv_conf = format!("nameserver {SILENT_SERVER}\noptions timeout:5 attempts:1\n");
        let contents =
            [(HOSTS, known()), (RESOLV_CONF, resolv_conf), (NSSWITCH_CONF, "hosts: files dns\n".to_owned())];
        let mut mounts = String::new();
        for (path, content) in contents.iter().filter(|(path, _)| Path::new(path).exists()) {
            let own = folder.file(path.trim_start_matches("/etc/"));
            fs::write(&own, content)?;
            let quoted = own.display().to_string().replace('\'', "'\\''");
            mounts += &format!("mount --bind '{quoted}' {path} && ");
        }
        Ok(mounts)
    }

    fn looks_up(&self) -> Result<(), String> {
        let tried = self.shell("exec getent ahostsv4 \"$0\"").arg(NAME).stdin(Stdio::null()).output();
        match tried {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("names are not looked up in /etc/hosts");
                Err(format!("no name service of its own for the proxy: {said}"))
            }
            Err(error) => Err(format!("unshare, a part of util-linux: {error}")),
        }
    }

    /// A command that runs the binary in the namespace; its arguments may be added.
    pub(super) fn run(&self, folder: &Folder) -> Command {
        let mut command = self.shell("exec \"$0\" \"$@\"");
        command.arg(folder.binary());
        command
    }

    fn shell(&self, then: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(self.way).args(["sh", "-c", &format!("{}{then}", self.mounts)]);
        command
    }

    /// Makes lookups of [`NAME`] fail.
    pub(super) fn fail(&self) -> io::Result<()> {
        // Overwrites the same file, because the mount refers to the file, not to its path.
        fs::write(&self.hosts, "127.0.0.1 localhost\n")
    }

    /// Makes lookups of [`NAME`] succeed.
    pub(super) fn restore(&self) -> io::Result<()> {
        fs::write(&self.hosts, known())
    }
}

fn known() -> String {
    format!("127.0.0.1 localhost {NAME}\n")
}
