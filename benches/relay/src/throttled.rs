//! One large message in one frame, through the relay: as fast as it goes, and at the pace of a slow receiver.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use wsstream::MessageKind;

use crate::line::{Line, Used, median, until};

const MIB: f64 = (1 << 20) as f64;

/// What the source hands over at a time.
const PIECE: usize = 256 * 1024;

/// Memory does not grow while it lasts, and the source is held to the receiver's pace.
pub(crate) async fn measure(size: u64, rate: u64) -> Result<()> {
    let line = Line::open(true).await?;
    let (time, ahead, used) = transfer(line, size, Some(rate)).await?;
    let Some(Used { rss, .. }) = used else { unreachable!("there was a relay") };
    println!("one frame of {:.0} MiB, relayed to a receiver of {:.1} MiB/s", size as f64 / MIB, rate as f64 / MIB);
    println!("  the source sent {:.2} MiB/s", size as f64 / MIB / time.as_secs_f64());
    println!("  ahead of the receiver: {:.1} MiB at most, in the relay, both ends and the kernel", ahead as f64 / MIB);
    println!("  peak RSS of the relay above what it held at the start: {:.1} MiB", rss as f64 / MIB);
    Ok(())
}

/// How fast it goes with the relay and without.
pub(crate) async fn speed(rounds: usize, size: u64) -> Result<()> {
    let (mut direct, mut relayed, mut user, mut system) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (gib, mut peak) = (size as f64 / MIB / 1024.0, 0.0f64);
    for _ in 0..rounds {
        for is_relayed in [false, true] {
            let (time, _, used) = transfer(Line::open(is_relayed).await?, size, None).await?;
            let speed = size as f64 / time.as_secs_f64() / 1e9;
            match used {
                None => direct.push(speed),
                Some(used) => {
                    relayed.push(speed);
                    user.push(used.user / gib);
                    system.push(used.system / gib);
                    peak = peak.max(used.rss as f64 / MIB);
                }
            }
        }
    }
    println!("one frame of {:.0} MiB, as fast as it goes; medians of {rounds} rounds", size as f64 / MIB);
    println!("  direct:   {:.2} GB/s", median(direct)?);
    println!("  relayed:  {:.2} GB/s, three processes on two cores", median(relayed)?);
    let (user, system) = (median(user)?, median(system)?);
    println!("  the relay: {user:.3} s of user and {system:.3} s of system time per GiB, {peak:.1} MiB");
    Ok(())
}

/// The time it took, how far the source was ahead of the receiver at most, and what the relay has used.
async fn transfer(mut line: Line, size: u64, rate: Option<u64>) -> Result<(Duration, u64, Option<Used>)> {
    let piece = Bytes::from(vec![7; PIECE]);
    let start = Instant::now();
    let sent = std::sync::atomic::AtomicU64::new(0);
    let order = std::sync::atomic::Ordering::Relaxed;
    let sending = async {
        let mut message = line.source.start_message(MessageKind::Binary).length(size).await?;
        let mut left = size;
        while left > 0 {
            let len = left.min(PIECE as u64);
            message.write(piece.slice(..len as usize)).await?;
            left -= len;
            sent.store(size - left, order);
        }
        anyhow::Ok(message.finish().await?)
    };
    let receiving = async {
        let (mut received, mut ahead) = (0, 0);
        let mut message = line.sink.next_message().await?.expect("a message has been sent");
        while let Some(chunk) = message.chunk().await? {
            ensure!(chunk.first() == Some(&7) && chunk.last() == Some(&7), "other bytes than were sent");
            received += chunk.len() as u64;
            ahead = ahead.max(sent.load(order).saturating_sub(received));
            if let Some(rate) = rate {
                until(start + Duration::from_secs_f64(received as f64 / rate as f64)).await;
            }
        }
        ensure!(received == size, "{received} of {size} bytes came");
        Ok(ahead)
    };
    let (sent, ahead) = tokio::join!(sending, receiving);
    sent?;
    let (time, ahead) = (start.elapsed(), ahead?);
    Ok((time, ahead, line.close().await?))
}
