//! The state directory: holds the texts of configs, so that a rollback or a pending revert survives the process.
//!
//! Each config file has its own files there, named after its path: the permanent config, the one before it, the
//! unconfirmed one, and the path itself. Files are written under another name and renamed, so that each is complete at any time.

mod incidents;
mod prune;
mod unconfirmed;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{self, StateDirectory};
use crate::{directory, file};
pub use unconfirmed::{Unconfirmed, UnconfirmedStatus};

const IN_FORCE: &str = "yaml";
const BEFORE: &str = "before.yaml";
const UNCONFIRMED: &str = "unconfirmed";
const PATH: &str = "path";

/// A config of the largest size, and the head line before it.
const UNCONFIRMED_BYTES_MAX: u64 = config::FILE_BYTES_MAX + 256;

/// Characters of the config file's path in the names of its files; a hash of the whole path follows.
const NAME_CHARS_MAX: usize = 80;

/// The directories from which the default is chosen. A value, so that tests can have their own.
#[derive(Debug, Clone, Default)]
pub struct StateDirs {
    /// `$STATE_DIRECTORY`, made by systemd for the service.
    pub service: Option<PathBuf>,
    /// `/var/lib`
    pub lib: PathBuf,
    /// `$XDG_STATE_HOME`
    pub state: Option<PathBuf>,
    /// `$HOME`
    pub home: Option<PathBuf>,
    /// `/tmp`
    pub tmp: PathBuf,
    pub uid: u32,
}

/// The files of one config file.
#[derive(Debug, Clone)]
pub struct StateFiles {
    directory: PathBuf,
    name: String,
    /// The path of the config file.
    file: PathBuf,
}

/// A directory that may be the state directory.
struct CandidateDir {
    path: PathBuf,
    /// Its parent is writable for everybody.
    is_open_to_all: bool,
}

/// Why a state file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{}: {source}; name another one: `server: {{ state: /path }}`", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "{}: {source}; mend it, or remove it and run `evenkeel reload`, which takes the config file for confirmed",
        path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },
}

// === impl StateError ===

impl StateError {
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

// === impl StateDirs ===

impl StateDirs {
    pub fn of_process() -> Self {
        let absolute = |variable| {
            // systemd may name several; the first one is used.
            let value = std::env::var(variable).ok()?;
            value.split(':').next().map(PathBuf::from).filter(|path| path.is_absolute())
        };
        Self {
            service: absolute("STATE_DIRECTORY"),
            lib: "/var/lib".into(),
            state: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            tmp: "/tmp".into(),
            uid: nix::unistd::geteuid().as_raw(),
        }
    }

    /// The default candidates, best first.
    fn candidates(&self) -> Vec<CandidateDir> {
        let mut candidates: Vec<PathBuf> = self.service.iter().cloned().collect();
        candidates.push(self.lib.join("evenkeel"));
        candidates.extend(self.state.iter().map(|path| path.join("evenkeel")));
        candidates.extend(self.home.iter().map(|path| path.join(".local/state/evenkeel")));
        let mut candidates: Vec<_> =
            candidates.into_iter().map(|path| CandidateDir { path, is_open_to_all: false }).collect();
        candidates.push(CandidateDir {
            path: self.tmp.join(format!("evenkeel-{}", self.uid)),
            is_open_to_all: true,
        });
        candidates
    }
}

// === impl CandidateDir ===

impl CandidateDir {
    /// Fails if the directory is not writable, or if another user could write to it.
    fn check_usable(&self) -> io::Result<()> {
        directory::create(&self.path, 0o700)?;
        self.check_ours()?;
        let probe = aside(&self.path, "probe");
        drop(create(&probe)?);
        fs::remove_file(probe)
    }

