//! Values, names and forms of queries as PostgreSQL has them, by whatever way a query comes.

use super::*;

async fn check<Q: AsRef<str>>(cases: &[(Q, &str)]) {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(10)).await;
    for (query, expected) in cases {
        let query = query.as_ref();
        assert_eq!(archive.rows(&format!("SELECT {query}")).await.join(";"), *expected, "{query}");
    }
}

#[tokio::test]
async fn numbers_are_those_of_postgresql() {
    check(&[
        ("median(value) FROM range(1, 5)", "2.5"),
        ("DISTINCT median(value) OVER () FROM range(1, 5)", "2.5"),
        ("string_agg(n::text, '') FROM (SELECT ntile(4) OVER (ORDER BY value) AS n FROM range(0, 10))", "1112223344"),
        ("cast(2.5 as int), (-2.5)::int, 2.5::float8::int, 3.5::float8::int, 2.4::numeric(3, 1)::int", "3,-3,2,4,2"),
        (
            "12345678901234567890.123::numeric, 1.5::numeric, '0.10'::numeric, arrival::numeric FROM records LIMIT 1",
            "12345678901234567890.123,1.5,0.10,0",
        ),
        ("2^3, mod(7, 3), div(7, 2), div(-7, 2), sign(-3)", "8.0,1,3,-3,-1.0"),
        ("sum(value), sum(DISTINCT value), sum(value) FILTER (WHERE value > 3) FROM range(1, 5)", "10,10,4"),
        ("sum(arrival) OVER (ORDER BY arrival ROWS 1 PRECEDING) FROM records ORDER BY 1 DESC LIMIT 2", "17;15"),
        (
            "percentile_disc(0.5) WITHIN GROUP (ORDER BY value), percentile_disc(1) WITHIN GROUP (ORDER BY value DESC) \
          FROM range(1, 5)",
            "2,1",
        ),
        ("every(value > 0), round(variance(value)) FROM range(1, 5)", "true,2.0"),
        (
            "1::numeric / 30000, value::numeric / 30000, value / 30000::numeric, 2.5::numeric(5, 2) / 30000 FROM range(1, 2)",
            "0.00003333333333,0.00003333333333,0.00003333333333,0.00008333333333",
        ),
        ("avg(value::numeric) / 10000, sum(value::numeric) / 30000 FROM range(1, 3)", "0.000150000000000000,0.00010000000000"),
        ("12345678901234567890.5::numeric / 2", "6172839450617283945.25000000000000"),
    ])
    .await;
}

#[tokio::test]
async fn a_whole_number_that_is_too_large_is_an_error_and_no_other_number() {
    let archive = Archive::new().await;
    for query in [
        "SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t (x)",
        "SELECT k, sum(x) FROM (VALUES (1, 9223372036854775807), (1, 1), (2, 2)) AS t (k, x) GROUP BY k",
        "SELECT x + 1 FROM (VALUES (9223372036854775807)) AS t (x)",
        "SELECT 9223372036854775807 + 1",
        "SELECT x * 2 FROM (VALUES (9223372036854775807)) AS t (x)",
        "SELECT -2 - x FROM (VALUES (9223372036854775807)) AS t (x)",
    ] {
        let error = archive.error(query).await;
        assert_eq!((error.kind(), error.sqlstate()), (SqlErrorKind::Invalid, "22003"), "{query}: {error}");
    }
}

