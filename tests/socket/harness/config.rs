//! Builds a config and starts a proxy with it.
//!
//! What a scenario does not speak about has a value that keeps the scenario quiet: no health checks, an access log in
//! a file as JSON, an admin socket and every other file in a folder of the test's own.

use std::fmt::{Display, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::proxy::{Ended, Output, Proxy};

/// The variable that chooses the engine for the whole suite.
const ENGINE_WANTED: &str = "EVENKEEL_TEST_ENGINE";

/// The binary under test.
pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

/// Its name in a test's folder.
pub(super) const OWN_BINARY: &str = "evenkeel";

/// What carries the requests; the suite is told by [`ENGINE_WANTED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Native,
    Pingora,
}

pub fn engine() -> Engine {
    match std::env::var(ENGINE_WANTED).as_deref() {
        Ok("pingora") => Engine::Pingora,
        Ok("native") | Err(_) => Engine::Native,
        Ok(other) => panic!("{ENGINE_WANTED} is native or pingora, not {other}"),
    }
}

/// Whether the suite runs on the engine `pingora`, which cannot do what the test is about; `row` begins a row of the table
/// in `docs/engines.md` that says so.
#[track_caller]
pub fn lacks(row: &str) -> bool {
    let table = include_str!("../../../docs/engines.md");
    let is_said = table.lines().any(|line| line.strip_prefix("| ").is_some_and(|line| line.starts_with(row)));
    assert!(is_said, "docs/engines.md has no row `{row}`");
    let lacks = engine() == Engine::Pingora;
    if lacks {
        eprintln!("skipped: engine pingora: {row}");
    }
    lacks
}

/// What says so at a listener.
fn engine_line() -> &'static str {
    match engine() {
        Engine::Native => "",
        Engine::Pingora => "    engine: pingora\n",
    }
}

/// The id of a user who is nobody in particular, if the proxy can be run as that user; else why not.
pub fn nobody() -> Result<u32, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root may run the proxy as another user".into());
    }
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o005 == 0o005)
    };
    match Path::new(env!("CARGO_BIN_EXE_evenkeel")).ancestors().find(|path| !open(path)) {
        Some(closed) => Err(format!("{} is closed to other users", closed.display())),
        None => Ok(65_534),
    }
}

pub struct ProxyBuilder {
    folder: TempDir,
    whole: Option<String>,
    server: String,
    admin: Option<String>,
    access_log: Option<String>,
    log: String,
    listeners: Vec<Listener>,
    routes: String,
    pools: Vec<Pool>,
    environment: Vec<(String, String)>,
    shell: Option<String>,
    own_mounts: bool,
    user: Option<u32>,
    output: Output,
    arguments: Option<Vec<String>>,
    own_binary: bool,
    stdin: Option<OwnedFd>,
}

struct Listener {
    name: String,
    address: String,
    lines: Vec<String>,
}

struct Pool {
    name: String,
    endpoints: Vec<String>,
    health_check: String,
    lines: Vec<String>,
}

impl ProxyBuilder {
    pub fn new() -> ProxyBuilder {
        ProxyBuilder {
            folder: tempfile::Builder::new().prefix("evk").tempdir().unwrap(),
            whole: None,
            server: "threads: 2, drain: 10s".into(),
            admin: None,
            access_log: None,
            log: "level: info, format: json".into(),
            listeners: Vec::new(),
            routes: "  - { name: default, pool: default }\n".into(),
            pools: Vec::new(),
            environment: Vec::new(),
            shell: None,
            own_mounts: false,
            user: None,
            output: Output::Read,
            arguments: None,
            own_binary: false,
            stdin: None,
        }
    }

    /// A folder for the files of this test; gone after it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This text in place of everything that the other methods say about the config.
    pub fn yaml(mut self, text: impl Into<String>) -> ProxyBuilder {
        self.whole = Some(text.into());
        self
    }

    /// The inside of `server: { }`.
    pub fn server(mut self, keys: &str) -> ProxyBuilder {
        self.server = keys.into();
        self
    }

