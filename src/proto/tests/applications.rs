//! Two applications at the ends of a connection, which keep to the API, and all that must be true whatever they, the
//! transport and the time do.

use std::time::{Duration, Instant};

use super::{CLOSE, CONT, Endpoint, FIN, Pair, Pipe, RSV1, Seen, TEXT, model::frames};
use crate::{error::ConnectionError, message::MessageKind, wire::deflate::Inflater};

/// Buffers are compared with the wire as long as little has been sent: it costs a walk over all of it.
const WALKED: usize = 2_000;

/// The longest header.
const HEADER: usize = 14;

/// No end takes longer, of any phase with the default limits.
const LONGEST_END: Duration = Duration::from_secs(60);

/// What may happen to a pair of endpoints. The flag says which end does it: the client's if it is set.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Send(bool, MessageKind, usize),
    Begin(bool, MessageKind, Option<u64>),
    Chunk(bool, usize),
    Finish(bool),
    Flush(bool),
    Ping(bool),
    Close(bool, u16),
    LeaveUnfinished(bool),
    Abort(bool),
    Lag(bool, bool),
    Discard(bool),
    CaughtUp(bool),
    WaitForReader(bool),
    /// This end's transport takes no more.
    Break(bool),
    /// This end's transport holds so many bytes from now on.
    Capacity(bool, usize),
    /// Bytes that this end has not sent come out of its transport.
    Garbage(bool, Vec<u8>),
    Turns(usize),
    /// Only one of them gets its turn.
    Turn(bool),
    Wait(u64),
}

impl Op {
    fn is_clients(&self) -> bool {
        match self {
            Self::Send(end, ..) | Self::Begin(end, ..) | Self::Chunk(end, _) | Self::Finish(end) => *end,
            Self::Lag(end, _) | Self::Garbage(end, _) | Self::Capacity(end, _) | Self::Close(end, _) => *end,
            Self::Flush(end) | Self::Ping(end) | Self::LeaveUnfinished(end) | Self::Abort(end) | Self::Discard(end) => {
                *end
            }
            Self::CaughtUp(end) | Self::WaitForReader(end) | Self::Break(end) | Self::Turn(end) => *end,
            Self::Turns(_) | Self::Wait(_) => true,
        }
    }
}

/// An application at one end: it sees what is accepted.
#[derive(Default)]
struct Application {
    /// Counts payload bytes, so that no two places look the same.
    next: usize,
    accepted: Vec<(MessageKind, Vec<u8>)>,
    /// The message that is open, and what is missing of a declared length.
    open: Option<(MessageKind, Vec<u8>, Option<u64>)>,
    /// Headers that may have been made for what was accepted, at most.
    headers: usize,
    /// Something came out of its transport that it had not sent.
    forged: bool,
}

impl Application {
    /// ASCII, so that it may be text; some of what is binary is noise, which is stored where the rest is compressed.
    fn payload(&mut self, kind: MessageKind, len: usize) -> Vec<u8> {
        let start = self.next;
        self.next = (start + len) % 127;
        if kind == MessageKind::Binary && start % 2 == 1 {
            let mut state = start as u32;
            let noise = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            return noise.take(len).collect();
        }
        (start..start + len).map(|at| (at % 127) as u8).collect()
    }

    fn run(&mut self, op: &Op, end: &mut Endpoint, now: Instant) {
        // Whoever may not write any more is refused, and what was open stays open.
        let writable = end.is_writable();
        let is_open = self.open.is_some();
        match op {
            Op::Send(_, kind, len) if writable && !is_open => {
                let payload = self.payload(*kind, *len);
                self.headers += 1 + len / 125;
                end.send(*kind, payload.clone());
                self.accepted.push((*kind, payload));
            }
            Op::Begin(_, kind, length) if writable && !is_open => {
                self.headers += 1;
                self.open = Some((*kind, Vec::new(), *length));
                end.begin(*kind, *length);
            }
            Op::Chunk(_, len) if writable && is_open => self.chunk(*len, end),
            Op::Finish(_) if writable && is_open => self.finish(end),
            Op::Flush(_) if writable => end.outbox.flush(),
            Op::Ping(_) if writable => _ = end.ping(now),
            Op::Close(_, code) => end.close(*code, "end"),
            Op::LeaveUnfinished(_) if writable && is_open => end.leave_unfinished(),
            Op::Abort(_) => end.connection.abort(),
            Op::Lag(_, lags) => end.lags = *lags,
            Op::Discard(_) => {
                end.lags = false;
                end.is_blind = end.codec.is_some();
                end.connection.discard(now);
            }
            Op::CaughtUp(_) => end.connection.reader_caught_up(now),
            Op::WaitForReader(_) => end.waits_for_reader = true,
            _ => {}
        }
    }

