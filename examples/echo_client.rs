//! Sends standard input as one message, as it comes, and prints what comes back: `echo_client ws://127.0.0.1:9001`.

use std::{env, error::Error, process::ExitCode};

use tokio::io::{AsyncWriteExt, stdin, stdout};
use wsstream::{CloseCode, MessageKind, Readable, WebSocketStream, Writable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(url) = env::args().nth(1) else {
        eprintln!("usage: echo_client URL");
        return ExitCode::from(2);
    };
    match run(&url).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let ws = WebSocketStream::connect(url).await?;
    let (mut readable, mut writable) = ws.split();
    // Both at once: the echo of the beginning comes back before the end is sent.
    tokio::try_join!(send(&mut writable), print(&mut readable))?;
    writable.close(CloseCode::NORMAL, "").await?;
    Ok(())
}

async fn send(writable: &mut Writable) -> Result<(), Box<dyn Error>> {
    let mut message = writable.start_message(MessageKind::Binary).await?;
    tokio::io::copy(&mut stdin(), &mut message).await?;
    Ok(message.finish().await?)
}

async fn print(readable: &mut Readable) -> Result<(), Box<dyn Error>> {
    let mut message = readable.next_message().await?.ok_or("the server closed before it answered")?;
    tokio::io::copy_buf(&mut message, &mut stdout()).await?;
    Ok(stdout().flush().await?)
}
