//! The requests of a site, as `requests.txt` has them: commands of curl, and below each, indented, what is different and why.

use regex::{Captures, Regex};

pub struct Script {
    /// What holds for all requests of the site, or for all sites.
    pub everywhere: Vec<Difference>,
    pub requests: Vec<Sent>,
}

pub struct Sent {
    pub command: String,
    pub differences: Vec<Difference>,
}

/// `! status 400/200, sent target: why`: aspects of an outcome, some with the values at nginx and at evenkeel; with `?` in the
/// place of `!` it depends on the moment.
pub struct Difference {
    aspects: Vec<(String, Option<(String, String)>)>,
    reason: String,
    /// It depends on the moment, or is said of all sites, which are too different for all of it to be there.
    pub may_be_absent: bool,
}

impl Difference {
    fn parse(text: &str, may_be_absent: bool) -> Difference {
        let (aspects, reason) =
            text.split_once(": ").unwrap_or_else(|| panic!("`{text}` does not say why it is different"));
        let aspects = aspects.split(", ").map(|aspect| match aspect.rsplit_once(' ') {
            Some((aspect, values)) if values.contains('/') => {
                let (there, here) = values.split_once('/').expect("it has a slash");
                (aspect.to_owned(), Some((there.to_owned(), here.to_owned())))
            }
            _ => (aspect.to_owned(), None),
        });
        let aspects: Vec<_> = aspects.collect();
        let has_values = aspects.iter().all(|(aspect, values)| aspect != "status" || values.is_some());
        assert!(has_values, "`{text}` says not which statuses: status NGINX/EVENKEEL");
        Difference { aspects, reason: reason.to_owned(), may_be_absent }
    }

    pub fn aspects(&self) -> impl Iterator<Item = &String> {
        self.aspects.iter().map(|(aspect, _)| aspect)
    }

    pub fn explains(&self, aspect: &str, there: &str, here: &str) -> bool {
        self.aspects.iter().any(|(own, values)| {
            let is = |written: &str, value: &str| written == "*" || written == value;
            own == aspect && values.as_ref().is_none_or(|(a, b)| is(a, there) && is(b, here))
        })
    }

    pub fn written(&self) -> String {
        let aspects: Vec<&str> = self.aspects().map(String::as_str).collect();
        format!("{}: {}", aspects.join(", "), self.reason)
    }
}

impl Script {
    /// The requests of a site, and those of `common` to the page that it names, if it does.
    pub fn read(own: &str, common: &str) -> Script {
        let mut script = Script { everywhere: Vec::new(), requests: Vec::new() };
        script.add(own, false);
        if let Some(page) = own.lines().find_map(|line| line.strip_prefix("common ")) {
            let start = page.find("://").map_or(0, |at| at + 3);
            let path = page[start..].find('/').map_or(page.len(), |at| start + at);
            let (origin, host) = (&page[..path], &page[start..path]);
            script.add(&common.replace("PAGE", page).replace("ORIGIN", origin).replace("HOST", host), true);
        }
        script
    }

    fn add(&mut self, text: &str, may_be_absent: bool) {
        let mut has_requests = false;
        for line in text.lines() {
            match line.trim() {
                trimmed if trimmed.is_empty() || trimmed.starts_with('#') || line.starts_with("common ") => {}
                command if line.starts_with("curl ") => {
                    has_requests = true;
                    self.requests.push(Sent { command: repeated(command), differences: Vec::new() });
                }
                trimmed => {
                    let (mark, text) = trimmed.split_at(2);
                    assert!(["! ", "? "].contains(&mark), "what is `{line}`?");
                    let difference = Difference::parse(text, may_be_absent || mark == "? ");
                    match self.requests.last_mut() {
                        Some(sent) if has_requests => sent.differences.push(difference),
                        _ => self.everywhere.push(difference),
                    }
                }
            }
        }
    }
}

/// `{9000 x}` stands for 9,000 letters x.
fn repeated(command: &str) -> String {
    let times = Regex::new(r"\{([0-9]+) (.)\}").expect("an expression");
    let repeat = |found: &Captures<'_>| found[2].repeat(found[1].parse().expect("digits"));
    times.replace_all(command, repeat).into_owned()
}
