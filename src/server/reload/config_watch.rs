//! Watches the config file by its content, not its inode or mtime, so that replaced files and switched symlinks (a
//! Kubernetes ConfigMap) are noticed, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::offload::FilePoll;
use crate::config;

/// How often the file is read. A change counts once two reads in a row agree: a half-written file may be a valid config
/// with half of its pools missing.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The result of a read: the text, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Text(Arc<str>),
    Unreadable(String),
}

pub struct ConfigWatch {
    /// `None`: nothing is watched.
    watched: Option<(PathBuf, Interval)>,
    /// What the last reload was tried with; the same content is not tried again.
    tried: Seen,
    /// What the last read found, if it differs from `tried`.
    found: Option<Seen>,
    look: FilePoll<Seen>,
}

impl ConfigWatch {
    /// Call this within the runtime that will wait for timers.
    pub fn new(file: Option<PathBuf>, text: Arc<str>) -> Self {
        let watched = file.map(|file| {
            let mut looks = interval(CHECK_INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (file, looks)
        });
        Self { watched, tried: Seen::Text(text), found: None, look: FilePoll::default() }
    }

    /// The text of a file as `Config::text` has it: without a byte order mark.
    pub fn text(read: &str) -> Arc<str> {
        read.strip_prefix('\u{feff}').unwrap_or(read).into()
    }

    /// A reload has been tried with this content, with whatever result.
    pub fn tried(&mut self, seen: Seen) {
        self.tried = seen;
        self.found = None;
    }

    /// Returns when the file has content that has not been tried. Cancel safe.
    pub async fn changed(&mut self) {
        let Some((file, looks)) = &mut self.watched else { return std::future::pending().await };
        loop {
            looks.tick().await;
            let (what, file) = (file.display().to_string(), file.clone());
            let Some(seen) = self.look.at(&what, move || Seen::of(&config::read(&file))).await else {
                continue;
            };
            if is_settled(&self.tried, &mut self.found, seen) {
                return;
            }
        }
    }
}

impl Seen {
    pub fn of(read: &Result<String, config::LoadError>) -> Self {
        match read {
            Ok(text) => Self::Text(ConfigWatch::text(text)),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// Whether `seen` is new and the read before has found the same.
fn is_settled(tried: &Seen, found: &mut Option<Seen>, seen: Seen) -> bool {
    if seen == *tried {
        *found = None;
        return false;
    }
    let is_settled = found.as_ref() == Some(&seen);
    *found = Some(seen);
    is_settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_twice_is_settled() {
        let text = |text: &str| Seen::Text(text.into());
        let gone = || Seen::Unreadable("gone".into());
        let (tried, mut found) = (text("a"), None);
        let mut look = |seen| is_settled(&tried, &mut found, seen);
        assert!(!look(text("a")) && !look(text("a")));
        assert!(!look(text("half")) && !look(text("whole")) && look(text("whole")));
        assert!(!look(text("a")) && !look(text("whole")) && !look(gone()) && look(gone()));
    }
}
