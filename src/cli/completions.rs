//! `evenkeel completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::{Exit, print_verbatim, visible_command};

/// Print what a shell needs to complete the command line; `make install` puts it where shells look.
///
/// For a session: `source <(evenkeel completions bash)`, the same with zsh, and `evenkeel completions fish | source`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn execute(self) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible_command(), "evenkeel", &mut script);
        print_verbatim(&String::from_utf8_lossy(&script));
        Exit::Done
    }
}
