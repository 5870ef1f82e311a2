//! Parts of messages about mistakes in the settings file: the line, and the name that was probably meant.

/// The number of the line that a byte of the text stands in, from 1 on.
pub(super) fn line_of(byte: usize, text: &str) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

/// `; did you mean "tasks"?`, with the name that is nearest to the one that is not known; nothing when there is none.
pub(super) fn did_you_mean<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)));
    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}
