//! The fields of a JSON object, with their numbers as they are written.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The fields of a JSON object.
///
/// Numbers are values of 64 bits. One that JSON is written with in another way (`1.10`, `1e5`, `-0`) keeps its spelling
/// beside its value, and is serialized with it for as long as it has this value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    values: Map<String, Value>,
    spellings: BTreeMap<String, Spelling>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldValue {
    value: Value,
    spelling: Option<Spelling>,
}

/// How the numbers of a value are written, as far as JSON is written in another way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spelling {
    Number(Box<str>),
    /// Of some elements, each with its index, in their order.
    Elements(Vec<(usize, Spelling)>),
    /// Of some fields.
    Fields(BTreeMap<String, Spelling>),
}

/// A value with the spelling of its numbers, to be serialized.
struct Spelled<'a>(&'a Value, Option<&'a Spelling>);

impl Fields {
    /// Removes a field.
    pub fn take(&mut self, name: &str) -> Option<FieldValue> {
        let spelling = self.spellings.remove(name);
        self.values.remove(name).map(|value| FieldValue { value, spelling })
    }

    /// Sets a field.
    pub fn put(&mut self, name: String, field: FieldValue) {
        self.set_spelling(&name, field.spelling);
        self.values.insert(name, field.value);
    }

    /// The text of a field: see [`FieldValue::into_text`].
    pub fn text(&self, name: &str) -> Option<String> {
        text_of(self.values.get(name)?, self.spellings.get(name))
    }

    /// Adds the fields of another object, which replace those of the same names.
    pub fn append(&mut self, other: Self) {
        for (name, field) in other {
            self.put(name, field);
        }
    }

    /// The values.
    pub fn into_values(self) -> Map<String, Value> {
        self.values
    }

    /// The size of the spellings that are kept. Unit: bytes.
    pub fn spelling_bytes(&self) -> usize {
        self.spellings.values().map(Spelling::bytes).sum()
    }

    /// Sets the spelling of a field; returns the one that it had.
    pub(crate) fn set_spelling(&mut self, name: &str, spelling: Option<Spelling>) -> Option<Spelling> {
        match spelling {
            Some(spelling) => self.spellings.insert(name.to_owned(), spelling),
            None => self.spellings.remove(name),
        }
    }

    /// Its values, and the spelling of all of them.
    pub(crate) fn into_parts(self) -> (Map<String, Value>, Option<Spelling>) {
        let spelling = (!self.spellings.is_empty()).then_some(Spelling::Fields(self.spellings));
        (self.values, spelling)
    }

    /// Its fields as they are serialized.
    pub(crate) fn spelled(&self) -> impl Iterator<Item = (&String, impl Serialize)> {
        self.values.iter().map(|(name, value)| (name, Spelled(value, self.spellings.get(name))))
    }
}

impl FieldValue {
    pub(crate) fn new(value: Value, spelling: Option<Spelling>) -> Self {
        Self { value, spelling }
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its fields if it is an object, and itself if it is not.
    pub fn into_object(self) -> Result<Fields, Self> {
        match (self.value, self.spelling) {
            (Value::Object(values), Some(Spelling::Fields(spellings))) => Ok(Fields { values, spellings }),
            (Value::Object(values), _) => Ok(values.into()),
            (value, spelling) => Err(Self { value, spelling }),
        }
    }

    /// Its text: a string unchanged, and other values as JSON; none for `null`.
    pub fn into_text(self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text),
            value => text_of(&value, self.spelling.as_ref()),
        }
    }
}

impl From<Value> for FieldValue {
    fn from(value: Value) -> Self {
        Self { value, spelling: None }
    }
}

impl Spelling {
    pub(crate) fn of_elements(elements: Vec<(usize, Self)>) -> Option<Self> {
        (!elements.is_empty()).then_some(Self::Elements(elements))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Number(text) => text.len(),
            Self::Elements(elements) => elements.iter().map(|(_, spelling)| spelling.bytes()).sum(),
            Self::Fields(fields) => fields.values().map(Self::bytes).sum(),
        }
    }
}

impl Deref for Fields {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        &self.values
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.values
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(values: Map<String, Value>) -> Self {
        Self { values, spellings: BTreeMap::new() }
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        Map::from_iter(fields).into()
    }
}

impl IntoIterator for Fields {
    type Item = (String, FieldValue);
    type IntoIter = IntoFields;

    fn into_iter(self) -> IntoFields {
        IntoFields { values: self.values.into_iter(), spellings: self.spellings }
    }
}

/// The fields of an object, one after another.
#[derive(Debug)]
pub struct IntoFields {
    values: serde_json::map::IntoIter,
    spellings: BTreeMap<String, Spelling>,
}

impl Iterator for IntoFields {
    type Item = (String, FieldValue);

    fn next(&mut self) -> Option<(String, FieldValue)> {
        let (name, value) = self.values.next()?;
        let spelling = self.spellings.remove(&name);
        Some((name, FieldValue { value, spelling }))
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.spelled())
    }
}

/// Without spellings: [`read_object`](crate::read_object) reads them.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(Value::Number(number), Some(Spelling::Number(text))) => match written(text, number) {
                Some(text) => text.serialize(serializer),
                None => number.serialize(serializer),
            },
            Self(Value::Array(elements), Some(Spelling::Elements(spellings))) => {
                let mut spellings = spellings.iter().peekable();
                serializer.collect_seq(elements.iter().enumerate().map(|(index, element)| {
                    let spelling = spellings.next_if(|(of, _)| *of == index);
                    Spelled(element, spelling.map(|(_, spelling)| spelling))
                }))
            }
            Self(Value::Object(fields), Some(Spelling::Fields(spellings))) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Spelled(value, spellings.get(name)))))
            }
            Self(value, _) => value.serialize(serializer),
        }
    }
}

