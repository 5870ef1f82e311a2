//! Joins the shapes of one logging statement: the words in which they differ are varying words.
//!
//! Masks recognise numbers, paths and times, but not that `ORDERS` is the name of a table. Only the other shapes show
//! this, so this step considers all of them at once. Its result is a function of the *set* of shapes: neither their
//! order nor their frequency matters (decision 0009).
//!
//! Each shape becomes a sequence of tokens, words and values, with punctuation between them (`token.rs`). Two shapes
//! with the same words, punctuation and positions of values are of one statement, regardless of the kinds of their
//! values. Among the others, in rounds until nothing changes:
//!
//! 1. **One word differs.** If enough shapes are equal except for one word, that word varies. How many are enough
//!    depends on the word and on what remains of the line ([`Line::variants_needed`]): the names of classes, hosts and
//!    files, codes, and the words of a long line vary more often than those of a short one, and words for an action or
//!    its outcome, such as `FAILED`, the least. A shape that matches another with a value at that position joins it.
//! 2. **Several words differ at once.** A word that occurs at its position in fewer than [`VARIANTS_MIN`] comparable
//!    shapes is rare. If that many shapes are equal except for their rare words, the first word is not rare, and at least
//!    half of the words remain, the rare words vary.
//!
//! Words that vary next to each other are one value, so that names of one word and of several are alike.
//!
//! Each round processes each word a fixed number of times: the work is linear in the number of shapes, not in their
//! pairs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::fit::Tokenized;
use super::token::{Kind, Token, is_unspaced, tokens_of};
use crate::mask::Mask;

/// Shapes that must differ in one word of a sentence, or a state, before it counts as varying.
///
/// High enough that the words of a small set (`RUNNING`, `FAILED`, `KILLED`) remain separate patterns.
pub(super) const VARIANTS_MIN: u32 = 8;

/// The same for an identifier, a code, the word after `user`, and a word of a long line, of which at least
/// [`LONG_WORDS_MIN`] words remain.
const VARIANTS_FEW_MIN: u32 = 3;

/// The same for `on` and `off`, `yes` and `no`.
const VARIANTS_SWITCH_MIN: u32 = 2;

/// The same if fewer than half of the words would remain, as in `<*>` or `<*> <*> done`.
pub(super) const VARIANTS_BARE_MIN: u32 = 128;

/// The same for several words at once, one of them a state: as many as the transitions of a small set of states.
const VARIANTS_STATES_MIN: u32 = 32;

/// Minimum number of remaining words of a long line.
const LONG_WORDS_MIN: usize = 4;

/// Minimum number of remaining words beside a varying code: `status code`.
const CODE_WORDS_MIN: usize = 2;

/// Minimum number of remaining words for which few variants are sufficient.
pub(super) const REMAINING_WORDS_MIN: usize = 3;

/// Number of characters that count as one word in scripts without spaces.
const UNSPACED_WORD_CHARS: usize = 3;

/// Maximum number of rounds; later changes are not made.
const ROUNDS_MAX: usize = 8;

/// Counts as more variants than any threshold requires.
const TEMPLATE_EXISTS: u32 = 1 << 30;

/// Marks the words that differ among the lines as varying.
pub(super) fn let_words_vary(lines: &mut [Line<'_>]) {
    for _ in 0..ROUNDS_MAX {
        let single = single_words_that_vary(lines);
        let changed = apply(lines, &single);
        let joint = rare_words_that_vary(lines);
        if !(apply(lines, &joint) || changed) {
            break;
        }
    }
}

/// A shape as tokens, with the text between them as its frame.
pub(super) struct Line<'a> {
    pub(super) shape: &'a str,
    pub(super) tokens: Vec<Token>,
    hashes: Vec<u64>,
    /// Number of words that each token counts as; 0 for a value.
    weights: Vec<usize>,
    /// Hash of the frame alone.
    frame_hash: u64,
    /// Hash of frame and tokens; shapes that have become equal have equal hashes.
    pub(super) hash: u64,
}

impl<'a> Line<'a> {
    pub(super) fn of(shape: &'a str, row: Option<Vec<Token>>) -> Self {
        let tokens = row.unwrap_or_else(|| tokens_of(shape));
        let mut line = Self { shape, tokens, hashes: Vec::new(), weights: Vec::new(), frame_hash: 0, hash: 0 };
        line.rehash();
        line
    }

