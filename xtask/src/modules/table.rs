//! The modules of each crate, from the top, and those that each may use.
//!
//! A module is a folder of `src`, together with the file of the same name, or a file of `src`. [`ROOT_FILES`] stands for
//! all files of `src` that are not listed.

/// A crate, its modules from the top, and those below that each may use.
pub(crate) struct Plan {
    pub(crate) krate: &'static str,
    pub(crate) modules: &'static [(&'static str, &'static [&'static str])],
}

/// The files of `src` itself.
pub(crate) const ROOT_FILES: &str = "src";

/// The plan of each crate.
pub(crate) const PLANS: [Plan; 8] = [
    Plan { krate: "model", modules: &[("wire", &[ROOT_FILES]), (ROOT_FILES, &[])] },
    Plan {
        krate: "server",
        modules: &[
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
    Plan {
        krate: "store",
        modules: &[
            (
                "store",
                &[
                    "maintain",
                    "page",
                    "ingest",
                    "parts",
                    "supervise",
                    "node_metrics",
                    "core",
                    "objects",
                    "catalog",
                    "background_threads",
                    "settings",
                    "simulation",
                    "failpoint",
                    "error",
                ],
            ),
            (
                "maintain",
                &[
                    "page",
                    "ingest",
                    "log",
                    "tables",
                    "parts",
                    "supervise",
                    "core",
                    "segment",
                    "objects",
                    "catalog",
                    "cpu",
                    "failpoint",
                    "planted",
                    "secret",
                    "limits",
                    "error",
                ],
            ),
            (
                "page",
                &[
                    "log", "tables", "parts", "core", "segment", "objects", "catalog", "cpu", "planted", "secret",
                    "limits", "error",
                ],
            ),
            (
                "ingest",
                &[
                    "log",
                    "tables",
                    "parts",
                    "core",
                    "segment",
                    "objects",
                    "catalog",
                    "failpoint",
                    "planted",
                    "secret",
                    "limits",
                    "error",
                ],
            ),
            ("query", &["parts", "core", "segment", "catalog", "limits", "error"]),
            ("log", &["tables", "parts", "core", "segment", "catalog", "cpu", "planted", "limits", "error"]),
            ("tables", &["parts", "core", "catalog", "failpoint", "planted", "secret", "limits", "error"]),
            ("parts", &["core"]),
            ("supervise", &["background_threads", "limits"]),
            ("node_metrics", &["objects", "catalog"]),
            (
                "core",
                &[
                    "segment",
                    "objects",
                    "catalog",
                    "cpu",
                    "background_threads",
                    "permissions",
                    "settings",
                    "simulation",
                    "error",
                ],
            ),
            ("segment", &["objects", "catalog", "cpu", "planted", "limits", "error"]),
            ("objects", &["catalog", "permissions", "settings", "simulation", "planted", "limits", "error"]),
            ("catalog", &["permissions", "simulation", "planted", "limits", "error"]),
            ("cpu", &["background_threads", "limits", "error"]),
            ("background_threads", &["limits", "error"]),
            ("permissions", &[]),
            ("settings", &[]),
            ("simulation", &[]),
            ("failpoint", &[]),
            ("planted", &[]),
            ("secret", &[]),
            ("limits", &[]),
            ("error", &[]),
        ],
    },
    Plan {
        krate: "client",
        modules: &[
            ("pages", &["api", "transport", "error"]),
            ("api", &["transport", "error"]),
            ("transport", &["error"]),
            ("error", &[]),
        ],
    },
    Plan {
        krate: "analysis",
        modules: &[
            ("report", &["summary", "patterns", "stack_trace"]),
            ("summary", &["headline", "patterns", "stack_trace", "first_line", "mask", "occurrences", "stable_id"]),
            ("headline", &["stack_trace"]),
            ("patterns", &["stack_trace", "first_line", "mask", "occurrences", "stable_id"]),
            ("stack_trace", &["mask", "occurrences", "stable_id"]),
            ("first_line", &[]),
            ("mask", &[]),
            ("occurrences", &[]),
            ("stable_id", &[]),
        ],
    },
    Plan {
        krate: "sql",
        modules: &[
            ("render", &["engine", "error"]),
            ("engine", &["limits", "tables", "functions", "error"]),
            ("limits", &["tables", "functions", "error"]),
            ("tables", &["functions", "error"]),
            ("functions", &["error"]),
            ("error", &[]),
        ],
    },
    Plan {
        krate: "collector",
        modules: &[
            ("collect", &["fetch", "workers", "shutdown", "glob"]),
            ("fetch", &[]),
            ("deliver", &["settings", "workers", "shutdown", "signature", "glob"]),
            ("alerts", &["signature", "glob"]),
            ("settings", &[]),
            ("workers", &[]),
            ("shutdown", &[]),
            ("signature", &[]),
            ("glob", &[]),
        ],
    },
    Plan {
        krate: "cli",
        modules: &[
            ("main", &["command", "render", "stop", "memory", "exit"]),
            ("command", &["background", "settings", "arguments", "render", "admin_token", "stop", "exit", "system"]),
            ("background", &["settings", "render", "system"]),
            ("settings", &["arguments", "exit", "system"]),
            ("arguments", &["render", "admin_token", "exit", "system"]),
            ("render", &["exit"]),
            ("admin_token", &["exit"]),
            ("stop", &["exit"]),
            ("memory", &[]),
            ("exit", &[]),
            ("system", &[]),
        ],
    },
];
