//! The examples as processes: what a user sees of them.

mod support;

use std::{path::PathBuf, process::Stdio, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use support::{BINARY, PONG, Raw, TEXT, next, pattern, within};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Mutex,
};
use tokio_tungstenite::{
    WebSocketStream as Peer,
    tungstenite::{
        Message as Theirs,
        handshake::server::{Request, Response},
        protocol::{
            CloseFrame,
            frame::Frame,
            frame::coding::{CloseCode, Data, OpCode},
        },
    },
};
use wsstream::{Message, Role, WebSocketStream};

/// An example that `cargo test` has built next to this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(2).expect("the target directory is above `deps`");
    let path: PathBuf = target.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing; `cargo build --examples` builds it", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn private_authority_shows_certificates_at_both_ends() {
    let output = within(example("private_authority").output()).await.unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "you have shown 1 certificate\n");
}

/// A running server, ended when dropped, and its address.
async fn echo_server() -> (Child, String) {
    let mut server = example("echo_server").arg("127.0.0.1:0").spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().expect("it says where it listens");
    let addr = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    assert!(!addr.ends_with(":0"), "the port that the system chose, not 0");
    (server, addr)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn raw_client(addr: &str) -> Raw<TcpStream> {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(within(tcp.read_u8()).await.expect("the server answers"));
    }
    assert!(response.starts_with(b"HTTP/1.1 101 "), "{}", response.escape_ascii());
    Raw::new(tcp, Role::Client)
}

/// Reads to the end, however it comes.
async fn drain(tcp: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = within(tcp.read_to_end(&mut all)).await;
    all
}

#[tokio::test]
async fn echo_server_lives_through_misbehaving_peers() {
    let (mut server, addr) = echo_server().await;
    let mut open = Vec::new();
    for round in 0..5 {
        // Junk.
        let mut tcp = TcpStream::connect(&addr).await.unwrap();
        tcp.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").await.unwrap();
        assert!(!drain(&mut tcp).await.starts_with(b"HTTP/1.1 101"));
        // Half a handshake, and nothing more; and half a handshake and the end.
        for vanish in [false, true] {
            let mut tcp = TcpStream::connect(&addr).await.unwrap();
            tcp.write_all(&REQUEST.as_bytes()[..50]).await.unwrap();
            if vanish {
                tcp.shutdown().await.unwrap();
            }
            open.push(tcp);
        }
        // A reset, in the handshake and after it.
        let mut tcp = TcpStream::connect(&addr).await.unwrap();
        tcp.write_all(&REQUEST.as_bytes()[..50]).await.unwrap();
        tcp.set_zero_linger().unwrap();
        drop(tcp);
        let mut client = raw_client(&addr).await;
        client.send(TEXT, b"to be echoed").await;
        client.io.set_zero_linger().unwrap();
        drop(client);
        // Protocol errors.
        for (bytes, code) in [
            (support::frame(Role::Client, true, 3, b""), 1002),
            (support::frame(Role::Server, true, TEXT, b"unmasked"), 1002),
            (support::frame(Role::Client, true, TEXT, b"\xff"), 1007),
        ] {
            let mut client = raw_client(&addr).await;
            client.write(&bytes).await;
            loop {
                let frame = client.frame().await.expect("a Close frame comes");
                if frame.opcode == support::CLOSE {
                    assert_eq!(frame.payload[..2], u16::to_be_bytes(code));
                    break;
                }
            }
            drain(&mut client.io).await;
        }
        // A peer that vanishes in the middle of a message.
        let mut client = raw_client(&addr).await;
        client.send_part(false, BINARY, b"begun").await;
        drop(client);

        // And among all of them, one that is served.
        let mut ws = within(WebSocketStream::connect(format!("ws://{addr}/")).into_future()).await.unwrap();
        within(ws.send(format!("round {round}"))).await.unwrap();
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text(format!("round {round}")));
        within(ws.close(wsstream::CloseCode::NORMAL, "")).await.unwrap();
    }
    assert_eq!(server.try_wait().unwrap(), None, "the server goes on");
}

