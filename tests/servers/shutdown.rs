//! Going down in good order.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wsstream::{CloseCode, Config, ConnectErrorKind, Listener, Message, Role, WebSocketStream};

use crate::{
    application::Server,
    raw::{ask, ask_over, request},
    support::{Raw, next, within},
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

pub(crate) async fn connections_are_closed_with_1001_and_later_ones_refused(mut server: Server) {
    let mut open = [server.connect("/echo").await, server.connect("/deaf").await, server.connect("/echo").await];
    for ws in [0, 2] {
        // A connection is one of the set before its application gets it.
        open[ws].send("hello").await.unwrap();
        assert_eq!(next(&mut open[ws]).await.unwrap().unwrap(), Message::text("hello"));
    }
    let report = server.connections.shutdown(LONG).await;
    assert_eq!((report.clean, report.unclean, report.aborted), (3, 0, 0));
    for mut ws in open {
        assert!(next(&mut ws).await.is_none());
        let closed = ws.closed().await.unwrap();
        assert_eq!((closed.close_code, closed.reason.as_str()), (CloseCode::GOING_AWAY, "shutting down"));
        assert!(server.ended().await.unwrap().was_clean);
    }
    assert!(server.connections.is_empty());
    assert_eq!(server.connections.shutdown(LONG).await, Default::default(), "once is enough");
    match WebSocketStream::connect(server.url("/echo")).await {
        // The listener has gone, or an HTTP server goes on with its other routes.
        Err(error) if error.kind() == ConnectErrorKind::Io => {}
        Err(error) => assert_eq!(error.response().map(|it| it.status().as_u16()), Some(503), "{error}"),
        Ok(_) => panic!("there are to be no more connections"),
    }
}

pub(crate) async fn who_does_not_answer_is_aborted(mut server: Server) {
    let (answer, tcp) = ask(server.addr, request("/echo", "").as_bytes()).await;
    assert_eq!(answer.status(), 101);
    let mut silent = Raw::new(tcp, Role::Client);
    silent.send(crate::support::TEXT, b"hello").await;
    assert_eq!(silent.message().await.1, b"hello");
    let polite = server.connect("/deaf").await;
    let shutdown = tokio::spawn({
        let connections = server.connections.clone();
        async move { connections.shutdown(Duration::from_millis(500)).await }
    });
    assert_eq!(polite.closed().await.unwrap().close_code, CloseCode::GOING_AWAY);
    assert!(server.ended().await.unwrap().was_clean);
    let report = shutdown.await.unwrap();
    assert_eq!((report.clean, report.unclean, report.aborted), (1, 0, 1));
    assert_eq!(silent.expect_close().await.unwrap().0, 1001);
    silent.expect_end().await;
    assert!(server.ended().await.is_err());
}

async fn listening() -> (Listener, String) {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Reads a response up to its end, and not a byte more.
async fn skip_head(client: &mut Raw<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(client.io.read_u8()).await.unwrap());
    }
}

/// A connection through a listener, both ends of it.
async fn open(listener: &mut Listener, url: &str) -> (WebSocketStream, WebSocketStream) {
    let client = tokio::spawn(WebSocketStream::connect(url).into_future());
    let server = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
    (within(client).await.unwrap().unwrap(), server)
}

#[tokio::test]
async fn a_listener_that_is_shut_down_listens_no_more() {
    let (mut listener, url) = listening().await;
    let (client, server) = open(&mut listener, &url).await;
    let (other_client, other) = open(&mut listener, &url).await;
    drop(other);
    assert_eq!(within(other_client.closed()).await.unwrap().close_code, CloseCode::GOING_AWAY);
    let report = within(listener.shutdown(LONG)).await;
    assert_eq!((report.clean, report.unclean, report.aborted), (1, 0, 0), "those that have ended do not count");
    assert_eq!(within(client.closed()).await.unwrap().reason, "shutting down");
    assert_eq!(within(server.closed()).await.unwrap().close_code, CloseCode::GOING_AWAY);
    let error = within(WebSocketStream::connect(&url).into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Io, "{error}");
}

#[tokio::test]
async fn what_was_accepted_for_sending_goes_before_the_close_frame() {
    let (mut listener, url) = listening().await;
    let (mut client, mut server) = open(&mut listener, &url).await;
    for _ in 0..100 {
        server.send("accepted").await.unwrap();
    }
    let shutdown = tokio::spawn(listener.shutdown(LONG));
    for _ in 0..100 {
        assert_eq!(within(next(&mut client)).await.unwrap().unwrap(), Message::text("accepted"));
    }
    assert!(within(next(&mut client)).await.is_none());
    assert_eq!(within(shutdown).await.unwrap().clean, 1);
}

#[tokio::test]
async fn upgrades_that_are_undecided_are_refused_when_they_are_accepted() {
    let (mut listener, url) = listening().await;
    let client = tokio::spawn(WebSocketStream::connect(&url).into_future());
    let upgrade = within(listener.accept()).await.unwrap();
    assert_eq!(within(listener.shutdown(LONG)).await, Default::default(), "it is no connection yet");
    let error = within(upgrade.accept().into_future()).await.err().unwrap();
    assert_eq!(error.kind(), wsstream::AcceptErrorKind::ShuttingDown);
    let error = within(client).await.unwrap().err().unwrap();
    assert_eq!(error.response().unwrap().status(), 503);
}

