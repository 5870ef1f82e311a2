//! Who may name whom. The rooms of ARCHITECTURE.md, held against each `Cargo.toml`.

use std::path::Path;

use anyhow::{Context, Result};

/// Each crate of ours, and the crates of ours that it may name.
const ROOMS: [(&str, &[&str]); 8] = [
    ("model", &[]),
    ("store", &["model"]),
    ("client", &["model"]),
    ("collector", &["analysis", "client", "store", "model"]),
    ("analysis", &["store", "model"]),
    ("sql", &["store", "model"]),
    ("server", &["analysis", "sql", "store", "model"]),
    ("cli", &["server", "collector", "analysis", "sql", "client", "store", "model"]),
];

/// Libraries that only some rooms may name, because they are what the room hides (or what is slow to build).
const HIDDEN: [(&str, &[&str]); 20] = [
    ("sqlx", &["store"]),
    ("sqlx-macros", &["store"]),
    ("object_store", &["store"]),
    ("parquet", &["store", "sql"]),
    ("arrow-array", &["store"]),
    ("datafusion", &["sql"]),
    ("reqwest", &["client", "collector", "server"]),
    ("csv", &["server"]),
    ("utoipa-axum", &["server"]),
    ("hyper-util", &["server"]),
    ("opentelemetry-proto", &["server", "collector"]),
    ("prost", &["server", "collector"]),
    ("rustls", &["server"]),
    ("rust-embed", &["server"]),
    ("prometheus-client", &["server"]),
    ("axum", &["server"]),
    ("axum-server", &["server"]),
    ("jsonwebtoken", &["server"]),
    ("clap", &["cli"]),
    ("syn", &[]),
];

/// Every line of a `Cargo.toml` that breaks the plan, as a sentence. Tests of a crate may use what they like.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = unknown_rooms(root)?;
    for (room, may_name) in ROOMS {
        let dependencies = dependencies(&root.join("crates").join(room).join("Cargo.toml"))?;
        found.extend(breaks(room, may_name, &dependencies));
    }
    Ok(found)
}

fn breaks(room: &str, may_name: &[&str], dependencies: &[String]) -> Vec<String> {
    let forbidden = |dependency: &str| match dependency.strip_prefix("runlog-") {
        Some(ours) => !may_name.contains(&ours),
        None => HIDDEN.iter().any(|(library, rooms)| *library == dependency && !rooms.contains(&room)),
    };
    dependencies
        .iter()
        .filter(|dependency| forbidden(dependency))
        .map(|dependency| {
            format!("crates/{room}/Cargo.toml: runlog-{room} may not name {dependency}; see ARCHITECTURE.md")
        })
        .collect()
}

fn unknown_rooms(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).context("cannot list crates/")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !ROOMS.iter().any(|(room, _)| *room == name) {
            found.push(format!("crates/{name}: no such room in xtask/src/layers.rs; give it a place there"));
        }
    }
    Ok(found)
}

fn dependencies(manifest: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("cannot parse {}", manifest.display()))?;
    let tables = ["dependencies", "build-dependencies"];
    let names = tables.iter().filter_map(|name| table.get(*name)?.as_table()).flat_map(|table| table.keys().cloned());
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_names_only_the_crates_it_may() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_client_that_names_the_store_is_found() {
        let dependencies = ["runlog-model", "runlog-store", "sqlx", "reqwest"].map(str::to_owned);
        let found = breaks("client", &["model"], &dependencies);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