#[tokio::test]
async fn times_are_those_of_postgresql() {
    check(&[
        ("date_part('isodow', DATE '2026-03-02'), extract(isodow FROM DATE '2026-03-01')", "1,7"),
        ("to_char(TIMESTAMP '2026-03-01 07:08:09', 'YYYY-MM-DD')", "2026-03-01"),
        ("pg_typeof(now()), pg_typeof(current_timestamp), pg_typeof('2026-01-01 00:00:00+02'::timestamptz), \
          pg_typeof(to_timestamp(0)), pg_typeof(localtimestamp)",
         "timestamp with time zone,timestamp with time zone,timestamp with time zone,timestamp with time zone,\
          timestamp without time zone"),
        ("'2026-11-01 21:05:38Z'::timestamptz AT TIME ZONE 'Asia/Tokyo'", "2026-11-02T06:05:38"),
        ("timezone('Asia/Tokyo', TIMESTAMP '2026-11-02 06:05:38')", "2026-11-01T21:05:38Z"),
        // An hour that clocks leave out, and one that they show twice.
        ("TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Berlin'", "2026-03-29T01:30:00Z"),
        ("TIMESTAMP '2026-10-25 02:30:00' AT TIME ZONE 'Europe/Berlin'", "2026-10-25T01:30:00Z"),
        ("date_trunc('day', '2026-11-01 21:05:38Z'::timestamptz, 'Asia/Tokyo')", "2026-11-01T15:00:00Z"),
        ("TIMESTAMP '2026-11-01 00:00', '2026-11-01 02:00+02'::timestamptz", "2026-11-01T00:00:00,2026-11-01T00:00:00Z"),
        ("count(*) FROM records WHERE time > '2026-11-01 00:00' AND time > '2026-11-01T00:00Z'", "10"),
        ("to_char(age(TIMESTAMP '2026-03-01', TIMESTAMP '2025-01-31 12:00:00') + TIMESTAMP '2000-01-01', 'YYYY-MM-DD HH24')",
         "2001-02-01 12"),
        ("age(DATE '2001-04-10', DATE '1957-06-13') = INTERVAL '43 years 9 months 27 days', \
          age(DATE '2021-02-28', DATE '2021-01-31') = INTERVAL '28 days', \
          age(DATE '2021-01-31', DATE '2021-02-28') = INTERVAL '-28 days', \
          age(TIMESTAMP '2021-03-01 06:00', TIMESTAMP '2021-02-28 12:00') = INTERVAL '18 hours'",
         "true,true,true,true"),
    ])
    .await;
}

#[tokio::test]
async fn a_subquery_that_stands_for_a_value_has_one() {
    check(&[
        ("(SELECT 1 WHERE false), (SELECT count(*) FROM records WHERE severity = 'none')", ",0"),
        ("(SELECT run_id FROM runs WHERE status = 'none') IS NULL, count(*) FROM records", "true,10"),
        ("(SELECT message FROM records ORDER BY arrival LIMIT 1)", "line 0 of the log"),
        (
            "arrival, (SELECT x.arrival FROM records x WHERE x.arrival = r.arrival + 8) FROM records r ORDER BY 1 LIMIT 3",
            "0,8;1,9;2,",
        ),
    ])
    .await;
    let archive = Archive::new().await;
    archive.run(archive.task, &log(2)).await;
    for query in ["SELECT (SELECT arrival FROM records)", "SELECT (SELECT arrival FROM records), run_id FROM runs"] {
        let error = archive.error(query).await;
        assert_eq!((error.sqlstate(), error.to_string().contains("more than one row")), ("21000", true), "{error}");
    }
}

#[tokio::test]
async fn conditions_that_fail_are_not_evaluated_for_rows_that_others_remove() {
    check(&[
        ("arrival FROM records WHERE arrival <> 0 AND 10 / arrival > 3 ORDER BY 1", "1;2"),
        ("arrival FROM records WHERE 10 % arrival = 1 AND arrival > 0 ORDER BY 1", "3;9"),
        ("count(*) FROM records WHERE message ~ 'line [3-5] ' AND right(left(message, 6), 1)::int > 3", "2"),
        (
            "count(*) FROM (SELECT CASE WHEN arrival < 3 THEN 'x' ELSE arrival::text END AS t FROM records) \
             WHERE t ~ '^[0-9]+$' AND t::int > 3",
            "6",
        ),
        ("severity, count(*) FROM records GROUP BY 1 HAVING count(*) > 1 AND 8 / (count(*) - 1) = 1", "INFO,9"),
        (
            "(SELECT count(*) FROM records x WHERE x.run_id = r.run_id AND x.arrival > 0 AND 10 / x.arrival > 3) FROM runs r",
            "2",
        ),
        (
            "count(*) FROM records a, records b WHERE a.arrival <> 0 AND 10 / a.arrival = b.arrival AND b.arrival > 2",
            "2",
        ),
    ])
    .await;
}

