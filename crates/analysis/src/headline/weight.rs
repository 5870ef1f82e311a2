//! Determines how specific a line is about the cause of a failure.

use std::cmp::Reverse;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, Match};
use serde::{Deserialize, Serialize};

/// How specific a text is about the cause of a failure; greater is more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Weight {
    /// States nothing: an empty text, or `null`.
    Empty,
    /// States only that something failed: `Exception in component tMap_1`, `Process exited with code 1`.
    Wrapper,
    /// A consequence of an earlier error, or a recovered error: `Connection is closed`, `retrying in 2 s`.
    Aftermath,
    /// A text that matches no rule.
    Plain,
    /// A kind of exception without a message.
    Bare,
    /// States what went wrong: a code of a driver, an exception with a message, words such as `permission denied`.
    Telling,
}

/// What a phrase implies for the line that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A wrapper, regardless of the rest of the line, such as the name of a job.
    Cover,
    Aftermath,
    /// Aftermath, unless the line is telling.
    Soft,
    Wrapper,
    Telling,
    /// Telling, and hardly ever used without a failure.
    Strong,
    /// Nothing by itself, but specific text is likely nearby.
    Hint,
}

const KINDS: usize = Kind::Hint as usize + 1;

const COVERS: &[&str] = &[
    "exception in component ",
    "exception in task ",
    "traceback (most recent call last)",
    "job aborted due to stage failure",
    "child job return",
    "child job running failed",
    "terminate normally",
    "the end is near",
    "exception thrown in awaitresult",
    "an error occurred while calling o",
    "one or more errors occurred",
    "the above exception was the direct cause",
    "during handling of the above exception",
    "most recent failure",
    // Codes of Oracle that only introduce the next line.
    "ora-00604",
    "ora-02063",
    "ora-02354",
    "ora-04088",
    "ora-06512",
    "ora-12012",
    "ora-12801",
    "ora-29400",
    "ora-29913",
    "ora-31693",
    "ora-39083",
    "ora-39126",
    "error at line ",
    "sqlstate = ",
    // Output of build servers about their own steps.
    "[pipeline] ",
];

const AFTERMATH: &[&str] = &[
    "transaction is aborted",
    "already closed",
    "connection is closed",
    "connection has been closed",
    "statement is closed",
    "session is closed",
    "stream is closed",
    "channel is closed",
    "socket is closed",
    "closed connection",
    "connection closed",
    "stream closed",
    "socket closed",
    "pipe closed",
    "closed by interrupt",
    "interruptedexception",
    "sleep interrupted",
    "were not written",
    "skipped because",
    "due to previous error",
    "the statement has been terminated",
    "' locally",
    "trying next",
    "trying another",
    "using next",
    "using the next",
    "will use ",
    "because of a previous error",
    // Recovered errors.
    "retrying",
    "retry in ",
    "will retry",
    "will be retried",
    "will try again",
    "next attempt",
    "ignored",
    "ignoring",
    "skipping",
    "continuing",
    "falling back",
    "using default",
    "using the default",
    "using builtin",
    "using built-in",
    "defaulting to",
    "non-fatal",
    "operation canceled",
    "operation cancelled",
    "either a thread exit or an application request",
    "fork: retry: ",
    // The shell continues with its current limit.
    "cannot modify limit",
];

/// Aftermath, if the line contains nothing more specific.
const SOFT: &[&str] = &[
    "rolled back",
    "rolling back",
    "rollback",
    "roll back",
    "broken pipe",
    "shutting down",
    "is closed",
    "been closed",
    "was cancelled",
    "was canceled",
];

