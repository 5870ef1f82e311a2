//! A report as a document: built once, shown on the terminal or as a page of HTML.

use runlog_analysis::Timeline;

/// A document: a title, and blocks below it.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) title: String,
    /// The page of the web UI about the same subject.
    pub(crate) page: Option<String>,
    pub(crate) blocks: Vec<Block>,
}

/// A part of a document.
#[derive(Debug)]
pub(crate) enum Block {
    /// A heading of a section.
    Heading(String),
    /// A line.
    Line(Vec<Span>),
    /// Related lines, each with its indentation depth.
    List(Vec<(usize, Vec<Span>)>),
    /// A table; the indices of right-aligned columns.
    Table { head: Vec<&'static str>, right: Vec<usize>, rows: Vec<Vec<Span>> },
    /// Volume and severity over time.
    Timeline(Timeline),
    /// One bar per value, the earliest first.
    Bars { name: &'static str, bars: Vec<Bar> },
    /// One mark per outcome, the earliest first.
    Strip(Vec<Mark>),
}

/// A text and its tone.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) tone: Tone,
    /// Maximum number of characters of the text that the terminal shows; a page shows all of it.
    pub(crate) chars_max: usize,
}

/// The meaning of a text, which determines its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Warning,
    Bad,
}

/// One value of [`Block::Bars`].
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) value: i64,
    pub(crate) label: String,
    pub(crate) tone: Tone,
}

/// One outcome of [`Block::Strip`].
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) tone: Tone,
    pub(crate) label: String,
}

impl Document {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), page: None, blocks: Vec::new() }
    }

    pub(crate) fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Heading(text.into()))
    }

    pub(crate) fn line(&mut self, spans: impl IntoIterator<Item = Span>) -> &mut Self {
        self.push(Block::Line(spans.into_iter().collect()))
    }

    pub(crate) fn push(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }

    /// A table, unless it has no rows.
    pub(crate) fn table(&mut self, head: &[&'static str], right: &[usize], rows: Vec<Vec<Span>>) -> &mut Self {
        match rows.is_empty() {
            true => self,
            false => self.push(Block::Table { head: head.to_vec(), right: right.to_vec(), rows }),
        }
    }
}

impl Span {
    fn of(tone: Tone, text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), tone, chars_max: usize::MAX }
    }

    /// Limits the number of characters of this text that the terminal shows.
    pub(crate) fn limited(self, chars_max: usize) -> Self {
        Self { chars_max, ..self }
    }
}

pub(crate) fn plain(text: impl std::fmt::Display) -> Span {
    Span::of(Tone::Plain, text)
}

pub(crate) fn strong(text: impl std::fmt::Display) -> Span {
    Span::of(Tone::Strong, text)
}

pub(crate) fn faint(text: impl std::fmt::Display) -> Span {
    Span::of(Tone::Faint, text)
}

pub(crate) fn toned(tone: Tone, text: impl std::fmt::Display) -> Span {
    Span::of(tone, text)
}