#[tokio::test]
async fn dates_intervals_and_lengths_are_those_of_postgresql() {
    check(&[
        (
            "date '2026-01-31' + interval '2 hours', interval '1 day' + date '2026-01-31'",
            "2026-01-31T02:00:00,2026-02-01T00:00:00",
        ),
        ("date '2026-01-31' - interval '1 hour' < date '2026-01-31', date '2026-01-31' + 1", "true,2026-02-01"),
        ("interval '1 month' = interval '30 days', interval '24 hours' = interval '1 day'", "true,true"),
        ("interval '25 hours' > interval '1 day', interval '40 days' < interval '1 month'", "true,false"),
        ("interval '36 hours' BETWEEN interval '1 day' AND interval '2 days'", "true"),
        (
            "n FROM (VALUES (1, interval '31 days'), (2, interval '1 month'), (3, interval '700 hours')) AS t (n, i) \
             ORDER BY i DESC",
            "1;2;3",
        ),
        ("'abcdef'::varchar(3), 'abcdef'::char(2) || 'x', cast('ab' AS varchar(5))", "abc,abx,ab"),
        ("count(*) FROM records WHERE message::varchar(4) = 'line'", "10"),
    ])
    .await;
}

#[tokio::test]
async fn common_columns_of_outer_joins_have_the_values_of_their_table() {
    let values = "(VALUES (1, 'a'), (2, 'b')) AS l (x, p) RIGHT JOIN (VALUES (2, 'c'), (3, 'd')) AS r (x, q)";
    check(&[
        (format!("x, p, q FROM {values} USING (x) ORDER BY x").as_str(), "2,b,c;3,,d"),
        (format!("l.x, r.x FROM {values} ON l.x = r.x ORDER BY 2").as_str(), "2,2;,3"),
        (
            format!("count(*) FROM {values} USING (x) WHERE x = 3 OR x IN (SELECT x FROM range(1, 2) AS t (x))")
                .as_str(),
            "1",
        ),
        ("run_id = records.run_id FROM runs JOIN records USING (run_id) WHERE run_id <> '' LIMIT 1", "true"),
    ])
    .await;
    let archive = Archive::new().await;
    for query in [
        format!("SELECT * FROM {values} USING (x)"),
        format!("SELECT x FROM {}", values.replace("RIGHT JOIN", "NATURAL FULL JOIN")),
        format!("SELECT 1 UNION SELECT x FROM {}", values.replace("RIGHT JOIN", "NATURAL FULL JOIN")),
        format!("SELECT x FROM ({values} USING (x))"),
        "SELECT * FROM range(1, 3) WITH ORDINALITY".to_owned(),
        "SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY".to_owned(),
    ] {
        let error = archive.error(&query).await;
        assert_eq!(
            (error.sqlstate(), error.to_string().contains("not supported")),
            ("0A000", true),
            "{query}: {error}"
        );
    }
}

