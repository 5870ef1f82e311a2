//! JSON that queries make. The expected values are those of PostgreSQL 15.

use super::*;

/// The only value of a query, without the quotes of CSV.
async fn value(archive: &Archive, query: &str) -> String {
    let text = archive.ask(query, None).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let value = text.split_once('\n').map_or("", |(_, rows)| rows.trim_end_matches('\n'));
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => value.to_owned(),
    }
}

#[tokio::test]
async fn values_become_json_as_in_postgresql() {
    let archive = Archive::new().await;
    for (query, expected) in [
        (
            "json_build_object('a', 1, 'b', 2.5, 'c', NULL, 'd', 'x\"y\\z\u{1f}é/', 'e', true)",
            r#"{"a" : 1, "b" : 2.5, "c" : null, "d" : "x\"y\\z\u001fé/", "e" : true}"#,
        ),
        (
            "json_build_object('f', 1e20::float8, 'g', 'NaN'::float8, 'h', DATE '2026-01-02', \
             'i', TIMESTAMP '2026-01-02 03:04:05.6', 'j', '2026-01-02 03:04:05.6+00'::timestamptz)",
            r#"{"f" : 1e+20, "g" : "NaN", "h" : "2026-01-02", "i" : "2026-01-02T03:04:05.6", "j" : "2026-01-02T03:04:05.6+00:00"}"#,
        ),
        (
            "json_build_object('k', INTERVAL '1 day 2 hours', 'l', ARRAY[1, 2, NULL], 'm', ARRAY[ARRAY[1, 2], ARRAY[3, 4]], \
             'n', ARRAY['a', 'b'], 'o', '{\"x\":1}'::json, 'p', '{\"x\":1, \"aa\":2,\"x\":3}'::jsonb)",
            r#"{"k" : "1 day 02:00:00", "l" : [1,2,null], "m" : [[1,2],[3,4]], "n" : ["a","b"], "o" : {"x":1}, "p" : {"x": 3, "aa": 2}}"#,
        ),
        ("json_build_object(1, 2, true, 3, DATE '2026-01-01', 4)", r#"{"1" : 2, "true" : 3, "2026-01-01" : 4}"#),
        ("json_build_array(1, 'a', NULL, ARRAY[1, 2])", r#"[1, "a", null, [1,2]]"#),
        ("json_build_array()::text || json_build_object()::text", "[]{}"),
        (
            "jsonb_build_object('a', 1, 'l', ARRAY[1, 2, NULL], 'bb', '{}'::json, 'b', '[ ]'::json)",
            r#"{"a": 1, "b": [], "l": [1, 2, null], "bb": {}}"#,
        ),
        ("jsonb_build_array(1, json_build_object('a', 1))", r#"[1, {"a": 1}]"#),
        ("to_json('a\"'::text)", r#""a\"""#),
        ("to_jsonb(TIMESTAMP '2026-01-02 03:04:05')", r#""2026-01-02T03:04:05""#),
        ("to_json(NULL::text) IS NULL", "true"),
        ("json_build_object('a', ('{\"b\":\"c\"}'::json -> 'b')::text)", r#"{"a" : "\"c\""}"#),
        (
            "json_build_object('a', '{\"b\":\"c\"}'::json -> 'b', 'b', '{\"b\":\"c\"}'::json ->> 'b')",
            r#"{"a" : "c", "b" : "c"}"#,
        ),
        (
            "json_build_object('a', (SELECT json_agg(value) FROM range(1, 3)), \
             'b', coalesce((SELECT json_agg(value) FROM range(1, 1)), '[]'))",
            r#"{"a" : [1, 2], "b" : []}"#,
        ),
        ("json_agg(x) FROM (SELECT json_build_array(value) AS x FROM range(1, 3)) AS t", "[[1], [2]]"),
    ] {
        assert_eq!(value(&archive, &format!("SELECT {query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn rows_are_collected_as_json_in_order() {
    let archive = Archive::new().await;
    let pairs = "FROM (VALUES (1, 'a'), (2, NULL)) AS t (x, y)";
    for (query, expected) in [
        ("json_agg(value ORDER BY value DESC) FILTER (WHERE value > 1) FROM range(1, 4)".to_owned(), "[3, 2]"),
        ("json_agg(DISTINCT x) FROM (VALUES (3), (1), (3)) AS t (x)".to_owned(), "[1, 3]"),
        ("json_agg(value) FROM range(1, 1)".to_owned(), ""),
        (
            "json_agg(x ORDER BY n) FROM (VALUES (1, ARRAY[1, 2]), (2, ARRAY[3]), (3, NULL)) AS t (n, x)".to_owned(),
            "[[1,2], \n [3], null]",
        ),
        (format!("json_agg(t ORDER BY x) {pairs}"), "[{\"x\":1,\"y\":\"a\"}, \n {\"x\":2,\"y\":null}]"),
        (format!("json_agg(row_to_json(t) ORDER BY x) {pairs}"), r#"[{"x":1,"y":"a"}, {"x":2,"y":null}]"#),
        (format!("jsonb_agg(t ORDER BY x) {pairs}"), r#"[{"x": 1, "y": "a"}, {"x": 2, "y": null}]"#),
        (format!("string_agg(to_jsonb(t)::text, ';' ORDER BY x) {pairs}"), r#"{"x": 1, "y": "a"};{"x": 2, "y": null}"#),
        (format!("json_object_agg(x, y ORDER BY x) {pairs}"), r#"{ "1" : "a", "2" : null }"#),
        (format!("jsonb_object_agg(x, y ORDER BY x DESC) {pairs}"), r#"{"1": "a", "2": null}"#),
        (
            "json_object_agg(k, v ORDER BY k DESC) FILTER (WHERE v > 1) FROM (VALUES ('a', 1), ('b', 2), ('c', 3)) AS t (k, v)"
                .to_owned(),
            r#"{ "c" : 3, "b" : 2 }"#,
        ),
        (
            "json_agg(value) OVER (ORDER BY value) FROM range(1, 3) ORDER BY value LIMIT 1".to_owned(),
            "[1]",
        ),
    ] {
        let found = value(&archive, &format!("SELECT {query}")).await;
        assert_eq!(found, expected, "{query}");
    }
    archive.run(archive.task, &log(2)).await;
    let of_tables =
        "SELECT json_agg(json_build_object('n', arrival, 'message', message) ORDER BY arrival) FROM records";
    assert_eq!(
        value(&archive, of_tables).await,
        r#"[{"n" : 0, "message" : "line 0 of the log"}, {"n" : 1, "message" : "line 1 of the log"}]"#
    );
    let row = value(&archive, "SELECT row_to_json(records) FROM records LIMIT 1").await;
    assert!(row.starts_with("{\"run_id\":\"") && row.contains(",\"message\":\"line "), "{row}");
}

#[tokio::test]
async fn json_that_cannot_be_made_is_an_error_with_a_code() {
    let archive = Archive::new().await;
    for (query, code) in [
        ("SELECT '{\"a\":'::json", "22P02"),
        ("SELECT 'x'::jsonb", "22P02"),
        ("SELECT json_build_object('a')", "22023"),
        ("SELECT json_build_object(NULL, 1)", "22004"),
        ("SELECT json_build_object(ARRAY[1], 1)", "22023"),
        ("SELECT json_object_agg(x, 1) FROM (VALUES (NULL), ('a')) AS t (x)", "22004"),
        ("SELECT json_agg(1, 2)", "42883"),
        ("SELECT to_json(1, 2)", "42883"),
    ] {
        let error = archive.error(query).await;
        assert_eq!((error.kind(), error.sqlstate()), (SqlErrorKind::Invalid, code), "{query}: {error}");
    }
}

/// What JSON takes is counted before it is made: nested calls of a function that quotes would double their text each time.
#[tokio::test]
async fn json_counts_as_memory_before_it_is_made() {
    let archive = Archive::with(|settings| settings.memory_bytes = 32 << 20).await;
    let long = "\"".repeat(1 << 16);
    let mut nested = format!("'{long}'");
    for _ in 0..12 {
        nested = format!("to_json({nested}::text)::text");
    }
    let error = archive.error(&format!("SELECT length({nested})")).await;
    assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{error}");
    let records: Vec<Record> =
        (0..40_000).map(|at| record(NOW_MS + at, "INFO", &format!("{at:06} {}", "x".repeat(900)))).collect();
    archive.run(archive.task, &records).await;
    for gathered in ["json_agg(message)", "jsonb_agg(records)", "json_object_agg(arrival, message)"] {
        let error = archive.error(&format!("SELECT length({gathered}) FROM records")).await;
        assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{gathered}: {error}");
    }
}
