//! How long closing takes with a peer that does not play along.

use std::time::Duration;

use wsstream::{CloseCode, CloseError, Config, ConnectionError};

use super::peer::{close_body, open, open_config, timed};

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_the_transport_open_is_given_two_seconds_and_the_end_is_clean() {
    let (mut ws, mut peer) = open().await;
    let serve = async {
        assert_eq!(peer.close_body().await, close_body(1000, ""));
        peer.close(1000, "").await;
        peer.end().await;
    };
    let ((info, time), ()) = tokio::join!(timed(ws.close(CloseCode::NORMAL, "")), serve);
    assert!(info.unwrap().was_clean);
    assert!((2000..2100).contains(&time.as_millis()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_the_close_timeout() {
    for (config, seconds) in [(Config::default(), 10), (Config::default().close_timeout(Duration::from_secs(3)), 3)] {
        let (mut ws, mut peer) = open_config(config).await;
        let (closed, time) = timed(ws.close(CloseCode::NORMAL, "")).await;
        let Err(CloseError::Connection(error)) = closed else { panic!("{closed:?}") };
        assert!(matches!(error, ConnectionError::CloseTimeout(_)), "{error:?}");
        assert_eq!((error.close_code(), time.as_secs()), (CloseCode::ABNORMAL, seconds));
        peer.close_body().await;
        peer.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_nothing_is_given_the_close_timeout() {
    let (mut ws, peer) = open().await;
    ws.send(vec![0; 8 << 20]).await.unwrap();
    let (closed, time) = timed(ws.close(CloseCode::NORMAL, "")).await;
    let Err(CloseError::Connection(ConnectionError::CloseTimeout(_))) = closed else { panic!("{closed:?}") };
    assert_eq!(time.as_secs(), 10);
    drop(peer);
}

/// The time runs only while nothing moves: a slow server gets everything.
#[tokio::test(start_paused = true)]
async fn a_server_that_reads_slowly_gets_everything() {
    let (mut ws, mut peer) = open().await;
    ws.send(vec![7; 1 << 20]).await.unwrap();
    let serve = async {
        let mut received = 0;
        while received < 1 << 20 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            received += peer.frame().await.unwrap().payload.len();
        }
        assert_eq!(peer.close_body().await, close_body(1000, ""));
        peer.close(1000, "").await;
        drop(peer);
    };
    let ((info, time), ()) = tokio::join!(timed(ws.close(CloseCode::NORMAL, "")), serve);
    assert!(info.unwrap().was_clean);
    assert!(time > Duration::from_secs(60), "{time:?}");
}