    /// Fails if another user could have written the files: a rollback puts their content in force.
    fn check_ours(&self) -> io::Result<()> {
        if self.is_open_to_all && !directory::is_private(&self.path) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a directory of this user alone",
            ));
        }
        directory::check_ours(&self.path)
    }

    /// Whether state files of this name exist, readable or not. Creates and writes nothing.
    fn holds(&self, name: &str) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        let is_there = |ending| match fs::symlink_metadata(self.path.join(format!("{name}.{ending}"))) {
            Ok(_) => true,
            // A directory that we may not enter is not ours.
            Err(error) => !matches!(error.kind(), NotFound | NotADirectory | PermissionDenied),
        };
        self.check_ours().is_ok() && [IN_FORCE, UNCONFIRMED].into_iter().any(is_there)
    }
}

// === impl StateFiles ===

impl StateFiles {
    /// Finds the state files of the config file `file`; `None`: the config turns the state off. Of several directories
    /// it takes the first one that has state files already, or else the first usable one.
    pub fn open(
        setting: &StateDirectory,
        file: &Path,
        environment: &StateDirs,
    ) -> Result<Option<StateFiles>, StateError> {
        let candidates = match setting {
            StateDirectory::Off => return Ok(None),
            StateDirectory::At(path) => vec![CandidateDir { path: path.clone(), is_open_to_all: false }],
            StateDirectory::Default => environment.candidates(),
        };
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let name = name_of(&file);
        let of = |directory, name| StateFiles { directory, name, file: file.clone() };
        let (mut usable, mut refused) = (None, None);
        for candidate in candidates {
            let holds = file::access(&candidate.path, || candidate.holds(&name));
            if usable.is_some() && !holds {
                continue;
            }
            match file::access(&candidate.path, || candidate.check_usable()) {
                Ok(()) if holds => return Ok(Some(of(candidate.path, name))),
                Ok(()) => usable = Some(candidate.path),
                // Existing files count even if the directory is not writable any more.
                Err(_) if holds => return Ok(Some(of(candidate.path, name))),
                // The first candidate is the one that an operator expects, so its error is reported.
                Err(source) => {
                    refused = refused.or(Some(StateError::Unusable { path: candidate.path, source }))
                }
            }
        }
        match (usable, refused) {
            (Some(directory), _) => Ok(Some(of(directory, name))),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// The last permanent config.
    pub fn in_force(&self) -> Result<String, StateError> {
        self.read(IN_FORCE, config::FILE_BYTES_MAX)
    }

    /// The permanent config before it.
    pub fn before(&self) -> Result<String, StateError> {
        self.read(BEFORE, config::FILE_BYTES_MAX)
    }

    pub fn keep(&self, in_force: &str, before: Option<&str>) -> Result<(), StateError> {
        // In this order: an interruption in between leaves a text twice, and loses none.
        if let Some(before) = before {
            self.write(BEFORE, before.as_bytes())?;
        }
        self.write(IN_FORCE, in_force.as_bytes())
    }

    /// Writes down which config file this is, and removes the files of those that are gone.
    pub fn prune(&self, now: SystemTime) -> Result<(), StateError> {
        self.write(PATH, self.file.as_os_str().as_bytes())?;
        file::access(&self.directory, || prune::prune(&self.directory, &self.name, now));
        Ok(())
    }

    /// The unconfirmed config, if there is one; an error if its file cannot be read or parsed.
    pub fn unconfirmed(&self) -> Result<Option<Unconfirmed>, StateError> {
        let text = match self.read(UNCONFIRMED, UNCONFIRMED_BYTES_MAX) {
            Err(error) if error.is_missing() => return Ok(None),
            read => read?,
        };
        let torn = || {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
            StateError::Unreadable { path: self.path(UNCONFIRMED), source }
        };
        Unconfirmed::parse(&text).map(Some).ok_or_else(torn)
    }

    /// Writes the unconfirmed config; `None` removes it.
    pub fn keep_unconfirmed(&self, unconfirmed: Option<&Unconfirmed>) -> Result<(), StateError> {
        if let Some(unconfirmed) = unconfirmed {
            return self.write(UNCONFIRMED, unconfirmed.written().as_bytes());
        }
        let path = self.path(UNCONFIRMED);
        file::access(&path, || remove(&self.directory, &path))
            .map_err(|source| StateError::Unusable { path, source })
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }

    fn read(&self, ending: &str, limit: u64) -> Result<String, StateError> {
        let path = self.path(ending);
        file::access(&path, || read_own(&path, limit))
            .map_err(|source| StateError::Unreadable { path, source })
    }

    fn write(&self, ending: &str, text: &[u8]) -> Result<(), StateError> {
        let path = self.path(ending);
        file::access(&path, || replace(&self.directory, &path, text, "new"))
            .map_err(|source| StateError::Unusable { path, source })
    }
}

/// Replaces the file atomically: on failure the old text stays. There is at most one write at a time of each `purpose`.
fn replace(directory: &Path, path: &Path, text: &[u8], purpose: &str) -> io::Result<()> {
    let aside = aside(directory, purpose);
    let written = create(&aside).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&aside, path)) {
        // If this fails, the next write removes it.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    // Makes the rename durable.
    File::open(directory)?.sync_all()
}

fn remove(directory: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(directory)?.sync_all(),
    }
}

