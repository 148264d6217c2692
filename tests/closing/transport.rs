//! Who ends the transport.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_ends_the_transport_first() {
    // Whoever began.
    let (mut ws, mut peer) = pair(Role::Server);
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_eq!(time, Duration::ZERO);
    within(close).await.unwrap().unwrap();

    let (ws, mut peer) = pair(Role::Server);
    peer.send_close(1000, "").await;
    peer.expect_close().await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_eq!(time, Duration::ZERO);
    within(ws.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_two_seconds_for_the_server_to_end_the_transport() {
    let (mut ws, mut peer) = pair(Role::Client);
    let closed = ws.closed();
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_about(time, Duration::from_secs(2));
    assert!(within(close).await.unwrap().unwrap().was_clean);
    within(closed).await.unwrap();

    // A server that does its duty is not waited for.
    let (mut ws, mut peer) = pair(Role::Client);
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    peer.io.shutdown().await.unwrap();
    let (info, time) = timed(close).await;
    info.unwrap().unwrap();
    assert_eq!(time, Duration::ZERO);
}
