//! Creates directories for our own files, and checks which users can put something in them.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Mode bits: everybody may write.
const OPEN: u32 = 0o002;

/// Mode bits: the group or everybody may write.
const SHARED: u32 = 0o022;

/// Creates the directory and its missing parents, unless it exists.
pub fn create(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(directory)
}

/// Whether this is a directory, no symlink, that only this user may enter. In a parent that is open to all, another
/// user may have created ours first, to read or replace what is in it.
pub fn is_private(directory: &Path) -> bool {
    let uid = nix::unistd::geteuid().as_raw();
    let is_ours = |found: Metadata| found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0;
    directory.symlink_metadata().is_ok_and(is_ours)
}

/// Whether this is a directory that belongs to `uid`, whatever it lets others do.
pub fn is_of_user(directory: &Path, uid: u32) -> bool {
    directory.metadata().is_ok_and(|found| found.is_dir() && found.uid() == uid)
}

/// Fails if a directory belongs to another user than root and this one. Others may still be able to write to it, as
/// volumes of containers often allow, so check the owner of each file as well: [`is_of_this_user`].
pub fn check_ours(directory: &Path) -> io::Result<()> {
    let found = directory.metadata()?;
    match is_of_this_user(&found) {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {}, and not to this one or root", found.uid()),
        )),
    }
}

/// Whether a file belongs to this user or root.
pub fn is_of_this_user(file: &Metadata) -> bool {
    this_user().contains(&file.uid())
}

/// The users whose process may answer on a socket in this directory: root, this user, and the directory's owner, where
/// only root or this user can have put the directory there. So root and the members of a service's group can talk to a
/// service that runs as a user of its own, and nobody gains trust by a directory of theirs in `/tmp` or at home.
pub fn trusted_users(directory: &Path) -> Vec<u32> {
    let mut trusted = this_user().to_vec();
    trusted.extend(placed_owner(directory, &trusted).filter(|owner| !trusted.contains(owner)));
    trusted
}

fn this_user() -> [u32; 2] {
    [0, nix::unistd::geteuid().as_raw()]
}

/// The directory's owner, if only `placers` can have put it there.
fn placed_owner(directory: &Path, placers: &[u32]) -> Option<u32> {
    let written = std::path::absolute(directory).ok()?;
    // Checks the path as written and the real one: a symlink may lie where everybody can put one.
    let real: PathBuf = written.canonicalize().ok()?;
    let found = real.metadata().ok()?;
    let are_placed = is_placed(&written, placers) && is_placed(&real, placers);
    (are_placed && found.mode() & OPEN == 0).then(|| found.uid())
}

/// Whether all parents belong to `placers`, and `path` itself is theirs or lies where nobody else may write.
fn is_placed(path: &Path, placers: &[u32]) -> bool {
    let is_theirs = |path: &Path| path.symlink_metadata().is_ok_and(|found| placers.contains(&found.uid()));
    let is_shared = |above: &Path| above.metadata().is_ok_and(|found| found.mode() & SHARED != 0);
    let is_closed = path.parent().is_none_or(|above| !is_shared(above));
    path.ancestors().skip(1).all(is_theirs) && (is_theirs(path) || is_closed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    const STRANGER: u32 = 65_533;

    fn made(parent: &Path, name: &str, mode: u32, owner: Option<u32>) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        if owner.is_some() {
            chown(&path, owner, None).expect("root can");
        }
        path
    }

    /// Only root can give something away.
    fn is_root() -> bool {
        let is_root = nix::unistd::geteuid().is_root();
        if !is_root {
            eprintln!("skipped: giving files to another user needs root");
        }
        is_root
    }

    #[test]
    fn root_and_this_user_are_trusted_everywhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let users = trusted_users(folder.path());
        assert!(users.contains(&0) && users.contains(&nix::unistd::geteuid().as_raw()));
        assert_eq!(trusted_users(Path::new("/nowhere/at/all")).len(), 2);
    }

    #[test]
    fn an_owner_is_trusted_where_nobody_else_can_have_put_the_directory() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let run = made(folder.path(), "run", 0o755, None);
        let tmp = made(folder.path(), "tmp", 0o1777, None);
        let service = made(&run, "evenkeel", 0o750, Some(STRANGER));
        assert!(trusted_users(&service).contains(&STRANGER), "what systemd made for a user of its own");
        let squatted = made(&tmp, "evenkeel-0", 0o700, Some(STRANGER));
        let beneath = made(&squatted, "deeper", 0o700, Some(STRANGER));
        let open = made(&run, "open", 0o777, Some(STRANGER));
        let at_home = made(&made(&run, "home", 0o755, Some(STRANGER)), "keel", 0o700, Some(STRANGER));
        let link = tmp.join("link");
        symlink(&service, &link).expect("a symlink");
        std::os::unix::fs::lchown(&link, Some(STRANGER), None).expect("root can");
        for directory in [&squatted, &beneath, &open, &at_home, &link] {
            assert!(!trusted_users(directory).contains(&STRANGER), "{}", directory.display());
        }
        let our_link = tmp.join("ours");
        symlink(&service, &our_link).expect("a symlink");
        assert!(trusted_users(&our_link).contains(&STRANGER), "we turned it there");
    }

    #[test]
    fn what_is_somebody_elses_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        check_ours(&made(folder.path(), "a", 0o700, None)).expect("ours");
        check_ours(&made(folder.path(), "b", 0o777, None)).expect("a volume of a container");
        if is_root() {
            let theirs = made(folder.path(), "d", 0o700, Some(STRANGER));
            let error = check_ours(&theirs).expect_err("refused").to_string();
            assert!(error.contains("belongs to user 65533"), "{error}");
            assert!(!is_private(&theirs) && !is_of_user(&theirs, 0) && is_of_user(&theirs, STRANGER));
        }
    }
}
