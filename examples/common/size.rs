//! Sizes on the command line.

/// Bytes, with an optional unit: 4096, 64KiB, 10MB, 1GiB.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        _ => return Err(format!("unknown unit {unit:?}; use KiB, MiB, GiB or TiB")),
    };
    let number: u64 = number.parse().map_err(|_| "give a whole number and a unit, 10MiB for example".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) | None => Err("out of range".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}
