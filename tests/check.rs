//! `evenkeel check` and `evenkeel schema` as a user runs them: what goes where, and the exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn evenkeel(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(arguments).output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is text")
}

fn written(folder: &Path, yaml: &str) -> PathBuf {
    let file = folder.join("evenkeel.yaml");
    std::fs::write(&file, yaml).expect("the folder is ours");
    file
}

#[test]
fn a_right_file_is_summed_up_in_one_line() {
    let output = evenkeel(&["check", "-c", concat!(env!("CARGO_MANIFEST_DIR"), "/conf/typical.yaml")]);
    assert_eq!(output.status.code(), Some(0));
    let summary = "conf/typical.yaml: ok, 1 listener, 3 routes, 3 pools, 7 endpoints, 4 tests passed\n";
    assert!(text(&output.stdout).ends_with(summary), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn quiet_says_nothing_of_a_right_file() {
    let output = evenkeel(&["check", "-q", "-c", concat!(env!("CARGO_MANIFEST_DIR"), "/conf/minimal.yaml")]);
    assert_eq!((output.status.code(), text(&output.stdout), text(&output.stderr)), (Some(0), "", ""));
}

#[test]
fn a_wrong_file_exits_78_and_so_does_a_missing_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = written(folder.path(), "listen: :8080\nendpoint: [10.0.0.1:3000]\n");
    let output = evenkeel(&["check", "-c", &file.display().to_string()]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(78), ""));
    assert!(text(&output.stderr).contains("did you mean `endpoints`?"), "{}", text(&output.stderr));
    let missing = folder.path().join("none.yaml").display().to_string();
    let output = evenkeel(&["check", "-c", &missing]);
    assert_eq!(output.status.code(), Some(78));
    let expected = format!("error: there is no config file {missing}: write it (");
    assert!(text(&output.stderr).starts_with(&expected), "{}", text(&output.stderr));
}

/// Where nobody has mended anything, the next start would fail as well.
#[test]
fn what_is_no_config_ends_a_start_for_good() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [directory, binary] = ["directory", "binary"].map(|name| folder.path().join(name));
    std::fs::create_dir(&directory).expect("the folder is ours");
    std::fs::write(&binary, b"listen: :8080 # \xfc\n").expect("the folder is ours");
    for (file, words) in [
        (&directory, "is a directory, not a config file: Docker makes one"),
        (&binary, ":1:17: the byte 0xFC is not UTF-8 text: save the file as UTF-8"),
    ] {
        let file = file.display().to_string();
        for arguments in
            [["run", "-c", &file].as_slice(), &["run", &file], &["check", &file], &["plan", &file]]
        {
            let output = evenkeel(arguments);
            assert_eq!(output.status.code(), Some(78), "{arguments:?}");
            assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
        }
    }
}

/// Whether a command takes `FILE` or `-c FILE` is nothing to remember.
#[test]
fn every_command_takes_its_file_in_both_ways() {
    let file = "/no/such/evenkeel.yaml";
    for command in ["run", "check", "plan", "reload", "confirm", "rollback", "upgrade", "status", "health"] {
        let [one, other] = [&[command, file][..], &[command, "-c", file]].map(evenkeel);
        assert_eq!(text(&one.stderr), text(&other.stderr), "{command}");
        assert!(text(&one.stderr).starts_with("error: there is no config file"), "{}", text(&one.stderr));
        assert_eq!(one.status.code(), other.status.code(), "{command}");
    }
}