const WRAPPERS: &[&str] = &[
    "unknown error",
    "unknown exception",
    "error has occurred",
    "exception has occurred",
    "fatal exception has occurred",
    "is not recoverable: exiting",
    "errors detected",
    "exited unexpectedly",
    "terminated unexpectedly",
    "failed unexpectedly",
    "see the full stack trace",
    "code retour",
    "code de retour",
    "vorgang abgebrochen",
    "abgebrochen",
    "beendet mit",
    "proceso cancelado",
    "exit code",
    "exit value",
    "exit status",
    "exitcode",
    "return code",
    "returned code",
    "exited with",
    "ended with code",
    "ends with code",
    "ended with exit",
    "ended with errors",
    "finished with errors",
    "completed with errors",
    "failed with error code",
    "see error",
    "see log",
    "see the log",
    "see above",
    "see previous",
    "execution failed",
    "could not be started",
    "failed status",
    "status failed",
    "giving up",
    "aborting",
    "user class threw exception",
    "unhandled exception",
    "uncaught exception",
    "exception in thread ",
    "lost task ",
    "copy in failed",
    "unexpected error",
    "errors occurred",
    "an error occurred",
    "error occurred",
    "something went wrong",
    "execution halted",
    "run result unavailable",
    "workload failed",
    "see run output",
    "returned a failure",
    "failed to index",
];

const TELLING: &[&str] = &[
    "does not exist",
    "doesn't exist",
    "do not exist",
    "already exists",
    "not found",
    "no such",
    "cannot be found",
    "could not be found",
    "unknown",
    "could not be resolved",
    "cannot resolve",
    "unresolved",
    "undefined",
    "ambiguous",
    "denied",
    "forbidden",
    "unauthorized",
    "unauthorised",
    "not authorized",
    "unauthenticated",
    "not permitted",
    "permission",
    "authentication",
    "login failed",
    "logon denied",
    "password",
    "credential",
    "expired",
    "revoked",
    "locked",
    "timed out",
    "timeout",
    "time-out",
    "time out",
    "deadline exceeded",
    "refused",
    "unreachable",
    "not reachable",
    "connection reset",
    "reset by peer",
    "not available",
    "unavailable",
    "no route",
    "link failure",
    "failed to connect",
    "failed to respond",
    "deadlock",
    "lock wait",
    "could not serialize",
    "concurrent update",
    "duplicate",
    "violat",
    "constraint",
    "cannot be null",
    "null value",
    "too many",
    "too large",
    "too long",
    "too big",
    "too small",
    "too old",
    "is full",
    "exceed",
    "exhausted",
    "insufficient",
    "out of range",
    "out of bounds",
    "overflow",
    "truncat",
    "throttl",
    "rate limit",
    "limit reached",
    "division by zero",
    "divide by zero",
    "by zero",
    "syntax error",
    "unparseable",
    "couldn't parse",
    "cannot parse",
    "could not parse",
    "parse error",
    "cannot be parsed",
    "cannot be cast",
    "could not convert",
    "be converted",
    "conversion failed",
    "cannot convert",
    "invalid",
    "not valid",
    "illegal",
    "malformed",
    "unexpected",
    "unrecognized",
    "not recognized",
    "unsupported",
    "not supported",
    "no suitable driver",
    "certificate",
    "pkix",
    "handshake",
    "untrusted",
    "self-signed",
    "corrupt",
    "crashed",
    "checksum",
    "mismatch",
    "does not match",
    "do not match",
    "differs",
    "missing",
    "is empty",
    "rejected",
    "bad request",
    "bad gateway",
    "internal server error",
    "panic:",
    "abnormally terminated",
    "not enough",
    "evicted",
    "not reached",
    "inaccessible",
    "out of sync",
    "is not set",
    "was not set",
    "not configured",
    "has no ",
    "is required",
    "must not be",
    "must be",
    "cannot open",
    "can't open",
    "cannot find",
    "can't find",
    "can't locate",
    "cannot locate",
    "cannot read",
    "cannot write",
    "cannot create",
    "cannot access",
    "cannot stat",
    "cannot load",
    "could not open",
    "could not find",
    "could not read",
    "could not write",
    "unable to open",
    "unable to access",
    "unable to create",
    "unable to find",
    "unable to load",
    "unable to locate",
    "unable to obtain",
    "unable to read",
    "unable to write",
    "unable to extend",
    "unable to connect",
    "unable to resolve",
    "has gone away",
    "terminating connection",
    "not allowed",
    "not a valid",
    "conflict",
    "compilation aborted",
    "kennwort",
    "mot de passe",
    "contraseña",
    "child returned status",
    "failed to parse",
];

