//! Determines which templates of one log cover those of another.
//!
//! A word varies in a log only if enough variants of it occur there, so the same statement may be one template in one
//! log and several in another. Joining the templates of both logs as if they were shapes (`merge.rs`) settles most of
//! these cases, but not those in which the template has fewer values: values next to each other are one value, so that
//! `<*> at <size>` of one log is `<path> merged <size> at <size>` in the other. Here, a varying word of a template covers
//! one or several words and values that would be one value if they varied.
//!
//! A line whose template is covered would have had that template if both logs were one. Whether a template is covered
//! depends only on the two templates and their counts, not on the order of the logs.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::HashMap;

use runlog_model::Severity;

use super::fit::Tokenized;
use super::merge::{REMAINING_WORDS_MIN, VARIANTS_BARE_MIN, VARIANTS_MIN};
use super::row::{ROWS_MIN, Row};
use super::token::{Token, separates_values, tokens_of};
use crate::Occurrences;
use crate::mask::Mask;

/// Maximum number of full matches of templates in one comparison, which bounds its time. Further templates are left
/// unchanged.
const MATCHES_MAX: usize = 200_000;

/// A template, and its counts in each log.
#[derive(Debug)]
pub(super) struct Counted {
    /// The shape of the template, with the kinds of its values.
    pub(super) shape: String,
    /// Its records in the earlier and in the later log.
    pub(super) sides: [Option<Occurrences>; 2],
}

/// Returns the index of the representative of each template: itself, or the template that covers it directly or through
/// others.
///
/// `templates` must be in the order of their keys. Only those that occur in one of the logs are covered, and only by
/// those that occur in the other one.
pub(super) fn representatives(templates: &[&Counted]) -> Vec<usize> {
    let forms: Vec<Form<'_>> = templates.iter().map(|template| Form::of(template)).collect();
    let covering = covering(&forms);
    let follow = |start: usize| {
        let mut at = start;
        for _ in 0..forms.len() {
            let Some(next) = covering[at] else { return at };
            at = next;
        }
        // Rows may cover each other in a cycle: the one with the fewest words represents all.
        let circle = std::iter::successors(Some(at), |place| covering[*place].filter(|next| *next != at));
        circle.min_by_key(|place| (forms[*place].words, *place)).unwrap_or(at)
    };
    (0..forms.len()).map(follow).collect()
}

/// Returns, for each form, the covering form with the most words.
fn covering(forms: &[Form<'_>]) -> Vec<Option<usize>> {
    // The most specific ones are tried first.
    let mut general: Vec<usize> = (0..forms.len()).filter(|place| forms[*place].varies()).collect();
    general.sort_by_key(|place| (Reverse(forms[*place].words), *place));
    let mut by_start: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for place in general {
        // The cells of a table may have any words.
        let start = forms[place].form().first_word().filter(|_| !forms[place].is_table());
        by_start.entry(start).or_default().push(place);
    }
    let mut left = MATCHES_MAX;
    let mut covers = |general: &Form<'_>, special: &Form<'_>, run_ends: &OnceCell<Vec<usize>>| {
        if left == 0 || !general.may_cover(special) {
            return false;
        }
        left -= 1;
        general.covers(special, run_ends)
    };
    let mut covering = vec![None; forms.len()];
    for (place, special) in forms.iter().enumerate() {
        let Some(other) = special.only_side().map(|side| 1 - side) else { continue };
        let run_ends = OnceCell::new();
        let mut starts = vec![None];
        starts.extend(special.form().first_word().map(Some));
        for candidates in starts.iter().filter_map(|start| by_start.get(start)) {
            let is_of_other = |candidate: &&usize| forms[**candidate].template.sides[other].is_some();
            let mut covers = |candidate: &&usize| covers(&forms[**candidate], special, &run_ends);
            let found = candidates.iter().filter(is_of_other).find(|candidate| covers(candidate));
            let best = |place: &usize| (Reverse(forms[*place].words), *place);
            covering[place] = covering[place].into_iter().chain(found.copied()).min_by_key(best);
        }
    }
    covering
}

/// A template as tokens.
struct Form<'a> {
    template: &'a Counted,
    tokens: Vec<Token>,
    /// Number of tokens that are not values.
    words: usize,
    /// Number of tokens, and of tokens that are not values, counting only the first element of each list.
    tokens_apart: usize,
    words_apart: usize,
    records: u64,
    worst: Severity,
    row: Option<Row<'a>>,
}

