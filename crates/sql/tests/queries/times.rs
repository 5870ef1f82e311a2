//! Records dated far away, in an archive of today: no query fails because of them, and none returns a wrong result for
//! them.

use super::*;

/// The first time there is, one before nanoseconds begin (1677), one right before and one at the epoch, one of today, one
/// after nanoseconds end (2262), and the last time there is.
const TIMES: [i64; 7] = [
    Timestamp::MIN.as_millis(),
    -9_300_000_000_123,
    -1,
    0,
    NOW_MS + 123,
    9_300_000_000_123,
    Timestamp::MAX.as_millis(),
];

/// An archive whose records have these times, some sealed and some not.
async fn archive() -> Archive {
    let archive = Archive::new().await;
    let records: Vec<Record> = TIMES.iter().map(|at| record(*at, "INFO", "a")).collect();
    let (sealed, live) = records.split_at(4);
    let run = archive.run(archive.task, sealed).await;
    archive.seal().await;
    archive.push(run, live).await;
    // The clock of the other tests.
    archive.clock.0.store(NOW_MS + 3_600_000, Ordering::Relaxed);
    archive
}

async fn check(archive: &Archive, cases: &[(&str, [&str; 7])]) {
    for (expr, expected) in cases {
        let rows = archive.rows(&format!("SELECT {expr} FROM records ORDER BY arrival")).await;
        assert_eq!(rows, expected, "{expr}");
    }
}

#[tokio::test]
async fn times_of_any_year_are_cut() {
    let cases = [
        (
            "date_trunc('second', time)",
            [
                "0001-01-01T00:00:00Z",
                "1675-04-18T02:39:59Z",
                "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00Z",
                "2026-11-23T12:00:00Z",
                "2264-09-14T21:20:00Z",
                "9999-12-30T22:00:00Z",
            ],
        ),
        (
            "date_trunc('hour', time)",
            [
                "0001-01-01T00:00:00Z",
                "1675-04-18T02:00:00Z",
                "1969-12-31T23:00:00Z",
                "1970-01-01T00:00:00Z",
                "2026-11-23T12:00:00Z",
                "2264-09-14T21:00:00Z",
                "9999-12-30T22:00:00Z",
            ],
        ),
        (
            "date_trunc('DAY', time::timestamp)",
            [
                "0001-01-01T00:00:00",
                "1675-04-18T00:00:00",
                "1969-12-31T00:00:00",
                "1970-01-01T00:00:00",
                "2026-11-23T00:00:00",
                "2264-09-14T00:00:00",
                "9999-12-30T00:00:00",
            ],
        ),
        (
            "date_trunc('week', time)",
            [
                "0001-01-01T00:00:00Z",
                "1675-04-15T00:00:00Z",
                "1969-12-29T00:00:00Z",
                "1969-12-29T00:00:00Z",
                "2026-11-23T00:00:00Z",
                "2264-09-12T00:00:00Z",
                "9999-12-27T00:00:00Z",
            ],
        ),
        (
            "date_trunc('quarter', time)",
            [
                "0001-01-01T00:00:00Z",
                "1675-04-01T00:00:00Z",
                "1969-10-01T00:00:00Z",
                "1970-01-01T00:00:00Z",
                "2026-10-01T00:00:00Z",
                "2264-07-01T00:00:00Z",
                "9999-10-01T00:00:00Z",
            ],
        ),
        (
            "date_trunc('year', CAST(time AS DATE))",
            [
                "0001-01-01T00:00:00",
                "1675-01-01T00:00:00",
                "1969-01-01T00:00:00",
                "1970-01-01T00:00:00",
                "2026-01-01T00:00:00",
                "2264-01-01T00:00:00",
                "9999-01-01T00:00:00",
            ],
        ),
        // Before there were zones, clocks in Berlin went 53 minutes and 28 seconds ahead.
        (
            "CAST(date_trunc('day', time AT TIME ZONE 'Europe/Berlin') AT TIME ZONE 'Europe/Berlin' AS VARCHAR)",
            [
                "0001-12-31 23:06:32+00 BC",
                "1675-04-17 23:06:32+00",
                "1969-12-31 23:00:00+00",
                "1969-12-31 23:00:00+00",
                "2026-11-22 23:00:00+00",
                "2264-09-13 23:00:00+00",
                "9999-12-29 23:00:00+00",
            ],
        ),
        (
            "date_bin(INTERVAL '15 minutes', time)",
            [
                "0001-01-01T00:00:00Z",
                "1675-04-18T02:30:00Z",
                "1969-12-31T23:45:00Z",
                "1970-01-01T00:00:00Z",
                "2026-11-23T12:00:00Z",
                "2264-09-14T21:15:00Z",
                "9999-12-30T22:00:00Z",
            ],
        ),
        (
            "date_bin(INTERVAL '1 day', time, TIMESTAMP '2001-01-01T06:00:00')",
            [
                "0000-12-31T06:00:00Z",
                "1675-04-17T06:00:00Z",
                "1969-12-31T06:00:00Z",
                "1969-12-31T06:00:00Z",
                "2026-11-23T06:00:00Z",
                "2264-09-14T06:00:00Z",
                "9999-12-30T06:00:00Z",
            ],
        ),
        (
            "date_bin(INTERVAL '1 year', time, '1970-01-15')",
            [
                "0000-01-15T00:00:00Z",
                "1675-01-15T00:00:00Z",
                "1969-01-15T00:00:00Z",
                "1969-01-15T00:00:00Z",
                "2026-01-15T00:00:00Z",
                "2264-01-15T00:00:00Z",
                "9999-01-15T00:00:00Z",
            ],
        ),
    ];
    check(&archive().await, &cases).await;
}

