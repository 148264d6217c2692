//! A page, a REST route and a WebSocket on one port: `axum_server 127.0.0.1:9001`, then open the address in a browser. The
//! page uploads a file as one message, which the server hashes and never holds, and shows what the server says meanwhile.
//!
//! It goes down in good order at the end of its standard input, or with Ctrl-C: `axum_server --until-eof`.

use std::{env, error::Error, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    response::{Html, IntoResponse},
    routing::{any, get},
    serve::ListenerExt,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt, net::TcpListener};
use wsstream::{CloseCode, Connections, HttpUpgrade, Message, WebSocketStream};

/// How often progress is told.
const STEP: u64 = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (flags, addr): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let addr = addr.into_iter().next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let until_eof = flags.iter().any(|flag| flag == "--until-eof");

    let connections = Connections::new();
    let app = Router::new()
        .route("/", get(async || Html(include_str!("axum_server.html"))))
        .route("/api/connections", get(count))
        .route("/hash", any(upgrade))
        .with_state(connections.clone());

    let tcp = TcpListener::bind(&addr).await.map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    println!("listening on http://{}", tcp.local_addr()?);
    // Frames are to leave when they are written.
    let tcp = tcp.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    axum::serve(tcp, app).with_graceful_shutdown(stopped(until_eof)).await?;

    // axum has finished the requests; the WebSockets are ours.
    let report = connections.shutdown(Duration::from_secs(10)).await;
    println!("{} closed, {} ended otherwise, {} aborted", report.clean, report.unclean, report.aborted);
    Ok(())
}

/// Resolves when it is time to go.
async fn stopped(until_eof: bool) {
    let input_ends = async {
        match until_eof {
            true => drop(tokio::io::stdin().read_to_end(&mut Vec::new()).await),
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = input_ends => {}
    }
}

#[derive(Serialize)]
struct Count {
    connections: usize,
}

async fn count(State(connections): State<Connections>) -> Json<Count> {
    Json(Count { connections: connections.len() })
}

async fn upgrade(State(connections): State<Connections>, upgrade: HttpUpgrade) -> impl IntoResponse {
    upgrade.accept().protocols(["hash.v1"]).connections(&connections).on_upgrade(async |ws| {
        if let Err(error) = hash(ws).await {
            eprintln!("{error}");
        }
    })
}

/// Hashes every message as it comes.
async fn hash(ws: WebSocketStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut readable, mut writable) = ws.split();
    while let Some(mut message) = readable.next_message().await? {
        let (mut hasher, mut bytes, mut told) = (Sha256::new(), 0, 0);
        while let Some(chunk) = message.chunk().await? {
            hasher.update(&chunk);
            bytes += chunk.len() as u64;
            if bytes - told >= STEP {
                told = bytes;
                writable.send(Message::text(format!("{bytes} bytes"))).await?;
            }
        }
        let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        writable.send(Message::text(format!("sha256 {hash}"))).await?;
    }
    let _ = writable.close(CloseCode::NORMAL, "").await;
    Ok(())
}