    fn chunk(&mut self, len: usize, end: &mut Endpoint) {
        let Some((kind, _, missing)) = &self.open else { return };
        let (kind, len) = (*kind, missing.map_or(len, |missing| len.min(missing as usize)));
        if len == 0 {
            return; // no application's chunk is empty when it gets here
        }
        let payload = self.payload(kind, len);
        self.headers += 1 + len / 125;
        if let Some((_, data, missing)) = &mut self.open {
            data.extend(&payload);
            *missing = missing.map(|missing| missing - len as u64);
        }
        end.chunk(payload);
    }

    /// Unless part of a declared length is missing.
    fn finish(&mut self, end: &mut Endpoint) {
        if let Some((kind, data, _)) = self.open.take_if(|(.., missing)| matches!(missing, None | Some(0))) {
            self.headers += 1;
            self.accepted.push((kind, data));
            end.finish();
        }
    }

    /// A frame of declared length is whole when all of it was written, whether its writer said so or not.
    fn completed(&self) -> Option<(MessageKind, &[u8])> {
        let (kind, data, missing) = self.open.as_ref()?;
        (*missing == Some(0)).then_some((*kind, data))
    }

    /// Everything that may be on the wire, in order; of the last one perhaps only a part is written yet.
    fn written(&self) -> impl Iterator<Item = (MessageKind, &[u8])> {
        let open = self.open.as_ref().map(|(kind, data, _)| (*kind, &data[..]));
        self.accepted.iter().map(|(kind, data)| (*kind, &data[..])).chain(open)
    }

    /// What is somewhere on its way is the beginning of what was accepted: in order, intact, and whole only if it is.
    fn check_beginning(&self, found: &[Seen], place: &str) {
        let whole = found.iter().filter(|(.., whole)| *whole).count();
        assert!(whole <= self.accepted.len() + usize::from(self.completed().is_some()), "{place}: cut, yet whole");
        let mut written = self.written();
        for (at, (kind, data, whole)) in found.iter().enumerate() {
            let (wrote_kind, wrote) = written.next().unwrap_or_else(|| panic!("{place}: message {at} was never sent"));
            assert_eq!(*kind, wrote_kind, "{place}: message {at}");
            assert!(wrote.starts_with(data), "{place}: message {at} is not what was sent");
            assert!(!whole || data.len() == wrote.len(), "{place}: message {at} is cut and looks finished");
            assert!(*whole || at == found.len() - 1, "{place}: message {at} is followed by another");
        }
    }

    /// While data is accepted, what counts as buffered is what is not on the wire, but for headers.
    fn check_buffered(&self, end: &Endpoint, outgoing: &Pipe) {
        let buffered = end.outbox.len() + end.connection.unwritten();
        // What is being compressed is in neither.
        if end.is_writable() && end.codec.is_none() && outgoing.log.len() <= WALKED {
            let accepted: usize = self.written().map(|(_, data)| data.len()).sum();
            let sent: usize = sent(end, &outgoing.log).iter().map(|(_, data, _)| data.len()).sum();
            assert!(buffered >= accepted - sent, "{buffered} bytes count as buffered, {} are", accepted - sent);
            let most = accepted - sent + self.headers * HEADER;
            assert!(buffered <= most, "{buffered} bytes count as buffered, {most} at most are");
        }
        let stats = end.connection.sent();
        assert_eq!(stats.bytes, outgoing.log.len() as u64, "bytes sent");
        assert_eq!(end.outbox.messages(), self.accepted.len() as u64, "messages sent");
    }

    /// This end is done.
    fn check_end(&self, end: &Endpoint, log: &[u8]) {
        let ending = end.ending().expect("a connection that is done has ended");
        let wire = sent(end, log);
        self.check_beginning(&wire, "the wire");
        match &ending {
            Ok(info) => {
                assert!(info.was_clean);
                let whole = wire.iter().filter(|(.., whole)| *whole).count();
                assert!(whole >= self.accepted.len(), "clean: nothing accepted was left unsent");
            }
            Err(ConnectionError::Unsent(info) | ConnectionError::MessageCut(info)) => assert!(!info.was_clean),
            Err(_) => {}
        }
    }

