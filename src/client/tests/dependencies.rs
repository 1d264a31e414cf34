//! The client drags in neither the server's driver nor the cluster's membership.

use std::process::Command;

#[test]
fn the_tree_of_dependencies_is_the_clients_own() {
    let cargo = std::env::var("CARGO").expect("cargo runs the tests");
    let output = Command::new(cargo)
        .args(["tree", "-p", "larder-client", "-e", "normal", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    let tree = String::from_utf8(output.stdout).expect("names are text");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"larder-protocol") && names.contains(&"tokio"), "not a tree: {tree}");
    let forbidden = |name: &str| {
        name.contains("glommio")
            || name.contains("etcd")
            || ["larder-engine", "larder-store", "larder-server", "larder-membership", "larder-origin"].contains(&name)
    };
    let found: Vec<&&str> = names.iter().filter(|name| forbidden(name)).collect();
    assert!(found.is_empty(), "larder-client depends on {found:?}");
}
