//! PROXY headers: every way of arriving gives one verdict, what is taken is what the model reads, and nothing is waited
//! for that cannot become a header.

use std::net::SocketAddr;
use std::sync::LazyLock;

use evenkeel::http1::proxy_protocol::{Parse, ProxiedSource, parse};
use regex::bytes::Regex;

/// Addresses are judged by the standard library, in another form than the one they were sent in.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let number = "(0|[1-9][0-9]{0,4})";
    let pattern = format!(
        r"(?s-u)^PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP[46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) {number} {number})\r\n"
    );
    Regex::new(&pattern).expect("a pattern")
});

const SIGNATURES: [&[u8]; 2] = [b"PROXY ", &[13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]];

pub fn check(bytes: &[u8]) {
    let verdict = parse(bytes);
    for step in [1, 7] {
        let ends = (0..bytes.len()).step_by(step).chain([bytes.len()]);
        let first = ends.map(|end| parse(&bytes[..end])).find(|verdict| *verdict != Parse::Partial);
        assert_eq!(first.unwrap_or(Parse::Partial), verdict, "in steps of {step}");
    }
    let begins = SIGNATURES.iter().any(|signature| bytes.starts_with(signature));
    let may_begin = SIGNATURES.iter().any(|signature| signature.starts_with(bytes));
    let model = text(bytes).or_else(|| binary(bytes));
    match verdict {
        Parse::Complete { length, source } => assert_eq!(model, Some((length, source))),
        Parse::Partial => {
            assert!((begins || may_begin) && model.is_none(), "waits for more of {model:?}");
            let most = if bytes.starts_with(b"P") { 107 } else { 4096 };
            assert!(bytes.len() < most, "waits for more than {most} bytes");
        }
        Parse::Malformed(_) => assert!(begins && model.is_none(), "refused: {model:?}"),
        Parse::Absent => assert!(!begins && !may_begin && model.is_none()),
    }
}

fn text(bytes: &[u8]) -> Option<(usize, ProxiedSource)> {
    let found = LINE.captures(bytes)?;
    let length = found.get(0)?.len();
    if length > 107 {
        return None;
    }
    let word = |index: usize| found.get(index).and_then(|word| std::str::from_utf8(word.as_bytes()).ok());
    let Some(family) = word(1) else { return Some((length, ProxiedSource::Unknown)) };
    let address = |ip: &str, port: &str| -> Option<SocketAddr> {
        match family {
            "TCP4" => format!("{ip}:{port}"),
            _ => format!("[{ip}]:{port}"),
        }
        .parse()
        .ok()
    };
    let source = address(word(2)?, word(4)?)?;
    address(word(3)?, word(5)?)?;
    Some((length, client(source)))
}

fn binary(bytes: &[u8]) -> Option<(usize, ProxiedSource)> {
    let rest = bytes.strip_prefix(SIGNATURES[1])?;
    let header = rest.get(..4)?;
    let size = usize::from(header[2]) * 256 + usize::from(header[3]);
    let block = rest.get(4..4 + size)?;
    let length = 16 + size;
    if length > 4096 {
        return None;
    }
    let source = match (header[0], header[1]) {
        (0x20, _) => ProxiedSource::Local,
        (0x21, 0x11) if size >= 12 => {
            let ip: [u8; 4] = block[..4].try_into().ok()?;
            client(SocketAddr::from((ip, u16::from(block[8]) * 256 + u16::from(block[9]))))
        }
        (0x21, 0x21) if size >= 36 => {
            let ip: [u8; 16] = block[..16].try_into().ok()?;
            client(SocketAddr::from((ip, u16::from(block[32]) * 256 + u16::from(block[33]))))
        }
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => ProxiedSource::Unknown,
        _ => return None,
    };
    Some((length, source))
}

/// An IPv4 client is one, however it is written.
fn client(address: SocketAddr) -> ProxiedSource {
    ProxiedSource::Client(match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => (*v6.ip(), v6.port()).into(),
        },
        v4 @ SocketAddr::V4(_) => v4,
    })
}
