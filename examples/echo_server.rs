//! Echoes every message chunk by chunk: `echo_server 127.0.0.1:9001`. It never holds a message, whatever its size.

use std::{env, error::Error};

use wsstream::{CloseCode, Listener, Upgrade};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut listener = Listener::bind(&addr).await.map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let upgrade = listener.accept().await?;
        tokio::spawn(async move {
            let peer = upgrade.peer_addr();
            if let Err(error) = echo(upgrade).await {
                eprintln!("{peer:?}: {error}");
            }
        });
    }
}

async fn echo(upgrade: Upgrade) -> Result<(), Box<dyn Error + Send + Sync>> {
    let ws = upgrade.accept().allow_any_origin().await?;
    let (mut readable, mut writable) = ws.split();
    while let Some(mut message) = readable.next_message().await? {
        let mut echo = writable.start_message(message.kind()).await?;
        while let Some(chunk) = message.chunk().await? {
            echo.write(chunk).await?;
        }
        echo.finish().await?;
    }
    writable.close(CloseCode::NORMAL, "").await?;
    Ok(())
}
