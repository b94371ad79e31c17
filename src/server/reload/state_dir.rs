//! Where the texts of the configs that were in force are kept, so that a rollback survives the process.
//!
//! Each config file has files of its own there, found by its path: the config in force, the one before, and the one that
//! waits for its confirmation or never had it. They are written aside and renamed, so that there is a whole text at any
//! time.

mod unconfirmed;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::{self, StateDirectory};
use crate::{directory, file};
pub use unconfirmed::{Standing, Unconfirmed};

const UNCONFIRMED: &str = "unconfirmed";

/// Larger than any config.
const UNCONFIRMED_BYTES_MAX: u64 = 64 << 20;

/// Characters of a config file's path that are in the names of its files; a hash of all of it follows.
const NAME_CHARS_MAX: usize = 80;

/// What the usual directory depends on. A value, so that tests can have their own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$STATE_DIRECTORY`: what systemd has made for the service.
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
pub struct Kept {
    directory: PathBuf,
    name: String,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; name another one: `server: {{ state: /path }}`", path.display())]
pub struct StateError {
    pub path: PathBuf,
    source: io::Error,
}

// === impl Environment ===

impl Environment {
    pub fn of_process() -> Self {
        let absolute = |variable| {
            // systemd may name several, and ours is the first.
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

    /// Where the directory may be, best first; `true`: it lies where everybody can write.
    fn places(&self) -> Vec<(PathBuf, bool)> {
        let mut places: Vec<PathBuf> = self.service.iter().cloned().collect();
        places.push(self.lib.join("evenkeel"));
        places.extend(self.state.iter().map(|path| path.join("evenkeel")));
        places.extend(self.home.iter().map(|path| path.join(".local/state/evenkeel")));
        let mut places: Vec<_> = places.into_iter().map(|path| (path, false)).collect();
        places.push((self.tmp.join(format!("evenkeel-{}", self.uid)), true));
        places
    }
}

// === impl Kept ===

impl Kept {
    /// The files for the config of `file`; `None`: nothing is to be kept.
    pub fn open(
        setting: &StateDirectory,
        file: &Path,
        environment: &Environment,
    ) -> Result<Option<Kept>, StateError> {
        let places = match setting {
            StateDirectory::Off => return Ok(None),
            StateDirectory::At(path) => vec![(path.clone(), false)],
            StateDirectory::Default => environment.places(),
        };
        let name = name_of(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        let mut refused = None;
        for (directory, is_open_to_all) in places {
            match usable(&directory, is_open_to_all) {
                Ok(()) => return Ok(Some(Kept { directory, name })),
                // The first one is where it should be.
                Err(source) => refused = refused.or(Some(StateError { path: directory, source })),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// The config that was put in force last.
    pub fn in_force(&self) -> Option<String> {
        read_own(&self.path("yaml")).ok()
    }

    /// The one before it.
    pub fn before(&self) -> Option<String> {
        read_own(&self.path("before.yaml")).ok()
    }

    pub fn keep(&self, in_force: &str, before: Option<&str>) -> Result<(), StateError> {
        // In this order: interrupted in between, the config in force is there once too often, and none is missing.
        if let Some(before) = before {
            self.write("before.yaml", before)?;
        }
        self.write("yaml", in_force)
    }

    /// A config of which nobody has said that it may stay; an error if something is kept that cannot be understood.
    pub fn unconfirmed(&self) -> Result<Option<Unconfirmed>, StateError> {
        let path = self.path(UNCONFIRMED);
        let text = match file::read(&path, UNCONFIRMED_BYTES_MAX) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError { path, source }),
        };
        match Unconfirmed::parse(&text) {
            Some(unconfirmed) => Ok(Some(unconfirmed)),
            None => {
                let source = io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
                Err(StateError { path, source })
            }
        }
    }

    /// `None`: there is none any more.
    pub fn keep_unconfirmed(&self, unconfirmed: Option<&Unconfirmed>) -> Result<(), StateError> {
        if let Some(unconfirmed) = unconfirmed {
            return self.write(UNCONFIRMED, &unconfirmed.written());
        }
        let path = self.path(UNCONFIRMED);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.directory).and_then(|directory| directory.sync_all()),
        };
        removed.map_err(|source| StateError { path, source })
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }

    fn write(&self, ending: &str, text: &str) -> Result<(), StateError> {
        let path = self.path(ending);
        replace(&self.directory, &path, text).map_err(|source| StateError { path, source })
    }
}

fn usable(path: &Path, is_open_to_all: bool) -> io::Result<()> {
    directory::create(path, 0o700)?;
    if is_open_to_all && !directory::is_private(path) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is not a directory of this user alone",
        ));
    }
    // A rollback would put in force whatever they write there.
    directory::check_ours(path)?;
    let probe = aside(path);
    drop(create(&probe)?);
    fs::remove_file(probe)
}

/// Writes the whole text, or leaves what was there.
fn replace(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let aside = aside(directory);
    let written = create(&aside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&aside, path)) {
        // What cannot be removed is removed before the next text is written.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    // The rename, too.
    File::open(directory)?.sync_all()
}

