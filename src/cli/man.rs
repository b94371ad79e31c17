//! `evenkeel man`: writes the manual pages.

use std::io;
use std::path::{Path, PathBuf};

use super::{Exit, fail, visible_command};

/// Write the manual pages, one for each command, into a directory; `make install` does so.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Where to write them, such as /usr/local/share/man/man1; it must exist
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Man {
    pub fn execute(self) -> Exit {
        match write_pages(&self.directory) {
            Ok(()) => Exit::Done,
            Err(error) => fail(format!("cannot write to {}: {error}", self.directory.display())),
        }
    }
}

fn write_pages(directory: &Path) -> io::Result<()> {
    let mut command = visible_command();
    command.build();
    let pages = command.get_subcommands().filter(|page| page.get_name() != "help").cloned();
    for page in pages.chain([command.clone()]) {
        // `evenkeel check` has the page evenkeel-check(1).
        let page = clap_mangen::Man::new(page);
        let mut text = Vec::new();
        page.render(&mut text)?;
        std::fs::write(directory.join(page.get_filename()), text)?;
    }
    Ok(())
}
