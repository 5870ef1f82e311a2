//! Records as JSON: what was read is the same after it was written and read again.

use runlog_model::Record;

use crate::Target;

pub(crate) const TARGET: Target = Target { name: "records", check, seeds, inputs: 20_000 };

fn check(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
        let written = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&written).unwrap();
        assert_eq!(again, record, "{written}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"logTimestamp":1629367872345,"severity":"INFO","logType":"JOB","logMessage":"one\ntwo","bundleName":"tMap","bundleVersion":"8.0","podName":"p"}"#,
        r#"{"logTimestamp":"2021-08-19T10:11:12.345+02:00","logMessage":null,"extra":{"a":[1,2.5,-0.0,1e300]},"n":12345678901234567890}"#,
        r#"{"@timestamp":"2021-08-19 10:11:12,345","level":"error","message":"a","mdc":{"b":"c"}}"#,
        "{\"logTimestamp\":1}\n{\"logTimestamp\":2,\"severity\":\"\\u0000\"}",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}
