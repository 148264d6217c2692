//! Nothing that was cut looks finished.

use super::*;

/// Ways to read a message, each until it ends or fails; the bytes that came, and the error.
async fn read_in_every_way(way: usize, readable: &mut Readable) -> (Vec<u8>, Result<(), String>) {
    let mut bytes = Vec::new();
    if way == 5 {
        let end = match within(next(&mut *readable)).await.expect("a message has begun") {
            Ok(message) => {
                bytes.extend_from_slice(message.as_bytes());
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        return (bytes, end);
    }
    let mut message = within(readable.next_message()).await.unwrap().unwrap();
    let end = match way {
        0 => loop {
            match within(message.chunk()).await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.to_string()),
            }
        },
        1 => loop {
            match within(message.read(&mut [0; 3])).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error.to_string()),
            }
        },
        2 => match within(message.read_to_end(&mut bytes)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        3 => loop {
            let (len, text) = match within(message.fill_buf()).await {
                Ok([]) => break Ok(()),
                Ok(buffer) => (buffer.len(), buffer.to_vec()),
                Err(error) => break Err(error.to_string()),
            };
            bytes.extend_from_slice(&text);
            message.consume(len);
        },
        4 => loop {
            match within(next(&mut message)).await {
                Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
                None => break Ok(()),
                Some(Err(error)) => break Err(error.to_string()),
            }
        },
        _ => match within(message.collect(1000)).await {
            Ok(whole) => {
                bytes.extend_from_slice(whole.as_bytes());
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        },
    };
    (bytes, end)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_cut_never_looks_finished_with_any_way_to_read_it() {
    for role in BOTH {
        for way in 0..7 {
            for with_close in [false, true] {
                // Between two frames, within one, and behind one whose header alone came.
                for cut in [
                    frame(other(role), false, BINARY, b"begin"),
                    [header(other(role), true, BINARY, 100), b"begin".to_vec()].concat(),
                    [frame(other(role), false, BINARY, b"begin"), header(other(role), true, CONTINUATION, 7)].concat(),
                ] {
                    let (ws, mut peer) = pair(role);
                    let (mut readable, _writable) = ws.split();
                    peer.write(&cut).await;
                    // A Close frame can only stand between frames.
                    let close = with_close && cut == frame(other(role), false, BINARY, b"begin");
                    if close {
                        peer.send_close(1000, "").await;
                    }
                    drop(peer);
                    let (bytes, end) = read_in_every_way(way, &mut readable).await;
                    let error = end.expect_err("it was cut");
                    if ![1, 5, 6].contains(&way) {
                        assert_eq!(bytes, b"begin", "way {way}");
                    }
                    if !close {
                        assert_eq!(error, ConnectionError::Lost.to_string(), "way {way}");
                        let again = within(readable.next_message()).await.map(|message| message.is_some());
                        assert!(again.is_err(), "the same for ever: {again:?}");
                    } else {
                        assert!(error.contains("in the middle of a message"), "way {way}: {error}");
                    }
                }
            }
        }
    }
}
