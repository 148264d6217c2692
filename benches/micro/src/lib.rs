//! What is measured: a list of cases, run by `benches/time.rs` (criterion) and `benches/instructions.rs` (valgrind).
//!
//! ```sh
//! cargo bench -p wsstream-micro                                # both, everything
//! cargo bench -p wsstream-micro --bench time -- mask           # criterion's arguments
//! cargo bench -p wsstream-micro --bench instructions -- mask   # a part of the name
//! ```
//!
//! A case with small messages handles many of them in a call, one behind the other as they come in a read: what counts
//! is the next message, not how long one takes from end to end, and neighbours are at any alignment.

mod traffic;

use std::hint::black_box;

use bytes::{Buf, Bytes, BytesMut};
use wsstream::{
    Role,
    bench::{Decoder, Queue, Sender, check_utf8, copy, copy_and_mask, decode_header, encode_header, mask, mask_key},
};

use self::traffic::{Recording, text};

/// What a call of a case does, for figures per unit.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub messages: u64,
    pub bytes: u64,
}

/// Whoever runs the cases. It is generic over them, so that a case of a few nanoseconds is inlined into the loop.
pub trait Meter {
    /// Whether a case is to be run, before anything is prepared for it.
    fn wants(&mut self, name: &str) -> bool;

    fn measure<T>(&mut self, name: &str, work: Work, case: impl FnMut() -> T);
}

const KEY: u32 = 0x3D21_FA37;

/// What is handled in a call where messages are small.
const BATCH: usize = 16 * 1024;

/// The payload sizes of interest: chat, the largest with the shortest header, a page of text, a frame, more than that.
const SIZES: [usize; 5] = [16, 125, 1024, 64 * 1024, 256 * 1024];

pub fn run(meter: &mut impl Meter) {
    headers(meter);
    masks(meter);
    copies(meter);
    utf8(meter);
    decoders(meter);
    senders(meter);
    queues(meter);
}

fn size(bytes: usize) -> String {
    match bytes {
        kib if kib % 1024 == 0 => format!("{} KiB", kib / 1024),
        bytes => format!("{bytes} B"),
    }
}

fn headers(meter: &mut impl Meter) {
    const COUNT: usize = 256;
    let work = Work { messages: COUNT as u64, bytes: 0 };
    // By length in one case the branches are as good as free; in the other nothing can foresee them.
    let lengths = [("16 B", vec![16; COUNT]), ("64 KiB", vec![65536; COUNT]), ("mixed", traffic::mixed_lengths(COUNT))];
    for (name, lengths) in lengths {
        for (side, key) in [("client", Some(KEY)), ("server", None)] {
            let encode = format!("header/encode {side} {name}");
            if meter.wants(&encode) {
                let mut out = BytesMut::with_capacity(COUNT * 14);
                meter.measure(&encode, work, || {
                    out.clear();
                    for &len in &lengths {
                        encode_header(black_box(key), len as u64, &mut out);
                    }
                    out.len()
                });
            }
            let decode = format!("header/decode {side} {name}");
            if meter.wants(&decode) {
                let mut encoded = BytesMut::new();
                lengths.iter().for_each(|&len| encode_header(key, len as u64, &mut encoded));
                meter.measure(&decode, work, || {
                    let (mut rest, mut sum) = (black_box(&encoded[..]), 0);
                    while let Some((len, header)) = decode_header(rest, key.is_some()) {
                        rest = &rest[header..];
                        sum += len;
                    }
                    sum
                });
            }
        }
    }
}

fn masks(meter: &mut impl Meter) {
    if meter.wants("mask/key") {
        meter.measure("mask/key", Work { messages: 1, bytes: 0 }, mask_key);
    }
    for len in SIZES {
        let count = BATCH.div_ceil(len);
        let work = Work { messages: count as u64, bytes: (count * len) as u64 };

        let name = format!("mask/in place {}", size(len));
        if meter.wants(&name) {
            // With room for headers between them.
            let stride = len + if len < 126 { 6 } else { 8 };
            let mut frames = vec![0x5A; count * stride];
            meter.measure(&name, work, || {
                for frame in frames.chunks_exact_mut(stride) {
                    mask(black_box(KEY), &mut frame[stride - len..]);
                }
            });
        }

        let name = format!("mask/copy {}", size(len));
        if meter.wants(&name) {
            let payload = vec![0x5A; len];
            let mut out = BytesMut::with_capacity(count * (len + 8));
            meter.measure(&name, work, || {
                out.clear();
                for _ in 0..count {
                    encode_header(Some(KEY), len as u64, &mut out);
                    copy_and_mask(black_box(KEY), black_box(&payload), &mut out);
                }
                out.len()
            });
        }

        // As the sender does it with large payloads: a piece of memory for each frame.
        let name = format!("mask/copy to a new buffer {}", size(len));
        if len >= 64 * 1024 && meter.wants(&name) {
            let payload = vec![0x5A; len];
            meter.measure(&name, work, || {
                let mut out = BytesMut::with_capacity(len + 14);
                encode_header(Some(KEY), len as u64, &mut out);
                copy_and_mask(black_box(KEY), black_box(&payload), &mut out);
                out
            });
        }
    }
}

