//! Colours on a terminal: whether they are wanted, and how text gets one.

use std::fmt;

/// How text looks; the number is its parameter of the escape sequence SGR (ECMA-48, section 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextStyle {
    Plain = 0,
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// Paints text, or leaves it as it is where nobody sees colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Painter {
    pub colours: bool,
}

/// Text that is displayed in a style.
struct Painted<T> {
    text: T,
    style: TextStyle,
}

/// `NO_COLOR`, set to anything, turns colours off everywhere.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Painter {
    pub fn paint<T: fmt::Display>(self, style: TextStyle, text: T) -> impl fmt::Display {
        Painted { text, style: if self.colours { style } else { TextStyle::Plain } }
    }
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            TextStyle::Plain => self.text.fmt(out),
            style => write!(out, "\x1b[{}m{}\x1b[0m", style as u8, self.text),
        }
    }
}
