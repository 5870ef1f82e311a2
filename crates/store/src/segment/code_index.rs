//! The index of the codes in a sealed file: for each code, the row groups with a message that contains it.
//!
//! A code is a word of at least three ASCII letters followed by a number, directly or after one or two signs:
//! `ORA-00942`, `status=404`, `tDBOutput_2`, `port 5432`. The index holds the last letters of the word and the first
//! digits of the number, so that it excludes row groups that cannot contain a text with a code, even if the word of the
//! code is frequent with other numbers. Words with many different numbers (`read 48112`) are indexed without the
//! numbers: each of their row groups may match. Decision 0013 has the reasons and the sizes.

use std::collections::HashMap;

use super::term_list::{BOUNDARY, CUT, LETTERS_MIN, RowGroups, TermList, TermListWriter};
use crate::error::Result;
use crate::limits;

/// The entry of a footer with the place of the index in the file.
pub(crate) const METADATA_KEY: &str = "runlog.codes";

/// Only this number of letters at the end of a word is in the index.
const LETTERS_MAX: usize = 16;
/// Signs between word and number. None of them is a part of another character in any Unicode normal form.
const SIGNS: &[u8] = b"-_ =:./#(";
const SIGNS_MAX: usize = 2;
/// Only this number of digits at the beginning of a number is in the index.
const DIGITS_MAX: usize = 6;
/// A word with more different numbers is indexed without its numbers.
const NUMBERS_MAX: usize = 32;
/// Stands for all numbers of a word.
const ANY_NUMBER: u8 = b'*';

/// Collects the codes of a file.
#[derive(Default)]
pub(crate) struct CodeIndexWriter {
    /// By the word and the signs after it.
    numbers: HashMap<Box<[u8]>, Numbers, foldhash::fast::RandomState>,
    text_bytes: usize,
    /// Row groups with more codes than fit.
    not_indexed: RowGroups,
}

/// The first digits of a number, followed by a boundary, or by a cut if more digits follow; the rest is 0.
type Head = [u8; DIGITS_MAX + 1];

enum Numbers {
    Few(Vec<(Head, RowGroups)>),
    Many(RowGroups),
}

/// The index of a file.
pub(crate) struct CodeIndex(TermList);

/// A code in a text that is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededCode {
    /// The part of the word that the text contains, and the signs after the word.
    word: Vec<u8>,
    /// The first digits of the number, with their boundary if the text has it.
    number: Vec<u8>,
}

impl CodeIndexWriter {
    /// Adds the code that a message has at the end of a word: `word` are its letters after a boundary, in lower case, and
    /// `rest` is what follows in the message. Both may be longer than what is in the index.
    pub(super) fn add(&mut self, word: &mut Vec<u8>, rest: &[u8], row_group: usize) {
        let Some((signs, digits)) = signs_and_digits(rest) else { return };
        let is_cut = digits.len() > DIGITS_MAX;
        let digits = &digits[..digits.len().min(DIGITS_MAX)];
        let mut head = Head::default();
        head[..digits.len()].copy_from_slice(digits);
        head[digits.len()] = if is_cut { CUT } else { BOUNDARY };

        let length = word.len();
        word.extend_from_slice(signs);
        let start = (length - 1).saturating_sub(LETTERS_MAX);
        let first = std::mem::replace(&mut word[start], if start == 0 { BOUNDARY } else { CUT });
        self.add_number(&word[start..], head, row_group);
        word[start] = first;
        word.truncate(length);
    }

    fn add_number(&mut self, word: &[u8], head: Head, row_group: usize) {
        // The maximum size of a word with its first number, or of a further number of a word.
        let is_full = self.text_bytes + word.len() + head.len() > limits::CODE_INDEX_TEXT_BYTES_MAX;
        let Some(numbers) = self.numbers.get_mut(word) else {
            if is_full {
                return self.not_indexed.insert(row_group);
            }
            self.text_bytes += word.len() + head.len();
            let groups = RowGroups::of(row_group);
            self.numbers.insert(word.into(), Numbers::Few(vec![(head, groups)]));
            return;
        };
        match numbers {
            Numbers::Many(groups) => groups.insert(row_group),
            Numbers::Few(few) => {
                if let Some((_, groups)) = few.iter_mut().find(|(known, _)| *known == head) {
                    groups.insert(row_group);
                } else if few.len() < NUMBERS_MAX && !is_full {
                    self.text_bytes += word.len() + head.len();
                    few.push((head, RowGroups::of(row_group)));
                } else {
                    let mut all = RowGroups::of(row_group);
                    few.iter().for_each(|(_, groups)| all.unite(groups));
                    self.text_bytes -= (few.len() - 1) * (word.len() + head.len());
                    *numbers = Numbers::Many(all);
                }
            }
        }
    }

