//! Which crate may know which: the table of `src/README.md`, held against the manifests.

use toml::Table;

use crate::Finding;

/// A crate, where it lies, and which of our crates it may depend on. Tests may depend on more.
pub struct Layer {
    /// Name of the package.
    pub package: &'static str,
    /// Its folder, from the top.
    pub dir: &'static str,
    /// Our packages that it may depend on.
    pub may_use: &'static [&'static str],
    /// Whether it has to do without the standard library, and so without I/O, clocks and threads.
    pub no_std: bool,
}

const fn layer(package: &'static str, dir: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer { package, dir, may_use, no_std: false }
}

const fn pure(package: &'static str, dir: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer { package, dir, may_use, no_std: true }
}

/// Every crate of the workspace. An edge that is not here is a decision: make it here, and say why in the commit.
pub const LAYERS: &[Layer] = &[
    pure("larder-ring", "src/ring", &[]),
    pure("larder-store", "src/store", &[]),
    pure("larder-protocol", "src/protocol", &["larder-ring"]),
    pure("larder-engine", "src/engine", &["larder-store", "larder-protocol", "larder-ring"]),
    layer("larder-membership", "src/membership", &["larder-ring"]),
    layer("larder-origin", "src/origin", &[]),
    layer("larder-client", "src/client", &["larder-protocol", "larder-ring"]),
    layer(
        "larder-server",
        "src/server",
        &["larder-engine", "larder-membership", "larder-origin", "larder-protocol", "larder-ring", "larder-store"],
    ),
    layer("loadgen", "tools/loadgen", &["larder-client", "larder-protocol", "larder-ring"]),
    layer("larder-cli", "tools/cli", &["larder-client", "larder-protocol", "larder-ring"]),
    layer("larder-fuzz", "tools/fuzz", &["larder-protocol", "larder-store"]),
    layer("larder-chaos", "tools/chaos", &["larder-client", "larder-ring", "larder-simulator", "larder-testkit"]),
    layer(
        "larder-simulator",
        "tools/simulator",
        &["larder-engine", "larder-membership", "larder-protocol", "larder-ring", "larder-store"],
    ),
    layer("larder-testkit", "tools/testkit", &[]),
    layer("larder-tidy", "tools/tidy", &[]),
    layer(
        "larder-benches",
        "benches",
        &[
            "larder-ring",
            "larder-store",
            "larder-protocol",
            "larder-engine",
            "larder-membership",
            "larder-client",
            "larder-server",
            "larder-testkit",
            "loadgen",
        ],
    ),
];

/// Packages of others that only some of our crates may name, so that they can be replaced in one place.
const RESERVED: &[(&str, &[&str])] = &[
    ("glommio", &["larder-server"]),
    ("etcd-client", &["larder-membership"]),
    ("tokio", &["larder-client", "larder-cli", "larder-membership", "larder-server", "larder-origin", "larder-chaos"]),
    ("anyhow", &["larder-server", "larder-cli", "loadgen", "larder-benches"]),
];

/// Packages that only tests may use.
const TEST_ONLY: &[&str] = &[
    "allocation-counter",
    "larder-benches",
    "larder-chaos",
    "larder-testkit",
    "proptest",
    "prost-build",
    "prost-reflect",
    "protox",
    "tempfile",
];

/// What is wrong with the manifest of `layer`.
pub fn check_manifest(layer: &Layer, manifest: &Table) -> Vec<Finding> {
    let path = format!("{}/Cargo.toml", layer.dir);
    let mut findings = Vec::new();
    for dependency in names(manifest, "dependencies").chain(names(manifest, "build-dependencies")) {
        // A crate that is for tests itself may.
        if TEST_ONLY.contains(&dependency) && !TEST_ONLY.contains(&layer.package) {
            findings.push(format!("{path}: `{dependency}` is for tests; move it to [dev-dependencies]"));
        } else if is_ours(dependency) && !layer.may_use.contains(&dependency) {
            findings.push(format!(
                "{path}: `{}` may not depend on `{dependency}`; the table is in tools/tidy/src/layers.rs",
                layer.package
            ));
        }
        if let Some((_, users)) = RESERVED.iter().find(|(name, _)| *name == dependency)
            && !users.contains(&layer.package)
        {
            findings.push(format!("{path}: only {users:?} may depend on `{dependency}`"));
        }
    }
    let inherits_lints = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool()) == Some(true);
    if !inherits_lints {
        findings.push(format!("{path}: add `[lints] workspace = true`"));
    }
    findings
}

