//! What a request's head says, kept for its record in one piece of memory.

/// The parts, borrowed from wherever they are; "" where there is none.
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

/// The parts, one behind the other.
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
        let [method, host, target, request_id, user_agent, referer] = self.ends;
        let part = |begin: u32, end: u32| self.all.get(begin as usize..end as usize).unwrap_or_default();
        TextParts {
            method: part(0, method),
            host: part(method, host),
            target: part(host, target),
            request_id: part(target, request_id),
            user_agent: part(request_id, user_agent),
            referer: part(user_agent, referer),
            accept: self.all.get(referer as usize..).unwrap_or_default(),
        }
    }

    pub fn method(&self) -> &str {
        let [end, ..] = self.ends;
        self.all.get(..end as usize).unwrap_or_default()
    }

    pub fn host(&self) -> &str {
        self.parts().host
    }

    pub fn target(&self) -> &str {
        self.parts().target
    }

    pub fn request_id(&self) -> &str {
        self.parts().request_id
    }

    pub fn accept(&self) -> &str {
        self.parts().accept
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
