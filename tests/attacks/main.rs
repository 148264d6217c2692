//! What a hostile peer can do, each attack with a bound on memory and on time. `docs/security.md` lists them.
//!
//! The peers are scripted and speak bytes; the library is used through its public API. An allocator that counts tells
//! how much memory an attack made this process hold, so the tests of this binary run one at a time.

mod allocator;
#[cfg(feature = "rustls")]
#[path = "../tls/authority.rs"]
mod authority;
mod closing;
mod compression;
mod frames;
mod handshake;
mod messages;
mod peer;
mod pings;
mod pipe;
#[cfg(feature = "rustls")]
mod tls;

#[test]
fn the_allocator_counts() {
    peer::alone(|| async {
        // The threads of the test harness take and give back a little at any time.
        const LITTLE: usize = 10_000;
        let meter = allocator::Meter::start();
        drop(vec![0u8; 4 << 20]);
        assert!(meter.peak().abs_diff(4 << 20) < LITTLE, "what is taken is counted: {}", meter.peak());
        let kept = vec![0u8; 1 << 20];
        let meter = allocator::Meter::start();
        drop(kept);
        drop(vec![0u8; 1 << 20]);
        assert!(meter.peak() < LITTLE, "and what is given back: {}", meter.peak());
    });
}
