//! Answers, which are written by who sends them: in their order, whole, and no later than allowed.

use futures::{FutureExt, Sink};
use tokio::io::{AsyncReadExt, BufStream};

use super::*;
use crate::{Message, ReadyState, WriteError};

/// A question that the reader waits for, as in an exchange that has been going on for a while: the driver is not woken.
async fn ask<T: AsyncWrite + Unpin>(ws: &mut WebSocketStream, far: &mut T) {
    let reading = async {
        let question = ws.next_message().await.unwrap().unwrap();
        assert_eq!(question.collect(1).await.unwrap().as_bytes(), b"?");
    };
    let asking = far.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'?']); // masked, with a mask of 0
    let ((), asked) = soon(async { tokio::join!(biased; reading, asking) }).await;
    asked.unwrap();
}

/// A server that has been asked some questions, and answered them.
async fn server(config: Config, transport: usize) -> (WebSocketStream, DuplexStream) {
    let (near, mut far) = duplex(transport);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Server, Negotiated::default(), config);
    for _ in 0..3 {
        ask(&mut ws, &mut far).await;
        ws.send("!").await.unwrap();
        let mut answer = [0; 3];
        soon(far.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, *b"\x81\x01!");
    }
    (ws, far)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_written_by_who_sends_it_and_what_follows_goes_together() {
    let (near, mut far) = duplex(64 * 1024);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Server, Negotiated::default(), config());
    let mut came = [0; 100];
    for _ in 0..3 {
        far.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'?']).await.unwrap(); // masked, with a mask of 0
        let question = soon(ws.next_message()).await.unwrap().unwrap();
        assert_eq!(soon(question.collect(1)).await.unwrap().as_bytes(), b"?");
        // No other task has its turn from here on.
        for answer in [&b"1"[..], b"2", b"3"] {
            ws.send(answer).now_or_never().unwrap().unwrap();
        }
        assert_eq!(far.read(&mut came).now_or_never().unwrap().unwrap(), 3, "the first one");
        assert!(far.read(&mut came).now_or_never().is_none(), "the others wait for each other");
        assert_eq!(soon(far.read(&mut came)).await.unwrap(), 6);

        far.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'?']).await.unwrap();
        soon(ws.next_message()).await.unwrap();
        let mut answer = ws.start_message(MessageKind::Binary).into_future().now_or_never().unwrap().unwrap();
        answer.write(&b"in a chunk"[..]).now_or_never().unwrap().unwrap();
        assert!(far.read(&mut came).now_or_never().is_none(), "its end may follow");
        answer.finish().now_or_never().unwrap().unwrap();
        assert_eq!(far.read(&mut came).now_or_never().unwrap().unwrap(), 12, "in one frame");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_does_not_take_of_an_answer_is_the_drivers() {
    let (near, mut far) = duplex(16);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Server, Negotiated::default(), config());
    far.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'?']).await.unwrap();
    let question = soon(ws.next_message()).await.unwrap().unwrap();
    soon(question.collect(1)).await.unwrap();
    // Larger than a write, larger than a stage, and nobody polls the connection any more.
    for len in [100, 3 << 20] {
        ws.send(vec![7; len]).now_or_never().unwrap().unwrap();
    }
    let frames = 1 + (3 << 20) / (64 * 1024);
    let mut came = vec![0; 100 + (3 << 20) + 2 + (frames - 1) * 10];
    soon(far.read_exact(&mut came)).await.unwrap();
    assert_eq!((&came[..3], came.last()), (&[0x82, 100, 7][..], Some(&7)));
    assert!(far.read(&mut came).now_or_never().is_none(), "and nothing else");
}

