//! Requests that are refused before h2 has shown them to us.

use super::head_judge::Fault;

/// The most that are remembered: h2 opens no more streams at once.
const MAX: usize = 1024;

#[derive(Debug, Default)]
pub struct Refused(Vec<(u32, Fault)>);

impl Refused {
    pub fn add(&mut self, stream: u32, fault: Fault) {
        if self.0.len() < MAX {
            self.0.push((stream, fault));
        }
    }

    /// Why the request of this stream is refused.
    pub fn take(&mut self, stream: u32) -> Option<Fault> {
        let at = self.0.iter().position(|(refused, _)| *refused == stream)?;
        Some(self.0.swap_remove(at).1)
    }
}
