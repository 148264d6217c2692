//! The receiving end.

use std::{cell::RefCell, fmt};

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

use crate::error::ProtocolError;

/// What the sender has cut off the end of each message: the body of an empty block that is stored as it is. And a byte
/// more: where the message ends as it should, with the header of that block, this one is not taken.
const TAIL: [u8; 5] = [0x00, 0x00, 0xFF, 0xFF, 0x00];

/// The window that messages are inflated with, whatever was agreed on: a smaller one takes no less memory, and what is
/// out of a smaller one would be found or not, depending on how much is inflated at a time.
const WINDOW_BITS: u8 = 15;

thread_local! {
    /// One that is between two messages and forgets the last: for the next, of whichever connection.
    static SPARE: RefCell<Option<Inflate>> = const { RefCell::new(None) };
}

/// What one step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes taken from the input.
    pub(crate) taken: usize,
    /// Bytes put into the output.
    pub(crate) given: usize,
    /// The message is complete.
    pub(crate) done: bool,
}

/// Inflates one message after the other.
pub(crate) struct Inflater {
    /// None before it is needed, and between messages that know nothing of each other.
    stream: Option<Inflate>,
    /// Messages refer to those before them (7.1.1).
    takeover: bool,
    /// A DEFLATE stream has begun in this message, and not ended in it.
    begun: bool,
    /// The last step filled its output: there may be more without further input.
    full: bool,
    fault: Option<ProtocolError>,
}

impl Inflater {
    pub(crate) fn new(takeover: bool) -> Self {
        Self { stream: None, takeover, begun: false, full: false, fault: None }
    }

    /// There may be more to give, or a fault to tell, without more input.
    pub(crate) fn is_full(&self) -> bool {
        self.full || self.fault.is_some()
    }

    /// Inflates `input` into `output`, until one is used up or the other is full. `last`: the message ends with `input`.
    ///
    /// Of output that is not full, nothing is held back. A message without any bytes is taken for an empty one: a sender
    /// that flushes a stream to which nothing was added gets none.
    ///
    /// # Errors
    /// What comes before a fault is given before it. After an error nothing more can be inflated.
    pub(crate) fn inflate(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Step, ProtocolError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut step = Step { taken: 0, given: 0, done: false };
        while step.given < output.len() && (step.taken < input.len() || self.full) {
            self.begun |= step.taken < input.len();
            let (taken, given, status) =
                self.run(&input[step.taken..], &mut output[step.given..], InflateFlush::NoFlush);
            step.taken += taken;
            step.given += given;
            self.full = step.given == output.len();
            match status {
                // Its last block had BFINAL set. What follows is a stream of its own, at the next byte (7.2.1).
                Ok(Status::StreamEnd) => self.restart(),
                Ok(_) if taken == 0 && given == 0 => break,
                Ok(_) => {}
                Err(_) => return self.fail(step, ProtocolError::CorruptDeflate),
            }
        }
        if last && step.taken == input.len() && !self.full {
            if self.begun && !self.take_tail() {
                return self.fail(step, ProtocolError::TruncatedDeflate);
            }
            step.done = true;
            self.end_message();
        }
        Ok(step)
    }

    /// Completes the block that the message ends with; whether there was one.
    fn take_tail(&mut self) -> bool {
        let mut nothing = [0; 1];
        matches!(self.run(&TAIL, &mut nothing, InflateFlush::Block), (4, 0, Ok(Status::Ok)))
    }

    /// A fault, which is told when what comes before it has been given.
    fn fail(&mut self, step: Step, fault: ProtocolError) -> Result<Step, ProtocolError> {
        self.fault = Some(fault);
        if step.given > 0 { Ok(step) } else { Err(fault) }
    }

    fn run(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        flush: InflateFlush,
    ) -> (usize, usize, Result<Status, InflateError>) {
        let stream = self.stream.get_or_insert_with(new_stream);
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, output, flush);
        ((stream.total_in() - taken) as usize, (stream.total_out() - given) as usize, status)
    }

    fn restart(&mut self) {
        self.begun = false;
        self.full = false;
        if let Some(stream) = &mut self.stream {
            stream.reset(false);
        }
    }

    fn end_message(&mut self) {
        self.begun = false;
        if !self.takeover
            && let Some(stream) = self.stream.take()
        {
            SPARE.set(Some(stream));
        }
    }
}

fn new_stream() -> Inflate {
    match SPARE.take() {
        Some(mut stream) => {
            stream.reset(false);
            stream
        }
        None => Inflate::new(false, WINDOW_BITS),
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("holds_state", &self.stream.is_some())
            .field("takeover", &self.takeover)
            .field("begun", &self.begun)
            .field("full", &self.full)
            .finish()
    }
}

#[cfg(test)]
impl Inflater {
    pub(super) fn stream_is_none(&self) -> bool {
        self.stream.is_none()
    }
}