    /// `peer`, which is done, has heard what is on the wire, and all of it if it ended cleanly.
    fn check_heard(&self, log: &[u8], end: &Endpoint, peer: &Endpoint) {
        if self.forged {
            return;
        }
        self.check_beginning(&peer.seen, "the peer");
        let Some(Ok(info)) = peer.ending() else { return };
        let wire = sent(end, log);
        if !peer.is_blind {
            let whole: Vec<&Seen> = wire.iter().filter(|(.., whole)| *whole).collect();
            assert!(
                whole.iter().all(|message| peer.seen.contains(message)),
                "a clean end, and something was not heard"
            );
            assert_eq!(whole.len(), peer.seen.len(), "a clean end in the middle of a message");
        }
        let close = frames(end.role, log).pop().expect("a clean end has a Close frame");
        assert!(close.first == CLOSE && close.complete, "a clean end has a Close frame");
        let code = match close.payload[..] {
            [a, b, ..] => u16::from_be_bytes([a, b]),
            _ => 1005,
        };
        assert_eq!(u16::from(info.close_code), code, "the peer's close code is reported");
    }
}

/// The messages in what an endpoint has sent. Nothing but frames in a legal order is there.
fn sent(end: &Endpoint, log: &[u8]) -> Vec<Seen> {
    let mut sent = frames(end.role, log);
    if let Some(close) = sent.iter().position(|frame| frame.first == CLOSE) {
        assert_eq!(close, sent.len() - 1, "nothing follows a Close frame");
    }
    sent.retain(|frame| !frame.is_control());
    let mut messages: Vec<Seen> = Vec::new();
    let mut inflater = Inflater::new(true);
    let mut compressed = false;
    for frame in sent {
        if frame.first & 0x0F != CONT {
            compressed = frame.first & RSV1 != 0;
            assert!(!compressed || end.codec.is_some());
        }
        match frame.first & 0x0F {
            CONT => {}
            TEXT => messages.push((MessageKind::Text, Vec::new(), false)),
            _ => messages.push((MessageKind::Binary, Vec::new(), false)),
        }
        let (_, data, whole) = messages.last_mut().expect("a message begins with its kind");
        assert!(!*whole, "nothing continues a message that is whole");
        *whole = frame.complete && frame.first & FIN != 0;
        if compressed {
            data.extend(inflate(&mut inflater, &frame.payload, *whole));
        } else {
            data.extend(frame.payload);
        }
    }
    messages
}

fn inflate(inflater: &mut Inflater, mut payload: &[u8], last: bool) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut output = vec![0; 10_000];
    loop {
        let step = inflater.inflate(payload, &mut output, last).expect("what was sent can be inflated");
        inflated.extend(&output[..step.given]);
        payload = &payload[step.taken..];
        if payload.is_empty() && !inflater.is_full() {
            assert_eq!(step.done, last);
            return inflated;
        }
    }
}

/// A pair of endpoints and the two applications.
pub(crate) struct Applications {
    pair: Pair,
    client: Application,
    server: Application,
}

impl Applications {
    pub(crate) fn new(pair: Pair) -> Self {
        Self { pair, client: Application::default(), server: Application::default() }
    }

    pub(crate) fn run(&mut self, op: &Op) {
        let Self { pair, client, server } = self;
        let (end, application, incoming, outgoing) = if op.is_clients() {
            (&mut pair.client, client, &mut pair.down, &mut pair.up)
        } else {
            (&mut pair.server, server, &mut pair.up, &mut pair.down)
        };
        match op {
            Op::Break(_) => outgoing.broken = true,
            Op::Capacity(_, bytes) => outgoing.capacity = *bytes,
            // Only on the way to the other end: the log stays what this end has sent.
            Op::Garbage(_, bytes) => {
                application.forged = true;
                outgoing.bytes.extend(bytes);
            }
            Op::Turn(_) => _ = end.turn(pair.now, incoming, outgoing),
            Op::Turns(turns) => _ = (0..*turns).all(|_| pair.turn()),
            Op::Wait(millis) => {
                let until = pair.now + Duration::from_millis(*millis);
                pair.settle();
                while pair.wait(until) {
                    pair.settle();
                }
                pair.now = until;
            }
            op => application.run(op, end, pair.now),
        }
        self.client.check_buffered(&self.pair.client, &self.pair.up);
        self.server.check_buffered(&self.pair.server, &self.pair.down);
    }

    /// The client closes, if nobody has: that must come to an end, and everything must be in order then.
    pub(crate) fn end(mut self) {
        let Self { pair, client, server } = &mut self;
        pair.client.close(1000, "");
        if pair.server.lags {
            // An open connection whose application does not read does not see its peer close; nothing has begun there.
            pair.server.close(1001, "");
        }
        let time = pair.run_out();
        assert!(time <= LONGEST_END, "{time:?}");
        client.check_end(&pair.client, &pair.up.log);
        server.check_end(&pair.server, &pair.down.log);
        client.check_heard(&pair.up.log, &pair.client, &pair.server);
        server.check_heard(&pair.down.log, &pair.server, &pair.client);
    }
}