fn copies(meter: &mut impl Meter) {
    const LEN: usize = 4 * 1024;
    for (place, behind) in [("", 2 * 1024), (", 20 bytes behind it in its page", 20)] {
        let payload = vec![0x5A; LEN];
        let mut out = BytesMut::with_capacity(2 * LEN + behind);
        let skipped = (payload.as_ptr().addr() + behind).wrapping_sub(out.as_ptr().addr()) % 4096;
        out.resize(skipped, 0);
        out.advance(skipped);
        let mut measure = |by: &str, copy: fn(&[u8], &mut BytesMut)| {
            let name = format!("copy/{}{place}{by}", size(LEN));
            if meter.wants(&name) {
                meter.measure(&name, Work { messages: 1, bytes: LEN as u64 }, || {
                    out.clear();
                    copy(black_box(&payload), &mut out);
                    out.len()
                });
            }
        };
        measure("", copy);
        measure(", by the C library", |data, out| out.extend_from_slice(data));
    }
}

fn utf8(meter: &mut impl Meter) {
    for language in text::ALL {
        for len in [16, 48, 125, 1024, 64 * 1024] {
            let name = format!("utf8/{} {}", language.name, size(len));
            if meter.wants(&name) {
                let count = BATCH.div_ceil(len);
                let texts: Vec<Bytes> = (0..count).map(|index| language.text(index, len)).collect();
                let bytes = texts.iter().map(|text| text.len() as u64).sum();
                meter.measure(&name, Work { messages: count as u64, bytes }, || {
                    texts.iter().filter(|text| check_utf8(text)).count()
                });
            }
        }
    }
}

fn decoders(meter: &mut impl Meter) {
    // What a full read buffer holds, and what a slow network brings at a time.
    for (role, recording, read) in [
        (Role::Server, Recording::Binary(16), 256 * 1024),
        (Role::Client, Recording::Binary(16), 256 * 1024),
        (Role::Server, Recording::Binary(125), 256 * 1024),
        (Role::Server, Recording::Binary(1024), 256 * 1024),
        (Role::Server, Recording::Binary(64 * 1024), 256 * 1024),
        (Role::Client, Recording::Binary(64 * 1024), 256 * 1024),
        (Role::Server, Recording::Chat, 256 * 1024),
        (Role::Server, Recording::Chat, 1448),
        (Role::Server, Recording::Mixed, 256 * 1024),
        (Role::Server, Recording::Mixed, 1448),
        (Role::Client, Recording::Mixed, 1448),
    ] {
        let side = if role == Role::Server { "server" } else { "client" };
        let name = format!("decode/{side} {recording}, reads of {}", size(read));
        if meter.wants(&name) {
            let (traffic, messages) = recording.sent_to(role);
            let mut decoder = Decoder::new(role);
            let mut input = BytesMut::new();
            meter.measure(&name, Work { messages, bytes: traffic.len() as u64 }, || {
                let mut chunks = 0;
                for part in traffic.chunks(read) {
                    // The copy stands for the transport's. Only where payloads are large does it weigh.
                    input.reserve(256 * 1024);
                    input.extend_from_slice(part);
                    while let Some(chunk) = decoder.chunk(&mut input) {
                        chunks += 1;
                        black_box(&chunk);
                    }
                }
                chunks
            });
        }
    }
}

fn senders(meter: &mut impl Meter) {
    for (role, side) in [(Role::Client, "client"), (Role::Server, "server")] {
        for len in SIZES {
            let name = format!("send/{side} {}", size(len));
            if meter.wants(&name) {
                let count = (64 * 1024usize).div_ceil(len);
                let payload = Bytes::from(vec![0x5A; len]);
                let mut sender = Sender::new(role);
                let work = Work { messages: count as u64, bytes: (count * len) as u64 };
                meter.measure(&name, work, || {
                    for _ in 0..count {
                        sender.message(wsstream::MessageKind::Binary, payload.clone());
                    }
                    sender.write(|slices| {
                        black_box(slices);
                    })
                });
            }
        }
    }
}

fn queues(meter: &mut impl Meter) {
    for count in [1, 16, 1024] {
        let name = format!("queue/batches of {count}");
        if meter.wants(&name) {
            let mut queue = Queue::default();
            let work = Work { messages: count as u64, bytes: 16 * count as u64 };
            meter.measure(&name, work, || {
                let mut read = BytesMut::zeroed(16 * count);
                queue.hand_over((0..count).map(move |_| read.split_to(16)))
            });
        }
    }
}
