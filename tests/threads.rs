//! Halves on different tasks, threads and runtimes; what can be moved where, and how large it is.

mod support;

use bytes::Bytes;
use support::within;
use wsstream::*;

fn everywhere<T: Send + Sync + Unpin + 'static>() {}
fn sendable<T: Send + Unpin + 'static>() {}
fn borrowed<T: Send + Sync + Unpin>() {}
fn future<F: Future + Send>(_: &F) {}

#[test]
fn public_types_are_send_sync_and_unpin() {
    everywhere::<WebSocketStream>();
    everywhere::<Readable>();
    everywhere::<Writable>();
    everywhere::<Control>();
    everywhere::<Closed>();
    everywhere::<Message>();
    everywhere::<MessageKind>();
    everywhere::<CloseCode>();
    everywhere::<CloseInfo>();
    everywhere::<Config>();
    everywhere::<Negotiated>();
    everywhere::<Stats>();
    everywhere::<Role>();
    everywhere::<ReadyState>();
    everywhere::<AcceptError>();
    everywhere::<CloseError>();
    everywhere::<CollectError>();
    everywhere::<ConnectError>();
    everywhere::<ConnectionError>();
    everywhere::<InvalidUtf8>();
    everywhere::<ProtocolError>();
    everywhere::<ReadError>();
    everywhere::<WriteError>();
    sendable::<Listener>();
    sendable::<Connect>();
    sendable::<Upgrade>();
    sendable::<AcceptUpgrade>();
    sendable::<Reject>();
    sendable::<Accept<tokio::io::DuplexStream>>();
    borrowed::<MessageReader<'static>>();
    borrowed::<MessageWriter<'static>>();
    borrowed::<StartMessage<'static>>();
}

#[tokio::test]
async fn the_futures_are_send() {
    let (ws, _peer) = support::pair(Role::Client);
    let (mut readable, mut writable) = ws.split();
    let control = readable.control();
    future(&control.ping());
    future(&control.close(CloseCode::NORMAL, ""));
    future(&readable.next_message());
    future(&writable.send(""));
    future(&writable.start_message(MessageKind::Text));
    future(&writable.ready());
    future(&writable.flush());
    future(&writable.close(CloseCode::NORMAL, ""));
}

#[test]
fn handles_are_small() {
    let pointer = size_of::<usize>();
    assert!(size_of::<Control>() <= 5 * pointer, "{}", size_of::<Control>());
    assert!(size_of::<Closed>() <= 3 * pointer, "{}", size_of::<Closed>());
    assert!(size_of::<Writable>() <= 8 * pointer, "{}", size_of::<Writable>());
    assert!(size_of::<Readable>() <= 30 * pointer, "{}", size_of::<Readable>());
    assert!(size_of::<MessageReader<'_>>() <= 2 * pointer, "{}", size_of::<MessageReader<'_>>());
    assert!(size_of::<Message>() <= 5 * pointer, "{}", size_of::<Message>());
    // Errors travel in results, on hot paths too.
    assert!(size_of::<ReadError>() <= 8 * pointer, "{}", size_of::<ReadError>());
    assert!(size_of::<WriteError>() <= 8 * pointer, "{}", size_of::<WriteError>());
}

/// Ourselves at both ends: what is tested here is which thread does what, not what is on the wire.
async fn ends() -> (WebSocketStream, WebSocketStream) {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async { listener.accept().await.unwrap().accept().await.unwrap() };
    let (client, server) = tokio::join!(WebSocketStream::connect(url).into_future(), accept);
    (client.unwrap(), server)
}

const MESSAGES: u32 = 2000;

fn payload(i: u32) -> Bytes {
    // Some are small, some are larger than a frame, so that both ways through the queues are taken.
    let len = if i.is_multiple_of(50) { 100_000 } else { i as usize % 300 };
    let mut payload = i.to_be_bytes().to_vec();
    payload.resize(4 + len, i as u8);
    payload.into()
}

async fn write_all(mut writable: Writable) -> Writable {
    for i in 0..MESSAGES {
        within(writable.send(payload(i))).await.unwrap();
    }
    writable
}

async fn read_all(mut readable: Readable) -> Readable {
    for i in 0..MESSAGES {
        let message = within(readable.next_message()).await.unwrap().unwrap();
        assert_eq!(within(message.collect(1 << 20)).await.unwrap().into_bytes(), payload(i));
    }
    readable
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_work_side_by_side_in_tasks_of_a_multi_threaded_runtime() {
    let (client, server) = ends().await;
    let closed = (client.closed(), server.closed());
    let (client_readable, client_writable) = client.split();
    let (server_readable, server_writable) = server.split();
    let writers = [tokio::spawn(write_all(client_writable)), tokio::spawn(write_all(server_writable))];
    let readers = [tokio::spawn(read_all(client_readable)), tokio::spawn(read_all(server_readable))];
    let mut halves = Vec::new();
    for reader in readers {
        halves.push(within(reader).await.unwrap());
    }
    let mut writables = Vec::new();
    for writer in writers {
        writables.push(within(writer).await.unwrap());
    }
    within(writables[0].close(CloseCode::NORMAL, "done")).await.unwrap();
    assert_eq!(within(closed.0).await.unwrap().close_code, CloseCode::NORMAL);
    assert_eq!(within(closed.1).await.unwrap().reason, "done");
}

#[test]
fn halves_work_on_two_os_threads_with_runtimes_of_their_own() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = runtime();
    let (client, server) = home.block_on(ends());
    let (client_readable, client_writable) = client.split();
    let (server_readable, server_writable) = server.split();
    let threads = [
        std::thread::spawn(move || drop(runtime().block_on(write_all(client_writable)))),
        std::thread::spawn(move || drop(runtime().block_on(write_all(server_writable)))),
        std::thread::spawn(move || drop(runtime().block_on(read_all(server_readable)))),
    ];
    // The drivers run here, where the connections were opened.
    let readable = home.block_on(read_all(client_readable));
    let closed = readable.closed();
    drop(readable);
    home.block_on(async {
        let joined = tokio::task::spawn_blocking(|| {
            for thread in threads {
                thread.join().unwrap();
            }
        });
        within(joined).await.unwrap();
        assert_eq!(within(closed).await.unwrap().close_code, CloseCode::GOING_AWAY);
    });
}
