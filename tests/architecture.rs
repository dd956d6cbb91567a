//! Which crate may use which, and the versions that move in lock step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Result, repository};

/// The crates of the workspace that each of them uses: those above it, in the order of the imports. The root package,
/// `retort`, may use all of them.
const EDGES: [(&str, &[&str]); 9] = [
    ("retort-schemas", &[]),
    ("retort-cache", &["retort-schemas"]),
    ("retort-pixels", &[]),
    ("retort-sql", &["retort-schemas", "retort-cache"]),
    ("retort-ingest", &["retort-schemas", "retort-cache", "retort-pixels"]),
    ("retort-nn", &["retort-pixels"]),
    ("retort-teachers", &["retort-schemas", "retort-cache", "retort-nn"]),
    ("retort-trainer", &["retort-schemas", "retort-cache", "retort-nn"]),
    ("retort-report", &["retort-schemas", "retort-cache", "retort-pixels"]),
];

/// These meet on disk only: not even their tests may use one another.
const APART: [&str; 3] = ["retort-ingest", "retort-teachers", "retort-trainer"];

/// Large dependencies and the only packages that may name them.
const CONFINED: [(&str, &[&str]); 4] = [
    ("datafusion", &["retort-sql"]),
    ("ureq", &["retort-teachers"]),
    ("tch", &["retort-nn", "retort-teachers", "retort-trainer", "retort"]),
    ("torch-sys", &["retort-nn", "retort-teachers", "retort-trainer", "retort"]),
];

/// Of these the whole build has one version, which starts like this. A second arrow has types of its own; a second
/// torch-sys, a libtorch of its own.
const SINGLE: [(&str, &str); 6] = [
    ("arrow", "59."),
    ("parquet", "59."),
    ("datafusion", "55."),
    ("object_store", ""),
    ("tch", "0.24.0"),
    ("torch-sys", "0.24.0"),
];

/// A dependency as a manifest states it.
struct Dependency {
    name: String,
    /// `normal`, `dev` or `build`.
    kind: String,
    requirement: String,
    optional: bool,
}

/// What the manifests of the workspace say, by package.
fn manifests() -> Result<BTreeMap<String, Vec<Dependency>>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let dependency = |value: &Value| {
        Some(Dependency {
            name: text(value, "name")?,
            kind: text(value, "kind").unwrap_or("normal".to_owned()),
            requirement: text(value, "req")?,
            optional: value["optional"].as_bool()?,
        })
    };
    let package = |value: &Value| {
        let dependencies = value["dependencies"].as_array()?.iter().map(dependency).collect::<Option<_>>()?;
        Some((text(value, "name")?, dependencies))
    };
    let packages = metadata["packages"].as_array().into_iter().flatten().map(package);
    Ok(packages.collect::<Option<_>>().ok_or("cargo metadata has another form than expected")?)
}

#[test]
fn crates_use_those_above_them_and_no_others() -> Result {
    let manifests = manifests()?;
    let ours: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = manifests.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = ours.iter().copied().chain(["retort"]).collect();
    assert_eq!(found, expected, "the packages of the workspace; a new one needs its line in EDGES");
    for (name, allowed) in EDGES {
        let used = manifests[name].iter().filter(|used| used.kind == "normal" && ours.contains(used.name.as_str()));
        let used: BTreeSet<&str> = used.map(|used| used.name.as_str()).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let forbidden: Vec<_> = used.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{name} uses {forbidden:?}; it may use {allowed:?} only");
        let unused: Vec<_> = allowed.difference(&used).collect();
        assert!(unused.is_empty(), "{name} no longer uses {unused:?}: take the edge out of EDGES");
    }
    Ok(())
}

#[test]
fn ingest_teachers_and_trainer_never_see_each_other() -> Result {
    let manifests = manifests()?;
    for name in APART {
        for used in &manifests[name] {
            let apart = APART.contains(&used.name.as_str());
            assert!(!apart, "{name} uses {} ({}): they may meet on disk only", used.name, used.kind);
        }
    }
    Ok(())
}

#[test]
fn datafusion_torch_and_the_network_stay_where_they_belong() -> Result {
    let manifests = manifests()?;
    for (confined, allowed) in CONFINED {
        let uses = |name: &str| manifests[name].iter().any(|used| used.name == confined);
        let users: BTreeSet<&str> = manifests.keys().map(String::as_str).filter(|name| uses(name)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert_eq!(users, allowed, "the packages that name {confined}");
    }
    // Without the feature `torch` the binary is built where there is no libtorch.
    for used in ["tch", "torch-sys", "retort-teachers", "retort-trainer"] {
        let found = manifests["retort"].iter().filter(|dependency| dependency.name == used);
        for dependency in found {
            assert!(dependency.optional, "retort needs {used} ({}) even without the feature torch", dependency.kind);
        }
    }
    Ok(())
}

#[test]
fn tch_is_held_at_the_version_of_its_libtorch() -> Result {
    for (package, dependencies) in manifests()? {
        for dependency in dependencies.iter().filter(|used| ["tch", "torch-sys"].contains(&used.name.as_str())) {
            assert_eq!(dependency.requirement, "=0.24.0", "what {package} asks of {}", dependency.name);
        }
    }
    Ok(())
}

#[test]
fn the_lock_file_has_one_of_each() -> Result {
    let lock = fs::read_to_string(repository().join("Cargo.lock"))?;
    let value =
        |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned());
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let find = |key: &str| package.lines().find_map(|line| value(line, key));
        let (name, version) = find("name").zip(find("version")).ok_or("a package without name and version")?;
        versions.entry(name).or_default().push(version);
    }
    for (name, start) in SINGLE {
        let found = versions.get(name).ok_or_else(|| format!("Cargo.lock has no {name}"))?;
        assert_eq!(found.len(), 1, "Cargo.lock has {name} {found:?}, expected one version");
        assert!(found[0].starts_with(start), "Cargo.lock has {name} {}, expected {start}", found[0]);
    }
    Ok(())
}