const STRONG: &[&str] = &[
    "no space left",
    "disk full",
    "quota exceeded",
    "out of memory",
    "java heap space",
    "gc overhead limit",
    "oomkilled",
    "oom-killed",
    "oom killed",
    "memory limit",
    "memory limits",
    "killed",
    "command not found",
    "permission denied",
    "access denied",
    "no such file or directory",
    "connection refused",
    "could not connect",
    "name or service not known",
    "temporary failure in name resolution",
    "too many requests",
    "service unavailable",
    "[errno ",
    "sqlcode=",
    "sqlcode:",
    "sqlstate:",
    "sqlstate=",
    "compilation error",
    "is not recognized as",
    "not enough space",
    "enough space for",
    "not enough memory",
    "insufficient memory",
    "cannot allocate memory",
    "low on resource",
    "sigsegv",
    "sigabrt",
    "sigkill",
    "core dumped",
    "segmentation fault",
    "fatal error has been detected",
    "could not find or load main class",
    "unhealthy",
    // Messages of the operating system, as returned by `strerror`.
    "read-only file system",
    "input/output error",
    "stale file handle",
    "stale nfs file handle",
    "argument list too long",
    "device or resource busy",
    "resource busy",
    "address already in use",
    "unexpected end of file",
    "unexpected eof",
    "premature end of file",
    "exec format error",
    "invalid argument",
    "network is unreachable",
    "no route to host",
    "host is unreachable",
    "host is down",
    "connection timed out",
    "operation timed out",
    "bus error",
    "illegal instruction",
    "text file busy",
    "file too large",
    "too many open files",
    "disk quota exceeded",
    "operation not permitted",
    ": not a directory",
    ": is a directory",
    "directory not empty",
    ": file exists",
    "resource temporarily unavailable",
    "transport endpoint is not connected",
    "invalid cross-device link",
    "no such device",
    "no such process",
    "socket is not connected",
    // Final messages of tools.
    "could not resolve host",
    "couldn't resolve host",
    "unable to resolve host",
    "failed to connect to",
    "returned error: ",
    "ssl certificate problem",
    "certificate verify failed",
    "host key verification failed",
    "no matching host key",
    "kex_exchange_identification",
    "lost connection",
    "no secret key",
    "no public key",
    "bad decrypt",
    "decryption failed",
    "bad passphrase",
    "unbound variable",
    "syntax error near",
    "syntax error at",
    "no such file or folder",
    "in @inc",
    "npm err! code",
    "make: *** ",
    "make[1]: *** ",
    "not a git repository",
    "could not read from remote repository",
    "repository not found",
    "pull access denied",
    "errimagepull",
    "imagepullbackoff",
    "crashloopbackoff",
    "manifest unknown",
    "got error: ",
    "error: query failed",
    "cannot find zipfile directory",
    "end-of-central-directory signature not found",
    "not in gzip format",
    "unexpected token",
    "bad interpreter",
    "cannot execute binary file",
    "alreadyexists",
    "accessdenied",
    "nosuchbucket",
    "nosuchkey",
    "expiredtoken",
    "econnrefused",
    "econnreset",
    "etimedout",
    "enotfound",
    "enoent",
    "enospc",
    "eacces",
    "eaddrinuse",
    "login incorrect",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway timeout",
    "too many connections",
    "too many clients",
    // Phrases in other languages.
    "zugriff verweigert",
    "keine berechtigung",
    "datei nicht gefunden",
    "nicht gefunden",
    "nicht finden",
    "kein speicherplatz",
    "kein platz",
    "nicht genügend speicher",
    "festplatte voll",
    "datenträger voll",
    "verbindung abgelehnt",
    "verbindung verweigert",
    "verbindungsaufbau abgelehnt",
    "zeitüberschreitung",
    "anmeldung fehlgeschlagen",
    "permission non accordée",
    "permission refusée",
    "accès refusé",
    "aucun fichier",
    "aucun espace",
    "espace insuffisant",
    "fichier introuvable",
    "introuvable",
    "connexion refusée",
    "connexion a échoué",
    "délai d'attente",
    "délai dépassé",
    "commande introuvable",
    "acceso denegado",
    "permiso denegado",
    "no existe",
    "no se encuentra",
    "no se encontró",
    "no se puede encontrar",
    "no queda espacio",
    "espacio insuficiente",
    "conexión rechazada",
    "conexión rehusada",
    "tiempo de espera",
    "orden no encontrada",
    "acesso negado",
    "permissão negada",
    "arquivo ou diretório",
    "ficheiro ou diretório",
    "não encontrado",
    "não foi possível encontrar",
    "não há espaço",
    "espaço insuficiente",
    "conexão recusada",
    "ligação recusada",
    "tempo limite",
    "senha inválida",
    "comando não encontrado",
    "não existe",
    "accesso negato",
    "permesso negato",
    "autorizzazione negata",
    "non esiste",
    "non trovato",
    "impossibile trovare",
    "spazio esaurito",
    "connessione rifiutata",
    "toegang geweigerd",
    "toestemming geweigerd",
    "bestaat niet",
    "niet gevonden",
    "verbinding geweigerd",
    "odmowa dostępu",
    "brak dostępu",
    "nie istnieje",
    "nie znaleziono",
    "odmowa połączenia",
    "existiert nicht",
    "nicht vorhanden",
    "n'existe pas",
    "inexistant",
    "見つかりません",
    "存在しません",
    "拒否されました",
    "不存在",
    "找不到",
    "拒绝访问",
    "权限不够",
    "no such host",
    "nodename nor servname",
    "no address associated with hostname",
    "getaddrinfo failed",
    "context deadline exceeded",
    "rdbms failure",
    "rdbms error",
    "abend=",
    "system completion code",
    "exceeded the maximum run",
    "exceeded the maximum time",
    "exceeded the maximum execution",
    "exceeded the maximum duration",
    "exceeded maximum run",
    "exceeded maximum execution",
    "exceeded its time limit",
    "exceeded the time limit",
    "longer than specified deadline",
    "deadlineexceeded",
    "nodes are available: ",
    "panicked at ",
    "parameter not set",
    "parameter null or not set",
    "bad crc",
    "bad zipfile offset",
    "bad magic number",
    "|tdie|tdie_",
    "cancelled due to time limit",
    "canceled due to time limit",
];

