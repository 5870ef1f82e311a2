//! The dependencies between crates that ARCHITECTURE.md allows, checked against each `Cargo.toml`.

use std::path::Path;

use anyhow::{Context, Result};

/// Each crate of the workspace, and those that it may use.
const CRATES: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("store", &["model"]),
    ("client", &["model"]),
    ("formats", &["model"]),
    ("collector", &["analysis", "client", "store", "model"]),
    ("analysis", &["store", "model"]),
    ("logql", &[]),
    ("sql", &["store", "model"]),
    ("mcp", &["analysis", "model"]),
    ("server", &["mcp", "analysis", "logql", "sql", "store", "model"]),
    ("cli", &["server", "mcp", "collector", "analysis", "sql", "client", "formats", "store", "model"]),
];

/// Libraries that only some crates may use, because these crates encapsulate them, or because they are slow to build.
const CONFINED: [(&str, &[&str]); 22] = [
    ("sqlx", &["store"]),
    ("sqlx-macros", &["store"]),
    ("object_store", &["store"]),
    ("parquet", &["store", "sql"]),
    ("arrow-array", &["store"]),
    ("datafusion", &["sql"]),
    ("reqwest", &["client", "collector", "server"]),
    ("csv", &["server", "formats", "cli"]),
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
    ("rmcp", &["mcp"]),
    ("schemars", &["mcp"]),
    ("clap", &["cli"]),
    ("syn", &[]),
];

/// A message for each dependency in a `Cargo.toml` that is not allowed. Dependencies of tests are not checked.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = unknown_crates(root)?;
    for (krate, allowed) in CRATES {
        let dependencies = dependencies(&root.join("crates").join(krate).join("Cargo.toml"))?;
        found.extend(forbidden(krate, allowed, &dependencies));
    }
    Ok(found)
}

fn forbidden(krate: &str, allowed: &[&str], dependencies: &[String]) -> Vec<String> {
    let is_forbidden = |dependency: &str| match dependency.strip_prefix("runlog-") {
        Some(ours) => !allowed.contains(&ours),
        None => CONFINED.iter().any(|(library, crates)| *library == dependency && !crates.contains(&krate)),
    };
    dependencies
        .iter()
        .filter(|dependency| is_forbidden(dependency))
        .map(|dependency| {
            format!("crates/{krate}/Cargo.toml: runlog-{krate} may not use {dependency}; see ARCHITECTURE.md")
        })
        .collect()
}

fn unknown_crates(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).context("cannot list crates/")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !CRATES.iter().any(|(krate, _)| *krate == name) {
            found.push(format!("crates/{name}: missing from the list of crates in xtask/src/layers.rs; add it"));
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
    fn each_crate_uses_only_the_crates_that_it_may() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_client_that_uses_the_store_is_found() {
        let dependencies = ["runlog-model", "runlog-store", "sqlx", "reqwest"].map(str::to_owned);
        let found = forbidden("client", &["model"], &dependencies);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
