//! Where commands find the process that they are for.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::harness::{Endpoint, Proxy, nobody};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

/// Runs a command as the user of a proxy that was started by [`crate::harness::ProxyBuilder::run_by_nobody`].
fn command(proxy: &Proxy, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    if let Ok(uid) = nobody() {
        command.uid(uid).gid(uid);
    }
    command
        .args(arguments)
        .env("XDG_RUNTIME_DIR", proxy.folder())
        .current_dir(proxy.folder())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The sections `admin` that the documentation tells people to write, inline or in a block.
fn documented() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for file in
        docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|is| is == "md"))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("admin: { listen: ") {
            let inside = &text[at + "admin: { ".len()..];
            found.push(inside[..inside.find(" }").unwrap()].to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The arguments of the commands that the systemd unit, the image and docs/deploy.md run beside the process.
fn commands() -> Vec<Vec<String>> {
    let unit = include_str!("../../../deploy/evenkeel.service");
    let reload = unit.lines().find_map(|line| line.strip_prefix("ExecReload=/usr/bin/evenkeel ")).unwrap();
    let image = include_str!("../../../Dockerfile");
    let health =
        image.lines().find_map(|line| line.split_once("HEALTHCHECK")?.1.split_once("CMD ")).unwrap().1;
    let health: Vec<String> = serde_json::from_str(health).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut commands = vec![words(reload), health[1..].to_vec()];
    let deploy = include_str!("../../../docs/deploy.md");
    for line in deploy.lines() {
        let Some((_, rest)) = line.split_once("docker exec evenkeel /usr/bin/evenkeel ") else { continue };
        commands.push(words(rest.split('`').next().unwrap()));
    }
    assert!(commands.len() >= 4, "{commands:?}");
    commands
}

/// What the documentation says about the admin address goes together with what the unit and the image run.
#[test]
fn what_is_documented_works_together() {
    let endpoint = Endpoint::named("a");
    let sections: Vec<String> = documented().into_iter().filter(|section| !section.contains("off")).collect();
    assert!(sections.iter().any(|section| section.contains("127.0.0.1:9900")), "{sections:?}");
    for section in sections {
        let builder = Proxy::to([&endpoint]);
        let folder = builder.folder().display().to_string();
        // Ports and paths of the test's own.
        let section =
            section.replace(":9900", ":0").replace("unix:/run/evenkeel", &format!("unix:{folder}/own"));
        let proxy = builder.env("ADMIN_TOKEN", "a-token-of-the-test").admin(&section).run_by_nobody().start();
        let file = proxy.config_path().display().to_string();
        for arguments in commands() {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.iter_mut().filter(|word| word.starts_with("/etc/")).for_each(|word| *word = &file);
            // The image has its file at the default path, which is not the test's.
            if !arguments.contains(&"-c") {
                arguments.extend(["-c", &file]);
            }
            let output = command(&proxy, &arguments);
            assert_eq!(output.status.code(), Some(0), "{section}: {arguments:?}: {}", said(&output));
        }
    }
}

#[test]
fn orders_go_to_the_unix_socket_beside_a_tcp_address_before_and_after_an_upgrade() {
    let endpoint = Endpoint::named("a");
    let builder = Proxy::to([&endpoint]);
    let listen = format!("listen: ['127.0.0.1:0', 'unix:{}/admin.sock']", builder.folder().display());
    let mut proxy = builder.admin(&listen).start();
    let file = proxy.config_path().display().to_string();
    let tcp = |proxy: &Proxy| {
        let opened = |event: &crate::harness::Event| {
            event.message() == "admin address open" && !event.text("address").starts_with("unix:")
        };
        proxy.event("a TCP address", opened).text("address").to_owned()
    };
    let address = tcp(&proxy);
    for round in 1..3 {
        let output = Command::new(BINARY).args(["reload", &file]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let metrics = Command::new(BINARY).args(["status", "--json", "--admin", &address]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&metrics.stdout).expect("JSON");
        assert_eq!((&status["pid"], &status["file"]), (&proxy.pid().into(), &file.as_str().into()));
        let refused = Command::new(BINARY).args(["reload", "--admin", &address]).output().unwrap();
        assert!(said(&refused).contains("over TCP, changes need"), "{}", said(&refused));
        if round == 1 {
            proxy.upgrade();
        }
    }
}

/// An order for the process that runs B is nothing that the process that runs A does.
#[test]
fn a_process_that_runs_another_file_refuses_by_name() {
    let endpoint = Endpoint::named("a");
    let mut proxy = Proxy::to([&endpoint]).start();
    let (own, other, link) =
        (proxy.config_path(), proxy.folder().join("b.yaml"), proxy.folder().join("link.yaml"));
    std::fs::copy(&own, &other).unwrap();
    std::os::unix::fs::symlink(&own, &link).unwrap();
    let [own, other, link] = [own, other, link].map(|path| path.display().to_string());
    for order in ["reload", "confirm", "rollback", "upgrade", "status", "health"] {
        let output = Command::new(BINARY).args([order, "-c", &other]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{order}: {}", said(&output));
        for words in [&format!("process {} ", proxy.pid()), &own, &other] {
            assert!(said(&output).contains(words), "{order}: no {words} in {}", said(&output));
        }
    }
    assert_eq!(proxy.status()["generation"], 1);
    for file in [own.as_str(), &link, "evenkeel.yaml"] {
        let mut command = Command::new(BINARY);
        let output = command.args(["reload", file]).current_dir(proxy.folder()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{file}: {}", said(&output));
    }
    // A file to try is another one than the one that runs.
    let output = Command::new(BINARY).args(["plan", &other]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = Command::new(BINARY).args(["plan", &own, "-c", &other]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    proxy.is_unharmed(endpoint.open());
}
