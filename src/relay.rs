//! Two connections joined: what comes in on one goes out on the other, chunk by chunk.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use futures::FutureExt;

use crate::{
    close::{CloseCode, CloseInfo},
    error::{ConnectionError, WriteError},
    stream::{Closed, Control, Readable, WebSocketStream, Writable},
};

/// One of the two connections of a relay, in the order in which they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelaySide {
    /// The first; of a one-way relay the source.
    First,
    /// The second; of a one-way relay the sink.
    Second,
}

/// What a relay has carried in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Carried {
    /// Messages, from the first to the last byte.
    pub messages: u64,
    /// Bytes of payload that the sink's connection has accepted, those of a message that was cut included.
    pub bytes: u64,
}

/// How a relay ended, and what it has carried.
///
/// ```
/// # use wsstream::{Relayed, RelaySide};
/// # fn show(relayed: Relayed) {
/// let end = match relayed.ended_by {
///     RelaySide::First => relayed.first,
///     RelaySide::Second => relayed.second,
/// };
/// match end {
///     Ok(info) => println!("closed with {} {:?}", info.close_code, info.reason),
///     Err(error) => println!("{error}"),
/// }
/// println!("{} messages forth, {} back", relayed.forth.messages, relayed.back.messages);
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// The side that ended first; the relay has then closed the other one.
    pub ended_by: RelaySide,
    /// How the first connection ended.
    pub first: Result<CloseInfo, ConnectionError>,
    /// How the second connection ended.
    pub second: Result<CloseInfo, ConnectionError>,
    /// From the first to the second.
    pub forth: Carried,
    /// From the second to the first; nothing in a one-way relay.
    pub back: Carried,
}

/// Joins two connections both ways, until both have ended.
///
/// A chunk goes on as it comes, so no message is ever held: kinds and message borders stay as they are, frames and chunks
/// do not. A side that does not take what is sent to it stops the other side's socket: between them lies no more than the
/// receive buffers of the one and the send buffers of the other ([`Config`](crate::Config)). Each side may have agreed on
/// compression or not; where the sink has, what is at hand is compressed together, and flushed before the next chunk is
/// waited for.
///
/// # How it ends
/// When one side ends, all that it sent before goes to the other, which is then closed:
///
/// | the side that ended | the other side is sent |
/// | --- | --- |
/// | Close frame | its close code and reason |
/// | Close frame without a body (1005) | Close frame without a body |
/// | Close frame in the middle of a message | its close code and reason, in the middle of the message |
/// | no Close frame (1006): lost, failed, silent for the keepalive timeout | 1014 |
/// | broke the protocol, which includes a Close frame with a code that may not be sent (1004, 1005, 1006, 1015) | 1014 |
/// | message over [`Config::max_message_size`](crate::Config::max_message_size) | 1009 |
/// | no message for [`Config::idle_timeout`](crate::Config::idle_timeout) | 1001 |
/// | aborted by a [`Control`](crate::Control) of it, or for any other reason | 1011 |
///
/// 1015 stands for a TLS handshake that failed; there is no connection then, and nothing to relay. A message whose end
/// never came is cut on the other side too: the Close frame comes in the middle of it, so that it never looks finished.
///
/// What the other side sends after that is discarded: there is nobody to take it. WebSockets have no half-closed state.
///
/// # Cancel safety
/// Both connections are the relay's. When the future is dropped, they are closed in the background, with 1001, or with
/// 1011 where a message was on its way. To end a relay in good order, close one side by its
/// [`Control`](crate::Control), taken before.
///
/// # Examples
/// ```no_run
/// use wsstream::{Listener, WebSocketStream, relay};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = Listener::bind("127.0.0.1:9001").await?;
/// loop {
///     let upgrade = listener.accept().await?;
///     tokio::spawn(async move {
///         let upstream = WebSocketStream::connect("ws://localhost:9002/live").await?;
///         let client = upgrade.accept().await?;
///         let relayed = relay(client, upstream).await;
///         println!("{:?} ended it after {} bytes", relayed.ended_by, relayed.forth.bytes + relayed.back.bytes);
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
///     });
/// }
/// # }
/// ```
pub async fn relay(first: WebSocketStream, second: WebSocketStream) -> Relayed {
    let ends = Ends { first: first.control(), second: second.control() };
    let ((from_first, to_first), (from_second, to_second)) = (first.split(), second.split());
    let (mut forth, mut back) = (Carried::default(), Carried::default());
    let ended_by = {
        let forth = pin!(carry(from_first, to_second, &mut forth));
        let back = pin!(carry(from_second, to_first, &mut back));
        both(forth, back).await
    };
    ends.report(ended_by, forth, back).await
}

/// Joins the readable of one connection to the writable of another, until both connections have ended.
///
/// As [`relay`], in one direction. The other halves remain the caller's; a readable of the sink that is kept must be read,
/// or its end is not seen. Dropped, what the sink sends is discarded. The source is closed when the sink ends.
///
/// # Cancel safety
/// As for [`relay`]: when the future is dropped, so are the two halves.
///
/// # Examples
/// ```no_run
/// use wsstream::{WebSocketStream, relay_one_way};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (camera, _) = WebSocketStream::connect("ws://localhost:9001/camera").await?.split();
/// let (_, recorder) = WebSocketStream::connect("ws://localhost:9002/record").await?.split();
/// let relayed = relay_one_way(camera, recorder).await;
/// println!("{} messages, {} bytes", relayed.forth.messages, relayed.forth.bytes);
/// # Ok(())
/// # }
/// ```
pub async fn relay_one_way(source: Readable, sink: Writable) -> Relayed {
    let ends = Ends { first: source.control(), second: sink.control() };
    let mut forth = Carried::default();
    let ended_by = match carry(source, sink, &mut forth).await {
        Stop::Source => RelaySide::First,
        Stop::Sink => RelaySide::Second,
    };
    ends.report(ended_by, forth, Carried::default()).await
}

