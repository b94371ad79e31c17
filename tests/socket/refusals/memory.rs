//! Fault 48: memory ends. New requests are refused before the process is killed with those that it serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::{Endpoint, Proxy, eventually, within};

const MIB: u64 = 1 << 20;

/// Clients that have long headers on the way need memory, and when they go it is there again. (They are not longer than
/// that because a debug build of Pingora reads all of a header anew with each piece of it.)
#[test]
fn near_the_limit_new_requests_are_refused() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint])
        .server("threads: 2, max_memory: 56MiB")
        .listener("limits: { header_size: 4MiB }")
        .start();
    let mut waits = proxy.client();
    waits.send("POST /begun HTTP/1.1\r\nHost: test.example\r\nContent-Length: 2\r\n\r\n1");
    eventually("the request", || (endpoint.count_of("/begun") == 1).then_some(()));
    let beginning = format!("GET /x HTTP/1.1\r\nHost: test.example\r\nX: {}", "x".repeat(200_000));
    let mut heavy: Vec<_> = (0..300).map(|_| proxy.client()).collect();
    for client in &mut heavy {
        let _ = client.try_send(&beginning);
    }
    let refusal = eventually("a refusal", || {
        let refusal = proxy.client().get("/honest");
        (refusal.status == 503).then_some(refusal)
    });
    assert_eq!(refusal.head.header("connection"), Some("close"));
    assert_eq!(refusal.head.header("retry-after"), Some("1"));
    eventually("the record", || proxy.records().into_iter().find(|record| record.cause() == "memory_short"));
    assert_eq!(proxy.admin("/readyz").text(), "short of memory\n");
    assert_eq!(proxy.metric("evenkeel_memory_short", &[]), 1.0);
    // What has begun goes on.
    waits.send("2");
    waits.response().expect(200);
    drop(heavy);
    eventually("its end", || (proxy.get("/honest").status == 200).then_some(()));
    proxy.event("its end", |event| event.message() == "memory is no longer short, requests are served");
    assert_eq!(proxy.metric("evenkeel_memory_short", &[]), 0.0);
    drop(waits);
    proxy.is_unharmed(endpoint.open());
}

/// A control group of memory beside that of the test; gone after it.
struct Group {
    directory: PathBuf,
    used: &'static str,
}

impl Group {
    /// `None`: none can be made here.
    fn new(limit: u64) -> Option<Group> {
        let lines = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |controller: &str| {
            let line = lines.lines().find(|line| line.split(':').nth(1) == Some(controller))?;
            Some(line.split(':').nth(2)?.trim_start_matches('/').to_owned())
        };
        let v1 = path("memory").map(|path| ("/sys/fs/cgroup/memory", path));
        let (root, path) = v1.or_else(|| path("").map(|path| ("/sys/fs/cgroup", path)))?;
        let directory = Path::new(root).join(path).join(format!("evk-{}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let mut group = Group { directory, used: "memory.usage_in_bytes" };
        if fs::write(group.directory.join("memory.limit_in_bytes"), limit.to_string()).is_err() {
            group.used = "memory.current";
            fs::write(group.directory.join("memory.max"), limit.to_string()).ok()?;
        }
        Some(group)
    }

    /// What a shell does to join it.
    fn join(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.directory.display())
    }

    /// All that the kernel counts, page cache included.
    fn used(&self) -> u64 {
        fs::read_to_string(self.directory.join(self.used)).unwrap().trim().parse().unwrap()
    }

    /// Writes more of a file and reads it twice, so that the kernel holds on to it.
    fn read_more(&self, file: &Path) {
        let script = format!(
            "{}; dd if=/dev/zero bs=1M count=2 status=none >> {file}; cat {file} {file} > /dev/null",
            self.join(),
            file = file.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel takes a moment to see that the last process is gone.
        let gone = || fs::remove_dir(&self.directory).is_ok();
        let _ = (0..100).any(|_| {
            gone() || {
                thread::sleep(Duration::from_millis(20));
                false
            }
        });
    }
}

/// Fault 48: what is read of a log stays in memory as long as nobody needs it. That is no reason to refuse anything.
#[test]
fn a_log_that_is_read_does_not_use_up_the_memory_of_the_group() {
    let Some(group) = Group::new(160 * MIB) else {
        eprintln!("skipped: no control group with a limit of memory can be made");
        return;
    };
    let endpoint = Endpoint::named("a");
    let proxy = Proxy::to([&endpoint]).after_shell(&group.join()).start();
    let log = proxy.folder().join("shipped.log");
    within(Duration::from_secs(30), "page cache up to the limit", || {
        group.read_more(&log);
        (group.used() >= 155 * MIB).then_some(())
    });
    let metric = |name| proxy.metric(name, &[]);
    assert_eq!(metric("evenkeel_memory_limit_bytes"), (160 * MIB) as f64);
    let used = metric("evenkeel_memory_used_bytes");
    assert!(used > MIB as f64 && used < (110 * MIB) as f64, "{used}");
    // For as long as several looks take.
    for _ in 0..10 {
        proxy.get("/").expect(200);
        thread::sleep(Duration::from_millis(100));
    }
    drop(proxy);
}
