//! The index of the words in a sealed file: for each word, the row groups with a message that contains it.
//!
//! A word is a run of ASCII letters, in lower case. The index has all words of at least three letters, so it excludes
//! row groups that cannot contain a text, even if the text is only a part of a word: a search for `time-outs` reads the
//! row groups with a word that ends in `time` and a word that begins with `outs`. Digits have a separate index
//! (`code_index`); letters other than ASCII are not indexed. Decision 0013 has the reasons and the sizes.

use std::collections::HashMap;

use arrow_array::StringArray;
use az::SaturatingAs;
use unicode_normalization::UnicodeNormalization;

use super::code_index::{CodeIndexWriter, NeededCode};
use super::term_list::{BOUNDARY, CUT, LETTERS_MIN, RowGroups, TermList, TermListWriter};
use crate::error::Result;
use crate::limits;

/// The entry of a footer with the place of the index in the file.
pub(crate) const METADATA_KEY: &str = "runlog.words";

/// Longer words are stored in parts of this length.
const LETTERS_MAX: usize = 32;
/// Each part begins this many letters after the one before, so that any text of this length is within one of them.
const PART_LETTERS: usize = LETTERS_MAX / 2;

/// Collects the words of a file.
#[derive(Default)]
pub(crate) struct WordIndexWriter {
    /// By the word with its boundaries.
    words: HashMap<Box<[u8]>, RowGroups, foldhash::fast::RandomState>,
    /// The length of all words.
    text_bytes: usize,
    /// Row groups with more words than fit.
    not_indexed: RowGroups,
    /// Memory for the word that is being read.
    word: Vec<u8>,
}

/// The index of a file.
pub(crate) struct WordIndex(TermList);

/// The words that a message must contain in order to contain a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NeededWords {
    words: Vec<Vec<u8>>,
    codes: Vec<NeededCode>,
}

impl WordIndexWriter {
    /// Adds the messages of some rows of a row group, to the index of their codes as well.
    pub(crate) fn add(&mut self, codes: &mut CodeIndexWriter, messages: &StringArray, row_group: usize) {
        let (offsets, bytes) = (messages.value_offsets(), messages.value_data());
        for row in offsets.windows(2) {
            let message = &bytes[row[0].saturating_as::<usize>()..row[1].saturating_as::<usize>()];
            let mut word = std::mem::take(&mut self.word);
            for_each_word(message, &mut word, |word, rest| {
                codes.add(word, rest, row_group);
                word.push(BOUNDARY);
                self.add_word(word, row_group);
            });
            self.word = word;
        }
    }

    /// Adds a word, which is enclosed in two boundaries.
    fn add_word(&mut self, word: &[u8], row_group: usize) {
        let letters = word.len() - 2;
        if letters <= LETTERS_MAX {
            return self.add_part(word, row_group);
        }
        let mut part = Vec::with_capacity(LETTERS_MAX + 2);
        for start in (0..letters - PART_LETTERS).step_by(PART_LETTERS) {
            let end = (start + LETTERS_MAX).min(letters);
            part.clear();
            part.push(if start == 0 { BOUNDARY } else { CUT });
            part.extend_from_slice(&word[start + 1..=end]);
            part.push(if end == letters { BOUNDARY } else { CUT });
            self.add_part(&part, row_group);
        }
    }

    fn add_part(&mut self, part: &[u8], row_group: usize) {
        if let Some(groups) = self.words.get_mut(part) {
            groups.insert(row_group);
        } else if self.text_bytes + part.len() <= limits::WORD_INDEX_TEXT_BYTES_MAX {
            self.text_bytes += part.len();
            self.words.insert(part.into(), RowGroups::of(row_group));
        } else {
            self.not_indexed.insert(row_group);
        }
    }

    /// The index of a file with this many row groups; `None` when it would take more than its share of a file of this
    /// length.
    pub(crate) fn finish(self, row_groups: usize, file_bytes: u64) -> Result<Option<Vec<u8>>> {
        let mut list = TermListWriter::default();
        self.words.into_iter().for_each(|(word, groups)| list.add(word, groups));
        list.add_not_listed(&self.not_indexed);
        list.finish(row_groups, file_bytes, limits::WORD_INDEX_SHARE)
    }
}