    pub(super) fn rehash(&mut self) {
        let mut frame = DefaultHasher::new();
        let mut at = 0;
        for token in &self.tokens {
            self.shape[at..token.place.start].hash(&mut frame);
            at = token.place.end;
        }
        self.shape[at..].hash(&mut frame);
        self.frame_hash = frame.finish();
        let weight = |token: &Token| if token.is_value() { 0 } else { words_in(&self.shape[token.place.clone()]) };
        self.weights = self.tokens.iter().map(weight).collect();
        let text_of = |token: &Token| (!token.is_value()).then(|| &self.shape[token.place.clone()]);
        let hashes = self.tokens.iter().enumerate().map(|(position, token)| token_hash(position, text_of(token)));
        self.hashes = hashes.collect();
        self.hash = self.hashes.iter().fold(self.frame_hash, |sum, hash| sum.wrapping_add(*hash));
    }

    /// Returns the hash of this line with the tokens at these positions replaced by values.
    fn hash_without(&self, positions: &[usize]) -> u64 {
        positions.iter().fold(self.hash, |hash, position| {
            hash.wrapping_sub(self.hashes[*position]).wrapping_add(token_hash(*position, None))
        })
    }

    /// Returns the number of words that are not values. Text without spaces between words counts as several words.
    pub(super) fn words(&self) -> usize {
        self.weights.iter().sum()
    }

    fn has_value(&self) -> bool {
        self.tokens.iter().any(Token::is_value)
    }

    /// Returns the number of words that remain if `count` words vary, including the one at this position.
    fn words_without(&self, position: usize, count: usize) -> usize {
        self.words().saturating_sub(self.weights[position] + count - 1)
    }

    fn varied(&self) -> usize {
        self.tokens.iter().filter(|token| token.kind == Kind::Varied).count()
    }

    /// True if at least as many words remain as have varied after `count` more vary.
    fn stays_recognisable(&self, remaining: usize, count: usize) -> bool {
        remaining >= self.varied() + count
    }

    /// Returns the number of shapes that must be equal except for the word at this position before it counts as
    /// varying, if `count` words vary together.
    fn variants_needed(&self, position: usize, count: usize, variants: &Variants) -> u32 {
        let remaining = self.words_without(position, count);
        let varied = self.varied() + count - 1;
        match self.tokens[position].kind {
            _ if !self.stays_recognisable(remaining, count) => VARIANTS_BARE_MIN,
            Kind::Switch if variants.switches >= VARIANTS_SWITCH_MIN => VARIANTS_SWITCH_MIN,
            Kind::Code if remaining >= CODE_WORDS_MIN => VARIANTS_FEW_MIN,
            Kind::Name if remaining >= REMAINING_WORDS_MIN => VARIANTS_FEW_MIN,
            Kind::Act => VARIANTS_MIN,
            _ if remaining >= REMAINING_WORDS_MIN && remaining + varied >= LONG_WORDS_MIN && !variants.have_act => {
                VARIANTS_FEW_MIN
            }
            _ => VARIANTS_MIN,
        }
    }

    /// True if the word at this position may join a shape that has a value there.
    fn may_join_value(&self, position: usize) -> bool {
        let remaining = self.words_without(position, 1);
        match self.tokens[position].kind {
            Kind::Name => remaining + 1 >= REMAINING_WORDS_MIN,
            _ => remaining >= REMAINING_WORDS_MIN,
        }
    }

    fn let_vary(&mut self, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        for position in positions {
            self.tokens[*position].kind = Kind::Varied;
        }
        super::token::join_adjacent(self.shape, &mut self.tokens);
        self.rehash();
    }

    /// Tokens and the text between them, alternating.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        let mut at = 0;
        let mut pieces = Vec::with_capacity(2 * self.tokens.len() + 1);
        for token in &self.tokens {
            pieces.push(&self.shape[at..token.place.start]);
            pieces.push(&self.shape[token.place.clone()]);
            at = token.place.end;
        }
        pieces.push(&self.shape[at..]);
        pieces.into_iter()
    }

    pub(super) fn key(&self) -> String {
        Tokenized { shape: self.shape, tokens: &self.tokens }.key()
    }

    /// Returns the key of this line with its pieces replaced by these.
    pub(super) fn key_of(&self, pieces: &[Cow<'_, str>]) -> String {
        let is_value = |place: usize| place % 2 == 1 && self.tokens[place / 2].is_value();
        let value = Mask::Word.char().to_string();
        pieces.iter().enumerate().map(|(place, piece)| if is_value(place) { &value } else { &**piece }).collect()
    }

    /// Returns the positions of words that follow a number directly or after one other word: `row` in `read 1 row` and
    /// in `1 more row`.
    pub(super) fn counted_words(&self) -> impl Iterator<Item = usize> {
        let form = Tokenized { shape: self.shape, tokens: &self.tokens };
        let follows_number = move |position: usize| {
            let before = (position.saturating_sub(2)..position).rev();
            before
                .take_while(|at| form.frame(at + 1) == " ")
                .any(|at| self.tokens[at].is_value() && form.text(at).ends_with(Mask::Number.char()))
        };
        let is_singular = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase()) && !word.ends_with('s');
        (1..self.tokens.len()).filter(move |position| {
            let is_word = !self.tokens[*position].is_value() && is_singular(form.text(*position));
            is_word && follows_number(*position)
        })
    }
}

