//! Reads the text of a config file, and says what is there if that is no config.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::{FILE_BYTES_MAX, LoadError};
use crate::file;

/// The byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// The text of a config file. Anything but a regular file is refused, since reading it might block.
pub fn read(path: &Path) -> Result<String, LoadError> {
    text(path, file::read(path, FILE_BYTES_MAX))
}

/// The text of a config file, or of a pipe such as `/dev/stdin` or `<(...)`, which can be read only once.
pub fn read_or_pipe(path: &Path) -> Result<String, LoadError> {
    text(path, file::read_or_pipe(path, FILE_BYTES_MAX))
}

fn text(path: &Path, read: io::Result<Vec<u8>>) -> Result<String, LoadError> {
    let bytes = read.map_err(|why| unread(path, why))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        LoadError::NoConfig(not_utf8(path, error.as_bytes(), valid_up_to))
    })
}

/// Whether trying again may help, as where a disk fails, or whether first somebody has to change what is there.
fn unread(path: &Path, why: io::Error) -> LoadError {
    let shown = path.display();
    LoadError::NoConfig(match why.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => format!(
            "there is no config file {shown}: write it (`evenkeel run --listen :8080 10.0.0.1:3000 --print` prints \
             an example), or name another one with -c FILE"
        ),
        ErrorKind::IsADirectory => {
            format!("{shown} is a directory, not a config file: {}", of_directory(path))
        }
        ErrorKind::PermissionDenied => {
            let user = nix::unistd::geteuid();
            format!("cannot read {shown}: {why}: the user with the id {user} must be able to read it")
        }
        ErrorKind::InvalidInput | ErrorKind::FileTooLarge => format!("cannot read {shown}: {why}"),
        _ => return LoadError::Io { path: path.to_owned(), why },
    })
}

fn of_directory(path: &Path) -> String {
    let within = path.join("evenkeel.yaml");
    match within.is_file() {
        true => format!("name {}", within.display()),
        false => {
            "Docker makes one where the file that is to be mounted does not exist on the host; remove the \
                  directory there, and write the file"
                .to_owned()
        }
    }
}

fn not_utf8(path: &Path, bytes: &[u8], valid_up_to: usize) -> String {
    let shown = path.display();
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return format!("{shown} is UTF-16 text: save it as UTF-8");
    }
    let before = String::from_utf8_lossy(&bytes[..valid_up_to]);
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let byte = bytes.get(valid_up_to).copied().unwrap_or_default();
    format!("{shown}:{line}:{column}: the byte 0x{byte:02X} is not UTF-8 text: save the file as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        match read(path) {
            Err(LoadError::NoConfig(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_config_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("evenkeel.yaml");
        assert!(refusal(&file).contains("--print"));
        assert!(refusal(folder.path()).contains("Docker"));
        for (bytes, words) in [
            (&b"a: 1\nb: \xfc\n"[..], ":2:4: the byte 0xFC is not UTF-8 text: save the file as UTF-8"),
            (b"\xff\xfea\0", "is UTF-16 text: save it as UTF-8"),
        ] {
            std::fs::write(&file, bytes).expect("written");
            assert!(refusal(&file).ends_with(words), "{}", refusal(&file));
        }
        assert!(refusal(folder.path()).ends_with(&format!("name {}", file.display())));
        assert!(refusal(&file.join("x")).starts_with("there is no config file"));
    }
}
