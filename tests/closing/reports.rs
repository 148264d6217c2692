//! What `closed` and the halves report.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_empty_close_body_is_1005_and_clean() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        peer.send(support::CLOSE, &[]).await;
        assert_eq!(peer.expect_close().await, None, "it is answered alike");
        drop(peer);
        let info = within(ws.closed()).await.unwrap();
        assert_eq!((info.close_code, info.reason.as_str(), info.was_clean), (CloseCode::NO_STATUS, "", true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_peers_code_is_reported_whoever_began() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let closed = ws.closed();
        let close = tokio::spawn(async move { ws.close(code(3000), "mine").await });
        assert_eq!(peer.expect_close().await, Some((3000, "mine".into())));
        peer.send_close(3999, "thine").await;
        drop(peer);
        let info = within(close).await.unwrap().unwrap();
        assert_eq!((u16::from(info.close_code), info.reason.as_str()), (3999, "thine"));
        assert_eq!(within(closed).await.unwrap(), info);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_without_a_body_can_be_sent() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let close = tokio::spawn(async move { ws.close(CloseCode::NO_STATUS, "").await });
        assert_eq!(peer.expect_close().await, None);
        peer.send(support::CLOSE, &[]).await;
        drop(peer);
        assert_eq!(within(close).await.unwrap().unwrap().close_code, CloseCode::NO_STATUS);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_transport_is_1006_after_everything_received() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        peer.send(TEXT, b"one").await;
        peer.send(TEXT, b"two").await;
        drop(peer);
        let error = within(readable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Lost), "{error:?}");
        assert_eq!(error.close_code(), CloseCode::ABNORMAL);
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("one"));
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("two"));
        for _ in 0..3 {
            let error = within(readable.next_message()).await.unwrap_err();
            assert!(matches!(error, ReadError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.send("late")).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.flush()).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.close(CloseCode::NORMAL, "")).await.unwrap_err();
            assert!(matches!(error, CloseError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(readable.control().ping()).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            assert!(within(readable.closed()).await.is_err());
        }
        let last = within(next(&mut readable)).await.unwrap().unwrap_err();
        assert!(matches!(last, ReadError::Connection(ConnectionError::Lost)), "{last:?}");
        assert!(within(next(&mut readable)).await.is_none(), "a stream ends after its error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_ends_before_the_close_reply_is_unclean() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
        peer.expect_close().await;
        drop(peer);
        let error = within(close).await.unwrap().unwrap_err();
        assert!(matches!(error, CloseError::Connection(ConnectionError::Lost)), "{error:?}");
    }
}
