//! Applies the rules to the repository.

use larder_tidy::{Finding, files, layers, read, repository, sources};

fn none(findings: &[Finding]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn crates_depend_only_downwards() {
    let top = repository();
    let workspace = read(&top.join("Cargo.toml")).parse().expect("Cargo.toml is TOML");
    let mut findings = layers::check_members(&workspace);
    let mut manifests = Vec::new();
    for layer in layers::LAYERS {
        let dir = top.join(layer.dir);
        let manifest = read(&dir.join("Cargo.toml")).parse().expect("a manifest is TOML");
        findings.extend(layers::check_manifest(layer, &manifest));
        let root = ["src/lib.rs", "src/main.rs"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
        let root = root.unwrap_or_else(|| panic!("{} has neither src/lib.rs nor src/main.rs", layer.dir));
        let shown = root.strip_prefix(&top).expect("below the top").display().to_string();
        findings.extend(layers::check_root(layer, &shown, &read(&root)));
        manifests.push(manifest);
    }
    findings.extend(layers::check_unused(&workspace, &manifests));
    none(&findings);
}

#[test]
fn sources_are_short_and_finished() {
    let top = repository();
    let mut findings = Vec::new();
    for dir in ["src", "tools", "benches"] {
        for path in files(&top.join(dir), "rs") {
            let shown = path.strip_prefix(&top).expect("below the top").display().to_string();
            findings.extend(sources::check(&shown, &read(&path)));
        }
    }
    none(&findings);
}

#[test]
fn every_crate_has_one_integration_test_binary() {
    let top = repository();
    let mut findings = Vec::new();
    for layer in layers::LAYERS {
        let dir = top.join(layer.dir).join("tests");
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let main = read(&dir.join("main.rs"));
        for path in entries.flatten().map(|entry| entry.path()) {
            let (Some(stem), Some("rs")) =
                (path.file_stem().and_then(|stem| stem.to_str()), path.extension().and_then(|end| end.to_str()))
            else {
                continue;
            };
            if stem != "main" && !main.contains(&format!("mod {stem};")) {
                findings.push(format!("{}/tests/{stem}.rs: make it a module of tests/main.rs", layer.dir));
            }
        }
        let manifest = read(&top.join(layer.dir).join("Cargo.toml"));
        if !manifest.contains("autotests = false") && std::fs::read_dir(&dir).is_ok_and(|dir| dir.count() > 1) {
            findings.push(format!(
                "{}/Cargo.toml: set `autotests = false` and name tests/main.rs, so that its modules are not binaries",
                layer.dir
            ));
        }
    }
    none(&findings);
}