/// A file that this user or root has written; no symlink, and nothing that could be waited for.
fn read_own(path: &Path) -> io::Result<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || !directory::is_of_this_user(&found) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = String::new();
    file.take(config::FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A name that no other process writes to.
fn aside(directory: &Path) -> PathBuf {
    directory.join(format!(".evenkeel-{}.tmp", std::process::id()))
}

fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file name for a path: its end, readable, and a hash of all of it.
fn name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    let readable = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let skipped = text.chars().count().saturating_sub(NAME_CHARS_MAX);
    let readable: String = text.chars().skip(skipped).map(readable).collect();
    format!("{}-{:016x}", readable.trim_matches(['-', '.']), fnv1a(path.as_os_str().as_encoded_bytes()))
}

/// The same in every version and on every machine, which the standard library's hashes need not be.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn environment(folder: &Path) -> Environment {
        Environment {
            // A file is no directory: the first places cannot be had.
            lib: folder.join("file"),
            state: Some(folder.join("file")),
            home: None,
            tmp: folder.to_owned(),
            uid: 7,
            service: None,
        }
    }

    fn open(setting: &StateDirectory, file: &str, environment: &Environment) -> Kept {
        Kept::open(setting, Path::new(file), environment).expect("a place").expect("it is not off")
    }

    #[test]
    fn texts_are_kept_for_each_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let setting = StateDirectory::At(folder.path().join("a/b"));
        let none = Environment::default();
        let (one, two) = (open(&setting, "/etc/a.yaml", &none), open(&setting, "/etc/b.yaml", &none));
        assert_eq!((one.in_force(), one.before()), (None, None));
        one.keep("first", None).expect("written");
        one.keep("second", Some("first")).expect("written");
        two.keep("other", None).expect("written");
        let one = open(&setting, "/etc/a.yaml", &none);
        assert_eq!((one.in_force().as_deref(), one.before().as_deref()), (Some("second"), Some("first")));
        assert_eq!((two.in_force().as_deref(), two.before()), (Some("other"), None));
        let files: Vec<_> = fs::read_dir(folder.path().join("a/b")).expect("it is there").collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in files {
            let mode = file.and_then(|file| file.metadata()).expect("a file").mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    /// Of what a crash, a disk or a person has left behind, nothing is believed that was not written so.
    #[test]
    fn an_unconfirmed_config_is_whole_or_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = open(&StateDirectory::At(folder.path().into()), "a.yaml", &Environment::default());
        assert_eq!(kept.unconfirmed().expect("nothing is wrong"), None);
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_416_000_123);
        let unconfirmed = Unconfirmed { text: "listen: :1\n".into(), until, limit: Duration::from_secs(60) };
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
        let home = Environment { home: Some(folder.path().join("home")), ..environment(folder.path()) };
        let kept = open(&StateDirectory::Default, "a.yaml", &home);
        assert_eq!(kept.directory, folder.path().join("home/.local/state/evenkeel"));
        let service = Environment { service: Some(folder.path().join("s")), ..home };
        assert_eq!(open(&StateDirectory::Default, "a.yaml", &service).directory, folder.path().join("s"));
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused_where_all_can_write() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("written");
        let shared = folder.path().join("evenkeel-7");
        fs::create_dir(&shared).expect("made");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).expect("set");
        let refused = Kept::open(&StateDirectory::Default, Path::new("a"), &environment(folder.path()));
        assert_eq!(refused.expect_err("refused").path, folder.path().join("file/evenkeel"));
        let off = Kept::open(&StateDirectory::Off, Path::new("a"), &environment(folder.path()));
        assert!(off.expect("nothing to fail").is_none());
    }

    #[test]
    fn what_somebody_else_may_have_written_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let setting = StateDirectory::At(state.clone());
        let kept = open(&setting, "a.yaml", &Environment::default());
        kept.keep("ours", None).expect("written");
        let file = kept.path("yaml");
        fs::rename(&file, folder.path().join("moved")).expect("renamed");
        std::os::unix::fs::symlink(folder.path().join("moved"), &file).expect("a symlink");
        assert_eq!(kept.in_force(), None, "no symlink is followed");
        fs::remove_file(&file).expect("removed");
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        assert_eq!(kept.in_force(), None, "nothing is waited for");
        if nix::unistd::geteuid().is_root() {
            let stranger = Some(65_533);
            fs::remove_file(&file).expect("removed");
            fs::write(&file, "theirs").expect("written");
            std::os::unix::fs::chown(&file, stranger, None).expect("root can");
            assert_eq!(kept.in_force(), None, "somebody else's file is not believed");
            std::os::unix::fs::chown(&state, stranger, None).expect("root can");
            let refused = Kept::open(&setting, Path::new("a.yaml"), &Environment::default());
            let refused = refused.expect_err("refused").to_string();
            assert!(
                refused.contains("belongs to user 65533") && refused.contains("`server: { state:"),
                "{refused}"
            );
        }
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
