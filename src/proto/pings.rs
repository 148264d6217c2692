//! Pings of our own and the pongs that answer them (RFC 6455, 5.5.2 and 5.5.3).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Pings that are on their way. The payload of each is its number, so that pongs nobody asked for are told apart.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    next: u64,
    sent: VecDeque<(u64, Instant)>,
    /// Smoothed as in RFC 6298, 2.
    round_trip: Option<Duration>,
}

impl Pings {
    /// Notes a ping; its number, which is its payload.
    pub(crate) fn begin(&mut self, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sent.push_back((number, now));
        number
    }

    /// A pong: the ping it answers, and its round trip. It answers all earlier ones too (5.5.3).
    pub(crate) fn answered(&mut self, payload: &[u8], now: Instant) -> Option<(u64, Duration)> {
        let number = u64::from_be_bytes(payload.try_into().ok()?);
        let at = self.sent.iter().position(|(sent, _)| *sent == number)?;
        let (number, begun) = self.sent.drain(..=at).next_back()?;
        let trip = now.saturating_duration_since(begun);
        self.round_trip = Some(self.round_trip.map_or(trip, |smoothed| (smoothed * 7 + trip) / 8));
        Some((number, trip))
    }

    /// One is on its way.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The smoothed round trip.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pongs_are_matched_and_strangers_ignored() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pings = Pings::default();
        let (a, b) = (pings.begin(start), pings.begin(at(5)));
        assert_eq!(pings.answered(b"hello", at(6)), None);
        assert_eq!(pings.answered(&99u64.to_be_bytes(), at(6)), None);
        assert_eq!(pings.answered(&b.to_be_bytes(), at(8)), Some((b, Duration::from_millis(3))));
        assert_eq!(pings.answered(&a.to_be_bytes(), at(9)), None, "the later pong answered this one too");
        let c = pings.begin(at(10));
        pings.answered(&c.to_be_bytes(), at(21));
        assert_eq!(pings.round_trip(), Some(Duration::from_millis(4)), "7/8 of 3 ms and 1/8 of 11 ms");
    }
}
