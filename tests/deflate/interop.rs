//! Other implementations at the other end, in both roles, with every combination of parameters: the Python package
//! `websockets` and the npm package `ws`. Where they are not installed, these tests say so and do nothing, unless
//! `WSSTREAM_PEERS=required` is set.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use wsstream::{CloseCode, Compression, Config, Listener, Message, WebSocketStream};

use crate::{
    json, noise,
    support::{next, within},
};

/// Flags, and bits where there are any.
#[derive(Clone, Copy, Debug)]
struct Params {
    server_no: bool,
    client_no: bool,
    server_bits: Option<u8>,
    client_bits: Option<u8>,
}

const NONE: Params = Params { server_no: false, client_no: false, server_bits: None, client_bits: None };

fn all() -> impl Iterator<Item = Params> {
    let bits = || [None].into_iter().chain((9..=15).map(Some));
    let flags = [(false, false), (false, true), (true, false), (true, true)];
    flags.into_iter().flat_map(move |(server_no, client_no)| {
        bits().flat_map(move |server_bits| {
            bits().map(move |client_bits| Params { server_no, client_no, server_bits, client_bits })
        })
    })
}

impl Params {
    /// As the peers' programs take them.
    fn words(&self) -> String {
        let bits = |bits: Option<u8>| bits.map_or("-".to_owned(), |bits| bits.to_string());
        let (server, client) = (bits(self.server_bits), bits(self.client_bits));
        format!("{} {} {server} {client}", u8::from(self.server_no), u8::from(self.client_no))
    }

    /// As an end of this library asks for them.
    fn config(&self, is_server: bool) -> Config {
        let (ours, theirs) = ((self.server_no, self.server_bits), (self.client_no, self.client_bits));
        let (ours, theirs) = if is_server { (ours, theirs) } else { (theirs, ours) };
        let compression = Compression::default().min_size(0).send_takeover(!ours.0).receive_takeover(!theirs.0);
        let compression = compression.send_window_bits(ours.1.unwrap_or(15));
        Config::default().compression(compression.receive_window_bits(theirs.1.unwrap_or(15)))
    }

    /// Whatever was asked for must have been agreed on; a window of 15 bits is what there is without a word.
    fn check(&self, extensions: &str) {
        assert!(extensions.starts_with("permessage-deflate"), "{self:?}: {extensions:?}");
        for (asked, parameter) in [
            (self.server_no, "server_no_context_takeover".to_owned()),
            (self.client_no, "client_no_context_takeover".to_owned()),
        ] {
            assert_eq!(asked, extensions.contains(&parameter), "{self:?}: {extensions}");
        }
        if let Some(bits @ ..15) = self.client_bits {
            assert!(extensions.contains(&format!("client_max_window_bits={bits}")), "{self:?}: {extensions}");
        }
    }
}

