//! The other end is tokio-tungstenite, over loopback TCP, in either role.

mod support;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use support::{next, pattern, within};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream as Peer, accept_hdr_async_with_config, client_async_with_config,
    tungstenite::{
        Message as Theirs, Utf8Bytes,
        client::IntoClientRequest,
        handshake::server::{Request, Response},
        http::HeaderValue,
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode as TheirCode, Data, OpCode},
            },
        },
    },
};
use wsstream::{CloseCode, Listener, Message, MessageKind, ReadError, Role, WebSocketStream};

const PROTOCOL: &str = "media.v1";

/// A limit that holds the largest message here.
const LARGE: usize = 64 << 20;

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(2 * LARGE)).max_frame_size(Some(2 * LARGE))
}

#[allow(clippy::result_large_err)] // the signature is theirs
fn choose(
    request: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.headers()["sec-websocket-protocol"], PROTOCOL);
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// An open connection, ourselves in the given role.
async fn connect(role: Role) -> (WebSocketStream, Peer<TcpStream>) {
    let (ours, theirs) = match role {
        Role::Client => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("ws://{}/path?query", listener.local_addr().unwrap());
            let accept = async {
                let tcp = listener.accept().await.unwrap().0;
                accept_hdr_async_with_config(tcp, choose, Some(config())).await.unwrap()
            };
            let connect = WebSocketStream::connect(url).protocols([PROTOCOL]).into_future();
            let (ours, theirs) = within(async { tokio::join!(connect, accept) }).await;
            (ours.unwrap(), theirs)
        }
        Role::Server => {
            let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let accept = async {
                let upgrade = listener.accept().await.unwrap();
                assert_eq!(upgrade.protocols().collect::<Vec<_>>(), [PROTOCOL]);
                upgrade.accept().protocol(PROTOCOL).await.unwrap()
            };
            let connect = async {
                let mut request = format!("ws://{addr}/path?query").into_client_request().unwrap();
                request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
                let tcp = TcpStream::connect(addr).await.unwrap();
                client_async_with_config(request, tcp, Some(config())).await.unwrap().0
            };
            within(async { tokio::join!(accept, connect) }).await
        }
    };
    assert_eq!((ours.protocol(), ours.role()), (PROTOCOL, role));
    assert!(ours.url().ends_with("/path?query"), "{}", ours.url());
    (ours, theirs)
}

async fn received(peer: &mut Peer<TcpStream>) -> Theirs {
    within(next(peer)).await.unwrap().unwrap()
}

#[tokio::test]
async fn messages_go_both_ways_in_either_role() {
    for role in support::BOTH {
        let (mut ws, mut peer) = connect(role).await;
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1 << 20] {
            let bytes = pattern(len);
            let text: String = "aé€😀".chars().cycle().take(len / 3).collect();
            let echo = async {
                for _ in 0..2 {
                    let message = received(&mut peer).await;
                    peer.send(message).await.unwrap();
                }
            };
            let send = async {
                ws.send(bytes.clone()).await.unwrap();
                ws.send(text.as_str()).await.unwrap();
                assert_eq!(next(&mut ws).await.unwrap().unwrap(), Message::binary(bytes));
                assert_eq!(next(&mut ws).await.unwrap().unwrap(), Message::text(text));
            };
            within(async { tokio::join!(echo, send) }).await;
        }
    }
}

#[tokio::test]
async fn fragments_of_theirs_are_one_message() {
    for role in support::BOTH {
        let (mut ws, mut peer) = connect(role).await;
        let fragment = |data: &'static [u8], opcode, fin| {
            Theirs::Frame(Frame::message(Bytes::from_static(data), OpCode::Data(opcode), fin))
        };
        // A character is split between frames, and a ping comes between them.
        within(peer.send(fragment(b"one \xc3", Data::Text, false))).await.unwrap();
        within(peer.send(Theirs::Ping(Bytes::from_static(b"between")))).await.unwrap();
        within(peer.send(fragment(b"", Data::Continue, false))).await.unwrap();
        within(peer.send(fragment(b"\xa9 two", Data::Continue, true))).await.unwrap();
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("one é two"));
        assert_eq!(received(&mut peer).await, Theirs::Pong(Bytes::from_static(b"between")));
    }
}

