//! JSON as values of which nothing is lost: see [`read_object`].

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::fields::{FieldValue, Fields, Spelling};
use crate::repair::{Repaired, repair_numbers};

/// Fields of one name that are kept beside the last one. Further ones are counted.
const REPEATED_MAX: usize = 100;

/// What was met while values were read.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// A number with a fraction or an exponent, or beyond 64 bits: it may not be what was written.
    pub(crate) float: bool,
    /// Fields that occurred again in their object, with another value.
    pub(crate) repeated: u64,
    /// The numbers that are read as floats, in order, as they are written; none where JSON is written in the same way.
    floats: std::vec::IntoIter<Option<Box<str>>>,
    /// How the numbers of the value are written that was read last.
    pub(crate) spelling: Option<Spelling>,
}

/// Reads an object, [repaired](crate::repair()) if necessary; also returns the number of its values that were changed.
///
/// Of several fields of one name in an object, the last one counts; the others are kept as `NAME#1`, `NAME#2` and so
/// on, up to `NAME#100`, and all of them are counted.
pub fn read_object(json: &[u8]) -> serde_json::Result<(Fields, u64)> {
    let mut object = Fields::default();
    let changed = read_kept(json, |json, met| {
        object = match std::str::from_utf8(json) {
            // Texts that are known to be valid need not be checked one by one.
            Ok(text) => object_from(serde_json::Deserializer::from_str(text), met)?,
            Err(_) => object_from(serde_json::Deserializer::from_slice(json), met)?,
        };
        Ok(())
    })?;
    Ok((object, changed))
}

fn object_from<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    met: &mut Met,
) -> serde_json::Result<Fields> {
    let object = deserializer.deserialize_map(ObjectVisitor(met))?;
    deserializer.end()?;
    Ok(object)
}

/// Reads JSON with `read`, and again if it is invalid or has numbers that values change: repaired, and with the
/// spelling of its numbers. Returns the number of values that were changed. The error is that of the JSON as it came.
pub(crate) fn read_kept(
    json: &[u8],
    mut read: impl FnMut(&[u8], &mut Met) -> serde_json::Result<()>,
) -> serde_json::Result<u64> {
    let mut met = Met::default();
    let outcome = read(json, &mut met);
    if outcome.is_ok() && !met.float {
        return Ok(met.repeated);
    }
    let (Repaired { json, texts }, floats) = repair_numbers(json);
    if texts == 0 && floats.iter().all(Option::is_none) {
        return outcome.map(|()| met.repeated);
    }
    met = Met { floats: floats.into_iter(), ..Met::default() };
    match (read(&json, &mut met), outcome) {
        (Ok(()), _) => Ok(met.repeated + texts),
        (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
    }
}

/// Adds a field to an object, with the spelling of the value that was read last; what it had of that name is kept under
/// another one.
pub(crate) fn insert(object: &mut Fields, name: String, value: Value, met: &mut Met) {
    let spelling = met.spelling.take();
    let Some(known) = object.get_mut(&name) else {
        object.put(name, FieldValue::new(value, spelling));
        return;
    };
    let before = std::mem::replace(known, value);
    let is_same = *known == before;
    let spelling_before = object.set_spelling(&name, spelling);
    if !is_same {
        keep(object, &name, before, spelling_before, met);
    }
}

/// Counts the value of a field that occurs again, and keeps it unless [`REPEATED_MAX`] were kept.
pub(crate) fn keep(object: &mut Fields, name: &str, before: Value, spelling: Option<Spelling>, met: &mut Met) {
    met.repeated += 1;
    let numbered = |number: usize| format!("{name}#{number}");
    // By halves: any number of fields may have one name.
    let (mut taken, mut free) = (0, REPEATED_MAX + 1);
    while taken + 1 < free {
        let number = usize::midpoint(taken, free);
        match object.contains_key(&numbered(number)) {
            true => taken = number,
            false => free = number,
        }
    }
    if free <= REPEATED_MAX {
        object.put(numbered(free), FieldValue::new(before, spelling));
    }
}

/// Reads a value.
pub(crate) struct KeptValue<'m>(pub(crate) &'m mut Met);

impl<'de> DeserializeSeed<'de> for KeptValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeptValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        self.0.float = true;
        self.0.spelling = self.0.floats.next().flatten().map(Spelling::Number);
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let (mut array, mut spellings) = (Vec::new(), Vec::new());
        while let Some(element) = elements.next_element_seed(KeptValue(&mut *self.0))? {
            spellings.extend(self.0.spelling.take().map(|spelling| (array.len(), spelling)));
            array.push(element);
        }
        self.0.spelling = Spelling::of_elements(spellings);
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Value, A::Error> {
        let (values, spelling) = ObjectVisitor(&mut *self.0).visit_map(fields)?.into_parts();
        self.0.spelling = spelling;
        Ok(Value::Object(values))
    }
}

/// Reads an object.
struct ObjectVisitor<'m>(&'m mut Met);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Fields::default();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(KeptValue(&mut *self.0))?;
            insert(&mut object, name, value, self.0);
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str, changed: u64) {
        let (object, found) = read_object(json.as_bytes()).unwrap();
        assert_eq!((serde_json::to_string(&object).unwrap().as_str(), found), (expected, changed));
    }

    #[test]
    fn a_field_that_occurs_again_loses_nothing() {
        check(r#"{"a":1,"b":2,"a":3,"a":4}"#, r#"{"a":4,"a#1":1,"a#2":3,"b":2}"#, 2);
        check(r#"{"a":1,"a":1}"#, r#"{"a":1}"#, 0);
        check(r#"{"x":[{"a":1,"a":null}]}"#, r#"{"x":[{"a":null,"a#1":1}]}"#, 1);
        check(r#"{"a#1":0,"a":1,"a":2}"#, r##"{"a":2,"a#1":0,"a#2":1}"##, 1);
    }

    /// Each one beyond those that are kept took a hundred look-ups.
    #[test]
    fn a_field_that_occurs_often_is_kept_a_hundred_times_and_counted() {
        let fields: Vec<String> = (0..300_000).map(|number| format!("\"a\":{number}")).collect();
        let (object, changed) = read_object(format!("{{{}}}", fields.join(",")).as_bytes()).unwrap();
        assert_eq!((object.len(), changed), (101, 299_999));
        assert_eq!((&object["a"], &object["a#1"], &object["a#100"]), (&299_999.into(), &0.into(), &99.into()));
    }

    #[test]
    fn values_are_what_they_were() {
        let json = r#"{"f":false,"i":-5,"n":null,"s":"é\n","t":true,"u":18446744073709551615,"x":[[],{}]}"#;
        check(json, json, 0);
    }

    #[test]
    fn numbers_have_the_digits_that_they_came_with() {
        check(
            r#"{"id":12345678901234567890123,"n":1.5,"x":[1e400]}"#,
            r#"{"id":"12345678901234567890123","n":1.5,"x":["1e400"]}"#,
            2,
        );
        check(r#"{"a":NaN,"b":"caf\u00e9 \ud83d"}"#, "{\"a\":\"NaN\",\"b\":\"caf\u{e9} \u{fffd}\"}", 2);
    }

    #[test]
    fn the_error_is_that_of_what_came() {
        assert!(read_object(b"{\"a\": NaN, \"b\": tru}").unwrap_err().to_string().contains("column 7"));
        assert!(read_object(b"[1]").unwrap_err().to_string().contains("expected a map"));
        assert!(read_object(b"{} {").is_err());
    }
}
