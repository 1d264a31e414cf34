//! Rules for single source files: length, `unsafe`, what must not be left behind.

use crate::Finding;

/// Most lines of a file without its tests.
const LINES_MAX: usize = 500;

/// The modules that may contain `unsafe`: one concern each, a SAFETY comment per block, a randomised test, and a
/// benchmark that shows why.
pub const UNSAFE_MODULES: &[&str] = &[
    "src/server/src/shard/provided.rs",
    "src/server/src/shard/ring.rs",
    "src/server/src/startup_code.rs",
    "src/store/src/pages.rs",
    "src/store/src/prefetch.rs",
    "src/store/src/table/equal.rs",
];

/// What must not be left in a source file. Put together from halves, so that this file does not find itself.
const LEFTOVERS: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimple", "mented!("),
    ("FIX", "ME"),
    ("allow(dead", "_code)"),
    ("#[ig", "nore"),
    ("unreachable_un", "checked"),
];

/// Paths that exist on one machine only.
const MACHINE_PATHS: &[(&str, &str)] = &[("/ro", "ot/"), ("/ho", "me/"), ("/wo", "rk/"), ("\"/tm", "p/")];

/// What is wrong with the Rust file at `path` (from the top) with this content.
pub fn check(path: &str, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let generated = path.contains("/gen/");
    let lines = lines_without_tests(content);
    if lines > LINES_MAX && !generated {
        findings.push(format!("{path}: {lines} lines without tests; split it, the most is {LINES_MAX}"));
    }
    if uses_unsafe(content) && !UNSAFE_MODULES.contains(&path) {
        findings.push(format!("{path}: `unsafe` outside the modules listed in tools/tidy/src/sources.rs"));
    }
    for (number, line) in content.lines().enumerate() {
        for (first, second) in LEFTOVERS.iter().chain(MACHINE_PATHS) {
            let word = format!("{first}{second}");
            if line.contains(&word) {
                findings.push(format!("{path}:{}: `{word}` must not stay", number + 1));
            }
        }
    }
    findings
}

/// Lines before the first `#[cfg(test)]` that stands at the left edge: tests come last in a file.
fn lines_without_tests(content: &str) -> usize {
    content.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn uses_unsafe(content: &str) -> bool {
    let keywords = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    content.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| {
        // The word in a string, such as in this file, is no use of it.
        let code: String = line.split('"').step_by(2).collect();
        keywords.iter().any(|keyword| code.contains(keyword))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(LINES_MAX + 1);
        assert_eq!(check("src/a.rs", &long).len(), 1);
        assert!(check("src/gen/a.rs", &long).is_empty());
        let tested = format!("fn f() {{}}\n#[cfg(test)]\n{long}");
        assert!(check("src/a.rs", &tested).is_empty());
    }

    #[test]
    fn unsafe_is_found_outside_the_list() {
        let word = ["uns", "afe {"].concat();
        assert_eq!(check("src/a.rs", &format!("fn f() {{ {word} g() }} }}")).len(), 1);
        assert!(check("src/a.rs", &format!("// {word} g() }}")).is_empty());
        assert!(check("src/a.rs", &format!("let s = \"{word} }}\";")).is_empty());
    }

    #[test]
    fn leftovers_are_found() {
        for (first, second) in LEFTOVERS.iter().chain(MACHINE_PATHS) {
            let findings = check("src/a.rs", &format!("x {first}{second} y"));
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].starts_with("src/a.rs:1:"));
        }
    }
}
