//! Faults of the transport while messages go both ways, and while the connection closes.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufStream},
    sync::Notify,
    time::timeout,
};
use wsstream::{
    CloseCode, CloseInfo, Config, ConnectionError, Message, MessageKind, Negotiated, ReadError, Readable, Role,
    WebSocketStream, Writable, WriteError,
};

use super::{
    faulty::{BENIGN, FATAL, Fault, Faulty, Record},
    harness::AN_HOUR,
    probe::probed,
    support::{BINARY, BOTH, CLOSE, CONTINUATION, TEXT, next, other, parse, pattern},
};

/// Room in the pipe: messages go through it in pieces.
const NARROW: usize = 50;

/// Which end closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    /// The near end, when it has received everything.
    Near,
    Far,
    /// When it has sent everything, in the midst of what comes.
    NearAtOnce,
    FarAtOnce,
    BothAtOnce,
}

impl Closer {
    /// Whether everything gets through if the transport does not fail.
    fn is_orderly(self) -> bool {
        matches!(self, Self::Near | Self::Far)
    }
}

/// When an application closes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Never,
    AllReceived,
    AllSent,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    /// Of the near end, whose transport has the fault.
    role: Role,
    closer: Closer,
    /// What is written waits for a flush, as with TLS.
    buffered: bool,
    fault: Fault,
    n: usize,
}

fn script() -> Vec<Message> {
    vec![
        Message::text("aé€😀 and so on, for longer than the pipe is wide: it holds 50 bytes"),
        Message::binary(pattern(150)),
        Message::binary(""),
        Message::binary(pattern(130)),
        Message::text("the end"),
    ]
}

/// What one end's application went through.
#[derive(Debug)]
struct Report {
    received: Vec<Message>,
    /// Chunks of a message whose end never came; `None` if it was read as a whole, and nothing is known of it.
    partial: Option<Vec<u8>>,
    read: Result<(), ReadError>,
    accepted: Vec<Message>,
    /// Of these, known to be written.
    flushed: usize,
    written: Result<(), WriteError>,
    closed: Result<CloseInfo, ConnectionError>,
}

