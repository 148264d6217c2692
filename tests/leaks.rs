//! Ten thousand connections that are opened, used and dropped at random points leave nothing behind: no task, no file
//! descriptor, no memory.
//!
//! A binary of its own, for the allocator and the descriptors are the whole process's.

#![cfg(target_os = "linux")] // which lists descriptors, and has all of 127.0.0.0/8
// A global allocator cannot be written without.
#![allow(unsafe_code)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use support::poll_times;
use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use wsstream::{CloseCode, Config, Listener, MessageKind, Upgrade, WebSocketStream};

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Cycles that grow what is kept for good: the runtime's slabs, the threads' buffers.
const WARM_UP: usize = 1000;
const CYCLES: usize = 10_000;
const AT_A_TIME: usize = 16;

/// Addresses that are listened on, so that ports in `TIME_WAIT` are no shortage.
const ADDRESSES: usize = 8;

/// Less than a byte for each cycle: what an allocation left behind by one in a thousand would exceed.
const SLACK: usize = 8 * 1024;

/// Ends what hangs, in real time.
const LIMIT: Duration = Duration::from_secs(30);

/// Random numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

/// Uses a connection up to a random point, and drops it there. `None` and errors are points like others.
async fn exchange(ws: WebSocketStream, dice: &mut Dice) -> Option<()> {
    let patience = |dice: &mut Dice| if dice.roll(8) == 0 { 1 + dice.roll(3) } else { usize::MAX };
    let (mut readable, mut writable) = ws.split();
    let control = writable.control();
    for _ in 0..dice.roll(6) {
        let polls = patience(dice);
        match dice.roll(7) {
            0 | 1 => poll_times(polls, writable.send(vec![7; dice.roll(3000)])).await?.ok()?,
            2 => {
                let mut message = poll_times(polls, writable.start_message(MessageKind::Binary)).await?.ok()?;
                poll_times(polls, message.write(vec![8; 100])).await?.ok()?;
                if dice.roll(4) > 0 {
                    message.finish().await.ok()?;
                }
            }
            // The other end may have nothing to say, and wait as well.
            3 | 4 => {
                let read = timeout(Duration::from_millis(1), readable.next_message());
                let mut message = poll_times(polls, read).await?.ok()?.ok()??;
                poll_times(polls, timeout(Duration::from_millis(1), message.chunk())).await?.ok()?.ok()?;
            }
            5 => drop(poll_times(1 + dice.roll(3), control.ping()).await),
            _ => poll_times(polls, writable.flush()).await?.ok()?,
        }
    }
    match dice.roll(6) {
        0 => writable.abort(),
        1 => drop(readable.cancel(CloseCode::NORMAL, "")),
        2 => {
            drop(readable);
            poll_times(patience(dice), writable.close(CloseCode::NORMAL, "done")).await?.ok()?;
        }
        3 => drop(poll_times(1, control.close(CloseCode::NORMAL, "")).await),
        _ => {}
    }
    Some(())
}

async fn serve(upgrade: Upgrade, mut dice: Dice) -> Option<()> {
    match dice.roll(10) {
        0 => return None,
        1 => return upgrade.reject(http::StatusCode::NOT_FOUND).await.ok(),
        _ => {}
    }
    let polls = if dice.roll(10) == 0 { 1 } else { usize::MAX };
    let ws = poll_times(polls, upgrade.accept().into_future()).await?.ok()?;
    exchange(ws, &mut dice).await
}

async fn cycle(url: String, config: Config, mut dice: Dice) -> Option<()> {
    let polls = if dice.roll(6) == 0 { 1 + dice.roll(4) } else { usize::MAX };
    let connect = WebSocketStream::connect(url).config(config).into_future();
    let ws = timeout(LIMIT, poll_times(polls, connect)).await.expect("the handshake ends")?.ok()?;
    exchange(ws, &mut dice).await
}

fn config() -> Config {
    Config::default().close_timeout(Duration::from_millis(200)).handshake_timeout(Duration::from_secs(2))
}

/// So many connections, some at a time; all servers and clients are gone when it returns.
async fn cycles(count: usize, seed: u64) {
    let mut urls = Vec::new();
    let mut listeners = JoinSet::new();
    for i in 0..ADDRESSES {
        let mut listener = Listener::bind((format!("127.0.0.{}", i + 1), 0)).await.unwrap().config(config());
        urls.push(format!("ws://{}/", listener.local_addr().unwrap()));
        let mut dice = Dice(seed ^ (i as u64 + 1) << 32);
        listeners.spawn(async move {
            loop {
                let upgrade = listener.accept().await.unwrap();
                tokio::spawn(serve(upgrade, Dice(dice.roll(usize::MAX) as u64 | 1)));
            }
        });
    }
    let mut dice = Dice(seed);
    let mut clients = JoinSet::new();
    for i in 0..count {
        if clients.len() >= AT_A_TIME {
            clients.join_next().await.unwrap().expect("no cycle panics");
        }
        let dice = Dice(dice.roll(usize::MAX) as u64 | 1);
        clients.spawn(cycle(urls[i % ADDRESSES].clone(), config(), dice));
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no cycle panics");
    }
    // What lingers is over within the close timeout and the 2 s after it; then the listeners' own may go.
    settled(ADDRESSES).await;
    listeners.shutdown().await;
    settled(0).await;
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// All tasks but so many have ended.
async fn settled(but: usize) {
    let end = async {
        while tasks() > but {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LIMIT, end).await.is_ok(), "{} tasks are left, not {but}", tasks());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Prints the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}; WSSTREAM_SEED={} repeats it", self.0, self.0);
        }
    }
}

/// On a thread of its own: what a thread keeps for its connections goes with it.
fn run(count: usize, seed: u64) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(cycles(count, seed));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn ten_thousand_connections_dropped_at_random_points_leave_nothing() {
    let seed = match std::env::var("WSSTREAM_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => rand::random::<u64>() | 1,
    };
    let seed = Seed(seed);
    run(WARM_UP, seed.0 ^ 0xaaaa_0000);
    let (descriptors_before, live_before) = (descriptors(), LIVE.load(Relaxed));
    run(CYCLES, seed.0);
    assert_eq!(descriptors(), descriptors_before, "descriptors");
    let live = LIVE.load(Relaxed);
    eprintln!("{live_before} bytes before, {live} after");
    assert!(live <= live_before + SLACK, "{} bytes are left over", live - live_before);
}
