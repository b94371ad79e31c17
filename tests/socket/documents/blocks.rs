//! Markdown, as far as these documents use it: sections, and the blocks in them.

#[derive(Debug, Default)]
pub struct Section {
    pub title: String,
    /// Blocks of YAML: whole configs.
    pub configs: Vec<String>,
    /// What `$ cat PATH` shows.
    pub files: Vec<(String, String)>,
    pub requests: Vec<Shown>,
}

/// A `$ curl -si ...` and what it prints.
#[derive(Debug)]
pub struct Shown {
    pub command: String,
    pub start_line: String,
    /// Some of the fields.
    pub fields: Vec<String>,
    pub body: Option<String>,
}

pub fn sections(document: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let section = sections.last_mut().expect("at least one section");
        match language {
            "yaml" => section.configs.push(block.join("\n") + "\n"),
            "console" => read_console(section, &block),
            _ => {}
        }
    }
    sections
}

/// The commands of a terminal, each with what follows it up to the next one.
fn read_console(section: &mut Section, block: &[&str]) {
    let starts: Vec<usize> = (0..block.len()).filter(|&at| block[at].starts_with("$ ")).collect();
    for (nth, &start) in starts.iter().enumerate() {
        let end = starts.get(nth + 1).copied().unwrap_or(block.len());
        let (command, output) = (&block[start][2..], &block[start + 1..end]);
        if let Some(path) = command.strip_prefix("cat ") {
            section.files.push((path.to_owned(), output.join("\n") + "\n"));
        } else if command.starts_with("curl -si ") {
            section.requests.push(shown(command, output));
        }
    }
}

fn shown(command: &str, output: &[&str]) -> Shown {
    let mut parts = output.splitn(2, |line| line.is_empty());
    let head = parts.next().unwrap_or_default();
    let (start_line, fields) = head.split_first().unwrap_or_else(|| panic!("no answer to {command}"));
    Shown {
        command: command.to_owned(),
        start_line: (*start_line).to_owned(),
        fields: fields.iter().map(|line| (*line).to_owned()).collect(),
        body: parts.next().map(|lines| lines.join("\n")),
    }
}
