//! The client side of a fuzzing server such as the Autobahn test suite's: `autobahn_client ws://127.0.0.1:9001 wsstream`.

use std::{env, error::Error, process::ExitCode};

use wsstream::{CloseCode, Compression, Config, WebSocketStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (Some(url), Some(agent)) = (env::args().nth(1), env::args().nth(2)) else {
        eprintln!("usage: autobahn_client URL AGENT");
        return ExitCode::from(2);
    };
    match run(url.trim_end_matches('/'), &agent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str, agent: &str) -> Result<(), Box<dyn Error>> {
    let cases = case_count(url).await?;
    for case in 1..=cases {
        // How a case ends is for the server to judge; many end in a failure on purpose.
        match run_case(&format!("{url}/runCase?case={case}&agent={agent}")).await {
            Ok(()) => println!("case {case} of {cases}"),
            Err(error) => println!("case {case} of {cases}: {error}"),
        }
    }
    let ws = WebSocketStream::connect(format!("{url}/updateReports?agent={agent}")).await?;
    ws.closed().await?;
    Ok(())
}

async fn case_count(url: &str) -> Result<u32, Box<dyn Error>> {
    let mut ws = WebSocketStream::connect(format!("{url}/getCaseCount")).await?;
    let message = ws.next_message().await?.ok_or("the server closed without a case count")?;
    let count = message.collect(100).await?;
    Ok(count.as_text().ok_or("the case count is not text")?.trim().parse()?)
}

async fn run_case(url: &str) -> Result<(), Box<dyn Error>> {
    // Some cases are about compression; the others do not agree to it.
    let config = Config::default().compression(Compression::default());
    let (mut readable, mut writable) = WebSocketStream::connect(url).config(config).await?.split();
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
