//! The parts of a request's head that its record needs, in one allocation.

/// The parts; absent ones are empty. What a client may fill with any bytes is bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TextParts<'a> {
    pub method: &'a str,
    /// As sent.
    pub host: &'a [u8],
    /// Path and query as sent.
    pub target: &'a [u8],
    pub request_id: &'a str,
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept: &'a str,
}

/// The parts, concatenated.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestText {
    all: Box<[u8]>,
    /// Where each part but the last ends.
    ends: [u32; 6],
}

impl RequestText {
    pub fn new(parts: TextParts<'_>) -> Self {
        let TextParts { method, host, target, request_id, user_agent, referer, accept } = parts;
        let (method, request_id, accept) = (method.as_bytes(), request_id.as_bytes(), accept.as_bytes());
        let parts = [method, host, target, request_id, user_agent, referer, accept];
        let mut all = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let mut ends = [0; 6];
        for (index, part) in parts.into_iter().enumerate() {
            all.extend_from_slice(part);
            if let Some(end) = ends.get_mut(index) {
                *end = u32::try_from(all.len()).unwrap_or(u32::MAX);
            }
        }
        Self { all: all.into_boxed_slice(), ends }
    }

    pub fn parts(&self) -> TextParts<'_> {
        let [method, host, target, request_id, user_agent, referer] = self.ends;
        TextParts {
            method: self.method(),
            host: self.part(method, host),
            target: self.part(host, target),
            request_id: self.request_id(),
            user_agent: self.part(request_id, user_agent),
            referer: self.part(user_agent, referer),
            accept: self.accept(),
        }
    }

    pub fn method(&self) -> &str {
        let [method, ..] = self.ends;
        self.text(0, method)
    }

    /// Empty also where it is not UTF-8, which only a refused request has.
    pub fn host(&self) -> &str {
        let [method, host, ..] = self.ends;
        self.text(method, host)
    }

    /// Empty also where it is not UTF-8, which only a refused request has.
    pub fn target(&self) -> &str {
        let [_, host, target, ..] = self.ends;
        self.text(host, target)
    }

    pub fn request_id(&self) -> &str {
        let [_, _, target, request_id, ..] = self.ends;
        self.text(target, request_id)
    }

    pub fn accept(&self) -> &str {
        let [.., referer] = self.ends;
        str::from_utf8(self.all.get(referer as usize..).unwrap_or_default()).unwrap_or_default()
    }

    fn text(&self, begin: u32, end: u32) -> &str {
        str::from_utf8(self.part(begin, end)).unwrap_or_default()
    }

    fn part(&self, begin: u32, end: u32) -> &[u8] {
        self.all.get(begin as usize..end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_comes_back() {
        let parts = TextParts {
            method: "GET",
            host: b"example.com",
            target: "/größe?a".as_bytes(),
            request_id: "abc",
            user_agent: b"\xfc",
            referer: b"r",
            accept: "*/*",
        };
        assert_eq!(RequestText::new(parts).parts(), parts);
        assert_eq!(RequestText::default().parts(), TextParts::default());
    }
}
