//! The clocks of an open connection, in virtual time, against a scripted peer: keepalive, heartbeat, idleness, round trips.

mod support;

use std::time::Duration;

use support::{BINARY, BOTH, PING, PONG, frame, next, other, pair_over, settle, within};
use tokio::time::{Instant, advance};
use wsstream::{Config, ConnectionError, ReadError, WriteError};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::default().ping_interval(10 * SECOND).keepalive_timeout(30 * SECOND)
}

/// Lets virtual time pass second by second, so that everything that is due gets its turn.
async fn pass(time: Duration) {
    for _ in 0..time.as_secs() {
        advance(SECOND).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_lives_as_long_as_it_answers() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config(), 4096);
        for _ in 0..10 {
            let ping = peer.expect(PING).await;
            peer.send(PONG, &ping).await;
        }
        settle().await;
        assert_eq!(ws.ready_state(), wsstream::ReadyState::Open);
        assert_eq!(ws.stats().received.control_frames, 10);
    }
}

/// The transport takes what is written into its own buffers, which says nothing about the peer.
#[tokio::test(start_paused = true)]
async fn a_peer_that_vanished_is_noticed_though_we_only_write() {
    for role in BOTH {
        let (mut ws, _peer) = pair_over(role, config(), 1 << 20);
        let begin = Instant::now();
        let error = loop {
            match within(ws.send("into the void")).await {
                Ok(()) => pass(SECOND).await,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, WriteError::Connection(ConnectionError::KeepaliveTimeout(time)) if time == 30 * SECOND)
        );
        assert!(begin.elapsed() <= 32 * SECOND, "{:?}", begin.elapsed());
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::KeepaliveTimeout(_))));
        let last = within(next(&mut ws)).await.unwrap().unwrap_err();
        assert!(matches!(last, ReadError::Connection(ConnectionError::KeepaliveTimeout(_))));
    }
}

/// Progress in either direction is a sign of life: a peer that takes a byte now and then is slow, not dead.
#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_not_a_dead_one() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, config(), 64);
        within(ws.send(vec![7; 10_000])).await.unwrap();
        for _ in 0..50 {
            pass(20 * SECOND).await;
            let mut few = [0; 10];
            within(tokio::io::AsyncReadExt::read_exact(&mut peer.io, &mut few)).await.unwrap();
        }
        assert_eq!(ws.ready_state(), wsstream::ReadyState::Open);
        // Without even that, it is dead.
        pass(31 * SECOND).await;
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::KeepaliveTimeout(_))));
    }
}

/// We must not call a peer dead because we do not listen, nor let it call us so.
#[tokio::test(start_paused = true)]
async fn while_our_reader_lags_the_clock_stands_still_and_a_heartbeat_goes_out() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config().read_high_water_mark(1000).idle_timeout(60 * SECOND), 1 << 16);
        let (mut readable, _writable) = ws.split();
        peer.send(BINARY, &[1; 2000]).await;
        settle().await;
        for _ in 0..100 {
            assert_eq!(peer.expect(PONG).await, b"", "an unsolicited pong every ten seconds");
        }
        let message = within(next(&mut readable)).await.unwrap().unwrap();
        assert_eq!(message.len(), 2000);
        // From here on it listens again, and what was left of its patience runs.
        assert!(matches!(within(readable.closed()).await, Err(ConnectionError::KeepaliveTimeout(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_with_1001_though_pongs_come() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config().idle_timeout(25 * SECOND), 4096);
        let begin = Instant::now();
        for _ in 0..2 {
            let ping = peer.expect(PING).await;
            peer.send(PONG, &ping).await;
        }
        let (code, reason) = peer.expect_close().await.unwrap();
        assert_eq!((code, reason.as_str()), (1001, "no message for 25s"));
        assert_eq!(begin.elapsed().as_secs(), 25);
        drop(peer);
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::IdleTimeout(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn without_clocks_nothing_is_ever_said() {
    for role in BOTH {
        let quiet = Config::default().ping_interval(None).keepalive_timeout(None);
        let (ws, mut peer) = pair_over(role, quiet, 4096);
        pass(Duration::from_secs(1000)).await;
        peer.expect_silence().await;
        assert_eq!(ws.ready_state(), wsstream::ReadyState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_trip_is_measured_and_pongs_nobody_asked_for_are_ignored() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config(), 4096);
        let control = ws.control();
        assert_eq!(control.stats().round_trip, None);
        let ping = tokio::spawn({
            let control = control.clone();
            async move { control.ping().await }
        });
        let payload = peer.expect(PING).await;
        peer.write(&frame(other(role), true, PONG, b"a stranger")).await;
        peer.write(&frame(other(role), true, PONG, &[0xFF; 8])).await;
        advance(Duration::from_millis(80)).await;
        assert!(!ping.is_finished());
        peer.send(PONG, &payload).await;
        assert_eq!(within(ping).await.unwrap().unwrap(), Duration::from_millis(80));
        assert_eq!(control.stats().round_trip, Some(Duration::from_millis(80)));
    }
}