#[tokio::test]
async fn lists_have_the_order_of_their_own_call() {
    check(&[
        ("array_agg(value ORDER BY value), array_agg(value ORDER BY value DESC) FROM range(1, 4)", "\"[1,2,3]\",\"[3,2,1]\""),
        ("array_agg(value ORDER BY -value), array_agg(value ORDER BY value) FROM range(1, 4)", "\"[3,2,1]\",\"[1,2,3]\""),
        ("array_agg(DISTINCT value ORDER BY value DESC), array_agg(value) FROM range(1, 4)", "\"[3,2,1]\",\"[1,2,3]\""),
        (
            "string_agg(value::text, '' ORDER BY value), string_agg(value::text, '' ORDER BY value % 2, value DESC) \
             FROM range(1, 6)",
            "12345,42531",
        ),
        (
            "value % 2, string_agg(value::text, '' ORDER BY value), string_agg(value::text, '' ORDER BY value DESC) \
             FROM (SELECT value FROM range(1, 9) ORDER BY value DESC) GROUP BY 1 ORDER BY 1",
            "0,2468,8642;1,1357,7531",
        ),
        (
            "string_agg(arrival::text, '' ORDER BY time), string_agg(arrival::text, '' ORDER BY time DESC) FROM records",
            "0123456789,9876543210",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_short_query_does_not_become_a_large_one() {
    let archive = Archive::new().await;
    let nested = |before: &str, after: &str| before.repeat(40) + "1" + &after.repeat(40);
    for query in [
        format!("SELECT {}", nested("div(", ", 3)")),
        format!("SELECT {}", nested("date_trunc('day', now(), ", ")")),
        format!("SELECT {}", nested("(", " LIKE ANY (ARRAY['a', 'b', 'c']))")),
        format!("SELECT {}", nested("percentile_disc(0.5) WITHIN GROUP (ORDER BY ", ")")),
    ] {
        let error = archive.error(&query).await;
        assert!(error.sqlstate() == "54001" && error.to_string().contains("copies"), "{query}: {error}");
        let error = archive.engine.parse_postgres(&query).await.unwrap_err();
        assert!(error.sqlstate() == "54001" && error.to_string().contains("copies"), "{query}: {error}");
    }
    assert_eq!(archive.rows("SELECT div(div(div(div(100, 2), 2), 2), 2)").await, ["6"]);
}

#[tokio::test]
async fn texts_arrays_and_json_are_those_of_postgresql() {
    check(&[
        ("array_length('{a,b}'::text[], 1), ('{1,2}'::int[])[2]", "2,2"),
        ("arrow_typeof('\\x6869'::bytea), encode('\\x6869'::bytea, 'hex')", "Binary,6869"),
        ("count(*) FROM records WHERE severity = ANY('{ERROR,FATAL}') OR arrival = ANY('{0,1}')", "3"),
        ("count(*) FROM records WHERE severity <> ALL (ARRAY['ERROR', 'WARN'])", "9"),
        ("count(*) FROM records WHERE message LIKE ANY (ARRAY['line 1 %', '%2 of%'])", "2"),
        ("count(*) FROM runs WHERE is_final = 't'", "1"),
        ("'8d5c7a52-0000-4000-8000-000000000001'::uuid, '{}'::jsonb", "8d5c7a52-0000-4000-8000-000000000001,{}"),
        (
            "substring('run 12 of 34' from '[0-9]+'), substring('ab' from '(.)b'), substring('abc' from 2), \
          regexp_substr('run 12', '(r)(un)'), array_length(regexp_split_to_array('a, b,c', ',\\s*'), 1)",
            "12,a,bc,run,3",
        ),
        ("quote_literal('O''Neil'), format('%s-%I-%L %%', 1, 'a b', 'c')", "'O''Neil',\"1-\"\"a b\"\"-'c' %\""),
        (
            "x ->> 'a', x -> 'b', x #>> '{b,1}', json_extract_path_text(x, 'b', '0'), x ->> 'c' \
          FROM (VALUES ('{\"a\": \"v\", \"b\": [1, \"z\"]}')) AS t (x)",
            "v,\"[1, \"\"z\"\"]\",z,1,",
        ),
        ("value FROM generate_series(1, 9) ORDER BY 1 FETCH FIRST 2 ROWS ONLY", "1;2"),
        ("x FROM unnest(ARRAY['a', 'b']) AS x", "a;b"),
    ])
    .await;
}

#[tokio::test]
async fn columns_may_have_one_name_and_have_that_of_postgresql() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(2)).await;
    for (query, expected) in [
        ("SELECT date_trunc('month', time), count(*), 1 + 1 FROM records GROUP BY 1", "date_trunc,count,?column?"),
        (
            "SELECT severity, severity, max(arrival), max(arrival) FROM records GROUP BY 1",
            "severity,severity_2,max,max_2",
        ),
        ("SELECT 1, 1", "?column?,?column?_2"),
        ("SELECT arrival::text, arrival FROM records ORDER BY arrival", "arrival,arrival_2"),
        ("SELECT time::date FROM records ORDER BY time", "time"),
        ("SELECT time::date AS time FROM records ORDER BY time", "time"),
        ("SELECT tags, t.* FROM tasks t", "tags,"),
        ("SELECT *, tags FROM tasks", "task_id,"),
        ("SELECT upper(task_name) AS task_name, * FROM tasks ORDER BY task_name", "task_name,task_id,"),
        ("SELECT count FROM (SELECT count(*) FROM runs) AS counted", "count"),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) AS n FROM t", "n"),
    ] {
        let answer = archive.ask(query, None).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let header = answer.lines().next().unwrap_or_default();
        assert!(header == expected || expected.ends_with(',') && header.starts_with(expected), "{query}: {header}");
    }
    let counted = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) FROM t";
    assert_eq!(archive.rows(counted).await, ["6"]);
    let ordered = "SELECT -arrival AS arrival, message FROM records ORDER BY arrival";
    assert_eq!(archive.rows(ordered).await, ["-1,line 1 of the log", "0,line 0 of the log"]);
}

