//! What libraries the program is built from: `deny.toml`, held against the locked dependencies without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, Licensee, ParseMode};

/// The parts of `deny.toml` that can be checked without a network.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version that may be built in addition to a newer one of the same library.
#[derive(Deserialize)]
struct Skip {
    /// `name@version`; the version may be shortened after any dot.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

impl Skip {
    fn names(&self, package: &Package) -> bool {
        self.spec.split_once('@').is_some_and(|(name, version)| {
            let rest = package.version.strip_prefix(version);
            package.name == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// A library or a crate of the workspace, as reported by `cargo metadata`.
#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// None for a crate of the workspace.
    source: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

/// A message for each rule of `deny.toml` that a locked library violates, and for each library that a crate of the
/// workspace lists and does not use.
///
/// # Errors
///
/// If `deny.toml` cannot be read, or `cargo metadata` fails.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("cannot parse deny.toml")?;
    let packages = locked_packages(root)?;
    let mut found = licences(&deny, &packages)?;
    found.extend(duplicates(&deny, &packages));
    found.extend(sources(&packages));
    for package in packages.iter().filter(|package| package.source.is_none()) {
        found.extend(unused(root, package)?);
    }
    Ok(found)
}

fn locked_packages(root: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &target])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let Metadata { mut packages, resolve } = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let is_used: BTreeSet<_> = resolve.nodes.into_iter().map(|node| node.id).collect();
    packages.retain(|package| is_used.contains(&package.id));
    Ok(packages)
}

fn licences(deny: &Deny, packages: &[Package]) -> Result<Vec<String>> {
    let allowed = deny.licenses.allow.iter().map(|one| Licensee::parse(one)).collect::<Result<Vec<_>, _>>()?;
    let is_allowed = |required: &LicenseReq| allowed.iter().any(|licence| licence.satisfies(required));
    let mut found = Vec::new();
    for Package { name, version, license, .. } in packages {
        // Older manifests contain `MIT/Apache-2.0`, which this mode accepts.
        let text = license.as_deref().unwrap_or_default();
        let is_fine = Expression::parse_mode(text, ParseMode::LAX).is_ok_and(|it| it.evaluate(is_allowed));
        if !is_fine {
            found.push(format!("{name} {version} has the licence {text:?}, which deny.toml does not allow; remove it"));
        }
    }
    Ok(found)
}

fn duplicates(deny: &Deny, packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(package);
    }
    let mut found = Vec::new();
    for (name, packages) in versions.iter().filter(|(_, packages)| packages.len() > 1) {
        let rest = packages.iter().filter(|package| !deny.bans.skip.iter().any(|skip| skip.names(package)));
        if rest.count() > 1 {
            let all: Vec<_> = packages.iter().map(|package| package.version.as_str()).collect();
            found.push(format!(
                "{name} is built in the versions {}; align them, or give the reason under bans.skip in deny.toml",
                all.join(" and ")
            ));
        }
    }
    for skip in &deny.bans.skip {
        let is_twice = versions.values().any(|it| it.len() > 1 && it.iter().any(|package| skip.names(package)));
        if !is_twice {
            found.push(format!("deny.toml skips {} ({}), which is not built twice; remove it", skip.spec, skip.reason));
        }
    }
    found
}

fn sources(packages: &[Package]) -> Vec<String> {
    let foreign =
        packages.iter().filter(|it| it.source.as_ref().is_some_and(|source| !source.starts_with("registry+")));
    foreign.map(|package| format!("{} does not come from the package registry", package.name)).collect()
}

/// Libraries that `tests/simulation` lists only for their features, which programs and tests then have alike: see
/// `.ci/features`.
const FOR_FEATURES: [&str; 7] =
    ["ahash", "email_address", "hashbrown", "md-5", "num-bigint", "regex-automata", "simdutf8"];

/// A message for each library that a crate lists in its manifest and does not use in its code.
fn unused(root: &Path, package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().context("a manifest without a folder")?;
    let mut code = String::new();
    read_code(folder, &mut code)?;
    // Tests of one crate include files of the tests of another; those of the binary are at the root.
    for tests in ["tests", "crates/server/tests"] {
        read_code(&root.join(tests), &mut code)?;
    }
    // It compiles source files of other crates.
    if package.name == "interleavings" {
        read_code(&root.join("crates"), &mut code)?;
    }
    let words: BTreeSet<&str> = code.split(|it: char| !it.is_alphanumeric() && it != '_').collect();
    let names = package.dependencies.iter().map(|dependency| dependency.name.as_str()).collect::<BTreeSet<_>>();
    let is_for_features = |name: &str| package.name == "simulation" && FOR_FEATURES.contains(&name);
    let unused = names.into_iter().filter(|name| !words.contains(name.replace('-', "_").as_str()));
    let unused = unused.filter(|name| !is_for_features(name));
    Ok(unused
        .map(|name| format!("{} lists {name} in its Cargo.toml and does not use it; remove it", package.name))
        .collect())
}

fn read_code(folder: &Path, code: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            read_code(&path, code)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            code.push_str(&std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()),
            source: Some("registry+somewhere".to_owned()),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
        }
    }

    fn deny(skip: &str) -> Deny {
        toml::from_str(&format!("[licenses]\nallow = [\"MIT\"]\n[bans]\nskip = [{skip}]")).unwrap()
    }

    #[test]
    fn the_libraries_conform_to_deny_toml() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        let packages = [
            package("a", "1.0.0", "MIT OR GPL-3.0"),
            package("b", "1.0.0", "MIT AND GPL-3.0"),
            package("c", "1.0.0", ""),
        ];
        let found = licences(&deny(""), &packages).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b 1.0.0"), "{found:?}");
    }

    #[test]
    fn a_library_that_is_built_twice_is_found_and_so_is_an_outdated_reason() {
        let packages = [package("a", "0.9.1", "MIT"), package("a", "0.10.0", "MIT")];
        assert_eq!(duplicates(&deny(""), &packages).len(), 1);
        let skip = r#"{ crate = "a@0.9", reason = "b needs it" }"#;
        assert_eq!(duplicates(&deny(skip), &packages), Vec::<String>::new());
        assert_eq!(duplicates(&deny(skip), &packages[1..]).len(), 1);
    }
}
