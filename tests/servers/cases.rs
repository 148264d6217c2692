//! Connections that come about.

use wsstream::{CloseCode, Compression, Config, ConnectionError, Message, MessageKind, Role, WebSocketStream};

use crate::{
    application::Server,
    raw::{ask, request},
    support::{BINARY, Raw, TEXT, frame, next, pattern},
};

pub(crate) async fn the_response_is_that_of_rfc_6455(server: Server) {
    let (answer, _) = ask(server.addr, request("/echo?x=1", "").as_bytes()).await;
    assert_eq!(answer.status(), 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert_eq!(answer.header("upgrade"), ["websocket"]);
    assert_eq!(answer.header("connection").len(), 1);
    assert!(answer.header("connection")[0].eq_ignore_ascii_case("upgrade"));
    for absent in ["sec-websocket-protocol", "sec-websocket-extensions", "content-length", "transfer-encoding"] {
        assert!(answer.header(absent).is_empty(), "{answer:?}");
    }
}

pub(crate) async fn protocols_are_chosen_by_the_server(server: Server) {
    for (offered, chosen) in [
        (&["good", "best"][..], &["best"][..]),
        (&["other", "good"], &["good"]),
        (&["other"], &[]),
        (&["GOOD"], &[]),
        (&[], &[]),
    ] {
        let line = match offered {
            [] => String::new(),
            offered => format!("Sec-WebSocket-Protocol: {}\r\n", offered.join(", ")),
        };
        let (answer, _) = ask(server.addr, request("/protocols", &line).as_bytes()).await;
        assert_eq!((answer.status(), answer.header("sec-websocket-protocol")), (101, chosen.to_vec()), "{offered:?}");
    }
    let mut ws = WebSocketStream::connect(server.url("/protocols")).protocols(["good", "best"]).await.unwrap();
    assert_eq!(ws.protocol(), "best");
    ws.close(CloseCode::NORMAL, "").await.unwrap();
}

pub(crate) async fn headers_of_the_application(server: Server) {
    let (answer, _) = ask(server.addr, request("/headers", "").as_bytes()).await;
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.header("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.header("x-more"), ["1"]);
}

/// A client may send frames before it has seen the answer; so does one behind a proxy that coalesces.
pub(crate) async fn messages_right_after_the_head_are_not_lost(mut server: Server) {
    let big = pattern(300_000);
    for payload in [&b"early"[..], &big] {
        let mut bytes = request("/echo", "").into_bytes();
        bytes.extend(frame(Role::Client, false, BINARY, payload));
        bytes.extend(frame(Role::Client, true, 0, b"and the rest"));
        bytes.extend(frame(Role::Client, true, TEXT, b"another"));
        let (answer, tcp) = ask(server.addr, &bytes).await;
        assert_eq!(answer.status(), 101);
        let mut client = Raw::new(tcp, Role::Client);
        assert!(client.message().await == (BINARY, [payload, b"and the rest"].concat()));
        assert_eq!(client.message().await, (TEXT, b"another".to_vec()));
        client.send_close(1000, "").await;
        assert_eq!(client.expect_close().await.unwrap().0, 1000);
        client.expect_end().await;
        assert!(server.ended().await.unwrap().was_clean);
    }
}

pub(crate) async fn a_big_message_is_echoed_chunk_by_chunk(mut server: Server) {
    let data = pattern(32 << 20);
    let ws = server.connect("/echo").await;
    assert_eq!(ws.url(), server.url("/echo"));
    let (mut readable, mut writable) = ws.split();
    let send = async {
        let mut message = writable.start_message(MessageKind::Binary).await.unwrap();
        for chunk in data.chunks(100_001) {
            message.write(chunk.to_vec()).await.unwrap();
        }
        message.finish().await.unwrap();
    };
    let receive = async {
        let mut message = readable.next_message().await.unwrap().unwrap();
        let mut at = 0;
        while let Some(chunk) = message.chunk().await.unwrap() {
            assert!(chunk == data[at..at + chunk.len()], "the chunk at {at}");
            at += chunk.len();
        }
        assert_eq!(at, data.len());
    };
    tokio::join!(send, receive);
    writable.close(CloseCode::NORMAL, "").await.unwrap();
    assert!(server.ended().await.unwrap().was_clean);
}

pub(crate) async fn closing_by_the_client(mut server: Server) {
    let mut ws = server.connect("/echo").await;
    ws.send("last words").await.unwrap();
    let (code, reason) = (CloseCode::try_from(4999).unwrap(), "the client's reason");
    let (closed, echo) = {
        let control = ws.control();
        tokio::join!(async move { control.close(code, reason).await }, next(&mut ws))
    };
    assert_eq!(echo.unwrap().unwrap(), Message::text("last words"));
    assert_eq!((closed.unwrap().close_code, ws.closed().await.unwrap().was_clean), (code, true));
    let ended = server.ended().await.unwrap();
    assert_eq!((ended.close_code, ended.reason.as_str(), ended.was_clean), (code, reason, true));
}

pub(crate) async fn closing_by_the_server(mut server: Server) {
    let mut ws = server.connect("/close").await;
    assert!(next(&mut ws).await.is_none());
    let closed = ws.closed().await.unwrap();
    assert_eq!((u16::from(closed.close_code), closed.reason.as_str()), (4001, "the server's reason"));
    let ended = server.ended().await.unwrap();
    assert_eq!((u16::from(ended.close_code), ended.was_clean), (4001, true));
}

pub(crate) async fn deflate_is_negotiated(mut server: Server) {
    let wants = Config::default().compression(Compression::default());
    for (path, config, extensions) in
        [("/deflate", wants.clone(), "permessage-deflate"), ("/deflate", Config::default(), ""), ("/echo", wants, "")]
    {
        let mut ws = WebSocketStream::connect(server.url(path)).config(config).await.unwrap();
        assert_eq!(ws.extensions(), extensions, "{path}");
        let text = "a line that comes again and again\n".repeat(10_000);
        ws.send(text.as_str()).await.unwrap();
        assert!(next(&mut ws).await.unwrap().unwrap() == Message::text(text.as_str()));
        let stats = ws.stats();
        for bytes in [stats.sent.bytes, stats.received.bytes] {
            assert_eq!(bytes < text.len() as u64 / 10, !extensions.is_empty(), "{stats:?}");
        }
        ws.close(CloseCode::NORMAL, "").await.unwrap();
        server.ended().await.unwrap();
    }
    let line =
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_max_window_bits=10\r\n";
    let (answer, _) = ask(server.addr, request("/deflate", line).as_bytes()).await;
    let agreed = "permessage-deflate; server_max_window_bits=10; client_no_context_takeover";
    assert_eq!(answer.header("sec-websocket-extensions"), [agreed]);
}

pub(crate) async fn dropping_at_the_server(mut server: Server) {
    let mut ws = server.connect("/drop").await;
    assert!(next(&mut ws).await.is_none());
    assert_eq!(ws.closed().await.unwrap().close_code, CloseCode::GOING_AWAY);
    assert!(server.ended().await.unwrap().was_clean);
}

pub(crate) async fn dropping_at_the_client(mut server: Server) {
    drop(server.connect("/echo").await);
    assert_eq!(server.ended().await.unwrap().close_code, CloseCode::GOING_AWAY);
    let mut ws = server.connect("/echo").await;
    ws.abort();
    assert!(matches!(ws.closed().await, Err(ConnectionError::Aborted)));
    assert!(server.ended().await.is_err(), "an end without a Close frame is unclean");
    assert!(server.connections.is_empty(), "who has ended belongs to the set no more");
}