#[tokio::test]
async fn echo_server_answers_pings_and_echoes_before_it_answers_a_close() {
    let (_server, addr) = echo_server().await;
    let mut client = raw_client(&addr).await;
    let mut script = support::frame(Role::Client, true, support::PING, b"p");
    script.extend(support::frame(Role::Client, true, TEXT, b"last words"));
    script.extend(support::frame(Role::Client, true, support::CLOSE, &support::close_body(1000, "bye")));
    client.write(&script).await;
    assert_eq!(client.expect(PONG).await, b"p");
    assert_eq!(client.message().await, (TEXT, b"last words".to_vec()));
    assert_eq!(client.expect_close().await.unwrap().0, 1000);
    client.expect_end().await;
}

#[tokio::test]
async fn echo_client_sends_its_input_and_prints_what_comes_back() {
    let (_server, addr) = echo_server().await;
    let data = pattern(10 << 20);
    let mut client = example("echo_client").arg(format!("ws://{addr}/")).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let feed = tokio::spawn({
        let data = data.clone();
        async move { stdin.write_all(&data).await }
    });
    let mut output = Vec::new();
    within(stdout.read_to_end(&mut output)).await.unwrap();
    within(feed).await.unwrap().unwrap();
    assert!(output == data, "{} bytes of {} came back, or others", output.len(), data.len());
    assert!(within(client.wait()).await.unwrap().success());
}

#[tokio::test]
async fn examples_say_what_went_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    for (name, arguments) in
        [("echo_client", vec![]), ("autobahn_client", vec![]), ("echo_client", vec![format!("ws://{addr}/")])]
    {
        let output = example(name).args(&arguments).stderr(Stdio::piped()).output();
        let output = within(output).await.unwrap();
        assert!(!output.status.success(), "{name} {arguments:?}");
        assert!(!output.stderr.is_empty(), "{name} {arguments:?}");
    }
}

/// What the fuzzing server found out.
#[derive(Debug, PartialEq)]
enum Verdict {
    Passed,
    Failed(String),
}

const CASES: usize = 6;

async fn run_case(case: usize, peer: &mut Peer<TcpStream>) -> Verdict {
    let frame = |data: &'static [u8], opcode, fin| Theirs::Frame(Frame::message(Bytes::from_static(data), opcode, fin));
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let mut expected = Vec::new();
    let script = match case {
        1 => vec![Theirs::text("hello"), Theirs::binary(pattern(100_000)), Theirs::text("")],
        2 => vec![
            frame(b"in ", OpCode::Data(Data::Text), false),
            Theirs::Ping(Bytes::from_static(b"between")),
            frame(b"pieces", OpCode::Data(Data::Continue), true),
        ],
        // A message and at once a Close frame: the echo still comes, before the answer to the Close.
        3 => vec![Theirs::text("last words"), Theirs::Close(Some(close.clone()))],
        4 => vec![frame(b"", OpCode::Data(Data::Reserved(5)), true)],
        5 => vec![frame(b"bad \xff text", OpCode::Data(Data::Text), true)],
        _ => vec![frame(b"nothing to continue", OpCode::Data(Data::Continue), true)],
    };
    match case {
        1 => expected.extend(script.iter().cloned()),
        2 => expected.extend([Theirs::Pong(Bytes::from_static(b"between")), Theirs::text("in pieces")]),
        3 => expected.push(Theirs::text("last words")),
        _ => {}
    }
    for message in script {
        let _ = peer.feed(message).await;
    }
    let _ = SinkExt::flush(peer).await;
    for expected in expected {
        match next(peer).await {
            Some(Ok(message)) if message == expected => {}
            other => return Verdict::Failed(format!("{other:?} instead of {expected:?}")),
        }
    }
    let code = match case {
        1 | 2 => {
            let _ = peer.close(Some(close)).await;
            CloseCode::Normal
        }
        3 => CloseCode::Normal,
        5 => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    };
    match next(peer).await {
        Some(Ok(Theirs::Close(Some(frame)))) if frame.code == code => {}
        other => return Verdict::Failed(format!("{other:?} instead of a Close frame with {code}")),
    }
    while let Some(Ok(_)) = next(peer).await {}
    Verdict::Passed
}