#[tokio::test]
async fn times_of_any_year_are_written_and_read() {
    let archive = archive().await;
    let instants = [
        "0001-01-01T00:00:00",
        "1675-04-18T02:39:59.877",
        "1969-12-31T23:59:59.999",
        "1970-01-01T00:00:00",
        "2026-11-23T12:00:00.123",
        "2264-09-14T21:20:00.123",
        "9999-12-30T22:00:00",
    ];
    let seconds = [
        "0001-01-01T00:00:00",
        "1675-04-18T02:39:59",
        "1969-12-31T23:59:59",
        "1970-01-01T00:00:00",
        "2026-11-23T12:00:00",
        "2264-09-14T21:20:00",
        "9999-12-30T22:00:00",
    ];
    let unix = ["-62135596800", "-9300000001", "-1", "0", "1795435200", "9300000000", "253402207200"];
    let dates = ["0001-01-01", "1675-04-18", "1969-12-31", "1970-01-01", "2026-11-23", "2264-09-14", "9999-12-30"];
    let (zoned, zoned_seconds) = (instants.map(|time| format!("{time}Z")), seconds.map(|time| format!("{time}Z")));
    let zoned: [&str; 7] = std::array::from_fn(|at| zoned[at].as_str());
    let zoned_seconds: [&str; 7] = std::array::from_fn(|at| zoned_seconds[at].as_str());
    let same = [
        ("time::timestamp", instants),
        ("CAST(time AS TIMESTAMP(9))", instants),
        ("TRY_CAST(time AS TIMESTAMP)", instants),
        ("CAST(CAST(time AS VARCHAR) AS TIMESTAMP)", instants),
        ("to_timestamp(time)", zoned),
        ("to_timestamp(CAST(time AS VARCHAR))", zoned),
        ("to_timestamp(date_part('epoch', time))", zoned),
        ("to_timestamp(CAST(date_part('epoch', time) AS DECIMAL(20, 3)))", zoned),
        ("to_timestamp_millis(CAST(time AS BIGINT))", zoned),
        ("to_timestamp_micros(CAST(time AS VARCHAR))", zoned),
        ("to_timestamp_millis(to_char(time, '%d.%m.%Y %H:%M:%S%.3f'), '%Y', '%d.%m.%Y %H:%M:%S%.f')", zoned),
        ("to_local_time(time)", instants),
        ("CAST(time AS TIMESTAMP(0))", seconds),
        ("to_timestamp_seconds(time)", zoned_seconds),
        ("to_timestamp(to_unixtime(time))", zoned_seconds),
        ("from_unixtime(to_unixtime(CAST(time AS VARCHAR)))", seconds),
        ("to_unixtime(time)", unix),
        ("to_char(time, '%s')", unix),
        ("CAST(time AS DATE)", dates),
        ("to_char(time, '%Y-%m-%d')", dates),
        ("CAST(date_part('year', time) AS INT)", ["1", "1675", "1969", "1970", "2026", "2264", "9999"]),
        ("extract(hour FROM time)", ["0", "2", "23", "0", "12", "21", "22"]),
    ];
    check(&archive, &same).await;
    // Nanoseconds, where they are asked for by name, and numbers that are no times: there is no answer.
    for (expr, named) in [
        ("to_timestamp_nanos(time)", "00000"),
        ("to_timestamp(date_part('epoch', time) * 1e10)", "is out of the range"),
    ] {
        let error = archive.error(&format!("SELECT {expr} FROM records")).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{expr}: {error}");
        assert!(error.to_string().contains(named), "{expr}: {error}");
    }
}

