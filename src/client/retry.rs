//! Trying again what may heal.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::header::RETRY_AFTER;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    connect_error::{ConnectError, ConnectErrorKind},
    handshake::deadline_after,
    stream::WebSocketStream,
};

/// How often, how fast and how long a client tries again to connect; see [`Connect::retry`](crate::Connect::retry).
///
/// It waits twice as long after each failure, from [`min_delay`](Self::min_delay) up to [`max_delay`](Self::max_delay),
/// and a random part more, as much again at most, so that the clients of a server that was away do not come back all at
/// once. Where the server says how long to wait (`Retry-After`), it waits for that, if it is longer.
///
/// Only what may heal is tried again: [`ConnectError::is_transient`] tells what.
///
/// ```
/// use std::time::Duration;
/// use wsstream::Retry;
///
/// let retry = Retry::default().max_tries(20).max_time(Duration::from_secs(300));
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    min_delay: Duration,
    max_delay: Duration,
    max_tries: usize,
    max_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(10),
            max_tries: 30,
            max_time: Duration::from_secs(120),
        }
    }
}

impl Retry {
    /// The wait after the first failure. Default 100 ms.
    pub fn min_delay(mut self, time: Duration) -> Self {
        self.min_delay = time;
        self
    }

    /// The longest wait, but for what is random of it. Default 10 s.
    pub fn max_delay(mut self, time: Duration) -> Self {
        self.max_delay = time;
        self
    }

    /// Tries in all, the first one included; at least 1. Default 30.
    pub fn max_tries(mut self, tries: usize) -> Self {
        self.max_tries = tries.max(1);
        self
    }

    /// Time in all: no try begins later, and the last one is cut off. Default 2 min. Each try may take no longer than
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout), either.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    fn delays(&self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::new().with_factor(2.0).with_jitter();
        let builder = builder.with_min_delay(self.min_delay).with_max_delay(self.max_delay.max(self.min_delay));
        builder.with_max_times(self.max_tries - 1).build()
    }

    /// # Cancel safety
    /// Dropping the future aborts the try that is going on.
    pub(super) async fn run<F>(&self, mut attempt: impl FnMut() -> F) -> Result<WebSocketStream, ConnectError>
    where
        F: Future<Output = Result<WebSocketStream, ConnectError>>,
    {
        let started = Instant::now();
        let deadline = deadline_after(self.max_time);
        let mut delays = self.delays();
        let mut last = None;
        for tries in 1.. {
            let error = match timeout_at(deadline, attempt()).await {
                Ok(Ok(ws)) => return Ok(ws),
                Ok(Err(error)) if !error.is_transient() => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => break,
            };
            let wait = delays.next().map(|delay| retry_after(&error).map_or(delay, |after| delay.max(after)));
            match wait {
                Some(wait) if wait < deadline.saturating_duration_since(Instant::now()) => {
                    tracing::debug!(%error, tries, ?wait, "trying again");
                    last = Some(error);
                    sleep(wait).await;
                }
                _ => {
                    let elapsed = started.elapsed();
                    return Err(error.with_note(&format!("given up after {tries} tries in {elapsed:.1?}")));
                }
            }
        }
        let limit = self.max_time;
        let note = format!("given up after {limit:?}; `Retry::max_time` raises the limit");
        Err(match last {
            Some(error) => error.with_note(&note),
            None => ConnectError::new(ConnectErrorKind::Timeout, format!("no connection; {note}")),
        })
    }
}