impl<'a> Form<'a> {
    fn of(template: &'a Counted) -> Self {
        let tokens = tokens_of(&template.shape);
        let form = Tokenized { shape: &template.shape, tokens: &tokens };
        let words = form.words();
        let continues_list = |at: &usize| form.frame(*at) != " " && separates_values(form.frame(*at));
        let apart: Vec<usize> = (0..tokens.len()).filter(|at| !continues_list(at)).collect();
        let words_apart = apart.iter().filter(|at| !tokens[**at].is_value()).count();
        let tokens_apart = apart.len();
        let sides = || template.sides.iter().flatten();
        Self {
            template,
            tokens,
            words,
            tokens_apart,
            words_apart,
            records: sides().map(Occurrences::records).sum(),
            worst: sides().map(Occurrences::worst).max().unwrap_or(Severity::Other),
            row: Row::of(&template.shape),
        }
    }

    /// True if it is a row with varying cells.
    fn is_table(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.is_table)
    }

    fn varies(&self) -> bool {
        self.template.shape.contains(Mask::Word.char())
    }

    /// Returns the only log in which the template occurs; none if it occurs in both.
    fn only_side(&self) -> Option<usize> {
        match &self.template.sides {
            [Some(_), None] => Some(0),
            [None, Some(_)] => Some(1),
            _ => None,
        }
    }

    fn form(&self) -> Tokenized<'_> {
        Tokenized { shape: &self.template.shape, tokens: &self.tokens }
    }

    /// True if no quick check rules out that this template covers the other.
    fn may_cover(&self, special: &Form<'_>) -> bool {
        // A short template is unspecific about the lines that it covers: an error is not a variant of a statement
        // without errors.
        let is_no_worse = special.worst <= self.worst;
        if self.has_rows_like(special) {
            return self.records >= ROWS_MIN.into() && is_no_worse;
        }
        let ends_alike = self.form().ends_like(special.form());
        // The words of the template are also in the line, and the others vary.
        if !ends_alike || special.words <= self.words || special.tokens.len() < self.tokens.len() {
            return false;
        }
        let varying = special.words_apart.saturating_sub(self.words_apart);
        if self.words >= REMAINING_WORDS_MIN {
            return varying <= self.words;
        }
        // In a short line, words vary only if there are many variants, and adjacent words only if as many words remain.
        // Marks count twice as much as words, because the kinds of a value may differ, too.
        let marks = self.template.shape.matches(Mask::Word.char()).count();
        let variants_min = if 2 * self.words < marks + 1 { VARIANTS_BARE_MIN } else { VARIANTS_MIN };
        let remain_enough = self.words >= 2 && varying <= self.words;
        let fits = remain_enough || special.tokens_apart == self.tokens_apart;
        fits && self.records >= variants_min.into() && is_no_worse
    }

    /// True if this is a table, and the other one may be a row of it.
    fn has_rows_like(&self, row: &Form<'_>) -> bool {
        self.row.as_ref().zip(row.row.as_ref()).is_some_and(|(table, row)| table.may_have(row))
    }

    /// True if each line with the other template has this one if its words vary where they vary here. `run_ends` caches
    /// those of the other one.
    fn covers(&self, special: &Form<'_>, run_ends: &OnceCell<Vec<usize>>) -> bool {
        let ends = || run_ends.get_or_init(|| special.form().run_ends(|_| true));
        self.has_rows_like(special) || self.form().fit(special.form(), ends()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use runlog_model::{Record, Timestamp};

    use super::super::{Change, PatternMiner, Patterns};

    fn patterns_of(lines: impl IntoIterator<Item = (&'static str, String)>) -> Patterns {
        let mut miner = PatternMiner::default();
        for (place, (severity, message)) in lines.into_iter().enumerate() {
            let mut record = Record::at(Timestamp::clamped(place as i64));
            record.severity = Some(severity.to_owned());
            record.message = Some(message);
            miner.add(&record);
        }
        miner.finish()
    }

    fn info(lines: impl IntoIterator<Item = String>) -> Patterns {
        patterns_of(lines.into_iter().map(|line| ("INFO", line)))
    }

    /// Returns the new and gone templates, in both directions.
    fn news(earlier: &Patterns, later: &Patterns) -> Vec<String> {
        let one_sided = |before: &Patterns, after: &Patterns, wanted: Change| {
            let changed = before.compare(after).patterns.into_iter().filter(move |it| it.change == wanted);
            let mut templates: Vec<String> = changed.map(|it| it.template).collect();
            templates.sort();
            templates
        };
        let new = one_sided(earlier, later, Change::New);
        let gone = one_sided(earlier, later, Change::Gone);
        assert_eq!(one_sided(later, earlier, Change::Gone), new, "the direction does not matter");
        assert_eq!(one_sided(later, earlier, Change::New), gone, "the direction does not matter");
        [new, gone].concat()
    }

    /// A word that represents the number: `baa`, `caa`, …
    fn word(number: u32) -> String {
        (0..3).map(|place| char::from(b'a' + (number / 26_u32.pow(place) % 26) as u8)).collect()
    }

    fn transfer(number: u32, verb: &str) -> String {
        format!(
            "Transfer of {}_2026-11-{number:02}.csv to sftp://a/in/{number} {verb} {number} bytes at 7 MB/s",
            word(number)
        )
    }

    #[test]
    fn a_word_between_values_that_varies_in_one_log_only_is_no_news() {
        let some = info((1..5).map(|number| transfer(number, "merged")));
        let many = info((1..20).map(|number| transfer(number, &word(number))));
        assert_eq!(many.patterns.len(), 1, "{:?}", many.patterns);
        assert!(news(&some, &many).is_empty(), "{:?}", news(&some, &many));
        let other = info(["Transfer of a_1.csv to sftp://a/in/1 was given up after 3 attempts at 7 MB/s".to_owned()]);
        assert_eq!(news(&many, &other).len(), 2, "it says more words than the template");
    }

    #[test]
    fn few_variants_of_a_short_line_are_no_news_if_many_are_known() {
        let some = info((0..3).map(|number| format!("loading {}", word(number))));
        let many = info((10..30).map(|number| format!("loading {}", word(number))));
        assert!(news(&some, &many).is_empty(), "{:?}", news(&some, &many));
        let sentence = info(["loading the archive".to_owned()]);
        assert!(news(&many, &sentence).contains(&"loading the archive".to_owned()));
        let numbers = info((0..30).map(|number| format!("loading {number}")));
        assert_eq!(news(&numbers, &info(["loading failed".to_owned()])).len(), 2, "a word is no number");
    }

    #[test]
    fn lists_of_a_run_with_few_are_no_news_if_many_are_known() {
        let list = |number: u32| (0..=number % 6).map(|place| word(number + 7 * place)).collect::<Vec<_>>().join(", ");
        let query = |number: u32| format!("Executing: SELECT {} FROM a WHERE b = {number}", list(number));
        let columns = |number: u32| format!("columns: {}", list(number));
        for line in [&query as &dyn Fn(u32) -> String, &columns] {
            let (few, many) = (info((0..5).map(line)), info((10..300).map(line)));
            assert_eq!(many.patterns.len(), 1, "{:?}", many.patterns);
            assert!(news(&few, &many).is_empty(), "{:?}", news(&few, &many));
        }
    }

    #[test]
    fn an_error_is_no_variant_of_a_short_line_that_was_none() {
        let many = info((0..30).map(|number| format!("loading {}", word(number))));
        let failed = patterns_of([("ERROR", "loading failed".to_owned())]);
        assert!(news(&many, &failed).contains(&"loading failed".to_owned()));
    }

    #[test]
    fn a_few_rows_are_no_news_beside_a_table() {
        let row = |number: u32| format!("{number}|{} da {}|x{number}|{}", word(number), word(number + 1), word(7));
        let (some, many) = (info((0..3).map(row)), info((0..40).map(row)));
        assert!(news(&some, &many).is_empty(), "{:?}", news(&some, &many));
        let other = |number: u32| format!("{}|{number}|{}|a", word(number), word(number));
        let (one, another) = (info((0..40).map(row)), info((0..40).map(other)));
        assert!(news(&one, &another).is_empty(), "tables of one layout: {:?}", news(&one, &another));
    }

    #[test]
    fn a_comparison_of_many_patterns_takes_its_time_but_ends() {
        let line = |number: u32| format!("{} {} a of {} b", word(number), word(7 * number), "x y z ".repeat(9));
        let (one, another) = (info((0..2_000).map(line)), info((2_000..4_000).map(line)));
        assert!(!one.compare(&another).patterns.is_empty());
    }
}
