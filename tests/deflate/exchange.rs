//! Messages through compressed connections, whatever is cut, dropped or left unread on the way.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use wsstream::{CloseCode, CollectError, Compression, Config, ConnectionError, Message, MessageKind};

use crate::{
    json, noise, pair,
    support::{WIDE, next, poll_times, within},
};

/// Without the keepalive: nothing but what happens wakes anybody, and what is not woken hangs.
fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None).compression(Compression::default().min_size(0))
}

const PARAMS: [&str; 4] = [
    "",
    "; server_no_context_takeover; client_no_context_takeover",
    "; server_max_window_bits=9; client_max_window_bits=9",
    "; client_no_context_takeover; server_max_window_bits=12",
];

fn messages() -> Vec<Message> {
    vec![
        Message::text("Hello"),
        Message::text(""),
        Message::binary(noise(3000)),
        Message::text(json(100_000)),
        Message::binary(""),
        Message::binary(vec![7; 1 << 20]),
        Message::text(json(100)),
        Message::text(json(100)),
        Message::binary(noise(300_000)),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_way_to_send_and_to_read_over_narrow_and_wide_pipes() {
    for params in PARAMS {
        for capacity in [100, WIDE] {
            for client_sends in [false, true] {
                let (client, server) = pair(&config(), params, capacity);
                let (mut from, mut to) = if client_sends { (client, server) } else { (server, client) };
                let send = async {
                    for (way, message) in messages().into_iter().enumerate() {
                        if way % 3 == 0 {
                            from.send(message).await.unwrap();
                            continue;
                        }
                        let mut writer = from.start_message(message.kind()).await.unwrap();
                        let len = 1 + way * 1000;
                        for chunk in message.into_bytes().chunks(len) {
                            if way % 3 == 1 {
                                writer.write(chunk.to_vec()).await
                            } else {
                                writer.write_all(chunk).await.map_err(|error| panic!("{error}"))
                            }
                            .unwrap();
                            if way % 2 == 0 {
                                writer.flush().await.unwrap();
                            }
                        }
                        writer.finish().await.unwrap();
                    }
                    from
                };
                let read = async {
                    for (way, expected) in messages().into_iter().enumerate() {
                        let message = if way % 2 == 0 {
                            next(&mut to).await.unwrap().unwrap()
                        } else {
                            to.next_message().await.unwrap().unwrap().collect(1 << 20).await.unwrap()
                        };
                        assert!(message == expected, "{params:?}, {way}: {} of {}", message.len(), expected.len());
                    }
                };
                let (mut from, ()) = within(async { tokio::join!(send, read) }).await;
                let stats = from.stats();
                assert_eq!((stats.sent.messages, to.stats().received.messages), (9, 9));
                assert_eq!(stats.sent.frames, to.stats().received.frames, "what is sent is what is received");
                let (closed, end) =
                    within(async { tokio::join!(from.close(CloseCode::NORMAL, ""), next(&mut to)) }).await;
                assert!(closed.unwrap().was_clean && end.is_none());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_skipped_is_remembered_all_the_same() {
    let (mut client, mut server) = pair(&config(), "", WIDE);
    let texts: Vec<String> = (0..12).map(|at| format!("{at} {}", json(20_000))).collect();
    let send = async {
        for text in &texts {
            client.send(text.as_str()).await.unwrap();
        }
    };
    let read = async {
        for (at, text) in texts.iter().enumerate() {
            let mut message = server.next_message().await.unwrap().unwrap();
            match at % 4 {
                0 => assert_eq!(message.collect(1 << 20).await.unwrap().as_text(), Some(&text[..])),
                // From the first chunk on, or without any.
                1 => drop(message.chunk().await.unwrap()),
                2 => drop(message),
                _ => {
                    let error = message.collect(100).await.unwrap_err();
                    assert!(matches!(error, CollectError::TooLarge { limit: 100 }));
                    let mut again = server.next_message().await.unwrap().unwrap();
                    assert!(again.chunk().await.unwrap().unwrap().starts_with(&text.as_bytes()[..2]));
                }
            }
        }
    };
    within(async { tokio::join!(send, read) }).await;
    // The window was needed: one text after another costs next to nothing.
    assert!(server.stats().received.bytes < 20_000, "{:?}", server.stats());
}

#[tokio::test(start_paused = true)]
async fn a_flush_makes_all_that_was_written_readable() {
    for params in PARAMS {
        let (mut client, mut server) = pair(&config(), params, WIDE);
        let mut writer = within(client.start_message(MessageKind::Text).into_future()).await.unwrap();
        let mut wrote = String::new();
        let mut line = |at: usize| {
            let line = format!("line {at}: {}\n", json(at * 10));
            wrote += &line;
            (line, wrote.len())
        };
        within(writer.write(line(0).0)).await.unwrap();
        within(writer.flush()).await.unwrap();
        let mut reader = within(server.next_message()).await.unwrap().unwrap();
        let mut came = within(reader.chunk()).await.unwrap().unwrap().to_vec();
        for at in 1..20 {
            let (line, len) = line(at);
            within(writer.write(line)).await.unwrap();
            within(writer.flush()).await.unwrap();
            while came.len() < len {
                came.extend(within(reader.chunk()).await.unwrap().unwrap());
            }
        }
        assert!(came == wrote.as_bytes());
        writer.finish().await.unwrap();
        assert!(within(reader.chunk()).await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_was_accepted_whole_or_not_at_all() {
    for k in 0..8 {
        let (client, mut server) = pair(&config().write_high_water_mark(1000), "", 100);
        let (_readable, mut writable) = client.split();
        let read = tokio::spawn(async move {
            let mut sizes = Vec::new();
            while let Some(message) = next(&mut server).await {
                let message = message.unwrap();
                let text = message.as_text().unwrap();
                assert_eq!(&text[1..], &json(text.len() - 1));
                sizes.push(text.len() - 1);
            }
            sizes
        });
        let mut accepted = Vec::new();
        for at in 1..30 {
            let text = format!("{}{}", at % 10, json(at * 1000));
            match poll_times(k, writable.send(text)).await {
                Some(result) => {
                    result.unwrap();
                    accepted.push(at * 1000);
                }
                None => tokio::task::yield_now().await,
            }
        }
        within(writable.close(CloseCode::NORMAL, "")).await.unwrap();
        assert_eq!(within(read).await.unwrap(), accepted, "{k} polls");
        assert_eq!(k == 0, accepted.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_write_that_are_dropped_lose_nothing() {
    for k in 1..6 {
        let (client, mut server) = pair(&config().write_high_water_mark(500), "", 50);
        let (_readable, mut writable) = client.split();
        let read = tokio::spawn(async move { next(&mut server).await.unwrap().unwrap() });
        let mut writer = writable.start_message(MessageKind::Binary).await.unwrap();
        let mut wrote = Vec::new();
        for at in 0..200 {
            let chunk = noise(at);
            if let Some(result) = poll_times(k, writer.write(chunk.clone())).await {
                result.unwrap();
                wrote.extend(chunk);
            }
            if at % 3 == 0 {
                let _ = poll_times(k, writer.flush()).await;
            }
            tokio::task::yield_now().await;
        }
        writer.finish().await.unwrap();
        assert!(within(read).await.unwrap().into_bytes() == wrote, "{k} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_dropped_fails_the_connection_as_ever() {
    let (mut client, mut server) = pair(&config(), "", WIDE);
    let mut writer = within(client.start_message(MessageKind::Text).into_future()).await.unwrap();
    within(writer.write(json(100_000))).await.unwrap();
    within(writer.flush()).await.unwrap();
    drop(writer);
    let error = within(next(&mut server)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("1011"), "{error}");
    assert!(matches!(within(client.closed()).await, Err(ConnectionError::UnfinishedMessage)));
}

#[tokio::test(start_paused = true)]
async fn pings_overtake_what_is_to_be_compressed() {
    let (client, server) = pair(&config(), "", 10_000);
    let (mut readable, _server) = server.split();
    let control = client.control();
    let (_client, mut writable) = client.split();
    let large = Bytes::from(noise(64).repeat(1 << 18));
    within(writable.send(large.clone())).await.unwrap();
    let read = async {
        let mut message = readable.next_message().await.unwrap().unwrap();
        let mut came = 0;
        while let Some(chunk) = message.chunk().await.unwrap() {
            came += chunk.len();
            tokio::task::yield_now().await;
        }
        came
    };
    let ping = async {
        control.ping().await.unwrap();
        control.stats().sent.buffered
    };
    let (came, waiting) = within(async { tokio::join!(read, ping) }).await;
    assert_eq!(came, large.len());
    assert!(waiting > 1 << 20, "the pong came when only {waiting} bytes were left");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_gets_no_more_than_the_mark_and_one_chunk() {
    let (mut client, mut server) = pair(&config(), "", WIDE);
    let bomb = vec![0; 64 << 20];
    within(client.send(bomb)).await.unwrap();
    let control = server.control();
    let mut message = within(server.next_message()).await.unwrap().unwrap();
    within(message.chunk()).await.unwrap().unwrap();
    let paused = async {
        while control.stats().received.pauses == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(paused).await;
    let received = control.stats().received;
    assert!(received.buffered_max <= 256 * 1024 + 64 * 1024 + 128, "{received:?}");
    // And goes on where it stopped.
    let mut rest = 0;
    while let Some(chunk) = within(message.chunk()).await.unwrap() {
        assert!(chunk.len() <= 64 * 1024 && chunk.iter().all(|byte| *byte == 0));
        rest += chunk.len();
    }
    assert_eq!(rest, (64 << 20) - 64 * 1024);
    assert!(control.stats().received.bytes < 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn limits_count_inflated_bytes() {
    let (mut client, mut server) = pair(&config().max_message_size(1 << 20), "", WIDE);
    within(client.send(vec![0; 1 << 20])).await.unwrap();
    within(client.send(vec![0; (1 << 20) + 1])).await.unwrap();
    assert_eq!(within(next(&mut server)).await.unwrap().unwrap().len(), 1 << 20);
    let error = within(next(&mut server)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("max_message_size"), "{error}");
    assert!(matches!(within(server.closed()).await, Err(ConnectionError::MessageTooLarge { limit: 1048576, .. })));
    within(client.closed()).await.expect("told with 1009");
}