#[tokio::test]
async fn autobahn_client_goes_through_all_cases_of_a_fuzzing_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let verdicts = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn({
        let (requests, verdicts) = (requests.clone(), verdicts.clone());
        async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut path = String::new();
                #[allow(clippy::result_large_err)] // the signature is theirs
                let look = |request: &Request, response: Response| {
                    path = request.uri().to_string();
                    Ok(response)
                };
                let mut peer = tokio_tungstenite::accept_hdr_async(tcp, look).await.unwrap();
                requests.lock().await.push(path.clone());
                if let Some(query) = path.strip_prefix("/runCase?case=") {
                    let case = query.split('&').next().unwrap().parse().unwrap();
                    let verdict = run_case(case, &mut peer).await;
                    verdicts.lock().await.push((case, verdict));
                } else {
                    if path == "/getCaseCount" {
                        peer.send(Theirs::text(CASES.to_string())).await.unwrap();
                    }
                    let _ = peer.close(None).await;
                    while let Some(Ok(_)) = peer.next().await {}
                }
            }
        }
    });
    let mut client = example("autobahn_client").args([&format!("ws://{addr}"), "wsstream"]).spawn().unwrap();
    let mut output = String::new();
    within(client.stdout.take().unwrap().read_to_string(&mut output)).await.unwrap();
    assert!(within(client.wait()).await.unwrap().success(), "{output}");
    server.abort();

    let passed: Vec<_> = (1..=CASES).map(|case| (case, Verdict::Passed)).collect();
    assert_eq!(*verdicts.lock().await, passed);
    let mut paths = vec!["/getCaseCount".to_owned()];
    paths.extend((1..=CASES).map(|case| format!("/runCase?case={case}&agent=wsstream")));
    paths.push("/updateReports?agent=wsstream".to_owned());
    assert_eq!(*requests.lock().await, paths);
    assert_eq!(output.lines().count(), CASES, "{output}");
}

/// All three routes on one port, and an end in good order.
#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_server_serves_a_page_a_count_and_a_stream() {
    let mut server = example("axum_server").args(["127.0.0.1:0", "--until-eof"]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = server.stdin.take();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().expect("it says where it listens");
    let addr = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
    let get = async |path: &str| {
        let mut tcp = TcpStream::connect(&addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        String::from_utf8(drain(&mut tcp).await).unwrap()
    };
    let page = get("/").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("text/html"), "{page}");
    assert!(page.contains("new URL(\"hash\"") && page.contains("[\"hash.v1\"]"), "the page uses the route");
    assert!(get("/hash").await.contains("This is a WebSocket"));

    let connect = WebSocketStream::connect(format!("ws://{addr}/hash")).protocols(["hash.v1"]);
    let mut ws = within(connect.origin(format!("http://{addr}")).into_future()).await.unwrap();
    let data = pattern(3 << 20);
    within(ws.send(data.clone())).await.unwrap();
    let mut told = Vec::new();
    while !told.last().is_some_and(|text: &String| text.starts_with("sha256 ")) {
        told.push(within(next(&mut ws)).await.unwrap().unwrap().as_text().unwrap().to_owned());
    }
    assert!(told.len() > 1 && told[0].ends_with(" bytes"), "{told:?}");
    use sha2::Digest;
    let hash: String = sha2::Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told.last().unwrap(), &format!("sha256 {hash}"));
    assert!(get("/api/connections").await.ends_with("{\"connections\":1}"));

    drop(stdin);
    let closed = within(ws.closed()).await.unwrap();
    assert_eq!((closed.close_code, closed.reason.as_str()), (wsstream::CloseCode::GOING_AWAY, "shutting down"));
    let report = within(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(report, "1 closed, 0 ended otherwise, 0 aborted");
    assert!(within(server.wait()).await.unwrap().success());
}
