//! Who may import whom: arrows of `docs/architecture.md` point down only.

use std::{fs, path::Path};

/// Every place, and what it may name of the crate besides itself.
const RULES: &[(&str, &[&str])] = &[
    ("wire", &["error"]),
    ("proto", &["wire", VOCABULARY]),
    ("handshake", &["accept_error", "connect_error", VOCABULARY]),
    ("net", &[VOCABULARY]),
    ("driver", &["proto", VOCABULARY]),
    ("stream", &["driver", "proto", "wire", VOCABULARY]),
    // Pipelines, on top of the public API; `fanout` also encodes frames that connections share.
    ("relay", &["stream", VOCABULARY]),
    ("fanout", &["proto", "stream", VOCABULARY]),
    ("client", &["connect_error", "handshake", "net", "stream", VOCABULARY]),
    ("connections", &["stream", VOCABULARY]),
    ("server", &["accept_error", "connections", "handshake", "net", "stream", VOCABULARY]),
    ("listener", &["accept_error", "connections", "handshake", "net", "server", VOCABULARY]),
    // Not part of the library; besides handshake/ the only place that sees tungstenite, to compare with it.
    ("fuzzing", &["accept_error", "connect_error", "handshake", "proto", "wire", VOCABULARY]),
    // Not part of the library either.
    ("bench", &["driver", "proto", "wire", VOCABULARY]),
    ("connect_error", &[VOCABULARY]),
    ("accept_error", &[VOCABULARY]),
    ("role", &[]),
    ("message", &["error"]),
    ("close", &["error"]),
    ("error", &["close"]),
    ("compression", &["role"]),
    ("config", &["compression"]),
    ("negotiated", &["compression"]),
    ("stats", &[]),
];

/// Stands for the modules below.
const VOCABULARY: &str = "vocabulary";
const VOCABULARY_MODULES: &[&str] =
    &["close", "compression", "config", "error", "message", "negotiated", "role", "stats"];

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for (place, file) in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        if place == "lib" {
            continue;
        }
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == place) else {
            wrong.push(format!("src/{file}: no rule for `{place}`; add it here and to docs/architecture.md"));
            continue;
        };
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&file)).unwrap();
        for import in imports(&text) {
            let is_vocabulary = VOCABULARY_MODULES.contains(&import.as_str());
            let may = import == place
                || allowed.contains(&import.as_str())
                || (is_vocabulary && allowed.contains(&VOCABULARY))
                // Public names at the root of the crate, in documentation.
                || import.starts_with(char::is_uppercase);
            if !may {
                wrong.push(format!("src/{file}: `{place}` must not import `{import}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `(place, file)` of every source file; the place is the folder or file right under `src`.
fn sources(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                let place = file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
                found.push((place, file));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The modules named by `crate::name` and `crate::{name::…, name::…}`, tests and comments left out.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(top_level(group)),
            None => names.push(word(rest)),
        }
    }
    names
}

/// The first word of each item of a `use` group.
fn top_level(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&std::mem::take(&mut item))),
            _ => {}
        }
        if !(c == ',' && depth == 0) {
            item.push(c);
        }
    }
    names.push(word(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_reader_of_imports_reads_groups() {
    let text = "use crate::{\n    close::{A, B},\n    wire::header::C,\n};\nuse crate::stream::D;\n// crate::nothing\n";
    assert_eq!(imports(text), ["close", "wire", "stream"]);
}
