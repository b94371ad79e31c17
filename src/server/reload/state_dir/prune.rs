//! Removes what the state directory has of config files that are gone: else it would hold files of every path that has
//! ever been run.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{BEFORE, IN_FORCE, PATH, UNCONFIRMED, incidents};

/// How long the files of a config file that is gone stay: it may be on a disk that is not mounted at the moment.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// Config files that are gone and whose files stay at most, the newest ones.
const KEPT_MAX: usize = 16;

/// The files of a config file that is gone.
struct Gone {
    name: String,
    written: SystemTime,
}

/// Removes files of config files that are gone. Where that fails, the next time will do.
pub fn prune(directory: &Path, own_name: &str, now: SystemTime) {
    let mut gone: Vec<Gone> = names(directory)
        .filter(|name| name != own_name)
        .filter_map(|name| Gone::find(directory, name))
        .collect();
    gone.sort_by_key(|gone| std::cmp::Reverse(gone.written));
    let is_old = |gone: &Gone| now.duration_since(gone.written).is_ok_and(|age| age > KEPT_FOR);
    for (index, gone) in gone.iter().enumerate() {
        if index >= KEPT_MAX || is_old(gone) {
            gone.remove(directory);
        }
    }
}

/// The names for which the path of the config file is known.
fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(PATH)?.strip_suffix('.').map(str::to_owned)
    })
}

fn path(directory: &Path, name: &str, ending: &str) -> PathBuf {
    directory.join(format!("{name}.{ending}"))
}

// === impl Gone ===

impl Gone {
    /// `None`: the config file is there, or cannot be looked for.
    fn find(directory: &Path, name: String) -> Option<Self> {
        let path = path(directory, &name, PATH);
        let written = path.symlink_metadata().ok()?.modified().ok()?;
        let file = PathBuf::from(std::ffi::OsString::from_vec(fs::read(&path).ok()?));
        let found = file.symlink_metadata();
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then_some(Self { name, written })
    }

    /// The path last: without it the other files would stay for good.
    fn remove(&self, directory: &Path) {
        for incident in incidents::of_name(directory, &self.name) {
            let _ = fs::remove_file(incident);
        }
        for ending in [IN_FORCE, BEFORE, UNCONFIRMED, PATH] {
            // It may not be there, or it may be another user's.
            let _ = fs::remove_file(path(directory, &self.name, ending));
        }
    }
}