impl WordIndex {
    /// `Corrupt`: these bytes are no index.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        TermList::read(bytes).map(Self)
    }

    /// Returns the row groups that may contain a text with these words.
    pub(crate) fn row_groups_with(&self, needed: &NeededWords) -> RowGroups {
        let mut all = self.0.all();
        needed.words.iter().for_each(|word| all.intersect(&self.0.row_groups_with(word)));
        all.unite(&self.0.not_listed());
        all
    }
}

impl NeededWords {
    /// Returns the words that every message with this text contains. `is_words`: the text begins and ends at word
    /// boundaries.
    pub(crate) fn of(text: &str, is_words: bool) -> Self {
        let text: String = text.nfc().collect();
        let text = text.as_bytes();
        let (mut needed, mut at) = (Self::default(), 0);
        while at < text.len() {
            let start = at;
            let mut word = vec![BOUNDARY];
            while let Some((letter, length)) = letter_at(text, at) {
                word.push(letter);
                at += length;
            }
            let is_at_edge = (start == 0, at == text.len());
            if is_at_edge.0 && !is_words {
                word.remove(0);
            }
            let starts_word = word.first() == Some(&BOUNDARY);
            let code = NeededCode::of(&word[usize::from(starts_word)..], starts_word, &text[at..], is_words);
            needed.codes.extend(code);
            match text.get(at) {
                // A message in another normal form may have an ASCII letter here.
                Some(next) if !next.is_ascii() => {}
                None if !is_words => {}
                Some(_) | None => word.push(BOUNDARY),
            }
            let letters = word.iter().filter(|byte| **byte != BOUNDARY).count();
            if letters > PART_LETTERS {
                word.truncate(PART_LETTERS + usize::from(word[0] == BOUNDARY));
            }
            if letters >= LETTERS_MIN {
                needed.words.push(word);
            }
            at += 1;
        }
        needed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The codes among the words.
    pub(crate) fn codes(&self) -> &[NeededCode] {
        &self.codes
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.words.extend(more.words);
        self.codes.extend(more.codes);
    }
}

/// Calls `each` with the words of a text that are long enough, each after a boundary, and with the rest of the text.
fn for_each_word(text: &[u8], word: &mut Vec<u8>, mut each: impl FnMut(&mut Vec<u8>, &[u8])) {
    let mut at = 0;
    while at < text.len() {
        word.clear();
        word.push(BOUNDARY);
        while let Some((letter, length)) = letter_at(text, at) {
            word.push(letter);
            at += length;
        }
        if word.len() > LETTERS_MIN {
            each(word, &text[at..]);
        }
        at += 1;
    }
}

/// The ASCII letter at a place, in lower case, and its length in bytes. Two further letters are equal to ASCII letters when
/// case is ignored.
fn letter_at(text: &[u8], at: usize) -> Option<(u8, usize)> {
    const LONG_S: &[u8] = "ſ".as_bytes();
    const KELVIN_SIGN: &[u8] = "\u{212a}".as_bytes();
    match *text.get(at)? {
        letter if letter.is_ascii_alphabetic() => Some((letter.to_ascii_lowercase(), 1)),
        0xc5 if text[at..].starts_with(LONG_S) => Some((b's', LONG_S.len())),
        0xe2 if text[at..].starts_with(KELVIN_SIGN) => Some((b'k', KELVIN_SIGN.len())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(writer: &mut WordIndexWriter, messages: &[&str], row_group: usize) {
        writer.add(&mut CodeIndexWriter::default(), &StringArray::from(messages.to_vec()), row_group);
    }

    fn index(row_groups: &[&[&str]]) -> WordIndex {
        let mut writer = WordIndexWriter::default();
        for (group, messages) in row_groups.iter().enumerate() {
            add(&mut writer, messages, group);
        }
        WordIndex::read(&writer.finish(row_groups.len(), u64::MAX).unwrap().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(index: &WordIndex, text: &str, is_words: bool, expected: &[usize]) {
        let found = index.row_groups_with(&NeededWords::of(text, is_words));
        assert_eq!((0..9).filter(|group| found.contains(*group)).collect::<Vec<_>>(), expected, "{text}");
    }

    const MESSAGES: [&[&str]; 9] = [
        &["Connection timed out", "ORA-00942: table or view does not exist"],
        &["the aurora-00942 of storage", "wrote 12 rows"],
        &["oracle", "GRÖẞE und Café"],
        &["a", "b"],
        &["no space left on device"],
        &["Caf\u{65}\u{301}"],
        &["thisisaverylongwordthatislongerthanthirtytwolettersandendshere"],
        &["\u{212a}elvin ſharp"],
        &[],
    ];

    #[test]
    fn parts_of_words_are_found_with_their_boundaries() {
        let index = index(&MESSAGES);
        check(&index, "onnect", false, &[0]);
        check(&index, "nowhere", false, &[]);
        check(&index, "ORA", false, &[0, 1, 2]);
        check(&index, "ora-00942", false, &[0, 1]);
        check(&index, "ora-00942", true, &[0]);
        check(&index, "left on dev", false, &[4]);
        check(&index, "left on dev", true, &[]);
        check(&index, "space rows", false, &[]);
        check(&index, "kelvin sharp", false, &[7]);
        // Shorter than what is in the index, or nothing of it.
        check(&index, "12", false, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        check(&index, "ab", false, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn letters_beyond_ascii_match_in_each_normal_form() {
        let index = index(&MESSAGES);
        check(&index, "größe", false, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        check(&index, "café", false, &[2, 5]);
        check(&index, "cafe\u{301}", false, &[2, 5]);
    }

    #[test]
    fn words_longer_than_a_part_are_found_at_each_place() {
        let index = index(&MESSAGES);
        let word = MESSAGES[6][0];
        for start in 0..word.len() - LETTERS_MIN {
            for end in start + LETTERS_MIN..=word.len() {
                assert!(index.row_groups_with(&NeededWords::of(&word[start..end], false)).contains(6));
            }
        }
        check(&index, "thisisaverylong", true, &[]);
        check(&index, word, true, &[6]);
        check(&index, "endshere", true, &[]);
        check(&index, ".endshere", false, &[]);
    }

    #[test]
    fn what_does_not_fit_is_read_always() {
        let mut writer = WordIndexWriter { text_bytes: limits::WORD_INDEX_TEXT_BYTES_MAX - 6, ..Default::default() };
        add(&mut writer, &["abcd"], 0);
        add(&mut writer, &["efgh"], 1);
        add(&mut writer, &["abcd"], 2);
        writer.text_bytes = 6;
        let index = WordIndex::read(&writer.finish(3, u64::MAX).unwrap().unwrap()).unwrap();
        check(&index, "abcd", false, &[0, 1, 2]);
        check(&index, "nowhere", false, &[1]);
    }

    #[test]
    fn an_index_may_take_a_small_share_of_a_file() {
        let mut writer = WordIndexWriter::default();
        add(&mut writer, &["abcd"], 0);
        assert!(writer.finish(1, 40).unwrap().is_none());
    }

    #[test]
    fn damaged_bytes_are_no_index() {
        let mut writer = WordIndexWriter::default();
        add(&mut writer, &["abcd"], 0);
        let bytes = writer.finish(1, u64::MAX).unwrap().unwrap();
        let mut plain = zstd::bulk::decompress(&bytes, 100).unwrap();
        for cut in 0..plain.len() {
            let index = zstd::bulk::compress(&plain[..cut], 1).unwrap();
            assert!(WordIndex::read(&index).is_err(), "{cut}");
        }
        plain[4] = 200;
        assert!(WordIndex::read(&zstd::bulk::compress(&plain, 1).unwrap()).is_err());
        assert!(WordIndex::read(&bytes[1..]).is_err());
    }

    proptest! {
        /// No row group with a message that contains the text is excluded, for any text.
        #[test]
        fn no_row_group_with_the_text_is_left_out(
            message in "[abAB é1\u{301}\u{338}\u{212a}\u{212b}\u{37e}ſ<_-]{0,60}",
            start in 0_usize..60,
            length in 0_usize..40,
        ) {
            let text: String = message.chars().skip(start).take(length).collect();
            let index = index(&[&[], &[&message]]);
            prop_assert!(index.row_groups_with(&NeededWords::of(&text, false)).contains(1));
        }
    }
}
