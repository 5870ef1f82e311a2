//! Parts of messages about mistakes in the settings file: the line, and the name that was probably meant.

/// Returns the number of the line that contains a byte of the text, starting at 1.
pub(super) fn line_of(byte: usize, text: &str) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

/// Returns `; did you mean "tasks"?` with the known name that is most similar to an unknown one; empty if none is
/// similar.
pub(super) fn did_you_mean<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)));
    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}
