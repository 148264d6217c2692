//! What is sent by TLS arrives, as fast as it is taken and no faster.

use wsstream::{CloseCode, Config, MessageKind, WebSocketStream};

use crate::{
    authority::{Authority, server},
    listen,
    support::{pattern, within},
};

async fn pair(config: Config) -> (WebSocketStream, WebSocketStream) {
    let authority = Authority::new("ours");
    let (listener, url) = listen(server(authority.good())).await;
    let mut listener = listener.config(config.clone());
    let connect = within(WebSocketStream::connect(url).tls(authority.client()).config(config).into_future());
    let accept = within(async { listener.accept().await.unwrap().accept().await });
    let (client, server) = tokio::join!(connect, accept);
    (client.unwrap(), server.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_go_both_ways_at_once() {
    let (client, server) = pair(Config::default()).await;
    let sent = bytes::Bytes::from(pattern(20_000_003));
    let exchange = |ws: WebSocketStream| {
        let sent = sent.clone();
        async move {
            let (mut readable, mut writable) = ws.split();
            let write = async {
                let mut message = writable.start_message(MessageKind::Binary).await.unwrap();
                let mut rest = sent.clone();
                // Small pieces are copied, large ones written from where they are.
                for len in [1, 100, 3000, 70_000].into_iter().cycle() {
                    message.write(rest.split_to(len.min(rest.len()))).await.unwrap();
                    if rest.is_empty() {
                        break;
                    }
                }
                message.finish().await.unwrap();
            };
            let read = async {
                let mut message = readable.next_message().await.unwrap().unwrap();
                let mut at = 0;
                while let Some(chunk) = message.chunk().await.unwrap() {
                    assert!(sent[at..].starts_with(&chunk), "from byte {at}");
                    at += chunk.len();
                }
                assert_eq!(at, sent.len());
            };
            tokio::join!(write, read);
            (readable, writable)
        }
    };
    let [client, server] = [client, server].map(|ws| tokio::spawn(exchange(ws)));
    let (_, mut client) = within(client).await.unwrap();
    let (_readable, _writable) = within(server).await.unwrap();
    assert!(within(client.close(CloseCode::NORMAL, "")).await.unwrap().was_clean);
}

/// What waits in the two layers is bounded: a sender stops when nobody reads, and goes on when somebody does.
#[tokio::test]
async fn a_sender_waits_for_a_reader_that_lags() {
    let config = Config::default().read_high_water_mark(16 * 1024).write_high_water_mark(16 * 1024);
    let (mut client, mut server) = pair(config).await;
    const CHUNK: usize = 16 * 1024;
    const CHUNKS: usize = 8192;
    let sending = tokio::spawn(async move {
        let mut message = client.start_message(MessageKind::Binary).await.unwrap();
        for _ in 0..CHUNKS {
            message.write(vec![7; CHUNK]).await.unwrap();
        }
        message.finish().await.unwrap();
        client
    });
    let mut message = within(server.next_message()).await.unwrap().unwrap();
    let mut arrived = 0;
    while let Some(chunk) = within(message.chunk()).await.unwrap() {
        if arrived == 0 {
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            // 128 MiB cannot be in the buffers of the system.
            assert!(!sending.is_finished());
        }
        arrived += chunk.len();
    }
    drop(message);
    assert_eq!(arrived, CHUNK * CHUNKS);
    let mut client = within(sending).await.unwrap();
    let (closed, none) = tokio::join!(within(client.close(CloseCode::NORMAL, "")), within(server.next_message()));
    assert!(closed.unwrap().was_clean && none.unwrap().is_none());
}