/// Prefixes and parts of words that imply nothing by themselves, but occur in lines that may name a cause.
const HINTS: &[&str] = &[
    "exception",
    "error",
    "fatal",
    "traceback",
    "ora-",
    "kill",
    "failed",
    "failure",
    "curl:",
    "panic",
    "msg ",
    "twarn_",
    "sqlstate",
    "terminat",
    "abort",
    "echec",
    "échec",
    "fehler",
    "erreur",
    "erro:",
    "errore",
    "fout:",
    "błąd",
    "エラー",
    "错误",
    "succeeded",
    "recovered",
    "reconnected",
    "re-established",
    "reestablished",
    "restored",
    "rejected",
    "skipped",
    "attempt",
    "retry",
    "to standby",
    "to the standby",
    "to replica",
    "to the replica",
    "to secondary",
    "to the secondary",
];

/// Written before the number of an HTTP status that begins with 4 or 5.
const BEFORE_STATUS: &[&str] = &[
    "http ",
    "http/1.0 ",
    "http/1.1 ",
    "http/2 ",
    "http/2.0 ",
    "status code: ",
    "statuscode: ",
    "status code ",
    "status code=",
    "response code: ",
    "response code ",
    "status=",
    "status: ",
    "http status ",
];

/// Words for running things, and words for their outcome.
const RUNNING: &[&str] = &[
    "job",
    "subjob",
    "task",
    "step",
    "process",
    "pipeline",
    "workflow",
    "flow",
    "execution",
    "run",
    "command",
    "script",
    "application",
    "app",
    "program",
    "plan",
    "stage",
    "load",
    "import",
    "export",
    "transfer",
    "call",
    "container",
];
const ENDED: &[&str] = &[
    "failed",
    "failure",
    "failing",
    "aborted",
    "ended",
    "terminated",
    "exited",
    "finished",
    "stopped",
    "cancelled",
    "canceled",
    "fails",
    "stops",
];