/// Why nothing is carried any more in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The source has ended; the sink has been told.
    Source,
    /// The sink takes no more.
    Sink,
}

/// Both directions, until one finds its source at the end. Who it was that ended.
///
/// A direction whose sink takes no more only stops: what that side has sent before is still carried the other way.
async fn both(
    mut forth: Pin<&mut impl Future<Output = Stop>>,
    mut back: Pin<&mut impl Future<Output = Stop>>,
) -> RelaySide {
    let mut ended_by = None;
    let (mut forth_runs, mut back_runs) = (true, true);
    while forth_runs || back_runs {
        let (stop, source, sink) = tokio::select! {
            biased;
            stop = &mut forth, if forth_runs => {
                forth_runs = false;
                (stop, RelaySide::First, RelaySide::Second)
            }
            stop = &mut back, if back_runs => {
                back_runs = false;
                (stop, RelaySide::Second, RelaySide::First)
            }
        };
        let ended = *ended_by.get_or_insert(if stop == Stop::Source { source } else { sink });
        if stop == Stop::Source {
            return ended;
        }
    }
    ended_by.unwrap_or(RelaySide::First)
}

/// Carries messages until either end is over. The readable is dropped then: what still comes is discarded, so that a
/// Close frame behind it is found.
async fn carry(mut source: Readable, mut sink: Writable, carried: &mut Carried) -> Stop {
    let (from, to, mut over) = (source.control(), sink.control(), sink.closed());
    loop {
        let Some(next) = next_or_flush(source.next_message(), sink.flush(), &mut over).await else { return Stop::Sink };
        let Ok(Some(mut message)) = next else {
            pass_on(&from, &to);
            return Stop::Source;
        };
        let Ok(mut copy) = sink.start_message(message.kind()).await else { return Stop::Sink };
        loop {
            let Some(next) = next_or_flush(message.chunk(), copy.flush(), &mut over).await else { return Stop::Sink };
            match next {
                Ok(Some(chunk)) => {
                    let len = chunk.len() as u64;
                    if copy.write(chunk).await.is_err() {
                        return Stop::Sink;
                    }
                    carried.bytes += len;
                }
                Ok(None) => break,
                Err(_) => {
                    // Before the unfinished copy is dropped, which would be a failure of ours.
                    pass_on(&from, &to);
                    return Stop::Source;
                }
            }
        }
        if copy.finish().await.is_err() {
            return Stop::Sink;
        }
        carried.messages += 1;
    }
}

/// The next of the source. If nothing is at hand, what was written is sent on its way first, by this task itself where
/// that is possible. `None`: the sink has ended.
async fn next_or_flush<T>(
    next: impl Future<Output = T>,
    flush: impl Future<Output = Result<(), WriteError>>,
    over: &mut Closed,
) -> Option<T> {
    let (mut next, mut flush) = (pin!(next), pin!(flush.fuse()));
    poll_fn(|cx| {
        if let Poll::Ready(next) = next.as_mut().poll(cx) {
            return Poll::Ready(Some(next));
        }
        // Not waited for: only its failure matters.
        let is_refused = matches!(flush.as_mut().poll(cx), Poll::Ready(Err(_)));
        if is_refused || Pin::new(&mut *over).poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// The two connections, to see them to their ends.
struct Ends {
    first: Control,
    second: Control,
}

impl Ends {
    async fn report(self, ended_by: RelaySide, forth: Carried, back: Carried) -> Relayed {
        let (ended, other) = match ended_by {
            RelaySide::First => (&self.first, &self.second),
            RelaySide::Second => (&self.second, &self.first),
        };
        // A sink that ended may not have said why so far. Where the other end has been told already, that counts.
        let _ = ended.closed().await;
        pass_on(ended, other);
        let (first, second) = (self.first.closed().await, self.second.closed().await);
        Relayed { ended_by, first, second, forth, back }
    }
}

/// Closes one side as the other one, which is over, has ended.
fn pass_on(ended: &Control, other: &Control) {
    let outcome = ended.outcome().unwrap_or(Err(ConnectionError::Lost));
    let (close_code, reason) = passed_on(outcome);
    // It is closing once polled; the end is awaited elsewhere.
    let _ = other.close(close_code, &reason).now_or_never();
}

/// What one side is told of the end of the other.
fn passed_on(outcome: Result<CloseInfo, ConnectionError>) -> (CloseCode, String) {
    use ConnectionError as E;
    let (close_code, reason) = match outcome {
        Ok(info) | Err(E::Unsent(info) | E::MessageCut(info)) => (info.close_code, info.reason),
        Err(E::Protocol(_)) => (CloseCode::BAD_GATEWAY, "the other side broke the protocol".into()),
        Err(E::Lost | E::Io(_)) => (CloseCode::BAD_GATEWAY, "the other side was lost".into()),
        Err(E::KeepaliveTimeout(_) | E::CloseTimeout(_)) => {
            (CloseCode::BAD_GATEWAY, "the other side fell silent".into())
        }
        Err(E::MessageTooLarge { limit, .. }) => {
            (CloseCode::MESSAGE_TOO_BIG, format!("message of more than {limit} bytes"))
        }
        Err(E::IdleTimeout(time)) => (CloseCode::GOING_AWAY, format!("no message for {time:?}")),
        Err(_) => (CloseCode::INTERNAL_ERROR, "the relay ended it".into()),
    };
    // Without a body stays without a body.
    if close_code.is_sendable() || close_code == CloseCode::NO_STATUS {
        (close_code, reason)
    } else {
        (CloseCode::BAD_GATEWAY, "the other side was lost".into())
    }
}