#[tokio::test]
async fn texts_of_values_are_those_of_postgresql() {
    check(&[
        ("1.0::float8::text, 1e20::float8::text, 'x' || 1.0::float8, 2.5::numeric::text", "1,1e+20,x1,2.5"),
        (
            "TIMESTAMP '2026-01-02 03:04:05.6'::text, 'x' || TIMESTAMP '2026-01-02 03:04:05', \
             concat('x', '2026-01-02 03:04:05+00'::timestamptz)",
            "2026-01-02 03:04:05.6,x2026-01-02 03:04:05,x2026-01-02 03:04:05+00",
        ),
        (
            "(TIMESTAMP '2026-01-02 01:00' - TIMESTAMP '2026-01-01')::text, INTERVAL '1 day 2 hours'::text",
            "1 day 01:00:00,1 day 02:00:00",
        ),
        ("ARRAY['a b', NULL]::text", "\"{\"\"a b\"\",NULL}\""),
        ("string_agg(x::text, ';' ORDER BY x) FROM (VALUES (1.0), (2.5)) AS t (x)", "1;2.5"),
    ])
    .await;
}

#[tokio::test]
async fn parts_of_times_and_durations_are_those_of_postgresql() {
    check(&[
        (
            "extract(second FROM TIMESTAMP '2026-03-04 05:06:07.891'), date_part('milliseconds', TIMESTAMP '2026-03-04 05:06:07.5'), \
             extract(second FROM INTERVAL '1 minute 2.5 seconds'), extract(second FROM TIME '10:11:12.5'), \
             extract(microseconds FROM INTERVAL '2.5 seconds')",
            "7.891,7500.0,2.5,12.5,2500000",
        ),
        (
            "extract(day FROM b - a), extract(hour FROM b - a), extract(minute FROM b - a), extract(second FROM b - a), \
             extract(epoch FROM b - a) \
             FROM (VALUES (TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02 03:04:05.5')) AS t (a, b)",
            "1,3,4,5.5,97445.5",
        ),
    ])
    .await;
}

/// The engine searched for the pattern as if it were a regular expression: `'abc' SIMILAR TO 'b'` was true.
#[tokio::test]
async fn similar_to_compares_whole_texts() {
    check(&[(
        "'abc' SIMILAR TO 'abc', 'abc' SIMILAR TO 'b', 'abc' SIMILAR TO '%(b|d)%', 'abc' NOT SIMILAR TO 'a%', \
         'abc' SIMILAR TO 'a.c', 'ab' SIMILAR TO '_{2}', 'a%c' SIMILAR TO 'a\\%c', 'abc' SIMILAR TO 'a[a-c]c'",
        "true,false,true,false,false,true,true,true",
    )])
    .await;
}

/// `IN` of a subquery was false where it is NULL, and the condition of a correlated `NOT IN` removed all rows.
#[tokio::test]
async fn in_with_a_subquery_is_null_where_it_is_unknown() {
    let known = "(VALUES (1), (2)) AS u (y)";
    let with_null = "(VALUES (1), (NULL)) AS u (y)";
    let rows = "FROM (VALUES (1), (2), (5), (NULL)) AS t (x)";
    let found = "coalesce(string_agg(coalesce(CAST(x AS VARCHAR), 'null'), ' ' ORDER BY x), 'none')";
    let value = |text: &str| format!("coalesce(CAST({text} AS VARCHAR), 'null')");
    let values = [
        (format!("1 IN (SELECT y FROM {with_null})"), "true"),
        (format!("2 IN (SELECT y FROM {with_null})"), "null"),
        (format!("2 NOT IN (SELECT y FROM {with_null})"), "null"),
        (format!("3 NOT IN (SELECT y FROM {known})"), "true"),
        (format!("NULL IN (SELECT y FROM {known})"), "null"),
        (format!("NULL IN (SELECT y FROM {known} WHERE y > 5)"), "false"),
    ];
    check(&values.map(|(expr, expected)| (value(&expr), expected))).await;
    let conditions = [
        (format!("x NOT IN (SELECT y FROM {known})"), "5"),
        (format!("x NOT IN (SELECT y FROM {with_null})"), "none"),
        (format!("x NOT IN (SELECT y FROM {with_null}) OR x = 5"), "5"),
        (format!("(x IN (SELECT y FROM {with_null})) IS NULL"), "2 5 null"),
        (format!("(x NOT IN (SELECT y FROM {known})) IS NOT TRUE"), "1 2 null"),
        (format!("3 NOT IN (SELECT y FROM {with_null})"), "none"),
        (format!("3 NOT IN (SELECT y FROM {known}) AND x < 3"), "1 2"),
        ("x NOT IN (SELECT y FROM (VALUES (1, 1), (NULL, 2), (7, 5)) AS u (y, z) WHERE z = x)".to_owned(), "5 null"),
        (
            "(x NOT IN (SELECT y FROM (VALUES (1, 1), (NULL, 2)) AS u (y, z) WHERE z = x)) IS NULL \
             OR (x IN (SELECT CAST(NULL AS INT))) IS NOT NULL"
                .to_owned(),
            "2",
        ),
    ];
    check(&conditions.map(|(condition, expected)| (format!("{found} {rows} WHERE {condition}"), expected))).await;
}

