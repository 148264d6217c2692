//! How much later a chunk arrives because of the relay.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use wsstream::MessageKind;

use crate::line::{Line, median, until};

/// As large as a frame of video of 4 Mbit/s.
const CHUNK: usize = 16 * 1024;

/// Between two chunks: nothing is in the way of any of them.
const INTERVAL: Duration = Duration::from_millis(1);

pub(crate) async fn measure(rounds: usize, chunks: usize) -> Result<()> {
    let (mut direct, mut relayed, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (is_relayed, medians) in [(false, &mut direct), (true, &mut relayed)] {
            let mut latencies = chunks_of_one_message(Line::open(is_relayed).await?, chunks).await?;
            if is_relayed {
                worst.push(percentile(&mut latencies, 0.99));
            }
            medians.push(percentile(&mut latencies, 0.5));
        }
    }
    let added: Vec<_> = relayed.iter().zip(&direct).map(|(relayed, direct)| relayed - direct).collect();
    println!("one chunk of 16 KiB every millisecond, all of one message; medians of {rounds} rounds");
    println!("  direct:   p50 {:7.1} us", median(direct)?);
    println!("  relayed:  p50 {:7.1} us, p99 {:.1} us", median(relayed)?, median(worst)?);
    println!("  added:    p50 {:7.1} us", median(added)?);
    Ok(())
}

/// Each chunk begins with the time at which it was sent. The times that they took, in microseconds.
async fn chunks_of_one_message(mut line: Line, chunks: usize) -> Result<Vec<f64>> {
    let start = Instant::now();
    let sending = async {
        let mut message = line.source.start_message(MessageKind::Binary).await?;
        let mut chunk = BytesMut::zeroed(CHUNK);
        for _ in 0..chunks {
            until(Instant::now() + INTERVAL).await;
            chunk[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_le_bytes());
            message.write(Bytes::copy_from_slice(&chunk)).await?;
            message.flush().await?;
        }
        anyhow::Ok(message.finish().await?)
    };
    let receiving = async {
        let mut latencies = Vec::with_capacity(chunks);
        let mut message = line.sink.next_message().await?.expect("a message has been sent");
        let mut received = BytesMut::new();
        while let Some(piece) = message.chunk().await? {
            received.extend_from_slice(&piece);
            while received.len() >= CHUNK {
                let chunk = received.split_to(CHUNK);
                let sent = u64::from_le_bytes(chunk[..8].try_into()?);
                latencies.push((start.elapsed() - Duration::from_nanos(sent)).as_secs_f64() * 1e6);
            }
        }
        anyhow::Ok(latencies)
    };
    let (sent, latencies) = tokio::join!(sending, receiving);
    sent?;
    let latencies = latencies?;
    ensure!(latencies.len() == chunks, "{} of {chunks} chunks came", latencies.len());
    line.close().await?;
    Ok(latencies)
}

fn percentile(latencies: &mut [f64], part: f64) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[((latencies.len() - 1) as f64 * part).round() as usize]
}