/// Maximum number of words of a label such as `PHP Fatal error`.
const LABEL_WORDS_MAX: usize = 3;

/// Maximum number of words of a line that states only an outcome.
const OUTCOME_WORDS_MAX: usize = 8;

static PHRASES: LazyLock<(AhoCorasick, Vec<Kind>)> = LazyLock::new(|| {
    let lists = [
        (COVERS, Kind::Cover),
        (AFTERMATH, Kind::Aftermath),
        (SOFT, Kind::Soft),
        (WRAPPERS, Kind::Wrapper),
        (TELLING, Kind::Telling),
        (STRONG, Kind::Strong),
        (HINTS, Kind::Hint),
    ];
    let kinds = lists.iter().flat_map(|(phrases, kind)| phrases.iter().map(|_| *kind)).collect();
    (automaton_of(lists.iter().flat_map(|(phrases, _)| phrases.iter())), kinds)
});

/// The phrases that make a line below WARN worth reading.
static SIGNS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton_of(STRONG.iter().chain(HINTS)));

/// Builds the automaton as a DFA: every message of a log is searched, and there are few phrases.
fn automaton_of<'a>(phrases: impl Iterator<Item = &'a &'a str>) -> AhoCorasick {
    let mut builder = AhoCorasickBuilder::new();
    builder.ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA));
    builder.build(phrases).expect("the phrases are few")
}

/// True if a text contains a phrase or hint. Without one, only exceptions and codes can be telling.
pub(crate) fn has_phrase(text: &str) -> bool {
    PHRASES.0.is_match(text)
}

/// True if a text may be one that hardly ever occurs without a failure.
pub(crate) fn has_sign(text: &str) -> bool {
    SIGNS.is_match(text)
}

/// The properties of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineWeight {
    pub(super) weight: Weight,
    /// True if such a text hardly ever occurs without a failure.
    pub(super) is_strong: bool,
}

/// Returns how specific a line is.
pub(super) fn weigh(line: &str) -> LineWeight {
    let line = line.trim();
    match without_label(line) {
        Some(rest) => {
            let weighed = weigh_plain(rest);
            let has_words = !is_of_numbers(rest);
            // A text that a program labels as an error is telling, unless it states only that something failed, or is a
            // number or time.
            match weighed.weight {
                Weight::Plain if !has_words && rest.contains([':', '-', '/']) => {
                    LineWeight { weight: Weight::Wrapper, is_strong: false }
                }
                Weight::Plain if !has_words => weighed,
                weight if weight >= Weight::Plain => LineWeight { weight: Weight::Telling, is_strong: true },
                _ => weighed,
            }
        }
        None => weigh_plain(line),
    }
}

/// Removes the label of `Error: …`, `ORA-20001: …`.
fn without_label(line: &str) -> Option<&str> {
    const LABELS: [&str; 8] =
        ["Error: ", "error: ", "ERROR: ", "FATAL: ", "fatal: ", "Error = ", "Fatal error: ", "Description: "];
    let line = without_program(line.trim_start_matches(['│', '|', ' ']));
    // The numbers reserved for applications.
    let of_application = line.strip_prefix("ORA-20").and_then(|rest| rest.split_once(": ")).map(|(_, rest)| rest);
    let labelled = LABELS.iter().find_map(|label| line.strip_prefix(label)).or(of_application);
    labelled.or_else(|| without_long_label(line)).map(str::trim_start)
}

/// Removes the label of `rsync error: …`, `PHP Fatal error:  …`, `error (at a.json:1): …`. The text after such a label
/// is a sentence.
fn without_long_label(line: &str) -> Option<&str> {
    let (label, rest) = line.split_once(": ")?;
    let label = label.to_ascii_lowercase();
    let is_label = label.ends_with(" error") && label.split(' ').count() <= LABEL_WORDS_MAX
        || label.starts_with("error (") && label.ends_with(')');
    (is_label && words_of(rest).nth(1).is_some()).then_some(rest)
}

/// `0.0123`, `2026-11-28 02:00:04.33`, `11/28/2026 2:00:04 AM`: numbers and their separators.
fn is_of_numbers(text: &str) -> bool {
    !text.contains(|c: char| c.is_alphabetic() && !"TZAPM".contains(c))
}