/// The engine has scalar subqueries in projections and filters only: other queries were refused.
#[tokio::test]
async fn subqueries_are_computed_within_aggregates_groups_and_orders() {
    let rows = "FROM (VALUES (1), (2), (3), (3)) AS t (x)";
    let list = "(SELECT y FROM (VALUES (1), (3)) AS u (y))";
    let largest = "(SELECT max(y) FROM (VALUES (10), (20)) AS u (y))";
    check(&[
        (format!("count(*) FILTER (WHERE x IN {list}) {rows}"), "3"),
        (format!("sum(CASE WHEN x IN {list} THEN 1 ELSE 0 END) {rows}"), "3"),
        (format!("max(x + {largest}), min({largest}) {rows}"), "23,20"),
        (
            format!(
                "string_agg(CAST(k AS VARCHAR) || n, ' ' ORDER BY k) FROM (SELECT x IN {list} AS k, count(*) AS n {rows} GROUP BY 1) AS g"
            ),
            "false1 true3",
        ),
        (format!("first_value(x) FROM (SELECT x {rows} ORDER BY x NOT IN {list} DESC LIMIT 1) AS g"), "2"),
        (format!("sum((SELECT count(*) FROM (VALUES (1), (3)) AS u (y) WHERE y = x)) {rows}"), "3"),
    ])
    .await;
}

#[tokio::test]
async fn arrays_of_queries_without_rows_are_empty() {
    check(&[
        ("cardinality(ARRAY(SELECT value FROM range(1, 4) WHERE value > 5))", "0"),
        ("cardinality(ARRAY(SELECT value FROM range(1, 4) WHERE value > 5 ORDER BY value LIMIT 2))", "0"),
        ("1 = ANY (ARRAY(SELECT value FROM range(1, 4) WHERE value > 5))", "false"),
    ])
    .await;
}

/// A time of day became an interval, which might be negative.
#[tokio::test]
async fn the_sum_of_a_time_of_day_and_an_interval_is_a_time_of_day() {
    check(&[
        ("CAST(TIME '23:30' + INTERVAL '1 hour' AS VARCHAR)", "00:30:00"),
        ("CAST(TIME '00:30' - INTERVAL '1 hour 1 second' AS VARCHAR)", "23:29:59"),
        ("CAST(INTERVAL '25 hours' + TIME '01:00' AS VARCHAR)", "02:00:00"),
        ("CAST(TIME '10:00' + INTERVAL '1 month 2 days' AS VARCHAR)", "10:00:00"),
    ])
    .await;
}