#[tokio::test]
async fn times_of_any_year_are_compared() {
    let archive = archive().await;
    for (condition, expected) in [
        ("time > '1600-01-01'", 6),
        ("time >= '0001-01-01T00:00:00Z'", 7),
        ("time = '0001-01-01'", 1),
        ("time < TIMESTAMP '2300-01-01'", 6),
        ("time < '2300-01-01T00:00:00.5Z'", 6),
        ("time > '1675-04-18T02:39:59.8775Z'", 5),
        ("time >= '1675-04-18T02:39:59.877Z'", 6),
        ("time = TIMESTAMP '9999-12-30T22:00:00'", 1),
        ("time BETWEEN '0001-01-01' AND '9999-12-31'", 7),
        ("time NOT BETWEEN '1600-01-01' AND '2300-01-01'", 2),
        ("time IN ('1970-01-01', '9999-12-30T22:00:00Z', '1500-01-01')", 2),
        ("time IS DISTINCT FROM '1970-01-01'", 6),
        ("time > CAST('1600-01-01' AS DATE)", 6),
        ("CAST(time AS DATE) > TIMESTAMP '2026-01-01'", 3),
        ("CAST(time AS DATE) = '2026-11-23'", 1),
        ("time::timestamp > now()", 2),
        ("time > now() - INTERVAL '1 day'", 3),
        ("now() - time < INTERVAL '1 day'", 3),
        ("INTERVAL '1 month' <= now() - time", 4),
        ("now() - time BETWEEN INTERVAL '0 days' AND INTERVAL '100 years'", 3),
        ("time - TIMESTAMP '2026-11-23T12:00:00' > INTERVAL '1 second'", 2),
        ("time - CAST('2026-11-23' AS DATE) > INTERVAL '12 hours'", 3),
        ("date_trunc('day', time) = '1970-01-01'", 1),
        ("date_trunc('day', time) BETWEEN '1969-12-31' AND '1970-01-01'", 2),
        ("date_part('epoch', now() - time) < 0", 2),
        ("date_part('year', time) = 9999", 1),
        ("time + INTERVAL '1 day' > time", 7),
        ("time > to_timestamp('1600-01-01T00:00:00')", 6),
        ("time < to_timestamp('31.12.9999', '%d.%m.%Y')", 7),
        ("time AT TIME ZONE 'Europe/Berlin' >= TIMESTAMP '1970-01-01'", 5),
        ("time IN (SELECT TIMESTAMP '1970-01-01')", 1),
        ("greatest(time, now()) = now()", 5),
        ("to_char(time - now(), '%s') <> ''", 7),
    ] {
        let counted = archive.rows(&format!("SELECT count(*) FROM records WHERE {condition}")).await;
        assert_eq!(counted, [expected.to_string()], "{condition}");
        if condition.contains("SELECT") {
            continue;
        }
        // As a column, which the store does not look up.
        let counted = format!("SELECT count(*) FILTER (WHERE holds) FROM (SELECT {condition} AS holds FROM records)");
        assert_eq!(archive.rows(&counted).await, [expected.to_string()], "{condition}");
    }
}