/// True for a text that only introduces a cause: `Job aborted due to stage failure`.
pub(super) fn is_cover(text: &str) -> bool {
    kinds_in(text)[Kind::Cover as usize]
}

/// Removes the name of the program from `mysqlimport: Error: 1406, …`.
fn without_program(line: &str) -> &str {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || matches!(c, '/' | '.'))
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
    };
    line.split_once(": ").filter(|(name, _)| is_name(name)).map_or(line, |(_, rest)| rest)
}

fn weigh_plain(line: &str) -> LineWeight {
    let of = |weight| LineWeight { weight, is_strong: false };
    let bare = line.trim_matches(['[', ']', '(', ')', '<', '>']).to_ascii_lowercase();
    if !line.contains(|c: char| c.is_alphanumeric())
        || ["null", "none", "undefined", "0, ''", "0, \"\""].contains(&bare.as_str())
    {
        return of(Weight::Empty);
    }
    let found = kinds_in(line);
    let has = |kind: Kind| found[kind as usize];
    let is_strong = has(Kind::Strong) || has_code(line);
    if has(Kind::Cover) || is_command_of_shell(line) {
        of(Weight::Wrapper)
    } else if has(Kind::Aftermath) || is_skipped_row(line) {
        of(Weight::Aftermath)
    } else if is_strong || has(Kind::Telling) || has_status(line) {
        LineWeight { weight: Weight::Telling, is_strong }
    } else if has(Kind::Soft) {
        of(Weight::Aftermath)
    } else if line.contains("code 137") {
        // Killed, usually because of its memory: no other message states this.
        of(Weight::Plain)
    } else if has(Kind::Wrapper) || is_only_outcome(line) || is_status_of_shell(line) {
        of(Weight::Wrapper)
    } else {
        of(Weight::Plain)
    }
}

/// Returns the kinds of the phrases in a line. A phrase within a longer one does not count: `unexpected error` implies
/// nothing.
fn kinds_in(line: &str) -> [bool; KINDS] {
    let (automaton, kinds) = &*PHRASES;
    let starts_a_word = |hit: &Match| {
        !line[..hit.start()].ends_with(|c: char| c.is_ascii_alphanumeric())
            || !line.as_bytes()[hit.start()].is_ascii_alphanumeric()
    };
    let mut hits: Vec<Match> = automaton.find_overlapping_iter(line).filter(starts_a_word).collect();
    hits.sort_unstable_by_key(|hit| (hit.start(), Reverse(hit.end())));
    let (mut found, mut widest) = ([false; KINDS], 0..0);
    for hit in hits {
        if hit.end() > widest.end || hit.range() == widest {
            found[kinds[hit.pattern().as_usize()] as usize] = true;
            widest = hit.range();
        }
    }
    found
}

