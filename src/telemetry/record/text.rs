//! The parts of a request's head that its record needs, in one allocation.

/// The parts as borrowed strings; absent ones are empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TextParts<'a> {
    pub method: &'a str,
    /// As sent.
    pub host: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    pub request_id: &'a str,
    pub user_agent: &'a str,
    pub referer: &'a str,
    pub accept: &'a str,
}

/// The parts, concatenated.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestText {
    all: Box<str>,
    /// Where each part but the last ends.
    ends: [u32; 6],
}

impl RequestText {
    pub fn new(parts: TextParts<'_>) -> Self {
        let TextParts { method, host, target, request_id, user_agent, referer, accept } = parts;
        let parts = [method, host, target, request_id, user_agent, referer, accept];
        let mut all = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        let mut ends = [0; 6];
        for (index, part) in parts.into_iter().enumerate() {
            all.push_str(part);
            if let Some(end) = ends.get_mut(index) {
                *end = u32::try_from(all.len()).unwrap_or(u32::MAX);
            }
        }
        Self { all: all.into_boxed_str(), ends }
    }

    pub fn parts(&self) -> TextParts<'_> {
        let [_, _, _, request_id, user_agent, referer] = self.ends;
        TextParts {
            method: self.method(),
            host: self.host(),
            target: self.target(),
            request_id: self.request_id(),
            user_agent: self.part(request_id, user_agent),
            referer: self.part(user_agent, referer),
            accept: self.accept(),
        }
    }

    pub fn method(&self) -> &str {
        let [method, ..] = self.ends;
        self.part(0, method)
    }

    pub fn host(&self) -> &str {
        let [method, host, ..] = self.ends;
        self.part(method, host)
    }

    pub fn target(&self) -> &str {
        let [_, host, target, ..] = self.ends;
        self.part(host, target)
    }

    pub fn request_id(&self) -> &str {
        let [_, _, target, request_id, ..] = self.ends;
        self.part(target, request_id)
    }

    pub fn accept(&self) -> &str {
        let [.., referer] = self.ends;
        self.all.get(referer as usize..).unwrap_or_default()
    }

    fn part(&self, begin: u32, end: u32) -> &str {
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
            host: "example.com",
            target: "/größe?a",
            request_id: "abc",
            user_agent: "",
            referer: "r",
            accept: "*/*",
        };
        assert_eq!(RequestText::new(parts).parts(), parts);
        assert_eq!(RequestText::default().parts(), TextParts::default());
    }
}
