//! A sorted list of terms in the messages of a sealed file: for each term, the row groups with a message that contains it.
//!
//! The list is stored between the row groups and the footer of the file, where other Parquet readers do not read; an
//! entry of the footer has its place, as `OFFSET,LENGTH`.
//!
//! ```text
//! zstd( row groups ▸ terms ▸ length of the text   3 × 32 bits, little-endian
//!       text        "\nterm\nterm…\n"; a tab stands in the place of "\n" where a term is cut
//!       row groups of each term       one bit each, padded to bytes
//!       row groups that are not in the list )
//! ```

use std::ops::Range;

use az::SaturatingAs;
use memchr::memmem;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The character before and after each term.
pub(super) const BOUNDARY: u8 = b'\n';
/// The character that replaces a boundary where a term is cut.
pub(super) const CUT: u8 = b'\t';

/// Terms with fewer letters are not listed: they occur in every row group.
pub(super) const LETTERS_MIN: usize = 3;

const ZSTD_LEVEL: i32 = 6;

/// Row groups, as bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowGroups(Vec<u8>);

/// Collects the terms of a list.
#[derive(Default)]
pub(super) struct TermListWriter {
    /// By the term with its boundaries.
    terms: Vec<(Box<[u8]>, RowGroups)>,
    not_listed: RowGroups,
    text_bytes: usize,
}

/// The list of a file.
pub(super) struct TermList {
    plain: Vec<u8>,
    text: Range<usize>,
    row_group_bytes: usize,
}

impl RowGroups {
    pub(super) fn of(group: usize) -> Self {
        let mut groups = Self::default();
        groups.insert(group);
        groups
    }

    pub(super) fn insert(&mut self, group: usize) {
        if self.0.len() <= group / 8 {
            self.0.resize(group / 8 + 1, 0);
        }
        self.0[group / 8] |= 1 << (group % 8);
    }

    pub(crate) fn contains(&self, group: usize) -> bool {
        self.0.get(group / 8).is_some_and(|bits| bits >> (group % 8) & 1 == 1)
    }

    /// Adds the row groups of another set.
    pub(super) fn unite(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one |= other);
    }

    /// Keeps the row groups that are in both sets.
    pub(super) fn intersect(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one &= other);
    }

    /// Returns the bits as this number of bytes.
    fn padded(&self, bytes: usize) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().copied().chain(std::iter::repeat(0)).take(bytes)
    }
}

impl TermListWriter {
    /// Adds a term, which is enclosed in two boundaries.
    pub(super) fn add(&mut self, term: Box<[u8]>, groups: RowGroups) {
        self.text_bytes += term.len();
        self.terms.push((term, groups));
    }

    /// Adds row groups that have terms which were not added.
    pub(super) fn add_not_listed(&mut self, groups: &RowGroups) {
        self.not_listed.unite(groups);
    }

    /// The list of a file with this many row groups; `None` when it would take more than one part in `share` of a file of
    /// this length.
    pub(super) fn finish(mut self, row_groups: usize, file_bytes: u64, share: u64) -> Result<Option<Vec<u8>>> {
        let row_group_bytes = row_groups.div_ceil(8);
        let plain_bytes = 12 + self.text_bytes + (self.terms.len() + 1) * row_group_bytes;
        if plain_bytes > limits::WORD_INDEX_BYTES_MAX {
            return Ok(None);
        }
        self.terms.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut plain = Vec::with_capacity(plain_bytes);
        for number in [row_groups, self.terms.len(), self.text_bytes] {
            plain.extend(number.saturating_as::<u32>().to_le_bytes());
        }
        self.terms.iter().for_each(|(term, _)| plain.extend_from_slice(term));
        self.terms.iter().for_each(|(_, groups)| plain.extend(groups.padded(row_group_bytes)));
        plain.extend(self.not_listed.padded(row_group_bytes));
        let list = zstd::bulk::compress(&plain, ZSTD_LEVEL)
            .map_err(|error| Error::caused(ErrorKind::Unavailable, "an index of words cannot be compressed", error))?;
        let is_small = (list.len() as u64).saturating_mul(share) <= file_bytes;
        Ok(is_small.then_some(list))
    }
}

impl TermList {
    /// `Corrupt`: these bytes are no list.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let plain = zstd::bulk::decompress(bytes, limits::WORD_INDEX_BYTES_MAX)
            .map_err(|error| Error::caused(ErrorKind::Corrupt, "an index of words does not decode", error))?;
        let number = |at: usize| {
            let bytes = plain.get(at..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        let whole = number(0).zip(number(4)).zip(number(8)).and_then(|((row_groups, terms), text_bytes)| {
            let (text, row_group_bytes) = (12..12_usize.checked_add(text_bytes)?, row_groups.div_ceil(8));
            let length = terms.checked_add(1)?.checked_mul(row_group_bytes)?.checked_add(text.end)?;
            (length == plain.len()).then_some((text, row_group_bytes))
        });
        let (text, row_group_bytes) = whole.ok_or_else(|| Error::corrupt("an index of words has another length"))?;
        Ok(Self { plain, text, row_group_bytes })
    }

    /// Returns all row groups of the file, and possibly further bits up to a whole byte.
    pub(super) fn all(&self) -> RowGroups {
        RowGroups(vec![u8::MAX; self.row_group_bytes])
    }

    /// The row groups that have terms which are not in the list.
    pub(super) fn not_listed(&self) -> RowGroups {
        RowGroups(self.plain[self.plain.len() - self.row_group_bytes..].to_vec())
    }

    /// The row groups with a term that contains this text, in which a term may begin or end with a boundary.
    pub(super) fn row_groups_with(&self, part: &[u8]) -> RowGroups {
        let (text, bits) = (&self.plain[self.text.clone()], &self.plain[self.text.end..]);
        let mut some = vec![0; self.row_group_bytes];
        let (mut boundaries, mut counted) = (0, 0);
        for found in memmem::find_iter(text, part) {
            // A term begins at every other boundary: each term has one before it and one after it.
            let until = found + 1;
            boundaries += text[counted..until].iter().filter(|byte| matches!(**byte, BOUNDARY | CUT)).count();
            counted = until;
            let start = (boundaries - 1) / 2 * self.row_group_bytes;
            some.iter_mut().zip(&bits[start..start + self.row_group_bytes]).for_each(|(some, bits)| *some |= bits);
        }
        RowGroups(some)
    }
}
