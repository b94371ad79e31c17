//! The file of a listener's unix socket: who may connect.

use nix::unistd::{Group, User};
use serde_json::{Value as Json, json};

use crate::config::decode::{Fault, Scalar, shown};
use crate::config::section::section;

section! {
    /// The file of a unix socket, whose permissions say who may connect.
    SocketSection "`socket`" {
        /// Its mode, four octal digits in quotes, such as "0660". Default: as the umask has it.
        mode: Mode, optional;
        /// Its owner, by name or number. Default: the user of the process.
        owner: UserId, optional;
        /// Its group, by name or number. Default: the group of the process.
        group: GroupId, optional;
    }
}

/// The permission bits of a file. Three digits are refused: programs that write YAML 1.1 turn 0660 into the decimal 432.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Scalar for Mode {
    const WHAT: &'static str = "a mode";
    const REMEDY: &'static str = "write four octal digits such as \"0660\"";

    fn parse(text: &str) -> Result<Mode, Fault> {
        let is_mode = text.len() == 4 && text.starts_with('0');
        match u32::from_str_radix(text, 8) {
            Ok(mode) if is_mode => Ok(Mode(mode)),
            _ => Err(Self::fault(text)),
        }
    }

    fn scalar_schema() -> Json {
        json!({ "type": "string", "pattern": "^0[0-7]{3}$", "examples": ["0660"] })
    }
}

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserId(pub(crate) u32);

impl Scalar for UserId {
    const WHAT: &'static str = "a user";
    const REMEDY: &'static str = "write the name of a user of this machine, or a number";

    fn parse(text: &str) -> Result<UserId, Fault> {
        id(text, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
            .map(UserId)
            .ok_or_else(|| unknown::<Self>(text))
    }

    fn scalar_schema() -> Json {
        json!({ "type": ["string", "integer"], "examples": ["www-data", 33] })
    }
}

/// A group of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupId(pub(crate) u32);

impl Scalar for GroupId {
    const WHAT: &'static str = "a group";
    const REMEDY: &'static str = "write the name of a group of this machine, or a number";

    fn parse(text: &str) -> Result<GroupId, Fault> {
        id(text, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
            .map(GroupId)
            .ok_or_else(|| unknown::<Self>(text))
    }

    fn scalar_schema() -> Json {
        UserId::scalar_schema()
    }
}

fn id(text: &str, find: impl FnOnce(&str) -> nix::Result<Option<u32>>) -> Option<u32> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => find(text).ok().flatten(),
    }
}

fn unknown<T: Scalar>(text: &str) -> Fault {
    let what = T::WHAT.trim_start_matches("a ");
    Fault::new(format!("this machine has no {what} `{}`", shown(text)), T::REMEDY)
}
