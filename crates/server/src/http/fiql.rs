//! The parameter `query` of lists: `name==Dev*;description==*test*`. Commas mean or, semicolons mean and, and bind
//! tighter; `==` and `!=` compare whole texts in any case, with `*` for anything.

use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::Params;
use crate::limits;

/// A query: fits when every comparison of one of its parts does. Without parts it fits everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fiql(Vec<Vec<Comparison>>);

#[derive(Debug, PartialEq, Eq)]
struct Comparison {
    field: String,
    is_equal: bool,
    pattern: String,
}

impl Fiql {
    /// Reads `query`; 400 names what cannot be read.
    pub(crate) fn read(params: &Params, fields: &[&str]) -> ApiResult<Self> {
        let Some(text) = params.text("query") else { return Ok(Self::default()) };
        // Each is held against each thing of the list.
        if text.len() > limits::FIQL_BYTES_MAX || text.split([',', ';']).count() > limits::FIQL_COMPARISONS_MAX {
            return Err(ApiError::invalid(format!(
                "query: longer than {} bytes, or more than {} comparisons; split the request",
                limits::FIQL_BYTES_MAX,
                limits::FIQL_COMPARISONS_MAX
            )));
        }
        let part = |part: &str| part.split(';').map(|text| comparison(text, fields)).collect();
        text.split(',').map(part).collect::<ApiResult<_>>().map(Self)
    }

    /// True for a thing with these texts in its fields.
    pub(crate) fn fits<'a>(&self, text: impl Fn(&str) -> &'a str) -> bool {
        let holds = |it: &Comparison| matches(&it.pattern, &text(&it.field).to_lowercase()) == it.is_equal;
        self.0.is_empty() || self.0.iter().any(|part| part.iter().all(holds))
    }
}

fn comparison(text: &str, fields: &[&str]) -> ApiResult<Comparison> {
    let split = |operator: &str| text.split_once(operator).map(|(field, value)| (field.trim(), value.trim()));
    let found = split("==").map(|pair| (pair, true)).or_else(|| split("!=").map(|pair| (pair, false)));
    match found {
        Some(((field, pattern), is_equal)) if fields.contains(&field) => {
            Ok(Comparison { field: field.to_owned(), is_equal, pattern: pattern.to_lowercase() })
        }
        _ => {
            let fields = fields.join(", ");
            let shown: String = text.chars().take(64).collect();
            Err(ApiError::invalid(format!("query: {shown:?} is not of the form field==text, with a field of {fields}")))
        }
    }
}

/// True when a pattern with `*` for anything fits a whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text) in
            [("dev", "dev"), ("dev*", "development"), ("*ment", "development"), ("d*e*t", "development"), ("*", "")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("dev", "development"), ("ab*ba", "aba"), ("*x*", "development"), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
