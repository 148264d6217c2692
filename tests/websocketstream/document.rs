//! `docs/websocketstream.md` answers every row, and the tests that it names exist.

use std::{collections::BTreeSet, fs, path::Path};

const DOCUMENT: &str = include_str!("../../docs/websocketstream.md");

/// The cells of the tables' rows, numbers first.
fn rows() -> Vec<Vec<&'static str>> {
    let behaviours = DOCUMENT.split("## Conflicts").next().unwrap().lines();
    let cells = behaviours.filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    cells
        .map(|row| row.split('|').map(str::trim).collect())
        .filter(|row: &Vec<_>| row[0].parse::<u32>().is_ok())
        .collect()
}

#[test]
fn every_row_has_an_answer() {
    let rows = rows();
    for (row, number) in rows.iter().zip(1..) {
        let &[it, browser, mark, here, _test] = row.as_slice() else { panic!("{row:?}") };
        assert_eq!(it, number.to_string());
        assert!(!browser.is_empty() && ["same", "differs", "n/a"].contains(&mark), "{row:?}");
        assert!(mark == "same" || number == 141 || !here.is_empty(), "a difference without a reason: {row:?}");
    }
    assert_eq!(rows.len(), 141);
}

#[test]
fn the_tests_that_it_names_exist() {
    let mut tests = BTreeSet::new();
    for (directory, prefix) in [("tests/websocketstream", ""), ("tests/handshake", "handshake/")] {
        for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap() {
            let path = file.unwrap().path();
            let file = path.file_stem().unwrap().to_str().unwrap();
            let source = fs::read_to_string(&path).unwrap();
            let names = source.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            tests.extend(names.map(|name| format!("{prefix}{file}::{name}")));
        }
    }
    for row in rows() {
        for name in row[4].split(", ").filter(|name| !name.is_empty()) {
            assert!(tests.contains(name.trim_matches('`')), "row {}: there is no test {name}", row[0]);
        }
    }
}
