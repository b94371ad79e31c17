//! A command that names a config file is for the process that runs this file, and for no other that may have the address.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::query;
use super::serve::Process;

/// The parameter of a request that names the file, as an absolute path.
pub(super) const FILE: &str = "file";

/// A file system may hang.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a request is not for this process; `None`: it names no file, or the one that this process runs.
pub(super) async fn refusal(query: &str, process: &dyn Process) -> Option<String> {
    let named = PathBuf::from(query::value(query, FILE)?);
    let pid = std::process::id();
    let Some(file) = process.file() else {
        return Some(format!(
            "process {pid} has this address, and was started without a config file, so it does not run {}: \
             use --admin ADDRESS for it\n",
            named.display()
        ));
    };
    let (shown, named_shown) = (file.display().to_string(), named.display().to_string());
    match file == named || is_same(file, named).await {
        true => None,
        false => Some(format!(
            "process {pid} has this address, and runs {shown}, not {named_shown}: name {shown} to ask it\n"
        )),
    }
}

/// Whether both paths lead to one file. It may have been replaced since it was read.
async fn is_same(one: PathBuf, other: PathBuf) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let same = tokio::task::spawn_blocking(move || {
        identity(&one).is_some_and(|found| Some(found) == identity(&other))
    });
    matches!(timeout(LIMIT, same).await, Ok(Ok(true)))
}
