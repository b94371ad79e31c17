use super::*;

/// Payload, trailers and the rest of the input.
type Decoded = (Vec<u8>, Vec<(String, String)>, usize);

/// `None`: more is needed.
fn decode(input: impl AsRef<[u8]>) -> Result<Option<Decoded>, ChunkError> {
    let mut decoder = Decoder::default();
    let mut rest = input.as_ref();
    let mut payload = Vec::new();
    loop {
        let step = decoder.decode(rest)?;
        payload.extend_from_slice(&rest[step.data]);
        rest = &rest[step.consumed..];
        if step.done {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let trailers = decoder.trailers().map(|(name, value)| (text(name), text(value))).collect();
            return Ok(Some((payload, trailers, rest.len())));
        }
        if rest.is_empty() {
            return Ok(None);
        }
    }
}

#[track_caller]
fn gives(input: impl AsRef<[u8]>, payload: &str, left: usize) {
    let shown = String::from_utf8_lossy(input.as_ref()).into_owned();
    assert_eq!(decode(input), Ok(Some((payload.into(), Vec::new(), left))), "{shown:?}");
}

#[test]
fn bodies() {
    gives("0\r\n\r\n", "", 0);
    gives("5\r\nhello\r\n0\r\n\r\nGET", "hello", 3);
    gives("1\r\na\r\n00000000000000A\r\n0123456789\r\n000\r\n\r\n", "a0123456789", 0);
    gives("a\r\n0123456789\r\nB\r\n0123456789A\r\n0\r\n\r\n", "01234567890123456789A", 0);
    assert_eq!(decode("5\r\nhello\r\n0\r\n"), Ok(None));
    assert_eq!(decode("5\r\nhello\r\n0\r\n\r"), Ok(None));
}

#[test]
fn sizes() {
    for (input, error) in [
        ("\r\n", ChunkError::Size),
        ("g\r\n", ChunkError::Size),
        ("+5\r\n", ChunkError::Size),
        ("-5\r\n", ChunkError::Size),
        ("0x5\r\n", ChunkError::Size),
        (" 5\r\n", ChunkError::Size),
        (";a\r\n", ChunkError::Size),
        ("5,\r\n", ChunkError::Size),
        ("5_0\r\n", ChunkError::Size),
        ("5\0\r\n", ChunkError::Size),
        ("5\n", ChunkError::LineEnd),
        ("\n", ChunkError::Size),
        ("5\r5\r\n", ChunkError::LineEnd),
        ("5\r\r\n", ChunkError::LineEnd),
        ("8000000000000000\r\n", ChunkError::SizeTooLarge),
        ("ffffffffffffffff\r\n", ChunkError::SizeTooLarge),
        ("10000000000000000\r\n", ChunkError::SizeTooLarge),
        ("00000000000000005\r\n", ChunkError::SizeTooLarge),
    ] {
        assert_eq!(decode(input), Err(error), "{input:?}");
    }
    assert_eq!(decode("7fffffffffffffff\r\nx"), Ok(None));
}

#[test]
fn extensions() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        " ; a = b",
        "\t;\ta\t=\t\"b\\\"\\\\; \u{e9}\"",
        ";a;b=c;d=\"\"",
        ";a=b ;c",
        ";a=\"b\" ;c",
    ] {
        gives(format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n"), "x", 0);
    }
    for extension in [
        ";",
        "; ",
        ";;a",
        ";a=",
        ";a=;b",
        ";a b",
        ";a=b c",
        ";a=\"b\"c",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        " ",
        ";\"a\"",
        ";a=\"b\\",
        ";a=b\"",
        ";a/b",
        ";a=\0",
        ";a=\"\x01\"",
        ";a=\"\\\x7f\"",
        " x",
        ";a\rb",
    ] {
        let error = decode(format!("1{extension}\r\nx\r\n0\r\n\r\n"));
        assert!(matches!(error, Err(ChunkError::Extension | ChunkError::LineEnd)), "{extension:?} {error:?}");
    }
    for extension in [";a\n", ";a=\"\n\"", ";a=\"\r\n\"", ";a=b\n", " \n"] {
        let error = decode(format!("1{extension}\r\nx\r\n0\r\n\r\n"));
        assert!(matches!(error, Err(ChunkError::LineEnd | ChunkError::Extension)), "{extension:?} {error:?}");
    }
    let long = |length| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(length));
    gives(long(EXTENSION_MAX - 1), "x", 0);
    assert_eq!(decode(long(EXTENSION_MAX)), Err(ChunkError::ExtensionTooLong));
}

#[test]
fn data_ends_with_crlf() {
    for input in ["1\r\nx\n", "1\r\nxx\r\n", "1\r\nx\rx", "1\r\nx0\r\n", "1\r\nx\n\r"] {
        assert_eq!(decode(input), Err(ChunkError::DataEnd), "{input:?}");
    }
}

