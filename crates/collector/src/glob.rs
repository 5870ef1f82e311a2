//! Patterns of names.

/// True if the name matches the pattern, in which `*` stands for any text.
pub(crate) fn matches(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (name, pattern, expected) in [
            ("nightly-orders", "nightly-*", true),
            ("nightly-orders", "nightly-orders", true),
            ("nightly-orders", "nightly", false),
            ("nightly-orders", "*orders", true),
            ("nightly-orders", "*-*", true),
            ("nightly-orders", "n*t*y*s", true),
            ("nightly-orders", "*o*o*", false),
            ("aba", "ab*ba", false),
            ("", "*", true),
            ("nightly", "nightly", true),
            ("nightly orders", "nightly", false),
            ("nightly orders", "nightly*", true),
            ("nightly orders", "*orders", true),
            ("nightly orders", "n*y*s", true),
            ("a", "a*a", false),
            ("orders", "*x*", false),
        ] {
            assert_eq!(matches(name, pattern), expected, "{name} {pattern}");
        }
    }
}
