//! The headlines of failing runs whose right headline is known (fixtures/failures).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod labelled;

use std::fmt::Write;

use labelled::cases;

/// The share of right headlines that is required, of all cases.
const PRECISION_MIN: f64 = 0.95;

#[test]
fn nearly_all_headlines_are_right() {
    let cases = cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let wrong: Vec<_> = cases.iter().filter(|case| !case.is_right(&case.headline())).collect();
    let precision = 1.0 - wrong.len() as f64 / cases.len() as f64;
    assert!(precision >= PRECISION_MIN, "{precision:.3}");
}

#[test]
fn a_headline_that_is_another_text_is_wrong() {
    for case in cases() {
        assert!(!case.is_right("") && !case.is_right("Process exited with code 1"), "{}", case.name);
        assert!(case.is_right(&case.right().replace(['«', '»'], "")), "{}", case.name);
    }
}

#[test]
fn the_headlines_of_the_cases_for_development() {
    let mut text = String::new();
    for case in cases().iter().filter(|case| case.is_for_development) {
        writeln!(text, "{}: {}\n    {}", case.family, case.name, case.headline()).unwrap();
    }
    insta::assert_snapshot!(text);
}