#[test]
fn wrong_arguments_are_named_as_they_were_written() {
    for (arguments, words) in [
        (&["run", "--listen", "8080", "10.0.0.1:3000"][..], "write :8080 for all addresses"),
        (&["run", "--listen", ":8080", "3000"], "invalid value '3000' for an ENDPOINT"),
        (&["run", "10.0.0.1:3000"], "10.0.0.1:3000 is an endpoint: say where to listen"),
        (&["run", "10.0.0.1:3000", "10.0.0.2:3000"], "add --listen :8080"),
    ] {
        let output = evenkeel(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains(" --> "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_mistyped_command_is_told_the_one_that_was_meant() {
    for (word, meant) in [
        ("strat", "'run'"),
        ("start", "'run'"),
        ("test", "'check'"),
        ("relaod", "'reload'"),
        ("stop", "signal TERM"),
    ] {
        let output = evenkeel(&[word]);
        assert_eq!(output.status.code(), Some(2), "{word}");
        let said = text(&output.stderr);
        assert!(said.contains(meant) && !said.contains("successor"), "{word}: {said}");
    }
}

/// Not a file that would be read until the memory is full.
#[test]
fn a_file_without_end_is_refused() {
    let output = evenkeel(&["check", "-c", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("it is a device"), "{}", text(&output.stderr));
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["check", "-c", "/dev/stdin"])
        .stdin(std::fs::File::open("/dev/zero").expect("it is there"))
        .output()
        .expect("the binary was built");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("larger than 16 MiB"), "{}", text(&output.stderr));
}

/// Nobody may ever write to it, and then the command would hang.
#[test]
fn a_pipe_in_the_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("evenkeel.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("the folder is ours");
    for command in ["check", "run", "plan"] {
        let mut arguments = vec![command];
        arguments.extend((command != "plan").then_some("-c"));
        let path = pipe.display().to_string();
        arguments.push(&path);
        let output = evenkeel(&arguments);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let expected = format!("error: cannot read {path}: it is a pipe, and only regular files are read\n");
        assert_eq!(text(&output.stderr), expected, "{command}");
    }
}

/// `evenkeel check -c <(...)` and `... | evenkeel check -c /dev/stdin`.
#[test]
fn what_a_shell_hands_over_may_be_a_pipe() {
    let binary = env!("CARGO_BIN_EXE_evenkeel");
    let config = "printf 'listen: :8080\\nendpoints: [10.0.0.1:3000]\\n'";
    for command in [
        format!("{config} | {binary} check -c /dev/stdin"),
        format!("({config}; sleep 0.1) | {binary} check -c /dev/fd/0"),
    ] {
        let output = Command::new("sh").args(["-c", &command]).output().expect("a shell");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{command}");
    }
}

/// Where memory goes is said before it goes.
#[test]
fn a_dear_regular_expression_is_named_and_one_that_is_too_dear_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |regex: &str| {
        let text = format!(
            "listeners: [{{ address: ':8080' }}]\npools: {{ p: ['10.0.0.1:3000'] }}\nroutes:\n  - {{ pool: p, match: {{ paths: [{{ regex: '{regex}' }}] }} }}\n"
        );
        let file = written(folder.path(), &text);
        let output = evenkeel(&["check", "-c", &file.display().to_string()]);
        (output.status.code(), text_of(&output.stderr))
    };
    assert_eq!(check(r"^/u1/[\w-]{1,64}/items/[\w-]{1,64}$"), (Some(0), String::new()));
    let (code, said) = check(r"(?u)^/\w{7}$");
    assert_eq!(code, Some(0));
    assert!(said.contains("evenkeel.yaml:4:") && said.contains("KiB of memory"), "{said}");
    assert!(said.contains("leave out (?u)"), "{said}");
    let (code, said) = check(r"(?u)^/\w{1000}$");
    assert_eq!(code, Some(78));
    assert!(said.contains("takes more than 1024 KiB of memory"), "{said}");
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes).to_owned()
}

#[test]
fn printing_takes_no_file() {
    let output = evenkeel(&["run", "--print", "-c", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn a_failed_test_points_at_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let yaml = "\
listeners: [{ address: \":8080\" }]
routes:
  - { name: api, match: { paths: [/v1] }, pool: web }
  - { name: web, pool: web }
pools: { web: [10.0.0.1:3000] }
tests:
  - request: GET http://a.example.com/v10
    expect: { route: api }
";
    let file = written(folder.path(), yaml);
    let output = evenkeel(&["check", "-c", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(78));
    let expected = format!(
        "\
error: a test fails: it expects route `api`
 --> {0}:7:14
  |
7 |   - request: GET http://a.example.com/v10
  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ decided: route `web` and pool `web` (any host, any path)

1 error in {0}
",
        file.display()
    );
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn warnings_do_not_fail_the_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = written(
        folder.path(),
        "listeners: [{ address: \":1\" }]\nroutes: [{ pool: a }]\npools: { a: [a.local:1], b: [b.local:1] }\n",
    );
    let output = evenkeel(&["check", "-c", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("warning: no route sends anything to the pool `b`"));
    assert!(text(&output.stdout).contains(": ok, "));
}

#[test]
fn the_schema_is_json() {
    let output = evenkeel(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a JSON text");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["pools"].is_object());
}

#[test]
fn the_unit_leaves_no_core_opens_nothing_and_loses_no_line() {
    let unit = include_str!("../deploy/evenkeel.service");
    let lines: Vec<&str> = unit.lines().collect();
    for line in [
        // A core would hold the private keys of TLS.
        "LimitCORE=0",
        "User=evenkeel",
        "NoNewPrivileges=yes",
        "RuntimeDirectoryMode=0750",
        "StateDirectoryMode=0700",
        "LogsDirectoryMode=0750",
        "UMask=0027",
        // Requests would have no line, and no counter would say so.
        "LogRateLimitIntervalSec=0",
    ] {
        assert_eq!(lines.iter().filter(|found| **found == line).count(), 1, "{line}");
        let key = line.split('=').next().expect("a key");
        let written = lines.iter().filter(|found| found.split('=').next() == Some(key)).count();
        assert_eq!(written, 1, "{key} is written once");
    }
}

#[test]
fn json_has_what_people_are_told_in_a_form_for_tools() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = |output: &Output| -> serde_json::Value {
        assert_eq!(text(&output.stderr), "");
        serde_json::from_str(text(&output.stdout)).expect("it is JSON")
    };
    let right = written(
        folder.path(),
        "listeners: [{ address: :8080, trusted_proxies: [0.0.0.0/0] }]\n\
         routes: [{ pool: p }]\npools: { p: [10.0.0.1:80] }\n",
    );
    // The file may be named by position or by -c alike.
    let output = evenkeel(&["check", "--json", &right.display().to_string()]);
    let said = json(&output);
    assert_eq!((output.status.code(), &said["valid"]), (Some(0), &true.into()), "{said}");
    assert_eq!((&said["listeners"], &said["endpoints"]), (&1.into(), &1.into()), "{said}");
    let problem = &said["problems"][0];
    assert_eq!((&problem["severity"], &problem["line"]), (&"warning".into(), &1.into()), "{said}");
    assert_eq!(problem["text"], "0.0.0.0/0", "{said}");
    // With warnings, a strict check fails.
    let output = evenkeel(&["check", "--json", "--strict", "-c", &right.display().to_string()]);
    assert_eq!((output.status.code(), &json(&output)["valid"]), (Some(78), &false.into()));
    assert_eq!(evenkeel(&["check", "-q", "-c", &right.display().to_string()]).status.code(), Some(0));
    assert_eq!(evenkeel(&["check", "-q", "--strict", &right.display().to_string()]).status.code(), Some(78));

    let wrong = written(folder.path(), "listen: :8080\nendpoint: [10.0.0.1:3000]\n");
    let output = evenkeel(&["check", "--json", "-c", &wrong.display().to_string()]);
    let said = json(&output);
    assert_eq!((output.status.code(), &said["valid"]), (Some(78), &false.into()), "{said}");
    assert_eq!(said["problems"][0]["severity"], "error", "{said}");
    let missing = folder.path().join("none.yaml").display().to_string();
    let output = evenkeel(&["check", "--json", "-c", &missing]);
    assert_eq!(output.status.code(), Some(78));
    assert!(json(&output)["unreadable"].as_str().is_some_and(|why| why.contains("there is no config file")));
}

/// Keys, users and keys of cookies are told from the other files.
#[test]
fn secrets_that_all_may_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (key, users) = (folder.path().join("sticky.key"), folder.path().join("users"));
    std::fs::write(&key, "0a".repeat(32)).expect("the folder is ours");
    std::fs::write(&users, "alice:$2y$05$1v5vRwZs6JAujyeuM/v.8.WdtstQgKHtN0NtnDNRhz1xhl/ynQjHS\n")
        .expect("the folder is ours");
    let yaml = format!(
        "listeners: [{{ address: :8080 }}]\nroutes: [{{ pool: p, auth: {{ basic: {} }} }}]\n\
         pools: {{ p: {{ endpoints: [10.0.0.1:80, 10.0.0.2:80], sticky: {{ cookie: c, key: {} }} }} }}\n",
        users.display(),
        key.display()
    );
    let file = written(folder.path(), &yaml).display().to_string();
    let check_with = |mode: u32| {
        for secret in [&key, &users] {
            std::fs::set_permissions(secret, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let output = evenkeel(&["check", "-q", "-c", &file]);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr).to_owned()
    };
    let said = check_with(0o644);
    for secret in [&key, &users] {
        let secret = secret.display();
        assert!(
            said.contains(&format!("{secret} has secrets, and every user of this machine may read it")),
            "{said}"
        );
        assert!(said.contains(&format!("run `chmod o= {secret}`")), "{said}");
    }
    assert_eq!(check_with(0o640), "");
}
