//! What is wrong with a file that a person wrote: where, the line itself, what to do.

use crate::text::escape;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// So many errors of one file are shown; the others are counted.
const SHOWN: usize = 12;

/// The text of a file, kept so that messages can show its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
    /// Where its lines end: to count them anew for each place takes minutes in a file of many.
    ends: Arc<[usize]>,
}

impl Source {
    /// A file's path, as the user named it, and its text.
    pub fn new(path: &Path, text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { path: path.to_owned(), text: text.into(), ends }
    }

    /// As the user named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line that a byte offset is in, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < offset)
    }

    /// A span that lies in the text, at character boundaries, and ends with its line.
    fn clip(&self, span: &Range<usize>) -> Range<usize> {
        let text = &*self.text;
        let start = floor(text, span.start);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        start..floor(text, span.end).clamp(start, line_end.max(start))
    }
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// One error.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where, as bytes of the text; `None` concerns the file as a whole.
    pub span: Option<Range<usize>>,
    /// Said beside the caret.
    pub label: String,
    /// A second place that the message is about, and what it is.
    pub other: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn new(span: &Range<usize>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message, span: Some(span.clone()), label: String::new(), other: None, help: None }
    }

    /// An error of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: String::new(), other: None, help: None }
    }

    /// With a remark beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a line that says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a second place.
    pub fn other(mut self, span: &Range<usize>, label: impl Into<String>) -> Self {
        self.other = Some((span.clone(), label.into()));
        self
    }

    /// With the nearest of the right names beside the caret, if one is near, and all of them below.
    pub fn nearest<'a>(self, given: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        let label = nearest(given, names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let this = self.label(label.unwrap_or_default());
        // A list that fills a screen helps nobody.
        if names.is_empty() || names.len() > 40 {
            return this;
        }
        this.help(format!("known here: {}", names.join(", ")))
    }

    /// The same for an error that has no place in the file: what is near stands in its message.
    pub fn nearest_below<'a>(mut self, given: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        if let Some(near) = nearest(given, names.iter().copied()) {
            self.message.push_str(&format!(" (did you mean `{near}`?)"));
        }
        self.nearest("", names)
    }

    fn render(&self, source: &Source) -> String {
        let path = escape(&source.path.display().to_string());
        let message = escape(&self.message);
        let mut group = match &self.span {
            None => {
                return format!("error: {path}: {message}{}", self.help_line());
            }
            Some(span) => {
                let label = escape(&self.label);
                let mut snippet = Snippet::source(&*source.text).path(path).annotation(
                    AnnotationKind::Primary
                        .span(source.clip(span))
                        .label((!label.is_empty()).then_some(label)),
                );
                if let Some((span, label)) = &self.other {
                    snippet = snippet
                        .annotation(AnnotationKind::Context.span(source.clip(span)).label(escape(label)));
                }
                Level::ERROR.primary_title(message).element(snippet)
            }
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(escape(help)));
        }
        Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group])
    }

    fn help_line(&self) -> String {
        self.help.as_ref().map_or(String::new(), |help| format!("\nhelp: {}", escape(help)))
    }
}

/// The name that somebody who wrote `given` most likely meant.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase().replace('_', "-");
    let allowed = (given.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| {
            let known = name.to_lowercase().replace('_', "-");
            (strsim::damerau_levenshtein(&given, &known), name)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Everything that is wrong with one file. Its `Display` is the whole text for the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorted by place; never empty.
    pub fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.span.as_ref().map_or(0, |span| span.start));
        list.dedup();
        Self { source, list }
    }

    /// One error of a file that could not be read.
    pub fn file(path: &Path, message: impl Into<String>) -> Self {
        Self { source: Source::new(path, ""), list: vec![Diagnostic::whole(message)] }
    }

    /// The single errors.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&diagnostic.render(&self.source))?;
        }
        if self.list.len() > SHOWN {
            write!(f, "\n\nerror: {} more errors in this file", self.list.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