    /// The index of a file with this many row groups; `None` when it would take more than its share of a file of this
    /// length.
    pub(crate) fn finish(self, row_groups: usize, file_bytes: u64) -> Result<Option<Vec<u8>>> {
        let mut list = TermListWriter::default();
        for (word, numbers) in self.numbers {
            match numbers {
                Numbers::Many(groups) => list.add([&word[..], &[ANY_NUMBER, BOUNDARY]].concat().into(), groups),
                Numbers::Few(few) => few.into_iter().for_each(|(head, groups)| {
                    let head = head.split_inclusive(|byte| matches!(*byte, BOUNDARY | CUT)).next();
                    list.add([&word[..], head.unwrap_or_default()].concat().into(), groups);
                }),
            }
        }
        list.add_not_listed(&self.not_indexed);
        list.finish(row_groups, file_bytes, limits::CODE_INDEX_SHARE)
    }
}

impl CodeIndex {
    /// `Corrupt`: these bytes are no index.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        TermList::read(bytes).map(Self)
    }

    /// Returns the row groups that may contain a text with these codes.
    pub(crate) fn row_groups_with(&self, needed: &[NeededCode]) -> RowGroups {
        let mut all = self.0.all();
        for NeededCode { word, number } in needed {
            let mut some = self.0.row_groups_with(&[&word[..], number].concat());
            some.unite(&self.0.row_groups_with(&[&word[..], &[ANY_NUMBER]].concat()));
            all.intersect(&some);
        }
        all.unite(&self.0.not_listed());
        all
    }
}

impl NeededCode {
    /// The code that a text has at the end of a word of some letters, if it has one: `is_number_whole` if what follows the
    /// text is no digit.
    pub(super) fn of(letters: &[u8], starts_word: bool, rest: &[u8], is_number_whole: bool) -> Option<Self> {
        let (signs, digits) = signs_and_digits(rest)?;
        if letters.len() < LETTERS_MIN {
            return None;
        }
        let last = &letters[letters.len().saturating_sub(LETTERS_MAX)..];
        let mut word = Vec::with_capacity(LETTERS_MAX + SIGNS_MAX + 1);
        if starts_word && last.len() == letters.len() {
            word.push(BOUNDARY);
        }
        word.extend_from_slice(last);
        word.extend_from_slice(signs);
        let ends_in_text = signs.len() + digits.len() < rest.len() || is_number_whole;
        let mut number = digits[..digits.len().min(DIGITS_MAX)].to_vec();
        match digits.len() > DIGITS_MAX {
            true => number.push(CUT),
            false if ends_in_text => number.push(BOUNDARY),
            false => {}
        }
        Some(Self { word, number })
    }
}

