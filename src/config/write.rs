//! Writes the config that `evenkeel run --listen ADDRESS ENDPOINT...` stands for, and judges those arguments.

use std::fmt::Write;

use super::decode::Scalar;
use super::model::{EndpointAddress, ListenAddress};

/// An argument that is an address to listen on, or what is wrong with it.
pub fn listen_argument(text: &str) -> Result<String, String> {
    argument::<ListenAddress>(text)
}

/// An argument that is an endpoint's address, or what is wrong with it.
pub fn endpoint_argument(text: &str) -> Result<String, String> {
    argument::<EndpointAddress>(text)
}

fn argument<T: Scalar>(text: &str) -> Result<String, String> {
    match T::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(fault) => Err(format!("{}: {}", fault.message, fault.remedy)),
    }
}

/// The long form of a listener and a pool's endpoints, as YAML that parses to the same config as the short form.
///
/// The arguments are text as a user wrote it; [`super::parse`] checks that they are addresses.
pub fn long_form_of(listen: &str, endpoints: &[impl AsRef<str>]) -> String {
    let mut yaml = String::from("listeners:\n  - name: default\n");
    let _ = writeln!(yaml, "    address: {}", quoted(listen));
    yaml.push_str("routes:\n  - name: default\n    pool: default\n");
    yaml.push_str("pools:\n  default:\n    balance: round_robin\n    endpoints:\n");
    for endpoint in endpoints {
        let _ = writeln!(yaml, "      - {}", quoted(endpoint.as_ref()));
    }
    yaml.push_str(
        "    health_check: { type: tcp, interval: 2s, timeout: 1s, healthy_after: 2, unhealthy_after: 3 }\n    \
         when_none_healthy: { wait: 0s }\n",
    );
    yaml
}

/// A text as a YAML scalar: plain where that is safe, in double quotes otherwise.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if starts_well && text.bytes().all(is_plain) && !text.ends_with(':') {
        return text.to_owned();
    }
    // A JSON string is valid YAML, and `$${` is a literal `${`.
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}
