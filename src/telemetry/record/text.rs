//! The parts of a request's head that its record needs, in one allocation.

/// The parts as bytes, which a client may fill with any; absent ones are empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TextParts<'a> {
    pub method: &'a [u8],
    /// As sent.
    pub host: &'a [u8],
    /// Path and query as sent.
    pub target: &'a [u8],
    pub request_id: &'a [u8],
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    pub accept: &'a [u8],
}

/// The parts, concatenated.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestText {
    all: All,
    /// Where each part but the last ends.
    ends: [u32; 6],
}

/// Known to be UTF-8 or not, so that it is checked once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum All {
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

impl Default for All {
    fn default() -> Self {
        Self::Text(Box::default())
    }
}

impl RequestText {
    pub fn new(parts: TextParts<'_>) -> Self {
        let TextParts { method, host, target, request_id, user_agent, referer, accept } = parts;
        let parts = [method, host, target, request_id, user_agent, referer, accept];
        let mut all = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let mut ends = [0; 6];
        for (index, part) in parts.into_iter().enumerate() {
            all.extend_from_slice(part);
            if let Some(end) = ends.get_mut(index) {
                *end = u32::try_from(all.len()).unwrap_or(u32::MAX);
            }
        }
        let all = match String::from_utf8(all) {
            Ok(text) => All::Text(text.into_boxed_str()),
            Err(error) => All::Bytes(error.into_bytes().into_boxed_slice()),
        };
        Self { all, ends }
    }

    pub fn parts(&self) -> TextParts<'_> {
        let all = match &self.all {
            All::Text(text) => text.as_bytes(),
            All::Bytes(bytes) => bytes,
        };
        let part = |begin: u32, end: u32| all.get(begin as usize..end as usize).unwrap_or_default();
        let [method, host, target, request_id, user_agent, referer] = self.ends;
        TextParts {
            method: part(0, method),
            host: part(method, host),
            target: part(host, target),
            request_id: part(target, request_id),
            user_agent: part(request_id, user_agent),
            referer: part(user_agent, referer),
            accept: all.get(referer as usize..).unwrap_or_default(),
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

    /// Empty also where it is not UTF-8.
    pub fn accept(&self) -> &str {
        str::from_utf8(self.parts().accept).unwrap_or_default()
    }

    fn text(&self, begin: u32, end: u32) -> &str {
        let range = begin as usize..end as usize;
        match &self.all {
            All::Text(text) => text.get(range).unwrap_or_default(),
            All::Bytes(bytes) => str::from_utf8(bytes.get(range).unwrap_or_default()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_comes_back() {
        let parts = TextParts {
            method: b"GET",
            host: b"example.com",
            target: "/größe?a".as_bytes(),
            request_id: b"abc",
            user_agent: b"\xfc",
            referer: b"r",
            accept: b"*/*",
        };
        assert_eq!(RequestText::new(parts).parts(), parts);
        assert_eq!(RequestText::default().parts(), TextParts::default());
    }
}
