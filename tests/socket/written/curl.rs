//! What a `curl` command sends, as far as the documents use its options.

use base64::Engine as _;

pub struct Request {
    pub method: String,
    pub is_tls: bool,
    /// As it is written; empty if the request has none.
    pub host: String,
    pub port: String,
    pub target: String,
    pub bytes: Vec<u8>,
}

/// The parts of a command.
#[derive(Default)]
struct Parts {
    method: Option<String>,
    version: Option<&'static str>,
    fields: Vec<String>,
    url: String,
    body: String,
    is_head: bool,
}

impl Request {
    /// Reads a command that begins with `curl`; where it stands in a text is for whoever reads that.
    pub fn parse(command: &str) -> Request {
        Parts::of(command).request(command)
    }
}

impl Parts {
    fn of(command: &str) -> Parts {
        let mut parts = Parts::default();
        let mut words = words(command).into_iter().skip(1);
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_else(|| panic!("{word} needs a value in {command}"));
            match word.as_str() {
                // What goes out is what is written, and all of the answer is looked at, here in any case.
                "-si" | "--path-as-is" => {}
                "-X" => parts.method = Some(next()),
                "-I" => parts.is_head = true,
                "-0" => parts.version = Some("HTTP/1.0"),
                "-H" => parts.fields.push(next()),
                "-A" => parts.fields.push(format!("User-Agent: {}", next())),
                "-b" => parts.fields.push(format!("Cookie: {}", next())),
                "-r" => parts.fields.push(format!("Range: bytes={}", next())),
                "-u" => {
                    let encoded = base64::engine::general_purpose::STANDARD.encode(next());
                    parts.fields.push(format!("Authorization: Basic {encoded}"));
                }
                "-d" => parts.body = next(),
                _ if word.starts_with("http") => parts.url = word,
                _ => panic!("{word} of {command} is not known to this test"),
            }
        }
        parts
    }

    fn request(self, command: &str) -> Request {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_else(|| panic!("no URL in {command}"));
        let (written, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let is_tls = scheme == "https";
        let default = if is_tls { "443" } else { "80" };
        let port = written.split_once(':').map_or(default, |(_, port)| port).to_owned();
        let method = self.method.unwrap_or_else(|| {
            let usual = if self.body.is_empty() { "GET" } else { "POST" };
            if self.is_head { "HEAD" } else { usual }.to_owned()
        });
        // `-H Host: x` is in the place of curl's own, and `-H Host:` takes it out.
        let is_host = |field: &&String| field.to_ascii_lowercase().starts_with("host:");
        let own_host = format!("Host: {written}");
        let host = self.fields.iter().find(is_host).unwrap_or(&own_host).clone();
        let host = host[5..].trim().to_owned();
        let others = self.fields.iter().filter(|field| !is_host(field));
        let mut fields: String = others.map(|field| format!("{field}\r\n")).collect();
        if !host.is_empty() {
            fields.insert_str(0, &format!("Host: {host}\r\n"));
        }
        let is_chunked = fields.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let length = self.body.len();
        let body = if is_chunked { format!("{length:x}\r\n{}\r\n0\r\n\r\n", self.body) } else { self.body };
        if length > 0 && !is_chunked {
            fields += &format!("Content-Length: {length}\r\n");
        }
        let version = self.version.unwrap_or("HTTP/1.1");
        let head = format!("{method} {target} {version}\r\n{fields}\r\n");
        let bytes = (head + &body).into_bytes();
        Request { method, is_tls, host, port, target: target.to_owned(), bytes }
    }
}

/// The words of a command; those in single quotes may have blanks.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in command.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().expect("at least one word").push(letter),
        }
    }
    words
}
