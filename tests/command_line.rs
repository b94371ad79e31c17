//! What comes with the command line: completions, manual pages, and `make install`, which puts them where they are looked
//! for.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

fn evenkeel(arguments: &[&str]) -> String {
    text(&Command::new(BINARY).args(arguments).output().expect("the binary was built"))
}

fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = evenkeel(&["--help"]);
    let list = help.split("Commands:\n").nth(1).expect("a list of commands");
    let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    let names =
        names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).filter(|name| name != "help").collect()
}

#[test]
fn each_shell_completes_each_command_and_its_options() {
    let commands = commands();
    assert!(commands.len() >= 17, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = evenkeel(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
        assert!(script.contains("confirm") && script.contains("admin"), "{shell}");
        assert!(!script.contains("start-successor"), "{shell} shows what is for the process itself");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("script");
        fs::write(&file, &script).expect("the folder is ours");
        match Command::new(shell).arg("-n").arg(&file).stdout(Stdio::null()).output() {
            Ok(checked) => drop(text(&checked)),
            Err(error) => println!("skipped: the syntax for {shell}: {error}"),
        }
    }
}

#[test]
fn bash_completes_a_command() {
    let script = evenkeel(&["completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(evenkeel che); COMP_CWORD=1\n_evenkeel evenkeel che evenkeel\necho \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &asked]).output();
    match output {
        Ok(output) => assert_eq!(text(&output), "check\n"),
        Err(error) => println!("skipped: no bash: {error}"),
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    evenkeel(&["man", &folder.path().display().to_string()]);
    let page = |name: &str| {
        let path = folder.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let main = page("evenkeel.1");
    for command in commands() {
        assert!(main.contains(&command.replace('-', "\\-")), "{command}");
        let of_command = page(&format!("evenkeel-{command}.1"));
        assert!(of_command.contains(".SH SYNOPSIS"), "{command}: {of_command}");
    }
    assert!(page("evenkeel-reload.1").contains("confirm"));
    let missing = Command::new(BINARY).args(["man", "/no/such/directory"]).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn what_is_installed_is_where_it_is_looked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install.sh");
    let installed =
        Command::new(script).arg(BINARY).env("DESTDIR", folder.path()).env("PREFIX", "/usr").output();
    text(&installed.expect("bash is here"));
    let root = folder.path().join("usr");
    for file in [
        "bin/evenkeel",
        "share/bash-completion/completions/evenkeel",
        "share/zsh/site-functions/_evenkeel",
        "share/fish/vendor_completions.d/evenkeel.fish",
        "share/man/man1/evenkeel.1",
        "share/man/man1/evenkeel-check.1",
    ] {
        let length = fs::metadata(root.join(file)).map(|found| found.len());
        assert!(length.as_ref().is_ok_and(|length| *length > 100), "{file}: {length:?}");
    }
    let version =
        Command::new(root.join("bin/evenkeel")).arg("--version").output().expect("it was installed");
    assert!(text(&version).starts_with("evenkeel "));
}
