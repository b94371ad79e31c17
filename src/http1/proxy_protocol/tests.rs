use super::*;

fn client(address: &str) -> ProxiedSource {
    ProxiedSource::Client(address.parse().expect("an address"))
}

/// A header of version 2.
fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).expect("a short block").to_be_bytes());
    bytes.extend(block);
    bytes
}

fn block_4() -> Vec<u8> {
    vec![192, 0, 2, 1, 198, 51, 100, 1, 0x0f, 0xa0, 1, 0xbb]
}

fn block_6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().expect("an address");
    [source.octets().as_slice(), &[1; 16], &[0x0f, 0xa0, 1, 0xbb]].concat()
}

/// Checks the whole header, and that every part of it is `Partial`; bytes after it are ignored.
#[track_caller]
fn accepts(header: &[u8], source: ProxiedSource) {
    let complete = Parse::Complete { length: header.len(), source };
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Parse::Partial, "{end} bytes of {}", header.escape_ascii());
    }
    assert_eq!(parse(header), complete);
    assert_eq!(parse(&[header, b"GET / HTTP/1.1\r\n"].concat()), complete);
    assert_eq!(parse(&[header, header].concat()), complete);
}

#[track_caller]
fn refuses(header: &[u8]) {
    let verdict = parse(header);
    assert!(matches!(verdict, Parse::Malformed(_)), "{verdict:?}: {}", header.escape_ascii());
}

#[test]
fn version_1_names_the_client() {
    accepts(b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\r\n", client("192.0.2.1:4000"));
    accepts(b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", client("255.255.255.255:65535"));
    accepts(b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\n", client("[2001:db8::1]:4000"));
    accepts(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4000 443\r\n", client("192.0.2.1:4000"));
    accepts(b"PROXY UNKNOWN\r\n", ProxiedSource::Unknown);
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let unknown = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
    assert_eq!(unknown.len(), V1_MAX);
    accepts(unknown.as_bytes(), ProxiedSource::Unknown);
}

#[test]
fn version_1_is_exact() {
    for line in [
        "",
        "TCP4",
        "TCP4 192.0.2.1 198.51.100.1 4000",
        "TCP4 192.0.2.1 198.51.100.1 4000 443 ",
        "TCP4 192.0.2.1 198.51.100.1 4000 443 1",
        "TCP4  192.0.2.1 198.51.100.1 4000 443",
        "TCP4 192.0.2.1 198.51.100.1 +4000 443",
        "TCP4 192.0.2.1 198.51.100.1 04000 443",
        "TCP4 192.0.2.1 198.51.100.1 4000 65536",
        "TCP4 192.0.2.01 198.51.100.1 4000 443",
        "TCP4 192.0.2.1 198.51.100 4000 443",
        "TCP4 ::1 ::1 4000 443",
        "TCP4 192.0.2.1 ::1 4000 443",
        "TCP6 192.0.2.1 198.51.100.1 4000 443",
        "TCP6 fe80::1%eth0 ::1 4000 443",
        "tcp4 192.0.2.1 198.51.100.1 4000 443",
        "UDP4 192.0.2.1 198.51.100.1 4000 443",
        "UNKNOWNS",
        "TCP4\t192.0.2.1 198.51.100.1 4000 443",
        "TCP4 192.0.2.1 198.51.100.1 4000 44\u{663}",
    ] {
        refuses(format!("PROXY {line}\r\n").as_bytes());
    }
    refuses(b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\n");
    refuses(b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\rGET");
    refuses(b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\0\r\n");
}

#[test]
fn version_1_is_refused_as_soon_as_it_is_too_long() {
    let line = format!("PROXY UNKNOWN {}", "x".repeat(V1_MAX));
    assert_eq!(parse(&line.as_bytes()[..V1_MAX - 1]), Parse::Partial);
    refuses(&line.as_bytes()[..V1_MAX]);
    let one_more = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 15));
    assert_eq!(one_more.len(), V1_MAX + 1);
    refuses(one_more.as_bytes());
}

#[test]
fn version_2_names_the_client() {
    accepts(&version_2(0x21, 0x11, &block_4()), client("192.0.2.1:4000"));
    accepts(&version_2(0x21, 0x21, &block_6("2001:db8::1")), client("[2001:db8::1]:4000"));
    accepts(&version_2(0x21, 0x21, &block_6("::ffff:192.0.2.1")), client("192.0.2.1:4000"));
    let extended = [block_4(), vec![0x04, 0, 2, 0, 0]].concat();
    accepts(&version_2(0x21, 0x11, &extended), client("192.0.2.1:4000"));
    let longest = [block_4(), vec![0xff; V2_MAX - V2_FIXED - 12]].concat();
    accepts(&version_2(0x21, 0x11, &longest), client("192.0.2.1:4000"));
}

#[test]
fn version_2_may_name_nobody() {
    for family in [0x00, 0x12, 0x22, 0x31, 0x32] {
        accepts(&version_2(0x21, family, &[7; 216]), ProxiedSource::Unknown);
    }
    accepts(&version_2(0x21, 0, &[]), ProxiedSource::Unknown);
    for family in [0x00, 0x11, 0x21, 0xff] {
        accepts(&version_2(0x20, family, &[]), ProxiedSource::Local);
    }
}

#[test]
fn version_2_is_exact() {
    for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        refuses(&version_2(command, 0x11, &block_4()));
    }
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xff] {
        refuses(&version_2(0x21, family, &[7; 216]));
    }
    refuses(&version_2(0x21, 0x11, &block_4()[..11]));
    refuses(&version_2(0x21, 0x21, &block_6("::1")[..35]));
    refuses(&version_2(0x21, 0x11, &[0; V2_MAX - V2_FIXED + 1])[..V2_FIXED]);
}

#[test]
fn what_begins_otherwise_is_no_header() {
    for bytes in
        ["GET / HTTP/1.1\r\n", "PUT", "PROXYTCP4", "PROXY\t", "proxy ", "\n", "\r\nGET", "\r\n\r\nGET", "\0"]
    {
        assert_eq!(parse(bytes.as_bytes()), Parse::Absent, "{bytes:?}");
    }
    for bytes in ["", "P", "PR", "PROXY", "\r", "\r\n\r\n"] {
        assert_eq!(parse(bytes.as_bytes()), Parse::Partial, "{bytes:?}");
    }
}