#[tokio::test(start_paused = true)]
async fn an_answer_follows_what_was_accepted_before_it() {
    let (mut ws, mut far) = server(config(), 1000).await;
    for is_waiting in [false, true, true, false, true, false] {
        if is_waiting {
            // Accepted, and not flushed.
            Pin::new(&mut ws).start_send(Message::binary("first")).unwrap();
        }
        ask(&mut ws, &mut far).await;
        ws.send("second").now_or_never().unwrap().unwrap();
        let mut came = [0; 100];
        let len = far.read(&mut came).now_or_never().unwrap().unwrap();
        let frames = if is_waiting { &b"\x82\x05first\x81\x06second"[..] } else { b"\x81\x06second" };
        assert_eq!(came[..len], *frames);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_counted_whatever_the_transport_takes_of_it() {
    for takes in 7..20 {
        let (mut ws, mut far) = server(config(), takes).await;
        let left = 12_usize.saturating_sub(takes);
        for round in 1..4 {
            ask(&mut ws, &mut far).await;
            ws.send(&b"0123456789"[..]).now_or_never().unwrap().unwrap();
            let sent = ws.stats().sent;
            assert_eq!((sent.messages, sent.frames), (3 + round, 3 + round));
            assert_eq!(sent.bytes, 9 + 12 * round - left as u64);
            assert_eq!((sent.buffered, ws.buffered_amount()), (left, left));
            let (mut came, begin) = ([0; 12], tokio::time::Instant::now());
            soon(far.read_exact(&mut came)).await.unwrap();
            assert_eq!(came, *b"\x82\x0A0123456789");
            assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waits for the clock");
        }
        soon(ws.flush()).await.unwrap();
        let sent = ws.stats().sent;
        assert_eq!((sent.messages, sent.frames, sent.bytes, sent.buffered), (6, 6, 45, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_stay_in_the_buffer_of_its_transport() {
    let (near, mut far) = duplex(1000);
    let near = BufStream::new(near);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Server, Negotiated::default(), config());
    for _ in 0..4 {
        ask(&mut ws, &mut far).await;
        ws.send("!").now_or_never().unwrap().unwrap();
        let mut came = [0; 3];
        assert_eq!(far.read_exact(&mut came).now_or_never().unwrap().unwrap(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_refused() {
    let mut rest = Vec::new();

    let (mut ws, mut far) = server(config(), 1000).await;
    ask(&mut ws, &mut far).await;
    let control = ws.control();
    let mut closing = std::pin::pin!(control.close(CloseCode::NORMAL, ""));
    assert!((&mut closing).now_or_never().is_none()); // it has been asked for, and the driver has not seen it
    assert!(matches!(ws.send("late").now_or_never(), Some(Err(WriteError::Closed))));
    drop(far);
    soon(closing).await.unwrap_err();

    let (mut ws, mut far) = server(config(), 1000).await;
    let (reading, asking) = (ws.next_message(), far.write_all(&[0x88, 0x80, 0, 0, 0, 0]));
    let (none, asked) = soon(async { tokio::join!(biased; reading, asking) }).await;
    assert!(none.unwrap().is_none() && asked.is_ok());
    assert!(matches!(ws.send("late").now_or_never(), Some(Err(WriteError::Closed))));
    soon(far.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, [0x88, 0], "the Close frame is the last");
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_come_between_the_parts_of_a_message() {
    for has_written in [false, true] {
        let (mut ws, mut far) = server(config(), 1000).await;
        let mut message = ws.start_message(MessageKind::Binary).await.unwrap();
        if has_written {
            message.write(&b"begun"[..]).await.unwrap();
            message.flush().await.unwrap();
        }
        std::mem::forget(message);
        ask(&mut ws, &mut far).await;
        assert!(matches!(ws.send("in between").now_or_never(), Some(Err(_))));
        let mut rest = Vec::new();
        soon(far.read_to_end(&mut rest)).await.unwrap();
        let before = if has_written { &b"\x02\x05begun\x88"[..] } else { b"\x88" };
        let close = rest.strip_prefix(before).expect("nothing comes between");
        assert_eq!(close[1..3], 1011_u16.to_be_bytes(), "a message was left unfinished");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_come_between_the_parts_of_a_frame() {
    let (mut ws, mut far) = server(config(), 7).await;
    ask(&mut ws, &mut far).await;
    ws.send("0123456789").await.unwrap();
    tokio::task::yield_now().await; // the driver has found the transport full
    ask(&mut ws, &mut far).await;
    let (mut readable, mut writable) = ws.split();
    // The reader waits, and is woken for what is left of the first answer: nobody else is.
    let mut reading = Box::pin(readable.next_message());
    assert!((&mut reading).now_or_never().is_none());
    let mut came = [0; 18];
    assert_eq!(far.read(&mut came[..5]).now_or_never().unwrap().unwrap(), 5);
    writable.send("next").now_or_never().unwrap().unwrap();
    drop(reading);
    soon(far.read_exact(&mut came[5..])).await.unwrap();
    assert_eq!(came, *b"\x81\x0A0123456789\x81\x04next");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_compressed_if_that_was_agreed_on() {
    let (near, mut far) = duplex(1000);
    let negotiated = Negotiated::default().with_extensions("permessage-deflate").unwrap();
    let config = config().compression(Compression::default());
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Server, negotiated, config);
    for _ in 0..4 {
        ask(&mut ws, &mut far).await;
        ws.send("a".repeat(1000)).now_or_never().unwrap().unwrap();
        let mut came = [0; 100];
        let len = soon(far.read(&mut came)).await.unwrap();
        assert!(came[0] == 0xC1 && len < 100, "{len} bytes, {came:x?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_sign_of_use() {
    let (mut ws, mut far) = server(config().idle_timeout(Duration::from_secs(60)), 1000).await;
    ask(&mut ws, &mut far).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    ws.send("at last").await.unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(ws.ready_state(), ReadyState::Open);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(ws.ready_state(), ReadyState::Closed);
}
