//! Lists of endpoints, parsed only when they have changed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::Found;
use crate::config::{self, EndpointAddress};
use crate::file;

/// The largest list that is read.
pub(super) const BYTES_MAX: u64 = 4 << 20;

/// A file that has changed is read again after this time, until it is the same twice: a half-written list may be valid.
const SETTLE_TIME: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Lists {
    states: Mutex<HashMap<EndpointAddress, Arc<tokio::sync::Mutex<List>>>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct List {
    /// The thread that reads the file. At most one: a file system may hang.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    parsed: Option<Parsed>,
}

/// What a text has come to.
#[derive(Debug, Clone)]
struct Parsed {
    /// Of the text.
    digest: u64,
    outcome: Result<Arc<[Found]>, String>,
}

impl Lists {
    pub fn retain(&self, wanted: impl Fn(&EndpointAddress) -> bool) {
        self.states.lock().retain(|source, _| wanted(source));
    }

    /// The endpoints in a file.
    pub async fn read(&self, source: &EndpointAddress, path: &Path) -> Result<Arc<[Found]>, String> {
        let state = self.state(source);
        let mut list = state.lock().await;
        let shown = path.display().to_string();
        let mut text = list.read(path).await.map_err(|error| format!("cannot read {shown}: {error}"))?;
        // A list that is not known yet is not waited for: the start does not do so, either.
        while list.parsed.as_ref().is_some_and(|parsed| parsed.digest != self.hasher.hash_one(&text)) {
            sleep(SETTLE_TIME).await;
            let again = list.read(path).await.map_err(|error| format!("cannot read {shown}: {error}"))?;
            if again == text {
                break;
            }
            text = again;
        }
        self.parse(&mut list, &shown, text).await
    }

    /// The endpoints in a text from elsewhere.
    pub async fn parsed(
        &self,
        source: &EndpointAddress,
        name: &str,
        text: Vec<u8>,
    ) -> Result<Arc<[Found]>, String> {
        let state = self.state(source);
        self.parse(&mut *state.lock().await, name, text).await
    }

    fn state(&self, source: &EndpointAddress) -> Arc<tokio::sync::Mutex<List>> {
        self.states.lock().entry(source.clone()).or_default().clone()
    }

    async fn parse(&self, list: &mut List, name: &str, text: Vec<u8>) -> Result<Arc<[Found]>, String> {
        let digest = self.hasher.hash_one(&text);
        if let Some(parsed) = list.parsed.as_ref().filter(|parsed| parsed.digest == digest) {
            return parsed.outcome.clone();
        }
        let name = name.to_owned();
        let outcome = spawn_blocking(move || found(&text, &name)).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err("it cannot be parsed: the panic is in the log".to_owned()));
        list.parsed = Some(Parsed { digest, outcome: outcome.clone() });
        outcome
    }
}

impl List {
    /// Cancel safe: the next call takes the result of a read that is still running.
    async fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        let thread = self.reading.get_or_insert_with(|| spawn_blocking(move || file::read(&path, BYTES_MAX)));
        let read = thread.await;
        self.reading = None;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// The endpoints that a text lists.
fn found(text: &[u8], name: &str) -> Result<Arc<[Found]>, String> {
    let text = str::from_utf8(text).map_err(|_| format!("{name} is not UTF-8 text"))?;
    let specs = config::endpoint_list(text, name)?;
    if specs.is_empty() {
        return Err(format!("{name} lists no endpoint: to stop using it, remove it from the config"));
    }
    let found = |spec: config::EndpointSpec| Found {
        address: spec.address,
        authority: None,
        attributes: Some(spec.attributes),
    };
    Ok(specs.into_iter().map(found).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|found| found.address.to_string()).collect()
    }

    #[tokio::test]
    async fn a_file_is_parsed_when_it_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.json");
        let (lists, source) = (Lists::default(), EndpointAddress::File(path.clone()));
        let read = || lists.read(&source, &path);
        assert!(read().await.expect_err("it is not there").starts_with("cannot read /"));
        fs::write(&path, r#"["10.0.0.1:80"]"#).expect("written");
        let first = read().await.expect("a list");
        assert_eq!(names(&first), ["10.0.0.1:80"]);
        assert!(Arc::ptr_eq(&first, &read().await.expect("a list")), "it is the same");
        fs::write(&path, r#"["10.0.0.2"]"#).expect("written");
        let fault = read().await.expect_err("it has no port");
        assert!(fault.contains("list.json:1:2: `10.0.0.2` is not"), "{fault}");
        assert_eq!(read().await, Err(fault), "it is the same");
        fs::write(&path, "[]").expect("written");
        assert!(read().await.expect_err("it is empty").contains("lists no endpoint"));
        fs::write(&path, "- 10.0.0.2:80\n").expect("written");
        assert_eq!(names(&read().await.expect("a list")), ["10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.yaml");
        let (lists, source) = (Lists::default(), EndpointAddress::File(path.clone()));
        fs::write(&path, "- 10.0.0.1:80\n").expect("written");
        lists.read(&source, &path).await.expect("a list");
        fs::write(&path, "- 10.0.0.2:80\n").expect("written");
        let rest = async {
            sleep(SETTLE_TIME / 2).await;
            fs::write(&path, "- 10.0.0.2:80\n- 10.0.0.3:80\n").expect("written");
        };
        let (found, ()) = tokio::join!(lists.read(&source, &path), rest);
        assert_eq!(names(&found.expect("a list")), ["10.0.0.2:80", "10.0.0.3:80"]);
    }
}
