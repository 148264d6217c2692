//! What the fuzz targets do with their bytes (`fuzz/`), one file per target. A property that does not hold is a panic.
//!
//! They are part of the crate because the internals are in reach here, and because `cargo test` replays the corpora on
//! any toolchain. See `docs/fuzzing.md`.

#[cfg(test)]
mod any_order;
mod decoder_model;
mod decoder_tungstenite;
mod extensions;
mod halves;
mod handshake_head;
mod inflate;
mod input;
mod pair;
#[cfg(test)]
mod replay;

pub use decoder_model::decoder_model;
pub use decoder_tungstenite::decoder_tungstenite;
pub use extensions::extensions;
pub use halves::halves;
pub use handshake_head::handshake_head;
pub use inflate::inflate;
pub use pair::pair;
