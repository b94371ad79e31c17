//! The config file that a command is about.

use std::path::{Path, PathBuf};

/// The config file without an argument.
const DEFAULT_CONFIG: &str = "/etc/evenkeel/evenkeel.yaml";

#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigFile {
    /// The config file [default: /etc/evenkeel/evenkeel.yaml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

// === impl ConfigFile ===

impl ConfigFile {
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, config: None }
    }

    /// The file, if an argument names it.
    pub fn named(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }

    pub fn path(&self) -> &Path {
        self.named().unwrap_or(Path::new(DEFAULT_CONFIG))
    }
}
