//! The parameter `query` of lists: `name==Dev*;description==*test*`. Commas mean OR; semicolons mean AND and take
//! precedence. `==` and `!=` compare whole texts, ignoring case; `*` matches any text.

use std::marker::PhantomData;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::string;
use crate::http::parameters::{ParameterType, RawParameters};
use crate::limits;

/// The fields that a query may use.
pub(crate) trait FiqlFields {
    const FIELDS: &'static [&'static str];
}

/// A query: matches if all comparisons of one of its parts do. Without parts, it matches everything.
pub(crate) struct Fiql<F> {
    parts: Vec<Vec<Comparison>>,
    fields: PhantomData<F>,
}

struct Comparison {
    field: String,
    is_equal: bool,
    pattern: String,
}

impl<F: FiqlFields> ParameterType for Fiql<F> {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        let Some(text) = raw.text(name)? else { return Ok(Self { parts: Vec::new(), fields: PhantomData }) };
        // Each comparison is made with each item of the list.
        if text.len() > limits::FIQL_BYTES_MAX || text.split([',', ';']).count() > limits::FIQL_COMPARISONS_MAX {
            return Err(ApiError::invalid(format!(
                "{name}: longer than {} bytes, or more than {} comparisons; split the request",
                limits::FIQL_BYTES_MAX,
                limits::FIQL_COMPARISONS_MAX
            )));
        }
        let part = |part: &str| part.split(';').map(|text| comparison(name, text, F::FIELDS)).collect();
        let parts = text.split(',').map(part).collect::<ApiResult<_>>()?;
        Ok(Self { parts, fields: PhantomData })
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

impl<F> Fiql<F> {
    /// True for an item with these texts in its fields.
    pub(crate) fn matches<'a>(&self, text: impl Fn(&str) -> &'a str) -> bool {
        let holds = |it: &Comparison| matches(&it.pattern, &text(&it.field).to_lowercase()) == it.is_equal;
        self.parts.is_empty() || self.parts.iter().any(|part| part.iter().all(holds))
    }
}

fn comparison(name: &str, text: &str, fields: &[&str]) -> ApiResult<Comparison> {
    let split = |operator: &str| text.split_once(operator).map(|(field, value)| (field.trim(), value.trim()));
    let found = split("==").map(|pair| (pair, true)).or_else(|| split("!=").map(|pair| (pair, false)));
    match found {
        Some(((field, pattern), is_equal)) if fields.contains(&field) => {
            Ok(Comparison { field: field.to_owned(), is_equal, pattern: pattern.to_lowercase() })
        }
        _ => {
            let fields = fields.join(", ");
            let shown: String = text.chars().take(64).collect();
            Err(ApiError::invalid(format!(
                "{name}: {shown:?} is not of the form field==text, with a field of {fields}"
            )))
        }
    }
}

/// True if a pattern, in which `*` stands for any text, matches a whole text.
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
    fn patterns_match_whole_texts() {
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