/// Returns the number of words that a token counts as: a few characters count as one word in scripts without spaces.
fn words_in(text: &str) -> usize {
    match text.is_ascii() {
        true => 1,
        false => text.chars().filter(|c| is_unspaced(*c)).count().div_ceil(UNSPACED_WORD_CHARS).max(1),
    }
}

/// Returns the hash of a word at a position; `None` is a value.
fn token_hash(position: usize, text: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (position, text).hash(&mut hasher);
    hasher.finish()
}

/// For each line, the positions of the varying words.
type Varying = Vec<Vec<usize>>;

fn apply(lines: &mut [Line<'_>], varying: &Varying) -> bool {
    lines.iter_mut().zip(varying).for_each(|(line, positions)| line.let_vary(positions));
    varying.iter().any(|positions| !positions.is_empty())
}

/// Returns the lines without duplicates.
fn distinct<'l, 'a>(lines: &'l [Line<'a>]) -> impl Iterator<Item = &'l Line<'a>> {
    let mut seen = HashSet::new();
    lines.iter().filter(move |line| seen.insert(line.hash))
}

/// The lines that are equal except for a word at one position.
#[derive(Default)]
struct Variants {
    /// Distinct lines; a value at this position adds [`TEMPLATE_EXISTS`].
    lines: u32,
    /// Number of lines with `on`, `off`, `yes` or `no` at this position.
    switches: u32,
    /// True if a line has a word for an action or an outcome at this position.
    have_act: bool,
}

