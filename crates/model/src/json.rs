//! JSON as values of which nothing is lost: see [`read_object`].

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::repair;

/// Fields of one name that are kept beside the last one. Further ones are counted.
const REPEATED_MAX: usize = 100;

/// What was met while values were read.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// A number with a fraction or an exponent, or beyond 64 bits: it may not be what was written.
    pub(crate) float: bool,
    /// Fields that occurred again in their object, with another value.
    pub(crate) repeated: u64,
}

/// Reads an object, [repaired](repair()) if necessary; also returns the number of its values that were changed.
///
/// Of several fields of one name in an object, the last one counts; the others are kept as `NAME#1`, `NAME#2` and so on,
/// up to `NAME#100`, and all of them are counted.
pub fn read_object(json: &[u8]) -> serde_json::Result<(Map<String, Value>, u64)> {
    let mut object = Map::new();
    let changed = read_kept(json, |json, met| {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        object = deserializer.deserialize_map(ObjectVisitor(met))?;
        deserializer.end()
    })?;
    Ok((object, changed))
}

/// Reads JSON with `read`, and again once it is repaired if it is invalid or has numbers that are not what was written;
/// returns the number of values that were changed. The error is that of the JSON as it came.
pub(crate) fn read_kept(
    json: &[u8],
    mut read: impl FnMut(&[u8], &mut Met) -> serde_json::Result<()>,
) -> serde_json::Result<u64> {
    let mut met = Met::default();
    let outcome = read(json, &mut met);
    if outcome.is_ok() && !met.float {
        return Ok(met.repeated);
    }
    let mended = repair(json);
    if mended.texts == 0 {
        return outcome.map(|()| met.repeated);
    }
    met = Met::default();
    match (read(&mended.json, &mut met), outcome) {
        (Ok(()), _) => Ok(met.repeated + mended.texts),
        (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
    }
}

/// Adds a field to an object; what it had of that name is kept under another one.
pub(crate) fn insert(object: &mut Map<String, Value>, name: String, value: Value, met: &mut Met) {
    let Some(known) = object.get_mut(&name) else {
        object.insert(name, value);
        return;
    };
    let before = std::mem::replace(known, value);
    if *known != before {
        keep(object, &name, before, met);
    }
}

/// Counts the value of a field that occurs again, and keeps it unless [`REPEATED_MAX`] were kept.
pub(crate) fn keep(object: &mut Map<String, Value>, name: &str, before: Value, met: &mut Met) {
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
        object.insert(numbered(free), before);
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
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(KeptValue(&mut *self.0))? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Value, A::Error> {
        ObjectVisitor(self.0).visit_map(fields).map(Value::Object)
    }
}

/// Reads an object.
struct ObjectVisitor<'m>(&'m mut Met);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
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
        assert_eq!((Value::Object(object).to_string().as_str(), found), (expected, changed));
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
