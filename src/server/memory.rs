//! Watches how much memory the process uses: near the limit it refuses new requests, which is better than to be killed
//! with all those that are under way.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::crew::Loads;
use crate::config::MaxMemory;
use crate::lifecycle::Lifecycle;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// Of a hundred parts of the limit: from so many on requests are refused, and below so many all is well.
const REFUSE: u64 = 95;
const SERVE: u64 = 90;

/// So many more than what the allocator keeps is a lack again.
const MORE: u64 = 2;

/// Where control groups are, of the second version and of the first.
const GROUPS: &str = "/sys/fs/cgroup";
const GROUPS_V1: &str = "/sys/fs/cgroup/memory";

/// What is used, and of how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauge {
    limit: u64,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The resident memory of the process.
    Process,
    /// What counts for the limit of a control group: files with its use, and the key of what could be dropped of it.
    Group { used: PathBuf, details: PathBuf, droppable: &'static str },
}

/// `None`: there is no limit.
pub fn gauge(max: MaxMemory) -> Option<Gauge> {
    match max {
        MaxMemory::Off => None,
        MaxMemory::Bytes(limit) => Some(Gauge { limit, source: Source::Process }),
        MaxMemory::OfGroup => of_group(&fs::read_to_string("/proc/self/cgroup").ok()?),
    }
}

/// Looks again and again, and says in the log when it begins and ends to refuse.
pub async fn watch(gauge: Gauge, lifecycle: Arc<Lifecycle>, loads: Loads) {
    let mut lack = Lack::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(used) = gauge.used() else { continue };
        let limit = gauge.limit;
        let is_short = lack.look(limit, used, loads.list().into_iter().sum());
        if is_short == lifecycle.is_short_of_memory() {
            continue;
        }
        lifecycle.set_short_of_memory(is_short);
        match is_short {
            true => log::warn!(used, limit; "memory is short, new requests are refused"),
            false => log::info!(used, limit; "memory is no longer short, requests are served"),
        }
    }
}

/// What the looks so far have found.
#[derive(Debug, Default)]
struct Lack {
    /// The connections that there were when memory became short; `None`: it is not.
    since: Option<usize>,
    /// What was still used when half of them had gone. It is the allocator's, who gives it to the next ones: refusing
    /// these would free nothing.
    kept: u64,
}

impl Lack {
    /// Whether requests are to be refused.
    fn look(&mut self, limit: u64, used: u64, connections: usize) -> bool {
        let part = |hundredths: u64| limit / 100 * hundredths;
        if used < part(SERVE) {
            *self = Self::default();
            return false;
        }
        match self.since {
            Some(then) if connections <= then / 2 => *self = Self { since: None, kept: used },
            None if used >= part(REFUSE).max(self.kept.saturating_add(part(MORE))) => {
                self.since = Some(connections);
            }
            _ => {}
        }
        self.since.is_some()
    }
}

impl Gauge {
    fn used(&self) -> Option<u64> {
        match &self.source {
            Source::Process => resident(),
            Source::Group { used, details, droppable } => {
                let used: u64 = fs::read_to_string(used).ok()?.trim().parse().ok()?;
                let details = fs::read_to_string(details).ok()?;
                Some(used.saturating_sub(value(&details, droppable)))
            }
        }
    }
}

/// The resident memory of this process.
pub fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// The limit of the process's control group, by the lines of its `/proc/self/cgroup`.
fn of_group(groups: &str) -> Option<Gauge> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            let places = [PathBuf::from(GROUPS).join(path), PathBuf::from(GROUPS)];
            places.into_iter().find_map(|group| group_v2(&group))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            // Within a container its own group is the root of what can be seen.
            let places = [PathBuf::from(GROUPS_V1).join(path), PathBuf::from(GROUPS_V1)];
            places.into_iter().find_map(|group| group_v1(&group))
        } else {
            None
        }
    })
}

fn group_v2(group: &std::path::Path) -> Option<Gauge> {
    let limit = fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()?;
    let (used, details) = (group.join("memory.current"), group.join("memory.stat"));
    Some(Gauge { limit, source: Source::Group { used, details, droppable: "inactive_file" } })
}

fn group_v1(group: &std::path::Path) -> Option<Gauge> {
    let limit: u64 = fs::read_to_string(group.join("memory.limit_in_bytes")).ok()?.trim().parse().ok()?;
    // The first version writes a number where there is no limit, too.
    if limit > u64::MAX / 4 {
        return None;
    }
    let (used, details) = (group.join("memory.usage_in_bytes"), group.join("memory.stat"));
    Some(Gauge { limit, source: Source::Group { used, details, droppable: "total_inactive_file" } })
}

/// The number behind `key`; 0 where there is none.
fn value(details: &str, key: &str) -> u64 {
    let line = details.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_again_only_when_there_is_some_room() {
        let mut lack = Lack::default();
        let looks = [(949, false), (950, true), (949, true), (900, true), (899, false), (949, false)];
        for (used, is_short) in looks {
            assert_eq!(lack.look(1000, used, 100), is_short, "{used}");
        }
    }

    /// An allocator may keep what it had for as long as it likes.
    #[test]
    fn memory_that_nobody_uses_is_no_lack() {
        let mut lack = Lack::default();
        for (used, connections, is_short) in [
            (960, 100, true),
            (960, 51, true),
            (960, 50, false),
            (960, 100, false),
            (979, 100, false),
            (980, 100, true),
            (980, 0, false),
            (980, 0, false),
        ] {
            assert_eq!(lack.look(1000, used, connections), is_short, "{used}, {connections}");
        }
    }

    #[test]
    fn the_groups_of_both_versions_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
        assert_eq!(group_v2(directory.path()), None);
        write("memory.max", "max\n");
        assert_eq!(group_v2(directory.path()), None, "no limit");
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 1\ninactive_file 100\n");
        let gauge = group_v2(directory.path()).expect("a gauge");
        assert_eq!((gauge.limit, gauge.used()), (1000, Some(600)));
        write("memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group_v1(directory.path()), None, "no limit");
        write("memory.limit_in_bytes", "2000\n");
        write("memory.usage_in_bytes", "900\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 200\n");
        let gauge = group_v1(directory.path()).expect("a gauge");
        assert_eq!((gauge.limit, gauge.used()), (2000, Some(700)));
    }

    #[test]
    fn a_process_has_resident_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
