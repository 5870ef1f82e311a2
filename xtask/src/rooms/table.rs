//! The rooms of each crate, from the top, and the rooms that each may name.
//!
//! A room is a folder of `src`, with the file of the same name beside it, or a file of its own. [`ROOT_FILES`] stands for
//! all files of `src` that have no line.

/// A crate, its rooms from the top, and those below that each may name.
pub(crate) struct Plan {
    pub(crate) krate: &'static str,
    pub(crate) rooms: &'static [(&'static str, &'static [&'static str])],
}

/// The files of `src` itself.
pub(crate) const ROOT_FILES: &str = "src";

/// The crates whose rooms are held.
pub(crate) const PLANS: [Plan; 2] = [
    Plan { krate: "model", rooms: &[("wire", &[ROOT_FILES]), (ROOT_FILES, &[])] },
    Plan {
        krate: "server",
        rooms: &[
            ("serve", &["routes", "app", "settings", "auth", "http", "limits"]),
            ("routes", &["app", "ingest", "auth", "http", "metrics", "limits"]),
            ("app", &["settings", "ingest", "auth", "http", "metrics", "limits"]),
            ("settings", &["ingest", "http", "limits"]),
            ("ingest", &["auth", "http", "metrics", "limits"]),
            ("auth", &["http", "limits"]),
            ("http", &["metrics", "limits"]),
            ("metrics", &[]),
            ("limits", &[]),
        ],
    },
];