#[tokio::test]
async fn messages_of_ours_in_pieces_are_one_message() {
    for role in support::BOTH {
        let (mut ws, mut peer) = connect(role).await;
        let mut message = within(ws.start_message(MessageKind::Text)).await.unwrap();
        for piece in ["in ", "many ", "pieces"] {
            within(message.write(piece)).await.unwrap();
        }
        message.finish().await.unwrap();
        assert_eq!(received(&mut peer).await, Theirs::text("in many pieces"));

        let mut message = within(ws.start_message(MessageKind::Binary).length(6)).await.unwrap();
        within(message.write("abc")).await.unwrap();
        within(message.write("def")).await.unwrap();
        message.finish().await.unwrap();
        assert_eq!(received(&mut peer).await, Theirs::binary(&b"abcdef"[..]));
    }
}

#[tokio::test]
async fn messages_of_64_mib_go_both_ways() {
    for role in support::BOTH {
        let (ws, mut peer) = connect(role).await;
        let (mut readable, mut writable) = ws.split();
        let payload = Bytes::from(vec![0x5a; LARGE]);
        let sending = tokio::spawn({
            let payload = payload.clone();
            async move {
                writable.send(payload).await.unwrap();
                writable.flush().await.unwrap();
                writable
            }
        });
        let message = received(&mut peer).await;
        let _writable = within(sending).await.unwrap();
        assert!(message.into_data() == payload);

        let sending = tokio::spawn(async move {
            peer.send(Theirs::binary(payload)).await.unwrap();
            peer
        });
        let mut message = within(readable.next_message()).await.unwrap().unwrap();
        let mut len = 0;
        while let Some(chunk) = within(message.chunk()).await.unwrap() {
            assert!(chunk.iter().all(|byte| *byte == 0x5a));
            len += chunk.len();
        }
        assert_eq!(len, LARGE);
        within(sending).await.unwrap();
    }
}

#[tokio::test]
async fn pings_are_answered_in_both_directions() {
    for role in support::BOTH {
        let (ws, mut peer) = connect(role).await;
        within(peer.send(Theirs::Ping(Bytes::from_static(b"theirs")))).await.unwrap();
        assert_eq!(received(&mut peer).await, Theirs::Pong(Bytes::from_static(b"theirs")));

        let control = ws.control();
        let ping = tokio::spawn(async move { control.ping().await });
        // They answer while they read.
        assert!(matches!(received(&mut peer).await, Theirs::Ping(_)));
        within(peer.flush()).await.unwrap();
        within(ping).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_close_that_we_begin_carries_code_and_reason() {
    for role in support::BOTH {
        let (mut ws, mut peer) = connect(role).await;
        let close = async { ws.close(CloseCode::try_from(4001).unwrap(), "our reason").await };
        let answer = async {
            let Theirs::Close(Some(frame)) = received(&mut peer).await else { panic!("a Close frame comes") };
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "our reason"));
            // They answer while they go on reading, to the end.
            while let Some(Ok(_)) = peer.next().await {}
        };
        let (info, ()) = within(async { tokio::join!(close, answer) }).await;
        let info = info.unwrap();
        assert_eq!((u16::from(info.close_code), info.was_clean), (4001, true));
    }
}

#[tokio::test]
async fn a_close_that_they_begin_carries_code_and_reason() {
    for role in support::BOTH {
        let (mut ws, mut peer) = connect(role).await;
        within(peer.send(Theirs::text("before"))).await.unwrap();
        let frame = CloseFrame { code: TheirCode::from(4002), reason: Utf8Bytes::from_static("their reason") };
        within(peer.close(Some(frame))).await.unwrap();
        let end = async { while let Some(Ok(_)) = peer.next().await {} };
        let read = async {
            assert_eq!(next(&mut ws).await.unwrap().unwrap(), Message::text("before"));
            assert!(next(&mut ws).await.is_none());
            ws.closed().await.unwrap()
        };
        let ((), info) = within(async { tokio::join!(end, read) }).await;
        assert_eq!((u16::from(info.close_code), info.reason.as_str(), info.was_clean), (4002, "their reason", true));
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_is_no_clean_end() {
    for role in support::BOTH {
        let (mut ws, peer) = connect(role).await;
        drop(peer);
        let error = within(next(&mut ws)).await.unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Connection(_)), "{error:?}");
    }
}