#[tokio::test]
async fn queries_over_all_records_have_results() {
    let archive = archive().await;
    for (query, expected) in [
        (
            "SELECT date_trunc('day', time) AS day, count(*) FROM records GROUP BY 1 ORDER BY 1 DESC LIMIT 3",
            vec!["9999-12-30T00:00:00Z,1", "2264-09-14T00:00:00Z,1", "2026-11-23T00:00:00Z,1"],
        ),
        ("SELECT min(time), max(time) FROM records", vec!["0001-01-01T00:00:00Z,9999-12-30T22:00:00Z"]),
        ("SELECT max(time) - min(time) FROM records", vec!["PT315537804000S"]),
        ("SELECT avg(date_part('epoch', time)) < 1e11 FROM records", vec!["true"]),
        (
            "SELECT date_part('epoch', max(now() - time)), avg(now() - time) FROM records",
            vec!["63931035600.0,-PT25784853428.588S"],
        ),
        (
            "SELECT count(*) FROM (SELECT time, lag(time) OVER (ORDER BY time) AS earlier FROM records)
             WHERE time > earlier + INTERVAL '5 minutes'",
            vec!["5"],
        ),
        (
            "SELECT max(c) FROM (SELECT count(*) OVER (ORDER BY time RANGE BETWEEN INTERVAL '1 day' PRECEDING
             AND CURRENT ROW) AS c FROM records)",
            vec!["2"],
        ),
        (
            "SELECT count(*) FROM records r JOIN runs u USING (run_id) WHERE r.time - u.triggered_at > INTERVAL '1 hour'",
            vec!["2"],
        ),
        (
            "SELECT time::timestamp FROM records UNION ALL SELECT TIMESTAMP '1600-01-01' ORDER BY 1 LIMIT 2",
            vec!["0001-01-01T00:00:00", "1600-01-01T00:00:00"],
        ),
        (
            "WITH RECURSIVE x AS (SELECT min(time)::timestamp AS t FROM records UNION ALL
             SELECT t + INTERVAL '1 day' FROM x WHERE t < TIMESTAMP '0001-01-03') SELECT count(*), max(t) FROM x",
            vec!["3,0001-01-03T00:00:00"],
        ),
        ("SELECT CAST(1700000000 AS TIMESTAMP)", vec!["2023-11-14T22:13:20"]),
        (
            "SELECT value FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1 day')",
            vec!["2026-01-01T00:00:00", "2026-01-02T00:00:00"],
        ),
        ("SELECT date_part('year', '1600-05-05'), date_trunc('hour', TIME '10:11:12')", vec!["1600,10:00:00"]),
    ] {
        assert_eq!(archive.rows(query).await, expected, "{query}");
    }
}