fn single_words_that_vary(lines: &[Line<'_>]) -> Varying {
    let mut variants: HashMap<u64, Variants> = HashMap::new();
    for line in distinct(lines) {
        if line.has_value() {
            variants.entry(line.hash).or_default().lines += TEMPLATE_EXISTS;
        }
        for position in word_positions(line) {
            let ours = variants.entry(line.hash_without(&[position])).or_default();
            ours.lines += 1;
            ours.switches += u32::from(line.tokens[position].kind == Kind::Switch);
            ours.have_act |= line.tokens[position].kind == Kind::Act;
        }
    }
    lines.iter().map(|line| single_words_of(line, &variants)).collect()
}

fn word_positions(line: &Line<'_>) -> impl Iterator<Item = usize> {
    line.tokens.iter().enumerate().filter(|(_, token)| !token.is_value()).map(|(position, _)| position)
}

fn single_words_of(line: &Line<'_>, variants: &HashMap<u64, Variants>) -> Vec<usize> {
    let variants_of = |position: usize| &variants[&line.hash_without(&[position])];
    let count_of = |position: usize| {
        let count = variants_of(position).lines;
        // A value at this position is equivalent to any number of variants, if enough of the line remains.
        if line.may_join_value(position) { count } else { count % TEMPLATE_EXISTS }
    };
    let needed = |position: usize, count: usize| line.variants_needed(position, count, variants_of(position));
    let mut positions: Vec<(usize, u32)> = word_positions(line)
        .map(|position| (position, count_of(position)))
        .filter(|(position, count)| *count >= needed(*position, 1))
        .collect();
    // If words vary at several positions, those with the most variants are replaced first, as long as enough of the
    // line remains.
    positions.sort_by_key(|(position, count)| Reverse((*count, *position)));
    let mut chosen = 0;
    positions.retain(|(position, count)| {
        let varies = *count >= needed(*position, chosen + 1);
        chosen += usize::from(varies);
        varies
    });
    positions.into_iter().map(|(position, _)| position).collect()
}

fn rare_words_that_vary(lines: &[Line<'_>]) -> Varying {
    let mut uses: HashMap<(u64, u64), u32> = HashMap::new();
    for line in distinct(lines) {
        for hash in &line.hashes {
            *uses.entry((line.frame_hash, *hash)).or_default() += 1;
        }
    }
    let rare_of = |line: &Line<'_>| -> Vec<usize> {
        let rare = |position: &usize| uses[&(line.frame_hash, line.hashes[*position])] < VARIANTS_MIN;
        let positions: Vec<usize> = word_positions(line).filter(rare).collect();
        let rare_words: usize = positions.iter().map(|position| line.weights[*position]).sum();
        let remaining = line.words().saturating_sub(rare_words);
        let keeps_enough = line.stays_recognisable(remaining, positions.len()) && positions.first() != Some(&0);
        if keeps_enough { positions } else { Vec::new() }
    };
    let mut alike: HashMap<u64, u32> = HashMap::new();
    for line in distinct(lines) {
        let exists = line.tokens.iter().any(|token| token.kind == Kind::Varied);
        let positions = rare_of(line);
        if exists && positions.is_empty() {
            *alike.entry(line.hash).or_default() += TEMPLATE_EXISTS;
        } else if !positions.is_empty() {
            *alike.entry(line.hash_without(&positions)).or_default() += 1;
        }
    }
    lines
        .iter()
        .map(|line| {
            let mut positions = rare_of(line);
            let states =
                positions.iter().any(|position| matches!(line.tokens[*position].kind, Kind::State | Kind::Act));
            let needed = if states { VARIANTS_STATES_MIN } else { VARIANTS_MIN };
            if alike.get(&line.hash_without(&positions)).copied().unwrap_or_default() < needed {
                positions.clear();
            }
            positions
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::mask::{Mask, mask_line, shape_of_text, text_of};
    use crate::patterns::template::templates_of;

    /// The templates of lines, each once, sorted.
    fn templates(lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let shapes: Vec<String> = lines
            .into_iter()
            .map(|line| {
                let mut shape = String::new();
                mask_line(&line, &mut shape);
                shape
            })
            .collect();
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        let mut templates: Vec<String> =
            templates_of(&shapes).iter().map(|template| text_of(&template.shape)).collect();
        templates.sort();
        templates.dedup();
        templates
    }

    /// `count` words that occur in no other line.
    fn names(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| {
            let letter = |place: u32| char::from(b'a' + (number / 26_usize.pow(place) % 26) as u8);
            format!("name{}{}{}", letter(2), letter(1), letter(0))
        })
    }

    #[test]
    fn a_word_varies_from_eight_variants_on() {
        let lines = |count| names(count).map(|name| format!("table {name} is loaded"));
        assert_eq!(templates(lines(8)), ["table <*> is loaded"]);
        assert_eq!(templates(lines(7)).len(), 7);
    }

    #[test]
    fn states_stay_patterns_of_their_own() {
        let lines = ["RUNNING", "FAILED", "KILLED", "SUCCEEDED"].map(|state| format!("the job is {state}"));
        assert_eq!(templates(lines).len(), 4);
    }

    #[test]
    fn words_that_vary_crosswise_vary_both() {
        let lines = names(9).flat_map(|a| names(9).map(move |b| format!("copied table {a} to {b}")));
        assert_eq!(templates(lines), ["copied table <*> to <*>"]);
    }

    #[test]
    fn words_that_vary_together_vary_both() {
        let lines = names(20).map(|name| format!("copied table a{name} to b{name}"));
        assert_eq!(templates(lines), ["copied table <*> to <*>"]);
    }

    #[test]
    fn what_fits_a_template_joins_it() {
        let lines = names(9).flat_map(|a| names(9).map(move |b| format!("copied table {a} to {b}")));
        let late = ["copied table nameaaa to elsewhere", "copied table anything to nameaab"].map(str::to_owned);
        assert_eq!(templates(lines.chain(late)), ["copied table <*> to <*>"]);
    }

    #[test]
    fn short_lines_need_more_variants() {
        assert_eq!(templates(names(127)).len(), 127);
        assert_eq!(templates(names(128)), ["<*>"]);
    }

    #[test]
    fn unrelated_lines_of_one_length_stay_apart() {
        let lines = names(40).map(|name| format!("a{name} b{name} the c{name} to d{name}"));
        assert_eq!(templates(lines).len(), 40);
    }

    #[test]
    fn a_class_of_exception_never_varies() {
        let shapes: Vec<String> =
            names(20).map(|name| format!("it failed{}a.{name}", Mask::Exception.char())).collect();
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        let templates = templates_of(&shapes);
        assert_eq!(templates.iter().map(|template| template.shape.as_str()).collect::<Vec<_>>(), shapes);
    }

    #[test]
    fn the_kind_of_a_value_does_not_matter() {
        let lines = ["took 5 of a", "took 5 ms of a", "took 7ab4f91e of a", "took x7Kd93Qa of a"].map(str::to_owned);
        assert_eq!(templates(lines), ["took <*> of a"]);
        let lines = ["register 12345678 is bad", "register 1234567a is bad"].map(str::to_owned);
        assert_eq!(templates(lines), ["register <hex> is bad"]);
    }

    #[test]
    fn words_with_a_value_in_them_are_values() {
        let lines = ["node7 answered in time", "edge-3.example answered in time"].map(str::to_owned);
        assert_eq!(templates(lines), ["<*> answered in time"]);
        let lines = ["db.example.org", "db", "orders"].map(|host| format!("connected to host {host}:5000 in time"));
        assert_eq!(templates(lines), ["connected to host <*> in time"]);
        let lines = ["synchronized to LOCAL(0), stratum 10 now", "synchronized to 10.0.0.7, stratum 3 now"];
        assert_eq!(templates(lines.map(str::to_owned)), ["synchronized to <*>, stratum <number> now"]);
        assert_eq!(templates(["core7", "main7"].map(str::to_owned)).len(), 2);
    }

    #[test]
    fn what_is_assigned_is_a_value() {
        let lines = ["login failed; uid=0 user=root", "login failed; uid=0 user=guest"].map(str::to_owned);
        assert_eq!(templates(lines), ["login failed; uid=<number> user=<*>"]);
        let lines = ["login failed; user= host=a", "login failed; user=root host=a"].map(str::to_owned);
        assert_eq!(templates(lines).len(), 2);
        let lines = ["source=Table{id 7} is open", "source=null is open", "source=View(a, b) is open"];
        assert_eq!(templates(lines.map(str::to_owned)), ["source=<*> is open"]);
        let lines = ["ready=true, done=false", "ready=false, done=true"].map(str::to_owned);
        assert_eq!(templates(lines), ["ready=<*>, done=<*>"]);
    }

    #[test]
    fn names_vary_sooner_than_words() {
        let lines = ["com.example.Orders", "com.example.Items", "orders_eu"];
        let starting = lines.map(|name| format!("starting the job {name} now"));
        assert_eq!(templates(starting), ["starting the job <*> now"]);
        assert_eq!(templates(["started", "stopped", "paused"].map(|word| format!("the job was {word} now"))).len(), 3);
        let exceptions = ["a.IOException", "a.SQLException", "a.OutOfMemoryError"];
        assert_eq!(templates(exceptions.map(|class| format!("the job ended with {class} now"))).len(), 3);
        let users = ["root", "guest", "postgres"].map(|user| format!("session opened for user {user} by cron"));
        assert_eq!(templates(users), ["session opened for user <*> by cron"]);
    }

    #[test]
    fn lists_of_any_length_are_alike() {
        let list = |count: usize| (0..count).map(|number| format!("node{number}")).collect::<Vec<_>>();
        let lines = (1..90).map(|count| format!("cannot resolve {}", list(count).join(" ")));
        assert_eq!(templates(lines), ["cannot resolve node<number>"]);
        let lines = (1..90).map(|count| format!("deleted [{}] at once", list(count).join(", ")));
        assert_eq!(templates(lines), ["deleted [node<number>] at once"]);
    }

    #[test]
    fn names_of_several_words_are_one_value() {
        let people = names(60).zip(names(90)).enumerate().map(|(number, (a, b))| match number % 3 {
            0 => format!("customer {a} was not found in the index"),
            1 => format!("customer {a} {b} was not found in the index"),
            _ => format!("customer {a} {b} x{a} was not found in the index"),
        });
        assert_eq!(templates(people), ["customer <*> was not found in the index"]);
    }

    /// `count` lists of one to nine names.
    fn lists(count: usize) -> impl Iterator<Item = String> {
        (0..count)
            .map(|number| names(400).skip(number % 37).step_by(7).take(number % 9 + 1).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn lists_of_names_of_any_length_are_one_pattern() {
        #[track_caller]
        fn check(frame: &str, expected: &str) {
            assert_eq!(templates(lists(200).map(|list| frame.replace("LIST", &list))), [expected]);
        }
        check("Loaded columns [LIST] of table", "Loaded columns [<*>] of table");
        check("columns: LIST", "columns: <*>");
        check("tables LIST loaded", "tables <*> loaded");
        let query = |(number, list): (usize, String)| format!("Executing: SELECT {list} FROM a WHERE b_id = {number}");
        assert_eq!(
            templates(lists(200).enumerate().map(query)),
            ["Executing: SELECT <*> FROM a WHERE b_id = <number>"]
        );
    }

    #[test]
    fn lists_of_elements_with_a_form_are_one_pattern() {
        #[track_caller]
        fn check(frame: &str, separator: &str, element: fn(&str, usize) -> String, lengths_min: usize, expected: &str) {
            let lines = (0..60).map(|number| {
                let elements = names(400).skip(number).take(number % 5 + lengths_min).enumerate();
                let list: Vec<String> = elements.map(|(place, name)| element(&name, place + number)).collect();
                frame.replace("LIST", &list.join(separator))
            });
            assert_eq!(templates(lines), [expected]);
        }
        check("Parents: List(LIST)", ", ", |_, n| format!("Stage {n}"), 0, "Parents: List(Stage <number>)");
        check("Options: {LIST} used", ", ", |name, n| format!("{name}={n}"), 0, "Options: {<*>=<number>} used");
        check(
            "schema struct<LIST> of a",
            ",",
            |name, n| format!("{name}:x{name}{n}"),
            1,
            "schema struct<<*>:<*>> of a",
        );
        check("[LIST]", ", ", |_, n| format!(r#"{{"id":{n}}}"#), 0, r#"[{"id":<number>}]"#);
        check("filters LIST pushed", ", ", |name, n| format!("Less({name},{n})"), 1, "filters Less(<*>) pushed");
        check("conf {LIST} used", ", ", |name, n| format!("'{name}': {n}"), 0, "conf {'<text>': <number>} used");
        check(
            "commit {LIST} done",
            ", ",
            |name, n| format!("{name}-{n}=Offset{{at={n}, epoch=null}}"),
            1,
            "commit {<*>=Offset{at=<number>, epoch=null}} done",
        );
        check(
            "{\"id\": 7, \"tags\": [LIST]}",
            ", ",
            |name, _| format!("\"{name}\""),
            0,
            r#"{"id": <number>, "tags": [<*>]}"#,
        );
    }

    #[test]
    fn fields_of_a_record_are_no_list() {
        let lines = (0..60).map(|n| format!("process(pid={n}, code={n}) ended"));
        assert_eq!(templates(lines), ["process(pid=<number>, code=<number>) ended"]);
        let lines = ["Parents: List(Stage 1, Stage 2)", "Parents: List(Task 1, Task 2)"].map(str::to_owned);
        assert_eq!(templates(lines), ["Parents: List(Stage <number>)", "Parents: List(Task <number>)"]);
        assert_eq!(templates(["run() ended in time", "run(7) ended in time"].map(str::to_owned)).len(), 2);
    }

    #[test]
    fn names_of_several_words_fit_a_template() {
        let lines = (0..200).map(|number| format!("{} logged in from 10.0.0.{number}", person(number)));
        assert_eq!(templates(lines), ["<*> logged in from <address>"]);
        let irish = (0..200).map(|number| format!("O'{} logged in from 10.0.0.{number}", person(number)));
        assert_eq!(templates(irish), ["<*> logged in from <address>"]);
        let lines = (0..200).map(|number| format!("loaded customer {}", person(number)));
        assert_eq!(templates(lines), ["loaded customer <*>"]);
    }

    #[test]
    fn a_line_that_says_more_than_a_template_stays_a_pattern() {
        let loaded = || names(40).map(|name| format!("table {name} loaded"));
        for other in [
            "table orders could not be loaded",
            "table orders not loaded",
            "table orders failed when loaded",
            "table orders with many rows again loaded",
        ] {
            let expected = ["table <*> loaded", other];
            let mut found = templates(loaded().chain([other.to_owned()]));
            found.sort_by_key(String::len);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn few_values_of_a_word_in_a_long_line_are_one_pattern() {
        let lines = ["table", "view", "incremental"].map(|kind| format!("START sql {kind} model of the schema"));
        assert_eq!(templates(lines), ["START sql <*> model of the schema"]);
        let lines = ["Small", "Medium", "Large"].map(|size| format!("the warehouse was resumed, size {size}"));
        assert_eq!(templates(lines), ["the warehouse was resumed, size <*>"]);
        let lines = ["SUCCESS", "FAILED", "UP_FOR_RETRY", "DEFERRED"];
        assert_eq!(templates(lines.map(|state| format!("marking the task as {state} in the schedule"))).len(), 4);
        let lines =
            ["started", "paused", "resumed", "stopped"].map(|act| format!("the machine of the cluster was {act}"));
        assert_eq!(templates(lines).len(), 4);
    }

    #[test]
    fn switches_and_codes_vary() {
        let lines = ["on", "off"].map(|switch| format!("feature flag is {switch} for a tenant"));
        assert_eq!(templates(lines), ["feature flag is <*> for a tenant"]);
        assert_eq!(templates(["it is on now", "it is here now"].map(str::to_owned)).len(), 2);
        let exited =
            |codes: &[u32]| codes.iter().map(|code| format!("process exited with code {code}")).collect::<Vec<_>>();
        assert_eq!(templates(exited(&[0, 1, 137])), ["process exited with code <*>"]);
        assert_eq!(templates(exited(&[0, 1])).len(), 2);
    }

    /// A name of one to three words.
    fn person(number: usize) -> String {
        let mut parts = names(400).skip(number % 300);
        let part = |parts: &mut dyn Iterator<Item = String>| parts.next().unwrap_or_default();
        (0..=number % 3).map(|_| part(&mut parts)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_of_one_layout_are_one_pattern() {
        let cities = ["Paris", "New York", "Köln", "Rio de Janeiro"];
        let row = |separator: &str, columns: usize, number: usize| {
            let cells = [
                number.to_string(),
                person(number),
                cities[number % 4].to_owned(),
                format!("{}.50", number % 40),
                format!("2026-11-{:02}", number % 28 + 1),
                person(number + 7),
            ];
            cells[..columns].join(separator)
        };
        for separator in ["|", ";", ","] {
            for columns in 2..=6 {
                let rows = templates((0..1_000).map(|number| row(separator, columns, number)));
                assert_eq!(rows.len(), 1, "{separator} {columns}: {rows:?}");
            }
        }
        let padded =
            (0..1_000).map(|number| format!("| {number:<5} | {:<30} | {:<16} |", person(number), cities[number % 4]));
        assert_eq!(templates(padded), ["| <number> | <*> | <*> |"]);
    }

    #[test]
    fn rows_that_begin_with_a_number_may_have_any_cells() {
        #[track_caller]
        fn check(row: fn(usize, &str) -> String, expected: &str) {
            assert_eq!(templates((0..60).map(|number| row(number, &person(number)))), [expected]);
        }
        check(|n, name| format!("[{n}|{name}|x{name}]"), "[<number>|<*>|<*>]");
        check(
            |n, name| format!("[INFO] tLogRow_{} - {n}|{name}|x{name}|7", n % 3),
            "[INFO] tLogRow_<number> - <number>|<*>|<*>|<number>",
        );
        check(|n, name| format!("{n}, {name}, x{name}, {n}.50"), "<number>, <*>, <*>, <number>");
        check(|n, name| format!("{n},{name} ({name}),7"), "<number>,<*>,<number>");
        check(|n, name| format!("{n},{name}: {name},7"), "<number>,<*>,<number>");
        check(|n, name| format!("{n},{},7", [name; 3][..n % 3 + 1].join(" and ")), "<number>,<*>,<number>");
    }

    #[test]
    fn rows_with_gaps_are_rows() {
        let row = |separator: &'static str| {
            move |number: usize| format!("{number}{separator}{}{separator}{}.50", person(number), number % 40)
        };
        for separator in ["\t", "   "] {
            assert_eq!(templates((0..60).map(row(separator))), ["<number>  <*>  <number>"]);
        }
        let short: Vec<String> = templates((0..7).map(row("\t")));
        assert!(short.len() > 1, "seven rows are no table");
    }

    #[test]
    fn a_few_rows_of_values_are_rows_if_cells_are_not_filled() {
        let rows = [r#""a b",NULL,"c""#, r#""a",,"c d""#, r#""b",7,"c""#].map(str::to_owned);
        assert_eq!(templates(rows), [r#""<text>",<*>,"<text>""#]);
    }

    #[test]
    fn names_in_brackets_vary_sooner_than_words() {
        let lines = ["orders", "items", "stock"].map(|name| format!("execution of the flow [{name}] has an owner"));
        assert_eq!(templates(lines), ["execution of the flow [<*>] has an owner"]);
        let lines = ["ada", "bob"].map(|host| format!("the connection from {host}9 () was accepted"));
        let hosts = ["a7", "b8"].map(|host| format!("the connection from {host} (db{host}) was accepted"));
        assert_eq!(
            templates(lines.into_iter().chain(hosts)),
            ["the connection from <*> () was accepted", "the connection from <*> (<*>) was accepted"],
            "a remark that is absent is no list"
        );
        let lines = ["host=[local] port=7", "host=10.0.0.1 port=9", "host=[] port=8"].map(str::to_owned);
        assert_eq!(templates(lines), ["host=<*> port=<number>"]);
        let lines = ["connected to db:5432 in time", "connected to 10.0.0.7:5432 in time"].map(str::to_owned);
        assert_eq!(templates(lines), ["connected to <*> in time"]);
    }

    #[test]
    fn what_is_assigned_is_one_value_whatever_its_form() {
        let lines = ["intent=null, flags=7", "intent=Intent { act=run cmp=a.b/.C (has extras) }, flags=8"];
        assert_eq!(templates(lines.map(str::to_owned)), ["intent=<*>, flags=<number>"]);
        let lines = ["gone: key=0|com.acme.mail|40|null|7", "gone: key=1|com.acme.news|3|tag|8"];
        assert_eq!(templates(lines.map(str::to_owned)), ["gone: key=<*>"]);
        assert_eq!(templates(["a=1|b=2|c".to_owned()]), ["a=<number>|b=<number>|c"]);
    }

    #[test]
    fn one_of_a_thing_is_of_the_statement_that_counts_several() {
        let lines = ["deleted 1 row", "deleted 7 rows"].map(str::to_owned);
        assert_eq!(templates(lines), ["deleted <number> rows"]);
        let lines = ["waiting for 1 more entry", "waiting for 2 more entries"].map(str::to_owned);
        assert_eq!(templates(lines), ["waiting for <number> more entries"]);
        assert_eq!(templates(["deleted 1 row".to_owned()]), ["deleted <number> row"]);
        assert_eq!(templates(["the job 7 ran late", "the job 7 rans late"].map(str::to_owned)).len(), 1);
        assert_eq!(templates(["delete row", "delete rows"].map(str::to_owned)).len(), 2, "nothing is counted");
    }

    #[test]
    fn groups_of_words_that_are_repeated_are_one() {
        let line = |count: usize| (0..count).fold("odd nodes".to_owned(), |line, n| line + &format!(" n{n} {n} ms"));
        assert_eq!(templates((1..20).map(line)), ["odd nodes n<number> <duration>"]);
        let states = |n: usize| format!("nodes {}", ["n1 7 up", "n2 8 down", "n3 9 up"].repeat(n).join(" "));
        assert_eq!(templates((1..6).map(states)), ["nodes n<number> <number> <*>"]);
        let list = |n: usize| (1..n).map(|at| format!("${at} = 'x'")).collect::<Vec<_>>().join(", ");
        assert_eq!(templates((2..9).map(|n| format!("parameters: {}", list(n)))), ["parameters: $<number> = '<text>'"]);
    }

    #[test]
    fn words_without_spaces_between_them_count_as_several() {
        let lines = ["に5件を挿入しました", "から5件を削除しました"].map(|act| format!("テーブル ORDERS {act}"));
        assert_eq!(templates(lines).len(), 2, "what is done stays");
        let lines = names(9).map(|name| format!("テーブル {name} に5件を挿入しました"));
        assert_eq!(templates(lines), ["テーブル <*> に<number>件を挿入しました"]);
    }

    #[test]
    fn kinds_of_records_stay_apart() {
        let rows = (0..40).map(|number| format!("{};{number};{};9", ["ORD", "INV"][number % 2], person(number)));
        assert_eq!(templates(rows), ["INV;<number>;<*>;<number>", "ORD;<number>;<*>;<number>"]);
    }

    #[test]
    fn logs_with_separators_are_no_tables() {
        let lines = names(40).map(|name| format!("17|INFO|the statement {name}"));
        assert_eq!(templates(lines), ["<number>|INFO|the statement <*>"]);
        let lines = names(40).map(|name| format!("INFO|main|the statement {name} of a program that says much"));
        assert_eq!(templates(lines), ["INFO|main|the statement <*> of a program that says much"]);
        let lines = ["opened", "closed", "read", "lost", "found", "moved", "sent", "kept", "seen"];
        let lines = lines.map(|word| format!("connection: pool,idle {word} by the peer, as told"));
        assert_eq!(templates(lines), ["connection: pool,idle <*> by the peer, as told"]);
    }

    #[test]
    fn json_is_distinguished_by_its_constant_parts() {
        let lines = (0..50).flat_map(|number| {
            [
                format!(r#"{{"message":"order {number}","level":"debug"}}"#),
                format!(r#"{{"status":"rejected","order":{number}}}"#),
                format!(r#"{{"event":"order_created","id":{number}}}"#),
                format!(r#"{{"event":"order_paid","id":{number}}}"#),
            ]
        });
        let expected = [
            r#"{"event":"order_created","id":<number>}"#,
            r#"{"event":"order_paid","id":<number>}"#,
            r#"{"message":"order <number>","level":"<text>"}"#,
            r#"{"status":"<text>","order":<number>}"#,
        ];
        assert_eq!(templates(lines), expected);
    }

    #[test]
    fn merging_templates_again_changes_nothing() {
        let copies = names(30).map(|name| format!("copied table a{name} to b{name}"));
        let others = (0..60).map(|number| format!("{number}|{}|user=a sync to LOCAL({number}), of x", person(number)));
        let rows = (0..60).map(|number| format!("{number}|{}|12 s", person(number)));
        let once = templates(copies.chain(others).chain(rows));
        let again: Vec<String> = once.iter().map(|text| shape_of_text(text)).collect();
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        let merged = templates_of(&again);
        assert_eq!(merged.iter().map(|template| template.shape.as_str()).collect::<Vec<_>>(), again);
    }
}
