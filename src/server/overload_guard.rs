//! Watches the memory in use and refuses new requests near the limit: otherwise the kernel would kill the process with
//! all requests in flight.

mod cgroup;
mod pressure;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::worker_load::WorkerLoads;
use crate::config::MaxMemory;
use crate::lifecycle::Lifecycle;
use cgroup::Cgroup;
use pressure::MemoryPressure;

/// How often the memory in use is read.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How often it is read while no control group has a limit, in case one gets a limit.
const CHECK_INTERVAL_UNLIMITED: Duration = Duration::from_secs(10);

/// Where the memory in use and the limit are read.
#[derive(Debug)]
pub enum MemoryGauge {
    /// The resident memory of the process.
    Process { limit: u64 },
    /// The control groups whose limits apply to this process.
    Cgroups(Vec<Cgroup>),
}

/// Bytes in use, and their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReading {
    pub used: u64,
    pub limit: u64,
}

/// The gauge for this setting; `None`: no limit applies.
pub fn gauge(max: MaxMemory) -> Option<MemoryGauge> {
    match max {
        MaxMemory::Off => None,
        MaxMemory::Bytes(limit) => Some(MemoryGauge::Process { limit }),
        MaxMemory::OfGroup => {
            let groups = cgroup::of_process(&fs::read_to_string("/proc/self/cgroup").ok()?);
            (!groups.is_empty()).then_some(MemoryGauge::Cgroups(groups))
        }
    }
}

/// Reads the gauge periodically, sets the overload state, and logs each change of it.
pub async fn watch(gauge: MemoryGauge, lifecycle: Arc<Lifecycle>, loads: WorkerLoads) {
    let mut pressure = MemoryPressure::default();
    let mut pause = CHECK_INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let Some(MemoryReading { used, limit }) = gauge.read() else {
            // The limit may have been removed while memory was short.
            set_short(&lifecycle, false);
            (pressure, pause) = (MemoryPressure::default(), CHECK_INTERVAL_UNLIMITED);
            continue;
        };
        pause = CHECK_INTERVAL;
        let was_short = lifecycle.is_short_of_memory();
        let connections = if was_short { loads.of_last_epoch() } else { loads.sum() };
        let is_short = pressure.observe(limit, used, connections, Instant::now());
        if !set_short(&lifecycle, is_short) {
            continue;
        }
        match is_short {
            true => {
                loads.begin_epoch();
                log::warn!(used, limit; "memory is short, new requests are refused");
            }
            false => log::info!(used, limit; "memory is no longer short, requests are served"),
        }
    }
}

/// Returns whether this changes the state.
fn set_short(lifecycle: &Lifecycle, is_short: bool) -> bool {
    let changes = lifecycle.is_short_of_memory() != is_short;
    if changes {
        lifecycle.set_short_of_memory(is_short);
    }
    changes
}

impl MemoryGauge {
    /// The reading of the group that is nearest to its limit; `None`: no group has a limit.
    pub fn read(&self) -> Option<MemoryReading> {
        match self {
            Self::Process { limit } => Some(MemoryReading { used: resident()?, limit: *limit }),
            Self::Cgroups(groups) => {
                let read = |group: &Cgroup| {
                    let limit = group.limit()?;
                    Some(MemoryReading { used: group.used()?, limit })
                };
                groups.iter().filter_map(read).max_by_key(MemoryReading::hundredths)
            }
        }
    }
}

impl MemoryReading {
    /// The percentage of the limit that is used.
    fn hundredths(&self) -> u64 {
        self.used.saturating_mul(100) / self.limit.max(1)
    }
}

/// The resident memory of this process.
pub fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_resident_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn what_is_nearest_to_its_limit_counts() {
        let readings = [MemoryReading { used: 95, limit: 100 }, MemoryReading { used: 900, limit: 1000 }];
        assert_eq!(readings.iter().max_by_key(|reading| reading.hundredths()), Some(&readings[0]));
    }
}
