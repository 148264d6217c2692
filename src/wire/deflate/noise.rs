//! Telling bytes that DEFLATE would only waste time on: media, archives, ciphertext.

/// Bytes that are looked at side by side: samples taken one by one could all be of the same column of a table.
const SPOT: usize = 64;

/// How many such places are looked at, evenly spread.
const SPOTS: usize = 16;

/// Whether `data` has nothing to gain from: its bytes are as evenly distributed as random ones.
///
/// What is told from noise differs from it in how often two of its bytes are the same: one pair in 256 of random ones, one in
/// 64 of base64, one in 20 or less of text. Up to an eighth above 256 at most 2 % could be gained, other than from what
/// is repeated within a window. Text is told by its first bytes.
pub(super) fn is_noise(data: &[u8]) -> bool {
    if data.len() < SPOT * SPOTS {
        return false;
    }
    let mut counts = [0_u32; 256];
    let (mut seen, mut pairs) = (0, 0);
    for spot in 0..SPOTS {
        let at = (data.len() - SPOT) / (SPOTS - 1) * spot;
        for &byte in &data[at..at + SPOT] {
            let count = &mut counts[usize::from(byte)];
            pairs += *count;
            *count += 1;
        }
        seen += SPOT as u32;
        let random = seen * (seen - 1) / 2 / 256;
        // And more than chance adds to it, seven times its standard deviation at least.
        if pairs > random + random / 8 + 64 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a generator, of which `bits` are random.
    fn random(len: usize, bits: u32) -> Vec<u8> {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> (64 - bits)) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn random_bytes_are_noise_and_others_are_not() {
        let whole = random(1 << 20, 8);
        for len in [1024, 1025, 4095, 65_536] {
            for part in whole.chunks_exact(len) {
                assert!(is_noise(part), "{len} random bytes");
            }
        }
        assert!(!is_noise(&whole[..1023]), "too few to tell");
        for (what, data) in [
            ("zeros", vec![0; 5000]),
            ("all bytes in turn, but few of them", (0..5000).map(|at| (at / 100) as u8).collect()),
            ("base64, or any code of 6 bits", random(5000, 6)),
            ("7 bits", random(5000, 7)),
            ("text", "Größe zählt, and so does content. ".repeat(100).into_bytes()),
            ("numbers", (0..1000_u32).flat_map(|n| (n * 7919).to_le_bytes()).collect()),
        ] {
            assert!(!is_noise(&data), "{what}");
        }
    }
}
