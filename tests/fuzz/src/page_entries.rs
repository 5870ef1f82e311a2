//! Page files of a service: the entries do not depend on the pieces in which a file arrives, and are those that a reader
//! of JSON finds.

use runlog_client::entries::{EntrySplitter, time_of};
use serde_json::value::RawValue;

use crate::Target;

pub(crate) const TARGET: Target = Target { name: "page_entries", check, seeds, inputs: 20_000 };

/// The first byte is the length of the pieces.
fn check(input: &[u8]) {
    let Some((piece, body)) = input.split_first() else { return };
    let (entries, is_whole, cut_short) = split([body]);
    let in_pieces = split(body.chunks(usize::from(*piece).max(1)));
    assert_eq!(in_pieces, (entries.clone(), is_whole, cut_short), "in pieces of {piece}");
    entries.iter().for_each(|entry| drop(time_of(entry)));
    if let Some(expected) = entries_of_array(body) {
        assert!(is_whole, "a whole array is an error");
        assert_eq!((entries.len(), cut_short), (expected, 0));
    }
    if let Some(expected) = entries_of_lines(body) {
        assert!(is_whole, "whole lines are an error");
        assert_eq!((entries.len(), cut_short), (expected, 0));
    }
    if is_whole && cut_short == 0 && std::str::from_utf8(body).is_ok() {
        let is_json = |entry: &Vec<u8>| serde_json::from_slice::<&RawValue>(entry).is_ok();
        // What is no JSON in the file is none in an entry; an entry of a JSON file is JSON.
        assert!(entries_of_array(body).is_none() || entries.iter().all(is_json));
    }
}

/// The entries, whether the file is whole, and how many entries ended inside a text.
fn split<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Vec<u8>>, bool, u64) {
    let (mut splitter, mut entries) = (EntrySplitter::default(), Vec::new());
    let mut give = |entry: &[u8]| {
        entries.push(entry.to_vec());
        Ok(())
    };
    for piece in pieces {
        if splitter.feed(piece, &mut give).is_err() {
            let cut_short = splitter.cut_short();
            return (entries, false, cut_short);
        }
    }
    let cut_short = splitter.cut_short();
    let is_whole = splitter.finish(give).is_ok();
    (entries, is_whole, cut_short)
}

/// The number of objects in a JSON array of objects.
fn entries_of_array(body: &[u8]) -> Option<usize> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    elements.iter().all(|element| element.get().starts_with('{')).then_some(elements.len())
}

/// The number of objects in lines of one record each.
fn entries_of_lines(body: &[u8]) -> Option<usize> {
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    let is_record = |line: &&[u8]| {
        let line = line.trim_ascii();
        line.starts_with(b"{\"logTimestamp\"") && serde_json::from_slice::<&RawValue>(line).is_ok()
    };
    lines.iter().all(is_record).then_some(lines.len())
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"[{"logTimestamp":1629367872345,"severity":"INFO","logMessage":"one"},{"logTimestamp":1,"logMessage":"a \"b\" \\"}]"#,
        "\u{7}{\"logTimestamp\":1,\"logMessage\":\"a\"}\n{\"logTimestamp\":2,\"logMessage\":\"{[\\\"]}\"}\n",
        r#"{"data":[{"logTimestamp":1},{"logTimestamp":2}],"size":2,"next":{"a":[1]}}"#,
        "\u{3}{\"logTimestamp\":1,\"logMessage\":\"cut sh\n{\"logTimestamp\":2,\"logMessage\":\"b\"}",
        "[\n  {\n    \"severity\" : \"WARN\",\n    \"logTimestamp\" : 3\n  }\n]\n",
        "\u{1}[]",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}