/// What a server that is busy asks for (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(error: &ConnectError) -> Option<Duration> {
    let value = error.response()?.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending, io};

    use bytes::Bytes;
    use http::Response;

    use super::*;

    fn io_error(kind: io::ErrorKind) -> ConnectError {
        ConnectError::caused(ConnectErrorKind::Io, "connecting failed", io::Error::from(kind))
    }

    fn refused(status: u16, retry_after: &str) -> ConnectError {
        let response = Response::builder().status(status).header(RETRY_AFTER, retry_after).body(Bytes::new());
        ConnectError::refused(response.unwrap())
    }

    /// Tries that all fail alike: the error, how many there were, and how long that took.
    async fn fail(retry: &Retry, error: impl Fn() -> ConnectError) -> (ConnectError, usize, Duration) {
        let tries = Cell::new(0);
        let started = Instant::now();
        let result = retry.run(async || {
            tries.set(tries.get() + 1);
            Err(error())
        });
        let error = result.await.err().unwrap();
        (error, tries.get(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn tries_and_time_are_bounded() {
        let retry = Retry::default().max_tries(5);
        let (error, tries, elapsed) = fail(&retry, || io_error(io::ErrorKind::ConnectionRefused)).await;
        assert_eq!((error.kind(), tries), (ConnectErrorKind::Io, 5));
        assert!((1500..=3010).contains(&elapsed.as_millis()), "{elapsed:?}");

        let retry = Retry::default().max_tries(1000).max_time(Duration::from_secs(60));
        let (error, tries, elapsed) = fail(&retry, || io_error(io::ErrorKind::ConnectionReset)).await;
        assert!(error.to_string().contains(&format!("given up after {tries} tries")), "{error}");
        assert!((8..=13).contains(&tries), "{tries}");
        assert!((40..=60).contains(&elapsed.as_secs()), "no wait that could not be followed by a try: {elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_is_cut_off() {
        let retry = Retry::default().max_time(Duration::from_secs(5));
        let started = Instant::now();
        let error = retry.run(pending).await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Timeout);
        assert!(error.to_string().contains("`Retry::max_time`"), "{error}");
        assert_eq!(started.elapsed().as_secs(), 5);

        let first = Cell::new(true);
        let result = retry.run(async || match first.replace(false) {
            true => Err(io_error(io::ErrorKind::ConnectionRefused)),
            false => pending().await,
        });
        let error = result.await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Io, "what went wrong says more than that time is up");
        assert!(error.to_string().contains("`Retry::max_time`"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_when_is_not_asked_before() {
        let (_, tries, elapsed) = fail(&Retry::default().max_tries(3), || refused(429, "30")).await;
        assert_eq!((tries, elapsed.as_secs()), (3, 60));
        // Nor waited for in vain, whatever it says.
        for seconds in ["3600", "18446744073709551615"] {
            let (error, tries, elapsed) = fail(&Retry::default(), || refused(503, seconds)).await;
            assert_eq!((tries, elapsed.as_secs()), (1, 0), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_heal_is_reported_at_once() {
        use ConnectErrorKind::*;
        let kinds = [InvalidUrl, InvalidOption, UnsupportedScheme, Tls, Certificate, Proxy, Redirect, BadResponse];
        for kind in kinds {
            assert_eq!(fail(&Retry::default(), || ConnectError::new(kind, "")).await.1, 1, "{kind:?}");
        }
        for status in [301, 400, 401, 403, 404, 407, 426] {
            assert_eq!(fail(&Retry::default(), || refused(status, "1")).await.1, 1, "{status}");
        }
        for io in [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput, io::ErrorKind::AddrNotAvailable] {
            assert_eq!(fail(&Retry::default(), || io_error(io)).await.1, 1, "{io:?}");
        }
        for passing in [500, 502, 503, 504, 429] {
            assert!(fail(&Retry::default(), || refused(passing, "")).await.1 > 1, "{passing}");
        }
    }

    #[test]
    fn delays_double_and_are_never_all_the_same() {
        let retry = Retry::default().max_tries(10);
        for _ in 0..50 {
            let delays: Vec<_> = retry.delays().map(|delay| delay.as_millis()).collect();
            assert_eq!(delays.len(), 9);
            for (delay, least) in delays.iter().zip([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) {
                assert!((least..=2 * least).contains(delay), "{delays:?}");
            }
        }
        let first: Vec<_> = (0..50).filter_map(|_| retry.delays().next()).collect();
        assert!(first.iter().any(|delay| *delay != first[0]), "{first:?}");
    }

    #[test]
    fn a_server_may_say_when() {
        let after = |value: &str| retry_after(&refused(503, value));
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        let tomorrow = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(86_400));
        assert!(after(&tomorrow).unwrap() > Duration::from_secs(43_200));
    }
}