/// `row 12 skipped: no date`: the run continued without the row. Exceeding a limit of such rows ends the run.
fn is_skipped_row(line: &str) -> bool {
    const ROWS: [&str; 6] = ["row", "rows", "record", "records", "line", "lines"];
    const LEFT_OUT: [&str; 4] = ["skipped", "rejected", "discarded", "dropped"];
    const ENDS: [&str; 13] = [
        "limit",
        "maximum",
        "max",
        "threshold",
        "many",
        "more",
        "most",
        "allowed",
        "abort",
        "aborted",
        "failed",
        "stops",
        "stopped",
    ];
    let is_in = |list: &[&str]| words_of(line).any(|word| list.contains(&word.to_ascii_lowercase().as_str()));
    is_in(&LEFT_OUT) && is_in(&ROWS) && !is_in(&ENDS)
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// True for `403 Forbidden`, `HTTP 500`: a status with nothing but its name.
pub(super) fn is_only_status(line: &str) -> bool {
    let mut words = words_of(line).skip_while(|word| {
        ["http", "status", "code", "1", "0", "2", "error"].contains(&word.to_ascii_lowercase().as_str())
    });
    let is_status = words.next().is_some_and(|word| {
        word.len() == 3 && word.starts_with(['4', '5']) && word.bytes().all(|byte| byte.is_ascii_digit())
    });
    is_status && words.count() <= 3 && line.len() <= 40
}

/// `exit 1`, `rc=6`, `+ exit 255`: the status of a shell.
fn is_status_of_shell(line: &str) -> bool {
    let mut words = words_of(line);
    let is_named =
        words.next().is_some_and(|word| matches!(word.to_ascii_lowercase().as_str(), "exit" | "rc" | "status"));
    is_named
        && words.next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        && words.next().is_none()
}

/// `+ cd /opt/jobs`, `++ date`: a command that a shell prints before it runs.
fn is_command_of_shell(line: &str) -> bool {
    let rest = line.trim_start_matches('+');
    rest.len() < line.len() && rest.strip_prefix(' ').is_some_and(|command| command.starts_with(char::is_alphabetic))
}

/// `Job nightly failed`, `Load of orders failed, code 99`: a running thing, its outcome, and little else.
fn is_only_outcome(line: &str) -> bool {
    let words = || words_of(line);
    let is_in = |list: &[&str]| words().any(|word| list.contains(&word.to_ascii_lowercase().as_str()));
    words().count() <= OUTCOME_WORDS_MAX && is_in(ENDED) && (is_in(RUNNING) || words().count() <= 3)
}

/// A code of a driver or service: `ORA-00942`, `SQL0204N:`, `REQUEST_LIMIT_EXCEEDED:`, `[TABLE_NOT_FOUND]`,
/// `ERROR 1146 (42S02)`, `ERROR:  relation …`, `550 Permission denied`, `[Error 10004]`, `Error in f(x) : …`.
fn has_code(line: &str) -> bool {
    let begins_with_status = line.len() > 4 && {
        let bytes = line.as_bytes();
        matches!(bytes[0], b'4' | b'5')
            && bytes[1..3].iter().all(u8::is_ascii_digit)
            && bytes[3] == b' '
            && bytes[4].is_ascii_uppercase()
    };
    let of_mysql = line.strip_prefix("ERROR ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let of_postgresql = ["ERROR:  ", "FATAL:  ", "PANIC:  "].iter().any(|word| line.contains(word));
    let of_hive = line.match_indices("[Error ").any(|(start, label)| {
        let number = line[start + label.len()..].split_once(']').map_or("", |(number, _)| number);
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let of_r = line.starts_with("Error in ") && (line.contains(" : ") || line.ends_with(" :"));
    begins_with_status || of_mysql || of_postgresql || of_hive || of_r || tokens(line).any(is_code)
}

/// Returns the words of a line, each with the character before it and the text after it.
fn tokens(line: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    line.split(move |c: char| !is_part(c)).filter(|token| token.len() >= 5).map(move |token| {
        let start = token.as_ptr() as usize - line.as_ptr() as usize;
        (&line[..start], token, &line[start + token.len()..])
    })
}

fn is_code((before, token, after): (&str, &str, &str)) -> bool {
    let letters = token.bytes().take_while(u8::is_ascii_uppercase).count();
    let rest = &token[letters..];
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let is_set_off = after.starts_with(':') || (before.ends_with('[') && after.starts_with(']'));
    let with_dash = rest.strip_prefix('-').is_some_and(|rest| digits(rest) >= 3 && digits(rest) == rest.len());
    let without = digits(rest) >= 3 && rest.len() <= digits(rest) + 1;
    let of_words = token.contains('_') && token.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    // A name in capitals in brackets within a sentence is not a code.
    let is_name_of_error =
        of_words && (after.starts_with(':') || matches!(before.trim_start(), "[") || before.ends_with(": ["));
    letters >= 2 && (with_dash && (is_set_off || after.starts_with(',')) || is_set_off && without || is_name_of_error)
}

/// `HTTP 401`, `Status Code: 503`.
fn has_status(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    BEFORE_STATUS.iter().any(|before| {
        lower.match_indices(before).any(|(start, _)| {
            let number = &lower.as_bytes()[start + before.len()..];
            number.len() >= 3 && matches!(number[0], b'4' | b'5') && number[1..3].iter().all(u8::is_ascii_digit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Weight, lines: &[&str]) {
        for line in lines {
            assert_eq!(weigh(line).weight, expected, "{line}");
        }
    }

    #[test]
    fn lines_that_say_nothing() {
        check(Weight::Empty, &["", "  ", "null", "---"]);
    }

    #[test]
    fn lines_that_say_only_that_something_failed() {
        check(
            Weight::Wrapper,
            &[
                "Exception in component tDBInput_1 (invalid_orders)",
                "Process exited with code 1",
                "Job nightly_orders ended with exit code 4",
                "Load of orders failed, code 99",
                "ORA-06512: at line 1",
                "failed",
            ],
        );
    }

    #[test]
    fn what_follows_a_label_is_weighed_without_it() {
        check(
            Weight::Wrapper,
            &[
                "ERROR: script failed at line 3",
                "Error: An error has occurred",
                "Unexpected error",
                "exit 1",
                "+ rc=6",
                "+ cd /opt/timeout",
            ],
        );
        check(Weight::Telling, &["Error: no module for it", "│ Error: creating a bucket", "ORA-20001: no price"]);
        check(Weight::Wrapper, &["ORA-20001: load of STOCK failed"]);
        check(
            Weight::Telling,
            &[
                "jq: error (at response.json:1): it holds a number",
                "rsync error: some files vanished",
                "PHP Fatal error:  the price is no number in /opt/feed.php on line 88",
            ],
        );
        check(Weight::Wrapper, &["Error: 2026-11-28 02:00:04.33", "ERROR: 11/28/2026 2:00 AM"]);
        check(Weight::Plain, &["Mean squared error: 0.0123", "Error: 1205"]);
    }

    #[test]
    fn what_a_shell_or_a_server_of_builds_does_without_is_no_cause() {
        check(
            Weight::Aftermath,
            &[
                "./run.sh: line 3: ulimit: open files: cannot modify limit: Operation not permitted",
                "/opt/run.sh: fork: retry: Resource temporarily unavailable",
            ],
        );
        check(Weight::Telling, &["/opt/run.sh: fork: Resource temporarily unavailable"]);
        check(Weight::Wrapper, &["[Pipeline] End of Pipeline", "[Pipeline] sh"]);
    }

    #[test]
    fn a_name_in_capitals_within_a_sentence_is_no_code() {
        check(Weight::Plain, &["TM_6109 : partition [SQ_STOCK]: it stopped there at once"]);
    }

    #[test]
    fn rows_that_are_left_out_are_survived_up_to_a_limit() {
        check(Weight::Aftermath, &["row 12 skipped: invalid date", "record 7 rejected: no key"]);
        check(Weight::Telling, &["too many rows rejected", "reject limit exceeded: 101 rows were skipped"]);
    }

    #[test]
    fn lines_about_what_follows_from_an_error_or_was_survived() {
        check(
            Weight::Aftermath,
            &[
                "Connection is already closed",
                "connect timed out; retrying in 2 s",
                "Unable to read it: Operation canceled.",
            ],
        );
    }

    #[test]
    fn lines_that_say_what_went_wrong() {
        check(
            Weight::Telling,
            &[
                "ORA-00942: table or view does not exist",
                "ORA-12514, TNS:listener",
                "SQL0204N: it is a name",
                "[UNRESOLVED_ROUTINE] a function",
                "HTTP/1.1 503 x",
                "550 Permission",
                "open: permission denied",
                "Error in eval(expr, envir) : it is 12",
                "FAILED: SemanticException [Error 10004]: Line 1:7 column 'a'",
                "mysqlimport: Error: 1406, row 81",
                "dial tcp: lookup a on 10.0.0.2:53: no such host",
                "IEF450I A STEP010 - ABEND=S0C7 U0000",
                "UTY8713 RDBMS failure, 3523: the user",
                "Task exceeded the maximum run time of 7200 s",
                "ERROR 1146 (42S02) at line 4",
            ],
        );
    }

    #[test]
    fn nothing_is_known_of_other_lines() {
        check(Weight::Plain, &["12 of 40 shops", "14 rows", "the subtimeouts", "part A-4711", "HTTP 200"]);
    }
}
