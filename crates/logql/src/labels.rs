//! Labels of a series, and of a record in a pipeline.

use std::borrow::Cow;
use std::fmt::Write;

/// The label with the kind of an error of a stage.
pub(crate) const ERROR: &str = "__error__";

/// The labels of a series, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// Creates labels from pairs. Empty values are treated as absent; if a name occurs twice, the last value is used.
    pub fn new<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            labels.set(name.into(), value.into());
        }
        labels
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok().map(|index| &*self.0[index].1)
    }

    /// The pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn set(&mut self, name: Box<str>, value: Box<str>) {
        match (self.0.binary_search_by(|(known, _)| known.cmp(&name)), value.is_empty()) {
            (Ok(index), true) => drop(self.0.remove(index)),
            (Ok(index), false) => self.0[index].1 = value,
            (Err(_), true) => {}
            (Err(index), false) => self.0.insert(index, (name, value)),
        }
    }

    /// Sets a label, even to an empty value.
    fn insert(&mut self, name: &str, value: &str) {
        match self.0.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(index) => self.0[index].1 = value.into(),
            Err(index) => self.0.insert(index, (name.into(), value.into())),
        }
    }

    pub(crate) fn filtered(&self, keeps: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keeps(name)).cloned().collect())
    }
}

/// Formats labels as Loki does: `{a="b", c="d"}`.
impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('{')?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_char('}')
    }
}

/// The origin of a label of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// The stream.
    Stream,
    /// The record itself, beside its line.
    Metadata,
    /// A stage of the query.
    Parsed,
}

/// The labels of a record in a pipeline.
#[derive(Debug, Clone, Default)]
pub struct LabelSet<'r> {
    labels: Vec<(Cow<'r, str>, Cow<'r, str>, Category)>,
    /// Remaining size of the data that stages may derive from the record. Unit: bytes.
    pub(crate) left: usize,
    /// True if a stage exceeded this size.
    pub(crate) is_over: bool,
}

impl<'r> LabelSet<'r> {
    /// Adds a label that does not exist yet; an empty value is ignored.
    pub fn push(&mut self, name: impl Into<Cow<'r, str>>, value: impl Into<Cow<'r, str>>, category: Category) {
        let value = value.into();
        if !value.is_empty() {
            self.labels.push((name.into(), value, category));
        }
    }

    /// The value of a label; empty when it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |index| &self.labels[index].1)
    }

    /// True when there is such a label.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Name, value and origin of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Category)> {
        self.labels.iter().map(|(name, value, category)| (&**name, &**value, *category))
    }

    /// Converts them to the labels of a series.
    pub fn to_labels(&self) -> Labels {
        self.to_labels_where(|_| true)
    }

    /// Returns the labels of a series that keeps only these names.
    pub(crate) fn to_labels_where(&self, keeps: impl Fn(&str) -> bool) -> Labels {
        let mut labels = Labels::default();
        self.iter().filter(|(name, ..)| keeps(name)).for_each(|(name, value, _)| labels.insert(name, value));
        labels
    }

    /// Sets a label that a stage makes.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Cow<'r, str>>) {
        let value = value.into();
        match (self.find(name), value.is_empty()) {
            (Some(index), true) => drop(self.labels.swap_remove(index)),
            (Some(index), false) => {
                self.labels[index].1 = value;
                self.labels[index].2 = Category::Parsed;
            }
            (None, true) => {}
            (None, false) => self.labels.push((Cow::Owned(name.to_owned()), value, Category::Parsed)),
        }
    }

    /// Sets a label that a parser found in the line: one of the stream or the record is not replaced, the new one gets
    /// the suffix `_extracted`. Nothing is set when the record has no bytes left.
    pub(crate) fn extract(&mut self, name: &str, value: impl Into<Cow<'r, str>>) {
        let value = value.into();
        if self.is_extractable(name, &value) {
            let name = self.extracted_name(name);
            self.set(&name, value);
        }
    }

    /// Like [`extract`](Self::extract), but keeps empty values.
    pub(crate) fn extract_even_empty(&mut self, name: &str, value: impl Into<Cow<'r, str>>) {
        let value = value.into();
        if self.is_extractable(name, &value) {
            let name = self.extracted_name(name).into_owned();
            self.labels.retain(|(known, ..)| *known != name);
            self.labels.push((Cow::Owned(name), value, Category::Parsed));
        }
    }

    /// True when the record has bytes left for a label, which are then used up.
    fn is_extractable(&mut self, name: &str, value: &str) -> bool {
        match self.left.checked_sub(name.len() + value.len()) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.use_up();
                false
            }
        }
    }

    fn extracted_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.find(name).map(|index| self.labels[index].2) {
            None | Some(Category::Parsed) => Cow::Borrowed(name),
            Some(_) => Cow::Owned(format!("{name}_extracted")),
        }
    }

    /// Prevents further stages from deriving more data from the record.
    pub(crate) fn use_up(&mut self) {
        self.left = 0;
        self.is_over = true;
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<String> {
        self.find(name).map(|index| self.labels.swap_remove(index).1.into_owned())
    }

    /// Copies the value and the origin of a label to another one; does nothing if the label does not exist.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if from != to
            && let Some(index) = self.find(from)
        {
            let (_, value, category) = self.labels.swap_remove(index);
            self.labels.retain(|(known, ..)| known != to);
            self.labels.push((Cow::Owned(to.to_owned()), value, category));
        }
    }

    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&str, &str) -> bool) {
        self.labels.retain(|(name, value, _)| keeps(name, value));
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|(known, ..)| known == name)
    }
}

/// A record in a pipeline.
#[derive(Debug, Clone)]
pub struct Entry<'r> {
    /// The text.
    pub line: Cow<'r, str>,
    /// When it was logged. Unit: nanoseconds since the epoch.
    pub time_ns: i64,
    /// Its position among records of the same time.
    pub order: i64,
    /// Its labels.
    pub labels: LabelSet<'r>,
}