    /// The inside of `admin: { }`.
    pub fn admin(mut self, keys: &str) -> ProxyBuilder {
        self.admin = Some(keys.into());
        self
    }

    /// The inside of `access_log: { }`.
    pub fn access_log(mut self, keys: &str) -> ProxyBuilder {
        self.access_log = Some(keys.into());
        self
    }

    /// The inside of `log: { }`.
    pub fn log(mut self, keys: &str) -> ProxyBuilder {
        self.log = keys.into();
        self
    }

    /// A key of the default listener.
    pub fn listener(mut self, line: &str) -> ProxyBuilder {
        if self.listeners.is_empty() {
            self = self.listen("default", "127.0.0.1:0");
        }
        self.listeners[0].lines.push(line.into());
        self
    }

    /// One more listener.
    pub fn listen(mut self, name: &str, address: &str) -> ProxyBuilder {
        self.listeners.push(Listener { name: name.into(), address: address.into(), lines: Vec::new() });
        self
    }

    /// A key of the listener named last.
    pub fn listening_with(mut self, line: &str) -> ProxyBuilder {
        self.listeners.last_mut().expect("a listener to set a key of").lines.push(line.into());
        self
    }

    /// The routes, one per item, each the inside of `{ }`.
    pub fn routes(mut self, routes: &[&str]) -> ProxyBuilder {
        self.routes = routes.iter().map(|route| format!("  - {{ {route} }}\n")).collect();
        self
    }

    /// One more pool; the first one is where the default route goes if it is named `default`.
    pub fn pool<E: Display>(mut self, name: &str, endpoints: impl IntoIterator<Item = E>) -> ProxyBuilder {
        self.pools.push(Pool {
            name: name.into(),
            endpoints: endpoints.into_iter().map(|endpoint| endpoint.to_string()).collect(),
            health_check: "off".into(),
            lines: Vec::new(),
        });
        self
    }

    /// A key of the pool named last.
    pub fn with(mut self, line: &str) -> ProxyBuilder {
        self.pools.last_mut().expect("a pool to set a key of").lines.push(line.into());
        self
    }

    /// The health check of the pool named last: the inside of `{ }`.
    pub fn health_check(mut self, keys: &str) -> ProxyBuilder {
        self.pools.last_mut().expect("a pool to check").health_check = format!("{{ {keys} }}");
        self
    }

    /// These arguments in place of `run -c FILE`.
    pub fn arguments(mut self, arguments: &[&str]) -> ProxyBuilder {
        self.arguments = Some(arguments.iter().map(|argument| (*argument).to_owned()).collect());
        self
    }

    /// Runs the binary by a path in this folder, where [`Proxy::replace_binary`] puts another one in its place.
    pub fn with_own_binary(mut self) -> ProxyBuilder {
        std::os::unix::fs::symlink(BINARY, self.folder.path().join(OWN_BINARY)).unwrap();
        self.own_binary = true;
        self
    }

