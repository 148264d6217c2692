//! The corpora, on any toolchain.

use std::{fs, path::Path};

/// Runs a target on every file of its corpus. The files are also part of the repository, so a folder without any means
/// that this test looks in the wrong place.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let data = fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| body(&data)).is_err() {
            panic!("{target} fails on {}", file.display());
        }
    }
}

#[test]
fn corpus_of_decoder_model() {
    replay("decoder_model", super::decoder_model);
}

#[test]
fn corpus_of_decoder_tungstenite() {
    replay("decoder_tungstenite", super::decoder_tungstenite);
}

#[test]
fn corpus_of_handshake_head() {
    replay("handshake_head", super::handshake_head);
}

#[test]
fn corpus_of_halves() {
    replay("halves", super::halves);
}

#[test]
fn corpus_of_pair() {
    replay("pair", super::pair);
}

#[test]
fn corpus_of_extensions() {
    replay("extensions", super::extensions);
}

#[test]
fn corpus_of_inflate() {
    replay("inflate", super::inflate);
}