/// The order was dropped, and a limit was that of the one row with the array.
#[tokio::test]
async fn arrays_of_queries_have_their_order_and_their_limit() {
    check(&[
        ("array_to_string(ARRAY(SELECT value FROM range(1, 4) ORDER BY value DESC), ' ')", "3 2 1"),
        ("array_to_string(ARRAY(SELECT value FROM range(1, 5) ORDER BY value DESC LIMIT 2), ' ')", "4 3"),
        ("array_to_string(ARRAY(SELECT value AS v FROM range(1, 4) ORDER BY -value), ' ')", "3 2 1"),
        ("array_to_string(ARRAY(SELECT DISTINCT value % 2 FROM range(1, 5) ORDER BY 1 DESC), ' ')", "1 0"),
        ("array_to_string(ARRAY(SELECT 2 UNION ALL SELECT 1 ORDER BY 1), ' ')", "1 2"),
        ("array_to_string(ARRAY(SELECT count(*) FROM range(1, 5)), ' ')", "4"),
        (
            "array_to_string(array_agg(DISTINCT x), ' '), string_agg(DISTINCT y, ' ') \
          FROM (VALUES (3, 'c'), (1, 'a'), (3, 'c'), (2, 'b')) AS t (x, y)",
            "1 2 3,a b c",
        ),
    ])
    .await;
}

#[tokio::test]
async fn errors_have_the_codes_and_words_of_postgresql() {
    let archive = Archive::new().await;
    for (query, code, message) in [
        ("SELECT x.status FROM runs r", "42P01", "there is no table x in the FROM clause"),
        ("SELECT lower(1, 2)", "42883", ""),
        ("SELECT sum(status) FROM runs", "42883", ""),
        ("SELECT status + 1 FROM runs", "42883", ""),
        ("SELECT now() > 1", "42883", ""),
        ("SELECT 1 UNION SELECT true", "42804", ""),
        ("SELECT 1, 2 UNION SELECT 1", "42601", ""),
        ("SELECT 1 WHERE 1", "42804", ""),
        ("SELECT 'abc'::int", "22P02", "invalid input syntax for type integer: \"abc\""),
        ("SELECT 'abc'::date", "22007", "invalid input syntax for type date: \"abc\""),
        ("SELECT '2026-02-30'::date", "22008", "date/time field value out of range: \"2026-02-30\""),
        ("SELECT 3000000000::int", "22003", "integer out of range"),
        (
            "SELECT status, count(*) FROM runs",
            "42803",
            "column runs.status must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        ("SELECT count(*) FROM runs WHERE count(*) > 1", "42803", ""),
        (
            "SELECT sum(count(*)) FROM runs",
            "42803",
            "an aggregate function is not allowed here; aggregate in a subquery",
        ),
        ("SELECT 1 FROM runs WHERE row_number() OVER () = 1", "42P20", ""),
        ("SELECT DISTINCT status FROM runs ORDER BY duration_ms", "42P10", ""),
        ("SELECT 1 ORDER BY 5", "42P10", ""),
        ("SELECT status FROM runs LIMIT -1", "2201W", ""),
        ("SELECT (SELECT status, run_id FROM runs)", "42601", ""),
        ("SELECT 'a' ~ '('", "2201B", "a regular expression is wrong: unclosed group"),
        ("SELECT date_trunc('nope', now())", "22023", ""),
        ("SELECT now() AT TIME ZONE 'Nope/Zone'", "22023", ""),
        ("SELECT 'a'::nope", "42704", "there is no type nope"),
        ("SELECT * FROM runs r JOIN records r ON true", "42712", "table name r is specified more than once"),
        ("WITH a AS (SELECT 1), a AS (SELECT 2) SELECT * FROM a", "42712", ""),
        ("SELECT 1 AND true", "42804", ""),
        ("SELECT (ARRAY[1, 2])['a']", "22P02", ""),
        ("SELECT 1 || 2", "42883", ""),
        ("SELECT 'a' LIKE 5", "42883", ""),
        ("SELECT 1 IN (SELECT 1, 2)", "42601", ""),
        ("SELECT * FROM (VALUES (1), (1, 2)) AS t", "42601", ""),
        ("SELECT nope.* FROM runs", "42P01", ""),
        ("SELECT DISTINCT ON (status) run_id FROM runs ORDER BY run_id", "42P10", ""),
        ("SELECT CAST(true AS DATE)", "42846", ""),
        ("SELECT '25:00'::time", "22008", "date/time field value out of range: \"25:00\""),
    ] {
        let error = archive.error(query).await;
        assert_eq!((error.kind(), error.sqlstate()), (SqlErrorKind::Invalid, code), "{query}: {error}");
        assert!(message.is_empty() || error.to_string() == message, "{query}: {error}");
    }
}