    /// What its standard input is, in place of nothing.
    pub fn stdin(mut self, stdin: OwnedFd) -> ProxyBuilder {
        self.stdin = Some(stdin);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> ProxyBuilder {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Shell commands that run before the proxy in its process, for limits.
    pub fn after_shell(mut self, commands: &str) -> ProxyBuilder {
        self.shell = Some(commands.into());
        self
    }

    /// Runs these shell commands and then the proxy where mounts are seen by nobody else; only root may.
    pub fn in_mount_namespace(mut self, commands: &str) -> ProxyBuilder {
        self.shell = Some(commands.into());
        self.own_mounts = true;
        self
    }

    /// Runs the proxy as another user; only root may. The folder becomes that user's.
    pub fn run_by(mut self, uid: u32) -> ProxyBuilder {
        std::os::unix::fs::chown(self.folder.path(), Some(uid), Some(uid)).unwrap();
        self.user = Some(uid);
        self
    }

    /// Runs the proxy as nobody in particular where that can be had: then its default paths are in this folder.
    pub fn run_by_nobody(self) -> ProxyBuilder {
        match nobody() {
            Ok(uid) => self.run_by(uid),
            Err(_) => self,
        }
    }

    /// Reads nothing of the proxy's standard output.
    pub fn with_stalled_stdout(mut self) -> ProxyBuilder {
        self.output = Output::Stalled;
        self
    }

    /// Closes the reading end of the proxy's standard output.
    pub fn with_closed_stdout(mut self) -> ProxyBuilder {
        self.output = Output::Closed;
        self
    }

    /// Starts it, and waits until it says that it is ready.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let command = self.command();
        let text = self.text();
        Proxy::start(command, self.folder, text, self.output)
    }

    /// Starts it, and waits until it has ended by itself: for configs and surroundings that are refused.
    #[track_caller]
    pub fn start_and_fail(self) -> Ended {
        let command = self.command();
        let text = self.text();
        Proxy::spawn(command, self.folder, text, self.output).ended()
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Proxy {
        let command = self.command();
        let text = self.text();
        Proxy::spawn(command, self.folder, text, self.output)
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("evenkeel.yaml")
    }

    pub fn access_log_path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// The config as it will be written.
    pub fn text(&self) -> String {
        if let Some(text) = &self.whole {
            return text.clone();
        }
        let folder = self.folder.path().display();
        let admin = self.admin.clone().unwrap_or_else(|| format!("listen: \"unix:{folder}/admin.sock\""));
        let access_log = self
            .access_log
            .clone()
            .unwrap_or_else(|| format!("output: \"{}\", format: json", self.access_log_path().display()));
        let mut text = format!(
            "server: {{ {} }}\nadmin: {{ {admin} }}\nlog: {{ {} }}\naccess_log: {{ {access_log} }}\n",
            self.server, self.log
        );
        text.push_str("listeners:\n");
        if self.listeners.is_empty() {
            let _ = write!(text, "  - name: default\n    address: 127.0.0.1:0\n{}", engine_line());
        }
        for listener in &self.listeners {
            let _ = writeln!(text, "  - name: {}\n    address: \"{}\"", listener.name, listener.address);
            text.push_str(engine_line());
            for line in &listener.lines {
                let _ = writeln!(text, "    {line}");
            }
        }
        let _ = write!(text, "routes:\n{}pools:\n", self.routes);
        for pool in &self.pools {
            let _ = writeln!(text, "  {}:\n    health_check: {}", pool.name, pool.health_check);
            for line in &pool.lines {
                let _ = writeln!(text, "    {line}");
            }
            text.push_str("    endpoints:\n");
            for endpoint in &pool.endpoints {
                let _ = writeln!(text, "      - {endpoint}");
            }
        }
        text
    }

    fn command(&self) -> Command {
        let path = self.config_path();
        if !path.exists() {
            std::fs::write(&path, self.text()).unwrap();
        }
        let own = self.folder.path().join(OWN_BINARY);
        let binary = if self.own_binary { own.as_path() } else { Path::new(BINARY) };
        let mut command = match &self.shell {
            None => Command::new(binary),
            Some(commands) => {
                let mut shell = Command::new(if self.own_mounts { "unshare" } else { "sh" });
                if self.own_mounts {
                    shell.args(["-m", "sh"]);
                }
                shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")]).arg(binary);
                shell
            }
        };
        match &self.arguments {
            Some(arguments) => command.args(arguments),
            None => command.args(["run", "-c"]).arg(&path),
        };
        self.environment(&mut command);
        if let Some(uid) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(uid);
        }
        command
    }

    fn environment(&self, command: &mut Command) {
        let stdin = self.stdin.as_ref().map(|stdin| stdin.try_clone().unwrap());
        command
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env("XDG_RUNTIME_DIR", self.folder.path()).env("XDG_STATE_HOME", self.folder.path());
        command.env("STATE_DIRECTORY", self.folder.path().join("state"));
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env_remove("RUST_LOG");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
    }
}
