//! Advice for the text of a headline.

/// Phrases of headlines, in lower case, and the advice if one of them occurs.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["outofmemory", "heap space", "gc overhead", "oomkilled", "memory limit", "out of memory", "code 137"],
        "Compare the number of rows with the last successful run; raise the memory of the job (-Xmx, limit of the container) or process less at once.",
    ),
    (
        &["no space left", "disk full", "quota exceeded", "disk quota", "tablespace", "is full"],
        "Free or extend the disk, tablespace or quota that the message names, then run again.",
    ),
    (
        &["pkix", "certificate", "handshake", "ssl", "tls"],
        "Check the certificate of the server (expiry, chain, name) and the trust store of the engine.",
    ),
    (
        &[
            "unknownhost",
            "unknown host",
            "name or service not known",
            "no such host",
            "name resolution",
            "could not be resolved",
        ],
        "Check the host name in the context of the job, and name resolution from the engine.",
    ),
    (
        &[
            "login failed",
            "authentication",
            "access denied for user",
            "invalid username",
            "password",
            "unauthorized",
            " 401",
            "auth fail",
            "invalid_grant",
            "credential",
            "token",
        ],
        "Check the user, password, key or token in the context of the job: expired, changed or locked.",
    ),
    (
        &[
            "permission denied",
            "access denied",
            "forbidden",
            " 403",
            "not authorized",
            "insufficient privileges",
            "accesscontrol",
        ],
        "Check the rights of the user of the job on the object that the message names.",
    ),
    (
        &["429", "rate limit", "too many requests", "limit exceeded", "limit_exceeded", "throttl"],
        "The service limits requests: run later, send fewer at once, or ask for a higher limit.",
    ),
    (
        &["503", "502", "504", "unavailable", "bad gateway"],
        "The service was not available: check its status, then run again.",
    ),
    (
        &[
            "connection refused",
            "refused",
            "unreachable",
            "no route",
            "link failure",
            "connection reset",
            "listener",
            "failed to respond",
        ],
        "Check that the server is up and reachable from the engine: host, port, firewall.",
    ),
    (
        &["deadlock", "lock wait", "lock request", "could not serialize", "resource busy", "concurrent"],
        "Another transaction was in the way: look for jobs that write the same tables at the same time, then run again.",
    ),
    (
        &["timed out", "timeout", "time-out", "time out"],
        "Find out whether the server was slow (locks, load, amount of data) before raising the time-out.",
    ),
    (
        &["unique constraint", "duplicate", "primary key"],
        "Look for rows that were loaded before, for example by a run that was repeated, or for duplicates in the input.",
    ),
    (
        &["constraint", "not-null", "cannot be null", "foreign key", "parent key"],
        "Look at the rows that violate the constraint, and whether the data they refer to were loaded.",
    ),
    (
        &[
            "table or view",
            "does not exist",
            "doesn't exist",
            "invalid object name",
            "invalid identifier",
            "unknown column",
            "table_or_view_not_found",
            "cannot resolve",
        ],
        "Check whether the object was renamed, dropped or moved, and whether the user of the job can see it.",
    ),
    (
        &["filenotfound", "no such file", "file does not exist", "not found"],
        "Check whether the file or object was delivered, and its path in the context of the job.",
    ),
    (
        &[
            "parse",
            "numberformat",
            "invalid number",
            "not recognized",
            "unexpected character",
            "truncat",
            "too long",
            "conversion",
            "could not convert",
            "malformed",
            "decode",
            "keyerror",
        ],
        "Look at the input that the message names: its format or schema may have changed.",
    ),
    (
        &["nullpointer", "nullreference", "indexoutofbounds", "classcast", "stackoverflow"],
        "Look at the expression at the named place of the job: an input is empty or has another form than expected.",
    ),
    (
        &[
            "classnotfound",
            "noclassdeffound",
            "nosuchmethod",
            "no suitable driver",
            "modulenotfound",
            "unsupportedclassversion",
            "command not found",
        ],
        "A library, driver or program is missing or of another version on the engine.",
    ),
];

/// Maximum number of pieces of advice.
const ADVICE_MAX: usize = 2;

/// Returns the advice for a headline, most specific first.
pub(super) fn advice_for(headline: &str) -> Vec<&'static str> {
    let headline = headline.to_lowercase();
    let fits = |(words, _): &&(&[&str], &'static str)| words.iter().any(|word| headline.contains(word));
    ADVICE.iter().filter(fits).map(|(_, advice)| *advice).take(ADVICE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_from_words() {
        assert!(advice_for("java.net.UnknownHostException: x")[0].contains("host name"));
        assert!(advice_for("ORA-00001: unique constraint (A.B) violated")[0].contains("loaded before"));
        assert_eq!(advice_for("12 of 40 shops"), Vec::<&str>::new());
    }
}