/// Reads everything, in chunks and whole by turns.
async fn read(mut readable: Readable, all_received: &Notify) -> (Vec<Message>, Option<Vec<u8>>, Result<(), ReadError>) {
    let mut received = Vec::new();
    let mut partial = Some(Vec::new());
    let end = loop {
        if received.len() == script().len() {
            all_received.notify_one();
        }
        if received.len() % 3 == 0 {
            partial = None;
            match probed(next(&mut readable)).await {
                Some(Ok(message)) => received.push(message),
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
            partial = Some(Vec::new());
            continue;
        }
        let mut message = match probed(readable.next_message()).await {
            Ok(Some(message)) => message,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let kind = message.kind();
        let bytes = partial.as_mut().unwrap();
        let error = loop {
            match probed(message.chunk()).await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = error {
            break Err(error);
        }
        let bytes = std::mem::take(bytes);
        received.push(match kind {
            MessageKind::Text => Message::text_from_utf8(bytes).expect("text is UTF-8"),
            MessageKind::Binary => Message::binary(bytes),
        });
    };
    all_received.notify_one();
    (received, partial, end)
}

async fn write(writable: &mut Writable, accepted: &Mutex<(Vec<Message>, usize)>) -> Result<(), WriteError> {
    for (i, message) in script().into_iter().enumerate() {
        if i % 2 == 0 {
            probed(writable.send(message.clone())).await?;
        } else {
            let mut writer = probed(writable.start_message(message.kind())).await?;
            for chunk in message.as_bytes().chunks(70) {
                probed(writer.write(Bytes::copy_from_slice(chunk))).await?;
            }
            writer.finish().await?;
        }
        accepted.lock().unwrap().0.push(message);
        match i {
            1 => drop(probed(writable.control().ping()).await?),
            3 => {
                probed(writable.flush()).await?;
                accepted.lock().unwrap().1 = i + 1;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn application(ws: WebSocketStream, closes: When) -> Report {
    let (readable, mut writable) = ws.split();
    let closed = readable.closed();
    let all_received = Notify::new();
    let accepted = Mutex::default();
    let writing = async {
        let written = write(&mut writable, &accepted).await;
        if closes == When::AllReceived {
            all_received.notified().await;
        }
        if closes != When::Never {
            let _ = probed(writable.close(CloseCode::NORMAL, "done")).await;
        }
        written
    };
    let (written, (received, partial, read), closed) =
        tokio::join!(writing, read(readable, &all_received), probed(closed));
    let (accepted, flushed) = accepted.into_inner().unwrap();
    Report { received, partial, read, accepted, flushed, written, closed }
}

/// What `bytes` say: whole messages, bytes of one whose end is missing, and whether a Close frame followed.
pub(super) fn decode(sender: Role, bytes: &[u8]) -> (Vec<Message>, Vec<u8>, bool) {
    let mut rest = bytes.to_vec();
    let (mut messages, mut open, mut closed) = (Vec::new(), None::<(u8, Vec<u8>)>, false);
    while let Some(frame) = parse(sender, &mut rest) {
        assert!(!closed, "nothing follows a Close frame");
        match frame.opcode {
            CLOSE => closed = true,
            TEXT | BINARY | CONTINUATION => {
                assert_eq!(frame.opcode == CONTINUATION, open.is_some());
                let (opcode, mut payload) = open.take().unwrap_or((frame.opcode, Vec::new()));
                payload.extend(frame.payload);
                match (frame.fin, opcode) {
                    (false, _) => open = Some((opcode, payload)),
                    (true, TEXT) => messages.push(Message::text_from_utf8(payload).unwrap()),
                    (true, _) => messages.push(Message::binary(payload)),
                }
            }
            _ => {}
        }
    }
    let (opcode, mut partial) = open.unwrap_or((CONTINUATION, Vec::new()));
    // A frame that was cut; payloads here are short, and those of binary messages are told apart by their position.
    if let [first, second, ..] = rest[..]
        && first & 0x0f <= BINARY
    {
        let head = if second & 0x7f == 126 { 4 } else { 2 };
        let body = head + if second & 0x80 != 0 { 4 } else { 0 };
        let key: Vec<u8> =
            if second & 0x80 != 0 { rest.iter().copied().skip(head).take(4).collect() } else { vec![0; 4] };
        partial.extend(rest.iter().skip(body).enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        if opcode == TEXT || first & 0x0f == TEXT {
            // Chunks of text end at a character's border.
            let valid = std::str::from_utf8(&partial).map_or_else(|error| error.valid_up_to(), str::len);
            partial.truncate(valid);
        }
    }
    (messages, partial, closed)
}

fn same(one: &ConnectionError, other: &ConnectionError) -> bool {
    one.to_string() == other.to_string()
}

/// One end has made sense of how it ended, whatever that was.
fn check_report(report: &Report) {
    match (&report.closed, &report.read) {
        (Ok(info), Ok(())) => assert!(info.was_clean),
        (Err(closed), Err(ReadError::Connection(read))) => assert!(same(closed, read), "{closed} and {read}"),
        other => panic!("the reader and `closed` disagree: {other:?}"),
    }
    match (&report.closed, &report.written) {
        (_, Ok(()) | Err(WriteError::Closed)) => {}
        (Err(closed), Err(WriteError::Connection(write))) => assert!(same(closed, write), "{closed} and {write}"),
        other => panic!("the writer and `closed` disagree: {other:?}"),
    }
    assert!(script().starts_with(&report.received), "what was cut does not look finished, nothing is out of order");
}

/// The error that a fault may cause, at the end whose transport has it.
fn is_expected(fault: Fault, error: &ConnectionError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WriteZero};
    let kind = match error {
        ConnectionError::Io(error) => Some(error.kind()),
        _ => None,
    };
    match fault {
        Fault::Reset => kind == Some(ConnectionReset) || matches!(error, ConnectionError::Unsent(_)),
        Fault::Broken => kind == Some(BrokenPipe) || matches!(error, ConnectionError::Unsent(_)),
        Fault::Nothing => {
            kind == Some(WriteZero) || matches!(error, ConnectionError::Unsent(_) | ConnectionError::Lost)
        }
        // The far end gives up first, or this one does.
        Fault::Stuck => {
            kind == Some(BrokenPipe)
                || matches!(
                    error,
                    ConnectionError::KeepaliveTimeout(_)
                        | ConnectionError::CloseTimeout(_)
                        | ConnectionError::Unsent(_)
                        | ConnectionError::Lost
                )
        }
        Fault::OneByte | Fault::Late => false,
    }
}

fn check(run: Run, near: &Report, far: &Report, record: &Record) {
    check_report(near);
    check_report(far);
    assert!(record.was_dropped, "`closed` has settled: the transport has been dropped");

    let (came, partial, _) = decode(other(run.role), &record.read);
    assert!(
        near.received == came,
        "everything received before is delivered: {} of {}",
        near.received.len(),
        came.len()
    );
    if let Some(delivered) = &near.partial {
        assert!(*delivered == partial, "{} of {} bytes were delivered", delivered.len(), partial.len());
    }
    let (went, ..) = decode(run.role, &record.written);
    assert!(script().starts_with(&went), "nothing is torn or sent twice");
    if !run.buffered {
        assert!(far.received == went, "what was written arrives");
        assert!(went.len() >= near.flushed, "what was flushed has been written");
    }
    if near.closed.is_ok() {
        assert!(far.received.starts_with(&near.accepted), "a clean end leaves nothing unsent");
        // The far end knows when what it accepted did not get out before its answer to our Close frame.
        let is_told = matches!(far.closed, Err(ConnectionError::Unsent(_)));
        assert!(is_told || near.received.starts_with(&far.accepted), "a clean end leaves nothing unread");
    }
    if far.closed.is_ok() && run.closer.is_orderly() {
        assert!(far.received.starts_with(&near.accepted), "a clean end leaves nothing unsent, seen from the far end");
    }
    if BENIGN.contains(&run.fault) || !record.has_struck() {
        for report in [near, far].into_iter().filter(|_| run.closer.is_orderly()) {
            let info = report.closed.as_ref().expect("a clean end");
            assert_eq!((info.close_code, info.reason.as_str()), (CloseCode::NORMAL, "done"));
            assert_eq!((&report.received, &report.accepted), (&script(), &script()));
            assert!(report.written.is_ok());
        }
    } else if let Err(error) = &near.closed {
        assert!(is_expected(run.fault, error), "{error:?}");
    }
}

async fn run(run: Run) -> bool {
    let config = Config::default().read_high_water_mark(100).write_high_water_mark(100);
    let (near, far) = tokio::io::duplex(NARROW);
    let near: Box<dyn Io> =
        if run.buffered { Box::new(BufStream::with_capacity(40, 40, near)) } else { Box::new(near) };
    let (near, record) = Faulty::new(near, run.fault, run.n);
    let near = WebSocketStream::from_upgraded(near, "", run.role, Negotiated::default(), config.clone());
    let far = WebSocketStream::from_upgraded(far, "", other(run.role), Negotiated::default(), config);
    let both = async {
        let (near_closes, far_closes) = match run.closer {
            Closer::Near => (When::AllReceived, When::Never),
            Closer::Far => (When::Never, When::AllReceived),
            Closer::NearAtOnce => (When::AllSent, When::Never),
            Closer::FarAtOnce => (When::Never, When::AllSent),
            Closer::BothAtOnce => (When::AllSent, When::AllSent),
        };
        tokio::join!(application(near, near_closes), application(far, far_closes))
    };
    let Ok((near, far)) = timeout(AN_HOUR, both).await else { panic!("it hangs") };
    let record = record.lock().unwrap();
    check(run, &near, &far, &record);
    record.has_struck()
}

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Says which run it was that failed.
struct Says(Run);

impl Drop for Says {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {:?}", self.0);
        }
    }
}

async fn all_runs(faults: &[Fault], closer: Closer, buffered: bool) {
    for role in BOTH {
        for &fault in faults {
            for n in 0.. {
                let this = Run { role, closer, buffered, fault, n };
                let says = Says(this);
                let struck = run(this).await;
                drop(says);
                if !struck {
                    assert!(n > 30, "there are that many operations: {n}");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_anywhere_ends_both_with_the_right_error_closing_ourselves() {
    all_runs(&FATAL, Closer::Near, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_anywhere_ends_both_with_the_right_error_closed_by_the_peer() {
    all_runs(&FATAL, Closer::Far, false).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_flush_is_not_taken_for_sent() {
    all_runs(&FATAL, Closer::Near, true).await;
    all_runs(&FATAL, Closer::Far, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_is_only_slow_makes_no_difference() {
    for closer in [Closer::Near, Closer::Far, Closer::NearAtOnce, Closer::FarAtOnce, Closer::BothAtOnce] {
        for buffered in [false, true] {
            all_runs(&BENIGN, closer, buffered).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_fails_anywhere_while_an_end_closes_in_the_midst_of_a_transfer() {
    for closer in [Closer::NearAtOnce, Closer::FarAtOnce, Closer::BothAtOnce] {
        all_runs(&FATAL, closer, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_waits_for_the_last_flush() {
    for closer in [Closer::NearAtOnce, Closer::FarAtOnce, Closer::BothAtOnce] {
        all_runs(&FATAL, closer, true).await;
    }
}
