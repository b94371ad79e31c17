//! Heads of messages as the tests see them: parsed just enough to ask, and the bytes kept.

/// A message's head: its first line, its fields, and the bytes they came in.
#[derive(Debug, Clone)]
pub struct Head {
    /// As received, with the empty line at its end.
    pub raw: String,
    pub start_line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Parses a head that ends with its empty line.
    pub fn parse(bytes: &[u8]) -> Head {
        let raw = String::from_utf8_lossy(bytes).into_owned();
        let mut lines = raw.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .take_while(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
                None => (line.to_owned(), String::new()),
            })
            .collect();
        Head { raw, start_line, fields }
    }

    /// The n-th word of the first line.
    pub fn word(&self, n: usize) -> &str {
        self.start_line.split(' ').nth(n).unwrap_or_default()
    }

    /// The value of the only field of that name; fails if there are several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times: {}", all.len(), self.raw);
        all.first().copied()
    }

    /// The values of every field of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    pub fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    pub fn content_length(&self) -> Option<usize> {
        self.header("content-length").map(|value| value.parse().unwrap())
    }
}

/// Where the head ends in `bytes`, its empty line included.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