/// Reads a regular file of this user or root, of at most `limit` bytes. Refuses symlinks, and does not block on a FIFO.
fn read_own(path: &Path, limit: u64) -> io::Result<String> {
    let (file, found) = file::open_regular(path, libc::O_NOFOLLOW)?;
    if !directory::is_of_this_user(&found) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no file of this user or root"));
    }
    String::from_utf8(file::read_open(file, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
}

/// A temporary name of this process. A probe for writability uses another name than a write, because it may run while a
/// write hangs; there is at most one write at a time.
fn aside(directory: &Path, purpose: &str) -> PathBuf {
    directory.join(format!(".evenkeel-{}-{purpose}.tmp", std::process::id()))
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file name for a path: its readable end, and a hash of the whole path.
fn name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let readable = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let skipped = text.chars().count().saturating_sub(NAME_CHARS_MAX);
    let readable: String = text.chars().skip(skipped).map(readable).collect();
    format!("{}-{:016x}", readable.trim_matches(['-', '.']), fnv1a(path.as_os_str().as_encoded_bytes()))
}

/// FNV-1a: stable over versions and machines, which the standard library's hash is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::Duration;

    use super::*;

    fn environment(folder: &Path) -> StateDirs {
        StateDirs {
            // A file is no directory: the first directories cannot be had.
            lib: folder.join("file"),
            state: Some(folder.join("file")),
            home: None,
            tmp: folder.to_owned(),
            uid: 7,
            service: None,
        }
    }

    fn open(setting: &StateDirectory, file: &str, environment: &StateDirs) -> StateFiles {
        StateFiles::open(setting, Path::new(file), environment).expect("a place").expect("it is not off")
    }

    /// The one in force, and the one before.
    fn texts(kept: &StateFiles) -> (Option<String>, Option<String>) {
        (kept.in_force().ok(), kept.before().ok())
    }

    #[test]
    fn texts_are_kept_for_each_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let setting = StateDirectory::At(folder.path().join("a/b"));
        let none = StateDirs::default();
        let (one, two) = (open(&setting, "/etc/a.yaml", &none), open(&setting, "/etc/b.yaml", &none));
        assert_eq!(texts(&one), (None, None));
        one.keep("first", None).expect("written");
        one.keep("second", Some("first")).expect("written");
        two.keep("other", None).expect("written");
        let one = open(&setting, "/etc/a.yaml", &none);
        assert_eq!(texts(&one), (Some("second".into()), Some("first".into())));
        assert_eq!(texts(&two), (Some("other".into()), None));
        let files: Vec<_> = fs::read_dir(folder.path().join("a/b")).expect("it is there").collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in files {
            let mode = file.and_then(|file| file.metadata()).expect("a file").mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    /// Of config files that are gone, the newest stay for a while; of those that are there, all do.
    #[test]
    fn files_of_config_files_that_are_gone_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let setting = StateDirectory::At(folder.path().join("state"));
        let [there, own] = ["there.yaml", "own.yaml"].map(|name| folder.path().join(name));
        fs::write(&there, "").expect("written");
        let mut state = Vec::new();
        let now = SystemTime::now();
        let files = (0..20).map(|number| folder.path().join(format!("gone-{number}.yaml")));
        for file in files.chain([there.clone(), own]) {
            let kept =
                StateFiles::open(&setting, &file, &StateDirs::default()).expect("a place").expect("it is on");
            kept.keep("a", Some("b")).expect("written");
            kept.prune(now).expect("written");
            state.push(kept);
        }
        let held = || state.iter().filter(|kept| kept.in_force().is_ok()).count();
        assert_eq!(held(), 16 + 2);
        let own = state.last().expect("there are some");
        own.prune(now + Duration::from_hours(31 * 24)).expect("written");
        assert_eq!(held(), 2);
        assert_eq!(fs::read_dir(folder.path().join("state")).expect("a folder").count(), 6);
    }

    /// A file that a crash, a disk or a person has changed is an error, and not another config.
    #[test]
    fn an_unconfirmed_config_is_whole_or_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = open(&StateDirectory::At(folder.path().into()), "a.yaml", &StateDirs::default());
        assert_eq!(kept.unconfirmed().expect("nothing is wrong"), None);
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_416_000_123);
        let unconfirmed =
            Unconfirmed { text: "listen: :1\n".into(), until, limit: Duration::from_secs(60), starts: 1 };
        kept.keep_unconfirmed(Some(&unconfirmed)).expect("written");
        assert_eq!(kept.unconfirmed().expect("whole"), Some(unconfirmed));
        let path = kept.path(UNCONFIRMED);
        let whole = fs::read(&path).expect("it is there");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(kept.unconfirmed().is_err(), "{length} of {} bytes", whole.len());
        }
        kept.keep_unconfirmed(None).expect("removed");
        kept.keep_unconfirmed(None).expect("nothing to remove");
        assert_eq!(kept.unconfirmed().expect("nothing is wrong"), None);
    }

    #[test]
    fn the_usual_directory_has_fallbacks() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("written");
        let kept = open(&StateDirectory::Default, "a.yaml", &environment(folder.path()));
        assert_eq!(kept.directory, folder.path().join("evenkeel-7"));
        assert_eq!(fs::metadata(&kept.directory).expect("it is there").mode() & 0o777, 0o700);
        let home = StateDirs { home: Some(folder.path().join("home")), ..environment(folder.path()) };
        let kept = open(&StateDirectory::Default, "a.yaml", &home);
        assert_eq!(kept.directory, folder.path().join("home/.local/state/evenkeel"));
        let service = StateDirs { service: Some(folder.path().join("s")), ..home };
        assert_eq!(open(&StateDirectory::Default, "a.yaml", &service).directory, folder.path().join("s"));
    }

    /// A disk may be read-only, or full, at one start and not at another.
    #[test]
    fn what_is_kept_counts_more_than_where_it_could_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = StateDirs {
            lib: folder.path().join("lib"),
            state: None,
            home: Some(folder.path().join("home")),
            ..environment(folder.path())
        };
        let directory = || open(&StateDirectory::Default, "a.yaml", &environment).directory;
        let lib = folder.path().join("lib/evenkeel");
        assert_eq!(directory(), lib);
        // Nothing can be made where this is.
        let obstacle = aside(&lib, "probe");
        fs::create_dir_all(obstacle.join("full")).expect("made");
        let home = folder.path().join("home/.local/state/evenkeel");
        assert_eq!(directory(), home, "nothing is kept anywhere");
        open(&StateDirectory::Default, "a.yaml", &environment).keep("text", None).expect("written");
        fs::remove_dir_all(&obstacle).expect("removed");
        assert_eq!(directory(), home, "it is kept there");
        open(&StateDirectory::At(lib.clone()), "a.yaml", &environment).keep("text", None).expect("written");
        assert_eq!(directory(), lib, "it is kept in both");
        fs::create_dir_all(obstacle.join("full")).expect("made");
        assert_eq!(directory(), lib, "it can be read there");
        let kept = open(&StateDirectory::Default, "a.yaml", &environment);
        fs::remove_file(kept.path(IN_FORCE)).expect("removed");
        assert_eq!(directory(), home);
        // The other way round: the first place is usable and empty.
        fs::remove_dir_all(&obstacle).expect("removed");
        fs::create_dir_all(aside(&home, "probe").join("full")).expect("made");
        assert_eq!(directory(), home, "it can be read there");
    }

    /// A process may probe while a write of its own hangs.
    #[test]
    fn a_probe_leaves_alone_what_is_being_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let half = aside(folder.path(), "new");
        fs::write(&half, "half").expect("written");
        open(&StateDirectory::At(folder.path().into()), "a.yaml", &StateDirs::default());
        assert_eq!(fs::read_to_string(half).expect("it is there"), "half");
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused_where_all_can_write() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("written");
        let shared = folder.path().join("evenkeel-7");
        fs::create_dir(&shared).expect("made");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).expect("set");
        let refused = StateFiles::open(&StateDirectory::Default, Path::new("a"), &environment(folder.path()));
        let first = folder.path().join("file/evenkeel").display().to_string();
        assert!(refused.expect_err("refused").to_string().starts_with(&first));
        let off = StateFiles::open(&StateDirectory::Off, Path::new("a"), &environment(folder.path()));
        assert!(off.expect("nothing to fail").is_none());
    }

    /// A rollback would put the content of either file in force.
    #[test]
    fn what_somebody_else_may_have_written_is_not_used() {
        for ending in ["yaml", UNCONFIRMED] {
            let folder = tempfile::tempdir().expect("a folder");
            let setting = StateDirectory::At(folder.path().join("state"));
            let kept = open(&setting, "a.yaml", &StateDirs::default());
            let until = SystemTime::now() + Duration::from_secs(60);
            let unconfirmed =
                Unconfirmed { text: "ours".into(), until, limit: Duration::from_secs(60), starts: 0 };
            kept.keep("ours", None).expect("written");
            kept.keep_unconfirmed(Some(&unconfirmed)).expect("written");
            let refusal = |why| {
                let refused = match ending {
                    UNCONFIRMED => kept.unconfirmed().map(drop),
                    _ => kept.in_force().map(drop),
                };
                let refused = refused.expect_err(why).to_string();
                assert!(refused.contains("run `evenkeel reload`"), "{refused}");
            };
            let (file, moved) = (kept.path(ending), folder.path().join("moved"));
            fs::rename(&file, &moved).expect("renamed");
            std::os::unix::fs::symlink(&moved, &file).expect("a symlink");
            refusal("no symlink is followed");
            fs::remove_file(&file).expect("removed");
            nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
            refusal("nothing is waited for");
            fs::remove_file(&file).expect("removed");
            File::create(&file)
                .and_then(|file| file.set_len(UNCONFIRMED_BYTES_MAX + 1))
                .expect("a large file");
            refusal("it is larger than any of ours");
            if nix::unistd::geteuid().is_root() {
                fs::remove_file(&file).expect("removed");
                fs::copy(&moved, &file).expect("copied");
                std::os::unix::fs::chown(&file, Some(65_533), None).expect("root can");
                refusal("somebody else's file is not believed");
            }
        }
    }

    #[test]
    fn somebody_elses_directory_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(folder.path(), Some(65_533), None).expect("root can");
        let setting = StateDirectory::At(folder.path().into());
        let refused = StateFiles::open(&setting, Path::new("a.yaml"), &StateDirs::default());
        let refused = refused.expect_err("refused").to_string();
        assert!(
            refused.contains("belongs to user 65533") && refused.contains("`server: { state:"),
            "{refused}"
        );
    }

    #[test]
    fn names_are_short_and_differ() {
        let long = format!("/{}/x.yaml", "ä/".repeat(300));
        let name = name_of(Path::new(&long));
        assert!(name.len() < 120 && name.is_ascii(), "{name}");
        assert_eq!(
            name_of(Path::new("/etc/evenkeel/evenkeel.yaml")),
            "etc-evenkeel-evenkeel.yaml-f6716a5a0e898a8d"
        );
        assert_ne!(name_of(Path::new("/etc/a-b")), name_of(Path::new("/etc/a/b")));
    }
}
