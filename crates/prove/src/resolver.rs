//! A resolver that can be made deaf, for the proxy alone: in a mount namespace of its own it has other files in the place
//! of those that tell how names are looked up.

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

/// How root gets a mount namespace, and how anybody else does.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// The address of a resolver that takes questions and answers none.
const DEAF: &str = "127.0.77.53";

#[derive(Debug)]
pub(super) struct Resolver {
    hosts: PathBuf,
    /// Arguments of `unshare`.
    way: &'static [&'static str],
    /// Shell commands.
    mounts: String,
    /// Where nobody may have that port, the resolver refuses in place of being deaf.
    _deaf: Option<UdpSocket>,
}

impl Resolver {
    /// Makes the files, and tries whether names are looked up in them; an error says why not.
    pub(super) fn prepare(folder: &Folder) -> Result<Self, String> {
        let written = Self::files(folder).map_err(|error| error.to_string())?;
        let mut why = String::new();
        for way in WAYS {
            let resolver = Self {
                hosts: folder.file("hosts"),
                way,
                mounts: written.clone(),
                _deaf: UdpSocket::bind((DEAF, 53)).ok(),
            };
            match resolver.looks_up() {
                Ok(()) => return Ok(resolver),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// The commands that put them in place.
    fn files(folder: &Folder) -> io::Result<String> {
        let resolv_conf = format!("nameserver {DEAF}\noptions timeout:5 attempts:1\n");
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

    /// The binary, to which arguments may be added.
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

    /// From now on the name is not found.
    pub(super) fn is_deaf(&self) -> io::Result<()> {
        // The same file: what is mounted is not its path.
        fs::write(&self.hosts, "127.0.0.1 localhost\n")
    }

    pub(super) fn hears(&self) -> io::Result<()> {
        fs::write(&self.hosts, known())
    }
}

fn known() -> String {
    format!("127.0.0.1 localhost {NAME}\n")
}