/// A spelling that is one of this number: the value may have been replaced since it was read.
fn written<'t>(text: &'t str, number: &Number) -> Option<&'t RawValue> {
    let is_of_number = text.parse().ok().and_then(Number::from_f64).as_ref() == Some(number);
    is_of_number.then(|| serde_json::from_str(text).ok()).flatten()
}

fn text_of(value: &Value, spelling: Option<&Spelling>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // Every value has JSON, as its names are strings.
        other => serde_json::to_string(&Spelled(other, spelling)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read_object;

    #[track_caller]
    fn read(json: &str) -> Fields {
        read_object(json.as_bytes()).unwrap().0
    }

    #[track_caller]
    fn check(fields: &Fields, expected: &str) {
        assert_eq!(serde_json::to_string(fields).unwrap(), expected);
    }

    #[test]
    fn numbers_are_written_as_they_were() {
        for json in [
            r#"{"a":1.10,"b":[0,1e5,[-0],{"c":1E+2}],"d":{"e":{"f":0.50}}}"#,
            r#"{"a":1.5,"b":7,"c":1.0}"#,
            r#"{"a":0.0,"b":-0.0,"c":-0,"d":0e9,"e":1e-5,"f":100000.0}"#,
            r#"{"a":[1.5,2.50,3.5,4.50]}"#,
        ] {
            assert_eq!(read_object(json.as_bytes()).unwrap().1, 0, "{json}");
            check(&read(json), json);
        }
        check(&read(r#"{"a":1.5}"#), r#"{"a":1.5}"#);
        assert_eq!(read(r#"{"a":1.5,"b":[1]}"#).spelling_bytes(), 0, "nothing is kept of usual numbers");
        assert_eq!(read(r#"{"a":1.50,"b":[1e1,{"c":1.0,"d":-0}]}"#).spelling_bytes(), 9);
    }

    #[test]
    fn each_of_several_fields_of_one_name_has_its_own_spelling() {
        check(&read(r#"{"a":1.10,"a":2.20,"a":3}"#), r##"{"a":3,"a#1":1.10,"a#2":2.20}"##);
        check(&read(r#"{"a":3,"a":[1.10]}"#), r##"{"a":[1.10],"a#1":3}"##);
        check(&read(r#"{"a":1.10,"a":1.1}"#), r#"{"a":1.1}"#);
    }

    #[test]
    fn a_spelling_is_only_that_of_its_value() {
        let mut fields = read(r#"{"a":1.10,"b":[1.0,2.0],"c":{"d":1e1}}"#);
        fields.insert("a".to_owned(), 2.5.into());
        fields["b"] = serde_json::json!([2.0, 2.0, 1.0]);
        fields["c"]["d"] = "ten".into();
        check(&fields, r#"{"a":2.5,"b":[2.0,2.0,1.0],"c":{"d":"ten"}}"#);
        fields.remove("b");
        fields["c"] = 10.into();
        check(&fields, r#"{"a":2.5,"c":10}"#);
    }

    #[test]
    fn fields_are_taken_with_their_spellings() {
        let mut outer = read(r#"{"a":{"b":1.10,"c":"x"},"n":1.20,"t":"text","z":null,"x":[2.0,null],"o":{}}"#);
        let inner = outer.take("a").unwrap().into_object().unwrap();
        check(&inner, r#"{"b":1.10,"c":"x"}"#);
        assert_eq!(outer.take("o").unwrap().into_object(), Ok(Fields::default()));
        assert_eq!(outer.take("a"), None);
        assert_eq!((outer.text("n").as_deref(), outer.text("x").as_deref()), (Some("1.20"), Some("[2.0,null]")));
        assert_eq!((outer.text("t").as_deref(), outer.text("z"), outer.text("none")), (Some("text"), None, None));
        let number = outer.take("n").unwrap().into_object().unwrap_err();
        assert_eq!((number.value(), number.clone().into_text().as_deref()), (&1.2.into(), Some("1.20")));
        let mut text = |name: &str| outer.take(name).and_then(FieldValue::into_text);
        assert_eq!((text("t").as_deref(), text("x").as_deref(), text("z")), (Some("text"), Some("[2.0,null]"), None));
        let mut other = read(r#"{"b":1.1,"d":7.0}"#);
        other.append(inner);
        other.put("n".to_owned(), number);
        check(&other, r#"{"b":1.10,"c":"x","d":7.0,"n":1.20}"#);
        other.put("n".to_owned(), Value::from(1.2).into());
        check(&other, r#"{"b":1.10,"c":"x","d":7.0,"n":1.2}"#);
        assert_eq!(other.clone().into_values().len(), 4);
        let texts: Vec<Option<String>> = other.into_iter().map(|(_, field)| field.into_text()).collect();
        assert_eq!(texts.iter().flatten().collect::<Vec<_>>(), ["1.10", "x", "7.0", "1.2"]);
    }

    /// A number of few digits, written in any way.
    fn number() -> impl Strategy<Value = String> {
        "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?"
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_was_read(numbers in prop::collection::vec(number(), 1..6)) {
            let list = numbers.join(",");
            let json = format!(r#"{{"a":[{list}],"b":{{"c":{}}}}}"#, numbers[0]);
            let (fields, changed) = read_object(json.as_bytes()).unwrap();
            prop_assert_eq!((serde_json::to_string(&fields).unwrap(), changed), (json, 0));
        }
    }
}