/// What is wrong with the first lines of the crate's root file.
pub fn check_root(layer: &Layer, path: &str, root: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !root.starts_with("//! ") {
        findings.push(format!("{path}: open with `//!` lines that say what the crate is, and what it may not do"));
    }
    let prologue: String = root.lines().take_while(|line| line.starts_with("//!")).collect();
    if !prologue.contains("may not") && !prologue.contains("may only") && !prologue.contains("It never") {
        findings.push(format!("{path}: the opening lines do not say what the crate may not do"));
    }
    if layer.no_std && !root.contains("#![cfg_attr(not(test), no_std)]") {
        findings.push(format!("{path}: `{}` has to be `#![cfg_attr(not(test), no_std)]`", layer.package));
    }
    if !root.contains("#![forbid(unsafe_code)]") && !root.contains("#![deny(unsafe_code)]") {
        findings.push(format!("{path}: add `#![forbid(unsafe_code)]`, or `deny` with a listed module"));
    }
    findings
}

/// The packages of `[workspace] members` that [`LAYERS`] does not know, and the other way round.
pub fn check_members(workspace: &Table) -> Vec<Finding> {
    let members: Vec<&str> = workspace
        .get("workspace")
        .and_then(|table| table.get("members")?.as_array())
        .map(|members| members.iter().filter_map(|member| member.as_str()).collect())
        .unwrap_or_default();
    let unknown = members
        .iter()
        .filter(|dir| !LAYERS.iter().any(|layer| layer.dir == **dir))
        .map(|dir| format!("Cargo.toml: member `{dir}` is not in tools/tidy/src/layers.rs; say there what it may use"));
    let gone = LAYERS
        .iter()
        .filter(|layer| !members.contains(&layer.dir))
        .map(|layer| format!("tools/tidy/src/layers.rs: `{}` is no member of the workspace", layer.dir));
    unknown.chain(gone).collect()
}

/// The packages of `[workspace.dependencies]` that none of `manifests` uses.
pub fn check_unused(workspace: &Table, manifests: &[Table]) -> Vec<Finding> {
    let declared = workspace.get("workspace").and_then(|table| table.as_table());
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let is_used = |name: &str| {
        manifests
            .iter()
            .any(|manifest| sections.iter().any(|section| names(manifest, section).any(|used| used == name)))
    };
    let unused = declared.into_iter().flat_map(|table| names(table, "dependencies")).filter(|name| !is_used(name));
    unused.map(|name| format!("Cargo.toml: no crate uses `{name}` of [workspace.dependencies]; remove it")).collect()
}

fn is_ours(package: &str) -> bool {
    package.starts_with("larder-") || package == "loadgen"
}

fn names<'a>(manifest: &'a Table, section: &str) -> impl Iterator<Item = &'a str> {
    manifest.get(section).and_then(|table| table.as_table()).into_iter().flatten().map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &Layer = &LAYERS[1];

    fn manifest(dependencies: &str) -> Table {
        format!("[lints]\nworkspace = true\n[dependencies]\n{dependencies}").parse().expect("valid TOML")
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        assert!(check_manifest(STORE, &manifest("hashbrown = \"0\"")).is_empty());
        let findings = check_manifest(STORE, &manifest("larder-protocol = \"0\""));
        assert!(findings[0].contains("`larder-store` may not depend on `larder-protocol`"), "{findings:?}");
    }

    #[test]
    fn a_reserved_package_is_found_outside_its_users() {
        let findings = check_manifest(STORE, &manifest("glommio = \"0\""));
        assert!(findings[0].contains("larder-server"), "{findings:?}");
    }

    #[test]
    fn a_test_package_is_found_among_dependencies() {
        assert_eq!(check_manifest(STORE, &manifest("proptest = \"1\"")).len(), 1);
    }

    #[test]
    fn a_crate_root_has_to_say_what_it_is() {
        let good =
            "//! What it is.\n//! It may not do I/O.\n#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]\n";
        assert!(check_root(STORE, "lib.rs", good).is_empty());
        assert_eq!(check_root(STORE, "lib.rs", "use core::fmt;\n").len(), 4);
    }

    #[test]
    fn a_dependency_that_nobody_uses_is_found() {
        let workspace: Table = "[workspace.dependencies]\nhashbrown = \"0\"\nlibc = \"0\"".parse().expect("valid TOML");
        let findings = check_unused(&workspace, &[manifest("hashbrown.workspace = true")]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("`libc`"), "{findings:?}");
    }

    #[test]
    fn members_and_table_are_the_same() {
        let workspace: Table = "[workspace]\nmembers = [\"src/new\"]".parse().expect("valid TOML");
        let findings = check_members(&workspace);
        assert_eq!(findings.len(), 1 + LAYERS.len());
    }
}
