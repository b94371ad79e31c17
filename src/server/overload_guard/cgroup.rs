//! A control group's memory limit, and its memory in use that the kernel cannot reclaim.
//!
//! All page cache is left out, active too: a log file that is read twice would otherwise count as memory in use.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Mount points of cgroup v2 and v1.
const ROOT_V2: &str = "/sys/fs/cgroup";
const ROOT_V1: &str = "/sys/fs/cgroup/memory";

/// Version 1 writes a huge number for "no limit".
const UNLIMITED_V1: u64 = u64::MAX / 4;

/// The keys of version 2's `memory.stat` that make up the kernel's memory, where there is no sum (before Linux 5.18).
const KERNEL_PARTS: [&str; 4] = ["kernel_stack", "pagetables", "percpu", "slab_unreclaimable"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    directory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The groups whose limits apply to a process, from the lines of its `/proc/self/cgroup`: its own and all above it.
pub fn of_process(lines: &str) -> Vec<Cgroup> {
    lines.lines().flat_map(of_line).collect()
}

fn of_line(line: &str) -> Vec<Cgroup> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    if controllers.is_empty() {
        chain(Path::new(ROOT_V2), path, Version::V2)
    } else if controllers.split(',').any(|controller| controller == "memory") {
        chain(Path::new(ROOT_V1), path, Version::V1)
    } else {
        Vec::new()
    }
}

/// The group at `path` and all above it, as far as they exist here: in a container the own group is the root, whatever
/// its path is outside.
fn chain(root: &Path, path: &str, version: Version) -> Vec<Cgroup> {
    let mut directory = root.to_owned();
    let names = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    let below = names.map(|name| {
        directory.push(name);
        directory.clone()
    });
    let all: Vec<_> = std::iter::once(root.to_owned()).chain(below).collect();
    let group = |directory| Cgroup { directory, version };
    all.into_iter().rev().map(group).filter(Cgroup::exists).collect()
}

impl Cgroup {
    fn exists(&self) -> bool {
        self.directory.join(self.limit_file()).exists()
    }

    fn limit_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    /// The limit in bytes; `None`: no limit, or the group has been removed.
    pub fn limit(&self) -> Option<u64> {
        // Version 2 writes `max` for "no limit", which is not a number.
        self.number(self.limit_file()).filter(|limit| *limit < UNLIMITED_V1)
    }

    /// Bytes in use that the kernel cannot reclaim.
    pub fn used(&self) -> Option<u64> {
        let details = fs::read_to_string(self.directory.join("memory.stat")).ok()?;
        let value = |key: &str| value(&details, key);
        match self.version {
            Version::V1 => {
                // Kernel memory counts towards the limit; version 1 does not say how much of it is reclaimable.
                let kernel = || self.number("memory.kmem.usage_in_bytes").unwrap_or(0);
                let known = value("total_rss").map(|rss| rss + value("total_shmem").unwrap_or(0) + kernel());
                known.or_else(|| self.without_files("memory.usage_in_bytes", value("total_cache")?))
            }
            Version::V2 => {
                let anon = value("anon").map(|anon| anon + value("shmem").unwrap_or(0));
                let known = anon.map(|anon| anon + value("sock").unwrap_or(0) + kernel_v2(&value));
                known.or_else(|| self.without_files("memory.current", value("file")?))
            }
        }
    }

    fn without_files(&self, used: &str, files: u64) -> Option<u64> {
        self.number(used).map(|used| used.saturating_sub(files))
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

fn kernel_v2(value: &impl Fn(&str) -> Option<u64>) -> u64 {
    let part = |key| value(key).unwrap_or(0);
    match value("kernel") {
        Some(kernel) => kernel.saturating_sub(part("slab_reclaimable")),
        None => KERNEL_PARTS.into_iter().map(part).sum(),
    }
}

/// The number behind `key`.
fn value(details: &str, key: &str) -> Option<u64> {
    let line = details.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of one group.
    fn group(version: Version, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("a file");
        }
        let group = Cgroup { directory: directory.path().to_owned(), version };
        (directory, group)
    }

    /// Both kinds of page cache are left out: a file that has been read twice counts as `active_file`.
    #[test]
    fn page_cache_is_not_used_memory() {
        let stat = "anon 100\nfile 5000\nkernel 60\nsock 7\nshmem 30\ninactive_file 2000\nactive_file 2970\n\
                    slab_reclaimable 20\nslab_unreclaimable 15\n";
        let (_files, v2) = group(Version::V2, &[("memory.max", "6000\n"), ("memory.stat", stat)]);
        assert_eq!((v2.limit(), v2.used()), (Some(6000), Some(100 + 30 + 7 + 60 - 20)));
        let stat =
            "cache 1\nrss 2\ntotal_cache 5030\ntotal_rss 100\ntotal_shmem 30\ntotal_active_file 5000\n";
        let files = [
            ("memory.limit_in_bytes", "6000\n"),
            ("memory.stat", stat),
            ("memory.usage_in_bytes", "5190\n"),
            ("memory.kmem.usage_in_bytes", "60\n"),
        ];
        let (_files, v1) = group(Version::V1, &files);
        assert_eq!((v1.limit(), v1.used()), (Some(6000), Some(100 + 30 + 60)));
    }

    #[test]
    fn older_kernels_say_less() {
        let stat = "anon 100\nfile 5000\nsock 7\nkernel_stack 1\npagetables 2\npercpu 3\nslab_reclaimable 20\n\
                    slab_unreclaimable 15\n";
        let (_files, v2) = group(Version::V2, &[("memory.stat", stat)]);
        assert_eq!(v2.used(), Some(100 + 7 + 1 + 2 + 3 + 15));
        let files = [("memory.stat", "file 5000\n"), ("memory.current", "5100\n")];
        let (_files, v2) = group(Version::V2, &files);
        assert_eq!(v2.used(), Some(100));
        let (_files, v1) = group(Version::V1, &[("memory.stat", "total_rss 100\n")]);
        assert_eq!(v1.used(), Some(100));
        let files = [("memory.stat", "total_cache 5000\n"), ("memory.usage_in_bytes", "5100\n")];
        let (_files, v1) = group(Version::V1, &files);
        assert_eq!(v1.used(), Some(100));
    }

    #[test]
    fn a_group_may_have_no_limit() {
        let (_files, v2) = group(Version::V2, &[("memory.max", "max\n")]);
        assert_eq!(v2.limit(), None);
        let (_files, v1) = group(Version::V1, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(v1.limit(), None);
        assert_eq!(group(Version::V2, &[]).1.limit(), None);
    }

    /// A limit further up binds as well, and in a container the path from outside leads nowhere.
    #[test]
    fn all_groups_above_are_asked_too() {
        let root = tempfile::tempdir().expect("a directory");
        let slice = root.path().join("system.slice");
        fs::create_dir_all(slice.join("evenkeel.service")).expect("directories");
        for directory in [root.path(), &slice, &slice.join("evenkeel.service")] {
            fs::write(directory.join("memory.max"), "max\n").expect("a file");
        }
        let directories = |path| {
            let chain = chain(root.path(), path, Version::V2);
            chain.into_iter().map(|group| group.directory).collect::<Vec<_>>()
        };
        let own = slice.join("evenkeel.service");
        assert_eq!(directories("/system.slice/evenkeel.service"), [&own, &slice, root.path()]);
        assert_eq!(directories("/../../docker/0123"), [root.path()]);
    }
}
