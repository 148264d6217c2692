//! Is the peer still there? Pings into silence, and how long silence may last (RFC 6455, 5.5.2 and 5.5.3).
//!
//! A sign of life is any byte that arrives, and any byte that a transport takes which had been full before: both
//! come from the peer. That a transport takes bytes into its own buffers says nothing. So a slow peer is not taken for
//! a dead one, and a dead one is noticed even by an end that only writes.

use std::time::{Duration, Instant};

use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Keepalive {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    /// The last sign of life.
    heard: Instant,
    /// The last ping or heartbeat, or sign of life.
    asked: Instant,
    /// The last payload of a message, in either direction.
    used: Instant,
    /// Since when our own consumer keeps the transport unread. We must not call a peer dead because we do not listen.
    paused: Option<Instant>,
}

/// What time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// A ping: is the peer there?
    Ping,
    /// An unsolicited pong: we are, though we do not read (5.5.3).
    Heartbeat,
    /// No sign of life for this long.
    Dead(Duration),
    /// No message for this long.
    Idle(Duration),
}

impl Keepalive {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            interval: config.ping_interval,
            timeout: config.keepalive_timeout,
            idle_timeout: config.idle_timeout,
            heard: now,
            asked: now,
            used: now,
            paused: None,
        }
    }

    /// A sign of life.
    #[inline]
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = now;
    }

    /// A message is on its way, in or out.
    #[inline]
    pub(crate) fn used(&mut self, now: Instant) {
        self.used = now;
    }

    /// Whether our own consumer keeps the transport unread. Meanwhile the clocks stand still.
    pub(crate) fn set_paused(&mut self, paused: bool, now: Instant) {
        match (self.paused, paused) {
            (None, true) => self.paused = Some(now),
            (Some(since), false) => {
                let away = now.saturating_duration_since(since);
                // What came meanwhile came after the clocks had stopped: it must not move them into the future.
                self.heard = now.min(self.heard + away);
                self.used = now.min(self.used + away);
                self.paused = None;
            }
            _ => {}
        }
    }

    /// When [`due`](Self::due) is to be asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ask = self.interval.and_then(|interval| self.asked.checked_add(interval));
        if self.paused.is_some() {
            return ask;
        }
        let dead = self.timeout.and_then(|timeout| self.heard.checked_add(timeout));
        let idle = self.idle_timeout.and_then(|timeout| self.used.checked_add(timeout));
        [ask, dead, idle].into_iter().flatten().min()
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let over = |since: Instant, limit: Option<Duration>| {
            limit.filter(|&limit| now.saturating_duration_since(since) >= limit)
        };
        if self.paused.is_none() {
            if let Some(timeout) = over(self.heard, self.timeout) {
                return Due::Dead(timeout);
            }
            if let Some(timeout) = over(self.used, self.idle_timeout) {
                return Due::Idle(timeout);
            }
        }
        if over(self.asked, self.interval).is_none() {
            return Due::Nothing;
        }
        self.asked = now;
        if self.paused.is_some() { Due::Heartbeat } else { Due::Ping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keepalive() -> (Keepalive, Instant) {
        let start = Instant::now();
        let config = Config::default().ping_interval(10 * SECOND).keepalive_timeout(30 * SECOND);
        (Keepalive::new(&config, start), start)
    }

    /// Asks at every deadline up to `until` seconds: what was due, and when.
    fn timeline(keepalive: &mut Keepalive, start: Instant, until: u32) -> Vec<(u64, Due)> {
        let mut due = Vec::new();
        while let Some(now) = keepalive.deadline().filter(|&now| now <= start + until * SECOND) {
            due.push(((now - start).as_secs(), keepalive.due(now)));
            if matches!(due.last(), Some((_, Due::Dead(_) | Due::Idle(_)))) {
                break;
            }
        }
        due
    }

    #[test]
    fn silence_is_pinged_and_then_death() {
        let (mut keepalive, start) = keepalive();
        let due = timeline(&mut keepalive, start, 100);
        assert_eq!(due, [(10, Due::Ping), (20, Due::Ping), (30, Due::Dead(30 * SECOND))]);
    }

    #[test]
    fn a_sign_of_life_starts_anew() {
        let (mut keepalive, start) = keepalive();
        assert_eq!(timeline(&mut keepalive, start, 25), [(10, Due::Ping), (20, Due::Ping)]);
        keepalive.heard(start + 25 * SECOND);
        assert_eq!(timeline(&mut keepalive, start, 54), [(35, Due::Ping), (45, Due::Ping)]);
        assert_eq!(timeline(&mut keepalive, start, 55), [(55, Due::Dead(30 * SECOND))]);
    }

    #[test]
    fn while_we_do_not_listen_nobody_is_dead_and_we_say_that_we_live() {
        let (mut keepalive, start) = keepalive();
        keepalive.set_paused(true, start + 5 * SECOND);
        let due = timeline(&mut keepalive, start, 100);
        assert!(due.len() == 10 && due.iter().all(|(_, due)| *due == Due::Heartbeat), "{due:?}");
        keepalive.set_paused(false, start + 105 * SECOND);
        let due = timeline(&mut keepalive, start, 200);
        assert_eq!(due.last(), Some(&(130, Due::Dead(30 * SECOND))), "25 of the 30 seconds were left");
    }

    #[test]
    fn idle_is_about_messages_not_about_life() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(&Config::default().idle_timeout(60 * SECOND), start);
        for second in 1..60 {
            keepalive.heard(start + second * SECOND);
        }
        assert_eq!(keepalive.due(start + 59 * SECOND), Due::Nothing);
        keepalive.used(start + 59 * SECOND);
        keepalive.heard(start + 118 * SECOND);
        assert_eq!(keepalive.due(start + 118 * SECOND), Due::Nothing);
        assert_eq!(keepalive.due(start + 119 * SECOND), Due::Idle(60 * SECOND));
    }

    #[test]
    fn a_sign_of_life_while_we_do_not_listen_is_not_in_the_future() {
        let (mut keepalive, start) = keepalive();
        keepalive.set_paused(true, start);
        keepalive.heard(start + 100 * SECOND);
        keepalive.set_paused(false, start + 100 * SECOND);
        let due = timeline(&mut keepalive, start, 200);
        assert_eq!(due.last(), Some(&(130, Due::Dead(30 * SECOND))));
    }

    #[test]
    fn times_too_long_for_the_clock_never_come() {
        let config = Config::default().ping_interval(Duration::MAX).keepalive_timeout(Duration::MAX);
        let start = Instant::now();
        let mut keepalive = Keepalive::new(&config.idle_timeout(Duration::MAX), start);
        assert_eq!(keepalive.deadline(), None);
        assert_eq!(keepalive.due(start + SECOND), Due::Nothing);
    }

    #[test]
    fn switched_off_it_never_asks() {
        let config = Config::default().ping_interval(None).keepalive_timeout(None);
        assert_eq!(Keepalive::new(&config, Instant::now()).deadline(), None);
    }
}