#[test]
fn trailers_are_fields() {
    let decoded = decode("0\r\nX-Sum: 1 \r\nx-sum:2\r\n\r\nrest").unwrap().unwrap();
    assert_eq!(decoded.1, [("X-Sum".into(), "1".into()), ("x-sum".into(), "2".into())]);
    assert_eq!(decoded.2, 4);
    for (input, reason) in [
        ("0\r\nX : 1\r\n\r\n", "blank before the colon of a field"),
        ("0\r\n X: 1\r\n\r\n", "folded or indented field line"),
        ("0\r\nX: 1\r\n 2\r\n\r\n", "folded or indented field line"),
        ("0\r\nX\r\n\r\n", "field line without a colon"),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", "blank before the colon of a field"),
        ("0\r\n\n", "line feed without carriage return"),
        ("0\r\nX: 1\n\r\n", "line feed without carriage return"),
        ("0\r\nX: \0\r\n\r\n", "NUL in a field value"),
        ("0\r\nX: a\rb\r\n\r\n", "carriage return without line feed"),
    ] {
        assert_eq!(decode(input), Err(ChunkError::Trailers(reason)), "{input:?}");
    }
    let many = |count| format!("0\r\n{}\r\n", "X: 1\r\n".repeat(count));
    assert!(decode(many(TRAILER_FIELDS_MAX)).is_ok());
    assert_eq!(decode(many(TRAILER_FIELDS_MAX + 1)), Err(ChunkError::Trailers("too many fields")));
    let large = format!("0\r\nX: {}", "x".repeat(TRAILERS_MAX));
    assert_eq!(decode(large), Err(ChunkError::Trailers("too many bytes of fields")));
}

/// Fields that must precede the body, or that endpoints trust, are dropped from trailers.
#[test]
fn some_names_do_not_go_on_as_trailers() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Authorization",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Request-ID",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Client-Cert-Subject",
        "X_Client_Cert_Fingerprint",
        "X-Forwarded-By",
        "X-Forwarded-Ssl",
        "X-Original-Host",
        "Content_Length",
        "Content-Type",
    ] {
        let decoded = decode(format!("0\r\nA: 1\r\n{name}: x\r\nB: 2\r\n\r\n")).unwrap().unwrap();
        assert_eq!(decoded.1, [("A".into(), "1".into()), ("B".into(), "2".into())], "{name}");
    }
}

#[test]
fn chunk_heads() {
    for (length, head) in [
        (1, "1\r\n"),
        (9, "9\r\n"),
        (16, "10\r\n"),
        (0xabcdef, "abcdef\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(ChunkHead::new(length).as_bytes(), head.as_bytes());
    }
}

#[test]
fn what_is_written_can_be_read() {
    let mut out = Vec::new();
    for piece in ["hello", " ", "world"] {
        out.extend_from_slice(ChunkHead::new(piece.len()).as_bytes());
        out.extend_from_slice(piece.as_bytes());
        out.extend_from_slice(CHUNK_END);
    }
    let mut plain = out.clone();
    plain.extend_from_slice(LAST_CHUNK);
    gives(plain, "hello world", 0);
    write_last(&mut out, [(&b"X-Sum"[..], &b"1"[..])].into_iter());
    let (payload, trailers, left) = decode(out).unwrap().unwrap();
    assert_eq!((payload.as_slice(), left), (&b"hello world"[..], 0));
    assert_eq!(trailers, [("X-Sum".to_owned(), "1".to_owned())]);
}

/// A beginning is accepted if it can be continued to a valid body.
#[test]
fn beginnings_are_judged_as_far_as_they_go() {
    for good in ["", "5", "5\r\nhel", "5\r\nhello\r\n0\r\n", "0\r\n\r\nGET / HTTP/1.1\r\n", "1;a=\"b"] {
        assert_eq!(super::check(good.as_bytes()), Ok(()), "{good:?}");
    }
    for (bad, error) in [
        ("x", ChunkError::Size),
        ("5\n", ChunkError::LineEnd),
        ("1\r\nab", ChunkError::DataEnd),
        ("1\r\na\r\n0\r\nX : y\r\n", ChunkError::Trailers("blank before the colon of a field")),
    ] {
        assert_eq!(super::check(bad.as_bytes()), Err(error), "{bad:?}");
    }
}

/// Only of endpoints, and only blanks.
#[test]
fn blanks_behind_a_size() {
    for (input, is_read) in [
        ("2 \r\nab\r\n0\t \r\n\r\n", true),
        ("2;a=b \r\nab\r\n0\r\n\r\n", true),
        (" 2\r\nab\r\n0\r\n\r\n", false),
        ("2 \nab\r\n0\r\n\r\n", false),
        ("2 x\r\nab\r\n0\r\n\r\n", false),
        (" \r\nab\r\n0\r\n\r\n", false),
    ] {
        let payload = |leniency| {
            let (mut decoder, mut rest, mut payload) = (Decoder::new(leniency), input.as_bytes(), Vec::new());
            while !decoder.is_done() {
                let step = decoder.decode(rest).ok()?;
                payload.extend_from_slice(&rest[step.data]);
                rest = &rest[step.consumed..];
            }
            Some(payload)
        };
        assert_eq!(payload(Leniency::Blanks).as_deref(), is_read.then_some(&b"ab"[..]), "{input:?}");
        assert_eq!(payload(Leniency::None), None, "{input:?}");
    }
    let long = format!("2{}\r\n", " ".repeat(EXTENSION_MAX + 1));
    assert_eq!(Decoder::new(Leniency::Blanks).decode(long.as_bytes()), Err(ChunkError::ExtensionTooLong));
}
