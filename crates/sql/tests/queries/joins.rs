//! Joins that the engine does not have: `LATERAL` and `FULL JOIN … USING`. The expected rows are those of PostgreSQL 15.

use super::*;

const TABLES: &str = "WITH r (id) AS (VALUES (1), (2), (3)), e (id, n) AS (VALUES (1, 10), (1, 11), (2, 20))";

async fn check(cases: &[(&str, &str)]) {
    let archive = Archive::new().await;
    for (query, expected) in cases {
        let query = format!("{TABLES} SELECT {query}");
        assert_eq!(archive.rows(&query).await.join(";"), *expected, "{query}");
    }
}

#[tokio::test]
async fn lateral_subqueries_see_the_tables_before_them() {
    check(&[
        ("* FROM r, LATERAL (SELECT n FROM e WHERE e.id = r.id) x ORDER BY 1, 2", "1,10;1,11;2,20"),
        ("* FROM r LEFT JOIN LATERAL (SELECT n FROM e WHERE e.id = r.id) x ON true ORDER BY 1, 2", "1,10;1,11;2,20;3,"),
        ("* FROM r, LATERAL (SELECT n FROM e WHERE e.id = r.id ORDER BY n DESC LIMIT 1) x ORDER BY 1", "1,11;2,20"),
        (
            "* FROM r LEFT JOIN LATERAL (SELECT n FROM e WHERE e.id = r.id ORDER BY n DESC LIMIT 1) x ON true ORDER BY 1",
            "1,11;2,20;3,",
        ),
        (
            "r.id, x.n FROM r JOIN LATERAL (SELECT n FROM e WHERE e.id = r.id AND n > 10 ORDER BY n LIMIT 2) x ON true \
             ORDER BY 1",
            "1,11;2,20",
        ),
        ("* FROM r, LATERAL (SELECT n FROM e WHERE e.id = r.id ORDER BY n LIMIT 1 OFFSET 1) x ORDER BY 1", "1,11"),
        ("* FROM r CROSS JOIN LATERAL (SELECT count(*) AS c, max(n) AS m FROM e WHERE e.id = r.id) x ORDER BY 1",
         "1,2,11;2,1,20;3,0,"),
        ("* FROM r LEFT JOIN LATERAL (SELECT count(*) AS c, max(n) AS m FROM e WHERE e.id = r.id) x ON true ORDER BY 1",
         "1,2,11;2,1,20;3,0,"),
        ("r.id, x.n FROM r JOIN LATERAL (SELECT DISTINCT n / 10 AS n FROM e WHERE e.id = r.id) x ON true ORDER BY 1", "1,1;2,2"),
        ("r.id, d, f FROM r, LATERAL (SELECT r.id * 2 AS d) x, LATERAL (SELECT x.d + 1 AS f) y ORDER BY 1", "1,2,3;2,4,5;3,6,7"),
        ("id, u FROM (VALUES (1, ARRAY[1, 2]), (2, ARRAY[3])) AS t (id, a) CROSS JOIN LATERAL unnest(t.a) u ORDER BY 1, 2",
         "1,1;1,2;2,3"),
        ("id, u FROM (VALUES (1, ARRAY[1, 2]), (2, ARRAY[3])) AS t (id, a), unnest(a) u ORDER BY 1, 2", "1,1;1,2;2,3"),
        ("id, u FROM (VALUES (1, '[\"a\",\"b\"]')) AS t (id, a), LATERAL json_array_elements_text(a::json) u ORDER BY 2", "1,a;1,b"),
    ])
    .await;
}

#[tokio::test]
async fn lateral_subqueries_that_cannot_be_joined_are_refused_with_another_form() {
    let archive = Archive::new().await;
    for (query, words) in [
        (
            "SELECT * FROM r, LATERAL (SELECT n FROM e WHERE e.id < r.id LIMIT 1) x",
            ["LATERAL subquery x", "row_number()"],
        ),
        (
            "SELECT * FROM r, LATERAL (SELECT count(*) OVER () FROM e WHERE e.id = r.id) x",
            ["LATERAL subquery x", "row_number()"],
        ),
        (
            "SELECT * FROM r, LATERAL (SELECT DISTINCT ON (n) n FROM e WHERE e.id = r.id) x",
            ["LATERAL subquery x", "row_number()"],
        ),
        (
            "SELECT * FROM r, LATERAL (SELECT a.id FROM r a LEFT JOIN (SELECT * FROM e WHERE e.id = r.id) b ON true) x",
            ["LATERAL subquery x", "row_number()"],
        ),
        ("SELECT * FROM r, LATERAL generate_series(1, r.id) x", ["generate_series", "JOIN generate_series"]),
        ("SELECT * FROM r INTERSECT ALL SELECT * FROM r", ["INTERSECT ALL", "row_number()"]),
    ] {
        let error = archive.error(&format!("{TABLES} {query}")).await;
        assert_eq!(error.sqlstate(), "0A000", "{query}: {error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{query}: {error}");
    }
}

#[tokio::test]
async fn full_joins_have_the_common_columns_of_both_tables() {
    let tables =
        "FROM (VALUES (1, 'a'), (2, 'b')) AS a (x, v) FULL JOIN (VALUES (2, 'c'), (3, 'd')) AS b (x, w) USING (x)";
    let archive = Archive::new().await;
    for (query, expected) in [
        (format!("* {tables} ORDER BY x"), "1,a,;2,b,c;3,,d"),
        (format!("x, v, w {tables} WHERE x > 1 ORDER BY x"), "2,b,c;3,,d"),
        (format!("x + 1, a.x, b.x {tables} ORDER BY x"), "2,1,;3,2,2;4,,3"),
        (format!("x, count(*) {tables} GROUP BY x HAVING x < 3 ORDER BY x"), "1,1;2,1"),
        (format!("w, 1 {tables} ORDER BY x DESC"), "d,1;c,1;,1"),
        (format!("0 UNION SELECT x {tables} ORDER BY 1"), "0;1;2;3"),
        (
            format!("x, v, w, u {tables} FULL JOIN (VALUES (3, 'e'), (4, 'f')) AS c (x, u) USING (x) ORDER BY x"),
            "1,a,,;2,b,c,;3,,d,e;4,,,f",
        ),
    ] {
        assert_eq!(archive.rows(&format!("SELECT {query}")).await.join(";"), expected, "{query}");
    }
    let error = archive.error("SELECT * FROM runs NATURAL FULL JOIN tasks").await;
    assert_eq!(error.sqlstate(), "0A000", "{error}");
}