/// The program of a peer, at work.
struct Peer {
    program: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(interpreter: &str, probe: &[&str], script: &str) -> Option<Self> {
        let found = Command::new(interpreter).args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            let why = format!("skipped: `{interpreter} {}` fails, so {script} cannot be run\n", probe.join(" "));
            assert!(env::var("WSSTREAM_PEERS").is_err(), "{why}");
            // Past the capture of the test's output: whoever runs this is to know.
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deflate/peers").join(script);
        let mut program = Command::new(interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("what could be probed can be run");
        let (to, from) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        Some(Self { program, to, from: BufReader::new(from) })
    }

    fn python() -> Option<Self> {
        Self::start("python3", &["-c", "import websockets.asyncio.server"], "echo.py")
    }

    fn node() -> Option<Self> {
        Self::start("node", &["-e", "require('ws')"], "echo.cjs")
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the peer's program has ended: {:?}", self.program.try_wait());
        line.trim_end().to_owned()
    }

    fn serve(&mut self, params: Params) -> String {
        self.tell(&format!("serve {}", params.words()));
        let answer = self.answer();
        format!("ws://127.0.0.1:{}/", answer.strip_prefix("port ").unwrap_or_else(|| panic!("{answer}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Everything that is sent comes back, both ways compressed.
async fn exchange(ws: WebSocketStream, params: Params) {
    params.check(ws.extensions());
    let line = json(300);
    let messages = [
        Message::text("a"),
        Message::text(line.as_str()),
        Message::text(line.as_str()),
        Message::binary(noise(2001)),
        Message::text(""),
        Message::text(json(20_001)),
        Message::binary(vec![0; 30_000]),
        Message::text(line.as_str()),
        Message::binary(noise(70_000)),
        Message::text(line),
    ];
    let payload: usize = messages.iter().map(Message::len).sum();
    let control = ws.control();
    let (mut readable, mut writable) = ws.split();
    let write = async {
        for (at, message) in messages.iter().enumerate() {
            if at % 2 == 0 {
                within(writable.send(message.clone())).await.unwrap();
                continue;
            }
            let mut writer = within(writable.start_message(message.kind()).into_future()).await.unwrap();
            for chunk in message.as_bytes().chunks(7777) {
                within(writer.write(chunk.to_vec())).await.unwrap();
                within(writer.flush()).await.unwrap();
            }
            writer.finish().await.unwrap();
        }
    };
    let read = async {
        for (at, message) in messages.iter().enumerate() {
            let echo = within(next(&mut readable)).await.expect("an echo").unwrap();
            assert!(echo == *message, "{params:?}, message {at}");
        }
    };
    tokio::join!(write, read);
    let stats = control.stats();
    for (what, bytes) in [("sent", stats.sent.bytes), ("received", stats.received.bytes)] {
        assert!(bytes < payload as u64 * 2 / 3, "{params:?}: {bytes} bytes were {what} for {payload}");
    }
    within(control.close(CloseCode::NORMAL, "")).await.unwrap();
}

async fn as_client(mut peer: Peer) {
    for params in all() {
        // Asked for by the server, and by the client.
        let url = peer.serve(params);
        let ws = within(WebSocketStream::connect(url).config(NONE.config(false)).into_future()).await.unwrap();
        exchange(ws, params).await;
        let url = peer.serve(NONE);
        let ws = within(WebSocketStream::connect(url).config(params.config(false)).into_future()).await.unwrap();
        exchange(ws, params).await;
    }
}

async fn as_server(mut peer: Peer) {
    for params in all() {
        for (theirs, ours) in [(params, NONE), (NONE, params)] {
            let listener = Listener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let mut listener = listener.config(ours.config(true));
            peer.tell(&format!("connect ws://{addr}/ {}", theirs.words()));
            let ws = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
            exchange(ws, params).await;
            assert_eq!(peer.answer(), "closed");
        }
    }
}

#[tokio::test]
async fn python_websockets_as_the_server() {
    if let Some(peer) = Peer::python() {
        as_client(peer).await;
    }
}

#[tokio::test]
async fn python_websockets_as_the_client() {
    if let Some(peer) = Peer::python() {
        as_server(peer).await;
    }
}

/// What zlib cannot compress with: a client sends uncompressed then, a server does not take the offer.
#[tokio::test]
async fn windows_of_8_bits() {
    let Some(mut peer) = Peer::node() else { return };
    let small = Params { client_bits: Some(8), ..NONE };
    let url = peer.serve(small);
    let mut ws = within(WebSocketStream::connect(url).config(NONE.config(false)).into_future()).await.unwrap();
    assert_eq!(ws.extensions(), "permessage-deflate; client_max_window_bits=8");
    for _ in 0..2 {
        within(ws.send(json(3000))).await.unwrap();
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap().as_text().unwrap(), json(3000));
    }
    assert!(ws.stats().sent.bytes > 6000 && ws.stats().received.bytes < 2000, "{:?}", ws.stats());
    within(ws.close(CloseCode::NORMAL, "")).await.unwrap();

    // It may be asked of the peer; this one then compresses with a window that does not look further back.
    let url = peer.serve(NONE);
    let small = Compression::default().receive_window_bits(8);
    let connect = WebSocketStream::connect(url).config(Config::default().compression(small));
    let mut ws = within(connect.into_future()).await.unwrap();
    assert_eq!(ws.extensions(), "permessage-deflate; server_max_window_bits=8");
    within(ws.send(json(3000))).await.unwrap();
    assert_eq!(within(next(&mut ws)).await.unwrap().unwrap().as_text().unwrap(), json(3000));
    within(ws.close(CloseCode::NORMAL, "")).await.unwrap();

    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().config(NONE.config(true));
    let addr = listener.local_addr().unwrap();
    let small = Params { server_bits: Some(8), ..NONE };
    peer.tell(&format!("connect ws://{addr}/ {}", small.words()));
    let mut ws = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
    assert_eq!(ws.extensions(), "");
    within(ws.send("plain")).await.unwrap();
    assert_eq!(within(next(&mut ws)).await.unwrap().unwrap().as_text().unwrap(), "plain");
    within(ws.close(CloseCode::NORMAL, "")).await.unwrap();
    assert_eq!(peer.answer(), "closed");
}

#[tokio::test]
async fn npm_ws_as_the_server() {
    if let Some(peer) = Peer::node() {
        as_client(peer).await;
    }
}

#[tokio::test]
async fn npm_ws_as_the_client() {
    if let Some(peer) = Peer::node() {
        as_server(peer).await;
    }
}