/// What the engine's own functions say of the same times, where they can.
#[tokio::test]
async fn functions_say_of_times_of_today_what_they_said() {
    let archive = Archive::new().await;
    // In Berlin: a day that has 25 hours, one that has 23, and the hours around; in São Paulo a midnight is left out.
    for (expr, expected) in [
        (
            "date_trunc('hour', arrow_cast(TIMESTAMP '2026-10-25T00:30:00' AT TIME ZONE 'UTC', 'Timestamp(Microsecond, Some(\"Europe/Berlin\"))'))",
            "2026-10-25T02:00:00+02:00",
        ),
        (
            "date_trunc('hour', arrow_cast(TIMESTAMP '2026-10-25T01:30:00' AT TIME ZONE 'UTC', 'Timestamp(Microsecond, Some(\"Europe/Berlin\"))'))",
            "2026-10-25T02:00:00+01:00",
        ),
        (
            "date_trunc('day', arrow_cast(TIMESTAMP '2026-10-25T22:30:00' AT TIME ZONE 'UTC', 'Timestamp(Microsecond, Some(\"Europe/Berlin\"))'))",
            "2026-10-25T00:00:00+02:00",
        ),
        (
            "date_trunc('day', arrow_cast(TIMESTAMP '2026-03-29T20:00:00' AT TIME ZONE 'UTC', 'Timestamp(Microsecond, Some(\"Europe/Berlin\"))'))",
            "2026-03-29T00:00:00+01:00",
        ),
        (
            "date_trunc('day', arrow_cast(TIMESTAMP '2018-11-04T12:00:00' AT TIME ZONE 'UTC', 'Timestamp(Microsecond, Some(\"America/Sao_Paulo\"))'))",
            "2018-11-04T01:00:00-02:00",
        ),
        ("date_trunc('week', TIMESTAMP '2026-11-22T23:59:59.999')", "2026-11-16T00:00:00"),
        ("date_bin(INTERVAL '1 month', TIMESTAMP '2026-03-30', TIMESTAMP '2020-01-31')", "2026-02-28T00:00:00"),
        ("date_bin(INTERVAL '3 months', TIMESTAMP '2026-05-05')", "2026-04-01T00:00:00"),
        ("date_bin(INTERVAL '10 seconds', TIMESTAMP '1969-12-31T23:59:59')", "1969-12-31T23:59:50"),
        ("date_bin('1 hour', '2026-05-05T10:59:59')", "2026-05-05T10:00:00"),
        ("to_char(DATE '2026-05-05', '%d/%m %H:%M')", "05/05 00:00"),
        ("date_format(TIMESTAMP '2026-05-05T10:11:12', '%H')", "10"),
        ("to_timestamp('2026-05-05T10:11:12.123456789+02:00')", "2026-05-05T08:11:12.123456Z"),
        ("to_timestamp('05-17-2026 03:59', '%c', '%m-%d-%Y %H:%M')", "2026-05-17T03:59:00Z"),
        ("to_timestamp('2026-05-17 03:59:00 Europe/Berlin', '%Y-%m-%d %H:%M:%S %Z')", "2026-05-17T01:59:00Z"),
        ("to_timestamp_nanos('2026-05-05T10:11:12.123456789')", "2026-05-05T10:11:12.123456789Z"),
        ("to_timestamp(-1.5)", "1969-12-31T23:59:58.500Z"),
        ("to_timestamp(NULL)", "\"\""),
        ("date_trunc('day', NULL)", "\"\""),
        ("date_bin(INTERVAL '1 day', NULL)", "\"\""),
        ("to_char(NULL, '%Y')", "\"\""),
        ("to_unixtime('2026-05-05')", "1777939200"),
    ] {
        assert_eq!(archive.rows(&format!("SELECT {expr}")).await, [expected], "{expr}");
    }
    for wrong in [
        "date_trunc('fortnight', now())",
        "date_trunc('day', 1)",
        "date_trunc(now())",
        "date_bin(INTERVAL '0 days', now())",
        "date_bin(INTERVAL '-1 days', now())",
        "date_bin(INTERVAL '1 month 1 day', now())",
        "date_bin(1, now())",
        "to_char(1.5, '%Y')",
        "to_timestamp('yesterday')",
        "to_timestamp('yesterday', '%Y')",
        "to_timestamp(1e30)",
        "time > 'yesterday'",
    ] {
        let error = archive.error(&format!("SELECT {wrong} FROM (SELECT now() AS time)")).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{wrong}: {error}");
    }
}