/// One client is in the midst of its request, another one says nothing; a connection that closes slowly gives the first
/// the time it needs.
#[tokio::test]
async fn requests_that_come_during_a_shutdown_are_refused_and_the_silent_not_waited_for() {
    let (mut listener, url) = listening().await;
    let addr = listener.local_addr().unwrap();
    let mut slow = Raw::new(TcpStream::connect(addr).await.unwrap(), Role::Client);
    slow.write(request("/", "").as_bytes()).await;
    let server = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
    let mut late = TcpStream::connect(addr).await.unwrap();
    let bytes = request("/", "");
    let (head, rest) = bytes.split_at(30);
    late.write_all(head.as_bytes()).await.unwrap();
    let mut silent = TcpStream::connect(addr).await.unwrap();
    // They are connected before this one, which is served.
    let (client, _server) = open(&mut listener, &url).await;
    let shutdown = tokio::spawn(listener.shutdown(LONG));
    within(client.closed()).await.unwrap();
    let answer = ask_over(&mut late, rest.as_bytes()).await;
    assert_eq!((answer.status(), answer.body.as_str()), (503, "The server is shutting down.\n"));
    skip_head(&mut slow).await;
    assert_eq!(slow.expect_close().await.unwrap().0, 1001);
    slow.send_close(1001, "").await;
    assert_eq!(within(shutdown).await.unwrap().clean, 2);
    assert!(!matches!(within(silent.read(&mut [0])).await, Ok(1..)), "the silent one sees its end");
    drop(server);
}

#[tokio::test]
async fn accepting_ends_when_the_connections_are_shut_down_from_elsewhere() {
    let (mut listener, _) = listening().await;
    let connections = listener.connections();
    let accept = tokio::spawn(async move { listener.accept().await.map(drop) });
    assert_eq!(within(connections.shutdown(LONG)).await, Default::default());
    let error = within(accept).await.unwrap().err().unwrap();
    assert!(error.to_string().contains("shut down"), "{error}");
}

/// A future that is dropped leaves the connections closing; the next call waits for them.
#[tokio::test]
async fn a_shutdown_that_is_dropped_goes_on() {
    let (mut listener, _) = listening().await;
    let connections = listener.connections();
    let mut slow = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(), Role::Client);
    slow.write(request("/", "").as_bytes()).await;
    let _ws = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
    let dropped = tokio::time::timeout(Duration::ZERO, listener.shutdown(LONG)).await;
    assert!(dropped.is_err());
    let again = tokio::spawn({
        let connections = connections.clone();
        async move { connections.shutdown(LONG).await }
    });
    skip_head(&mut slow).await;
    assert_eq!(slow.expect_close().await.unwrap().0, 1001);
    assert_eq!(connections.len(), 1);
    slow.send_close(1001, "").await;
    assert_eq!(within(again).await.unwrap().clean, 1);
}

/// Many that come and go leave nothing behind, and none that is alive is forgotten.
#[tokio::test]
async fn a_set_forgets_who_has_ended_and_nobody_else() {
    let (mut listener, url) = listening().await;
    let connections = listener.connections();
    let mut alive = Vec::new();
    for round in 0..200 {
        let (mut client, server) = open(&mut listener, &url).await;
        if round % 10 == 0 {
            alive.push((client, server));
            continue;
        }
        within(client.close(CloseCode::NORMAL, "")).await.unwrap();
        assert_eq!(within(server.closed()).await.unwrap().close_code, CloseCode::NORMAL);
    }
    assert_eq!(connections.len(), alive.len());
    assert_eq!(within(connections.shutdown(LONG)).await.clean, alive.len());
    assert!(connections.is_empty());
}

#[tokio::test]
async fn who_vanishes_at_the_close_frame_ends_uncleanly() {
    let (mut listener, _) = listening().await;
    let mut rude = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(), Role::Client);
    rude.write(request("/", "").as_bytes()).await;
    let ws = within(within(listener.accept()).await.unwrap().accept().into_future()).await.unwrap();
    let shutdown = tokio::spawn(listener.shutdown(LONG));
    skip_head(&mut rude).await;
    assert_eq!(rude.expect_close().await.unwrap().0, 1001);
    drop(rude);
    let report = within(shutdown).await.unwrap();
    assert_eq!((report.clean, report.unclean, report.aborted), (0, 1, 0));
    assert!(within(ws.closed()).await.is_err());
}

/// Connections come about on other threads at the very moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_slips_through() {
    // On a machine that stands still at times.
    let patient = || Config::default().close_timeout(LONG);
    let mut in_all = 0;
    for round in 0..30 {
        let (mut listener, url) = listening().await;
        let connections = listener.connections();
        let serve = tokio::spawn(async move {
            while let Ok(upgrade) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(ws) = upgrade.accept().config(patient()).await {
                        let _ = (ws.split(), std::future::pending::<()>().await);
                    }
                });
            }
        });
        let connect = || WebSocketStream::connect(&url).config(patient()).into_future();
        let clients: Vec<_> = (0..20).map(|_| tokio::spawn(connect())).collect();
        // At another moment each round.
        let mut clients = clients.into_iter();
        let mut outcomes = Vec::new();
        for client in clients.by_ref().take(round % 20) {
            outcomes.push(within(client).await.unwrap());
        }
        let report = within(connections.shutdown(LONG)).await;
        assert!(connections.is_empty());
        within(serve).await.unwrap();
        for client in clients {
            outcomes.push(within(client).await.unwrap());
        }
        let mut opened = 0;
        for ws in outcomes.into_iter().flatten() {
            assert_eq!(within(ws.closed()).await.unwrap().close_code, CloseCode::GOING_AWAY);
            opened += 1;
        }
        assert_eq!((report.clean, report.unclean, report.aborted), (opened, 0, 0), "round {round}");
        in_all += opened;
    }
    assert!((30..600).contains(&in_all), "{in_all} were opened, neither all nor none is a test");
}