/// Returns the signs and the digits at the beginning of a text; `None` if it does not begin with a number after at most
/// two signs.
fn signs_and_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let signs = text.iter().take_while(|byte| SIGNS.contains(byte)).take(SIGNS_MAX + 1).count();
    if signs > SIGNS_MAX {
        return None;
    }
    let (signs, rest) = text.split_at(signs);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| (signs, &rest[..digits]))
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use proptest::prelude::*;

    use super::*;
    use crate::segment::word_index::{NeededWords, WordIndexWriter};

    fn index(row_groups: &[Vec<String>]) -> CodeIndex {
        let (mut words, mut codes) = (WordIndexWriter::default(), CodeIndexWriter::default());
        for (group, messages) in row_groups.iter().enumerate() {
            words.add(&mut codes, &StringArray::from(messages.clone()), group);
        }
        CodeIndex::read(&codes.finish(row_groups.len(), u64::MAX).unwrap().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(index: &CodeIndex, text: &str, is_words: bool, expected: &[usize]) {
        let found = index.row_groups_with(NeededWords::of(text, is_words).codes());
        assert_eq!((0..8).filter(|group| found.contains(*group)).collect::<Vec<_>>(), expected, "{text}");
    }

    fn row_groups() -> Vec<Vec<String>> {
        let numbers = (1000..1100).map(|number| format!("read {number}"));
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        vec![
            texts(&["ORA-00942: table or view does not exist", "port=5432"]),
            texts(&["aurora-00942", "ORA-00943"]),
            texts(&["HTTP status: 404", "tDBOutput_2 failed"]),
            texts(&["order12345678 was shipped", "status: 4041"]),
            numbers.collect(),
            texts(&["read no rows"]),
            texts(&["theidentifierofthenightlyjob-17"]),
            vec![],
        ]
    }

    #[test]
    fn codes_are_found_by_their_numbers() {
        let index = index(&row_groups());
        check(&index, "ora-00942", false, &[0, 1]);
        check(&index, "ora-00942", true, &[0]);
        check(&index, "ora-0094", false, &[0, 1]);
        check(&index, "ora-0094:", false, &[]);
        check(&index, "ORA-09999", false, &[]);
        check(&index, "port=5432", false, &[0]);
        check(&index, "port 5432", false, &[]);
        check(&index, "status: 404", false, &[2, 3]);
        check(&index, "status: 404", true, &[2]);
        check(&index, "tdboutput_2", false, &[2]);
        check(&index, "tDBOutput_1", false, &[]);
        // The first six digits are in the index.
        check(&index, "order12345699", false, &[3]);
        check(&index, "order123457", false, &[]);
        check(&index, "order123456", true, &[]);
        // The last sixteen letters are.
        check(&index, "nightlyjob-17", false, &[6]);
        check(&index, "theidentifierofthenightlyjob-17", true, &[6]);
        check(&index, "nightlyjob-18", false, &[]);
        check(&index, "nightlyjob-17", true, &[]);
    }

    #[test]
    fn words_with_many_numbers_are_found_without_them() {
        let index = index(&row_groups());
        check(&index, "read 1001", false, &[4]);
        check(&index, "read 99", false, &[4]);
        check(&index, "read=99", false, &[]);
    }

    #[test]
    fn what_is_no_code_needs_none() {
        for text in ["", "ora", "or-12", "12-ora", "ora-", "ora - 12", "ora;12", "or\u{e4}-12"] {
            assert_eq!(NeededWords::of(text, false).codes(), [], "{text}");
        }
    }

    #[test]
    fn codes_that_do_not_fit_are_read_always() {
        let (mut words, mut codes) = (WordIndexWriter::default(), CodeIndexWriter::default());
        let mut add = |codes: &mut CodeIndexWriter, text: &str, group| {
            words.add(codes, &StringArray::from(vec![text]), group);
        };
        add(&mut codes, "abc-1", 0);
        codes.text_bytes = limits::CODE_INDEX_TEXT_BYTES_MAX;
        add(&mut codes, "xyz-1", 1);
        add(&mut codes, "abc-2", 2);
        assert_eq!(codes.text_bytes, limits::CODE_INDEX_TEXT_BYTES_MAX);
        let index = CodeIndex::read(&codes.finish(3, u64::MAX).unwrap().unwrap()).unwrap();
        check(&index, "abc-1", false, &[0, 1, 2]);
        check(&index, "abc-2", false, &[0, 1, 2]);
        check(&index, "nowhere-1", false, &[1]);
    }

    #[test]
    fn an_index_may_take_a_small_share_of_a_file() {
        let mut codes = CodeIndexWriter::default();
        WordIndexWriter::default().add(&mut codes, &StringArray::from(vec!["abc-1"]), 0);
        assert!(codes.finish(1, 40).unwrap().is_none());
    }

    proptest! {
        /// No row group with a message that contains the text is excluded, for any text.
        #[test]
        fn no_row_group_with_the_text_is_left_out(
            message in "([abcAK\u{212a}ſ]{0,20}[-= _:;\u{37e}\u{301}\u{338}é]{0,3}[0-9]{0,9}){0,6}",
            start in 0_usize..60,
            length in 0_usize..40,
            many in 0_u32..100,
        ) {
            let text: String = message.chars().skip(start).take(length).collect();
            let others = (0..many).map(|number| format!("{message}{number} abc-{number}"));
            let index = index(&[vec![], others.chain([message.clone()]).collect()]);
            prop_assert!(index.row_groups_with(NeededWords::of(&text, false).codes()).contains(1));
        }
    }
}
