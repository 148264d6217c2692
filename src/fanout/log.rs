//! What each receiver is given next, and what is dropped for it: a state machine without clock, tasks or connections.
//!
//! What is published is kept once, in a log of parts of messages. A receiver is a place in that log, so that publishing
//! costs it a comparison, and lagging nothing. Where it must not take part of the log along, because messages behind it
//! are dropped, its share moves to a list of its own ([`Cursor::held`]); so that nobody who lags keeps more alive than
//! its budget.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    cursor::{Cursor, Over, Skip, Waits},
    lane::{Member, Members},
    options::{Lag, ReceiverOptions, ReceiverStats, Start},
};
use crate::{close::CloseCode, proto::part::Part};

/// What a part counts for beyond its payload, so that floods of empty messages are bounded too.
const PART_COST: u64 = 128;

/// What is kept at most for those who join late, unless something else is said.
const KEEP: u64 = 4 << 20;

/// A part that has been published.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) part: Part,
    /// When it was published.
    pub(super) at: Instant,
}

impl Entry {
    pub(super) fn cost(&self) -> u64 {
        self.part.payload.len() as u64 + PART_COST
    }
}

/// How the source ended: with a close code and reason for the receivers, or by leaving them alone.
pub(super) type SourceEnd = Option<(CloseCode, String)>;

/// What a receiver finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Parts, at least one; there may be more.
    Parts,
    /// Parts, at least one, and there are no more yet: it will be woken.
    All,
    /// Nothing yet; it will be woken.
    Nothing,
    /// Nothing any more: the source has ended, and everything has been taken.
    SourceEnd(SourceEnd),
    /// It was asked to leave, and is between messages.
    Left,
    /// The policy, or the source, has given it up.
    Over(Over),
}

/// Whom something concerns, once the lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Called {
    pub(super) members: Members,
    pub(super) publisher: Option<Waker>,
}

impl Called {
    /// Has their own tasks see to it.
    pub(super) fn wake(self) {
        let Self { members, publisher } = self;
        drop(members);
        publisher.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    /// Costs of all entries before these, in the same order: what lies between two places is a subtraction.
    before: VecDeque<u64>,
    /// The number of the first entry.
    first: u64,
    /// Cost of everything published.
    published: u64,
    /// Where the last key message begins. It may have been dropped.
    key: Option<u64>,
    /// The most that is kept from there on for those who join late.
    pub(super) keep: u64,
    /// Where the message that is being published begins.
    open: Option<u64>,
    end: Option<SourceEnd>,
    receivers: BTreeMap<u64, Cursor>,
    joined: u64,
    /// Receivers that have not taken everything.
    behind: usize,
    /// Receivers that the publisher waits for.
    blocking: usize,
    publisher: Option<Waker>,
    messages: u64,
    /// The window that compressed parts need, if they are made.
    pub(super) window_bits: Option<u8>,
    /// Receivers that can be sent such.
    takers: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            before: VecDeque::new(),
            first: 0,
            published: 0,
            key: None,
            keep: KEEP,
            open: None,
            end: None,
            receivers: BTreeMap::new(),
            joined: 0,
            behind: 0,
            blocking: 0,
            publisher: None,
            messages: 0,
            window_bits: None,
            takers: 0,
        }
    }

    // ---- the publisher's side ----

    /// Whether there is room with every receiver that is waited for.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.blocking == 0 {
            return Poll::Ready(());
        }
        self.publisher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Begins a message. Who has no room for it loses something now, as its policy says.
    pub(super) fn begin(&mut self, key: bool) -> Called {
        // One that was leaked, not dropped.
        let mut called = self.cut();
        let begin = self.head();
        if key {
            self.key = Some(begin);
        }
        self.open = Some(begin);
        let view = View { entries: &self.entries, before: &self.before, first: self.first, published: self.published };
        for cursor in self.receivers.values_mut() {
            cursor.admit(key, self.key, &view);
            cursor.call_if_over(&mut called.members);
        }
        called
    }

    /// Adds parts of the message that was begun. `ends`: up to its end, so that nobody has to lose it any more; otherwise
    /// whoever has no room for more of it does.
    pub(super) fn push(&mut self, parts: impl IntoIterator<Item = Part>, ends: bool, now: Instant) -> Called {
        let begin = self.open.unwrap_or(self.head());
        let key = self.key == Some(begin);
        let mut called = Called::default();
        if !ends && self.head() > begin {
            let last_key = self.key;
            let view =
                View { entries: &self.entries, before: &self.before, first: self.first, published: self.published };
            for cursor in self.receivers.values_mut() {
                cursor.go_on(begin, key, last_key, &view);
                cursor.call_if_over(&mut called.members);
            }
        }
        let (mut count, mut bytes) = (0, 0);
        for part in parts {
            count += 1;
            bytes += part.payload.len() as u64;
            if part.last {
                self.open = None;
                self.messages += 1;
            }
            let entry = Entry { part, at: now };
            self.before.push_back(self.published);
            self.published += entry.cost();
            self.entries.push_back(Arc::new(entry));
        }
        let (head, has_ended) = (self.head(), self.open.is_none());
        (self.behind, self.blocking) = (0, 0);
        for cursor in self.receivers.values_mut() {
            cursor.pushed(count, bytes, head, self.published, has_ended);
            self.behind += usize::from(cursor.is_behind(head));
            cursor.blocks = cursor.policy == Lag::Wait && cursor.lag(self.published) >= cursor.budget;
            self.blocking += usize::from(cursor.blocks);
            if cursor.waits == Waits::Parts && cursor.is_behind(head) {
                cursor.call(&mut called.members);
            }
        }
        self.trim();
        called
    }

    /// The message that was begun will not be finished: whoever has part of it is given up.
    pub(super) fn cut(&mut self) -> Called {
        let mut called = Called::default();
        let Some(begin) = self.open.take() else { return called };
        if self.key == Some(begin) {
            self.key = None;
        }
        let head = self.head();
        let view = View { entries: &self.entries, before: &self.before, first: self.first, published: self.published };
        for cursor in self.receivers.values_mut() {
            cursor.cut(begin, &view);
            cursor.call_if_over(&mut called.members);
        }
        self.count(head);
        self.trim();
        called.publisher = self.release_publisher();
        called
    }

    /// Nothing more will be published.
    pub(super) fn end(&mut self, end: SourceEnd) -> Called {
        let mut called = self.cut();
        self.end.get_or_insert(end);
        for cursor in self.receivers.values_mut() {
            cursor.call(&mut called.members);
        }
        called
    }

    /// Compressed parts are of use to somebody; the receivers there are.
    pub(super) fn demand(&self) -> (bool, usize) {
        (self.takers > 0, self.receivers.len())
    }

    /// Receivers now, messages published so far, and bytes that are kept.
    pub(super) fn totals(&self) -> (usize, u64, u64) {
        (self.receivers.len(), self.messages, self.published - self.before.front().copied().unwrap_or(self.published))
    }

    // ---- the receivers' side ----

    /// Adds a receiver, which is made with its number.
    pub(super) fn join<M: Member + 'static>(
        &mut self,
        options: &ReceiverOptions,
        takes_compressed: bool,
        make: impl FnOnce(u64) -> Arc<M>,
    ) -> Arc<M> {
        self.joined += 1;
        let member = make(self.joined);
        self.takers += usize::from(takes_compressed);
        let head = self.head();
        let mut cursor = Cursor::new(options, takes_compressed, member.clone(), head, self.published);
        // What is being published cannot be begun in its middle.
        let skips = if self.open.is_some() { Skip::NotJoined } else { Skip::Nothing };
        match (options.start, self.key) {
            (Start::Now, _) => cursor.skip = skips,
            (Start::Key, Some(key)) if key >= self.first && self.since(key) < cursor.budget => {
                (cursor.next, cursor.next_cost) = (key, self.cost_before(key));
            }
            (Start::Key, _) => (cursor.wants_key, cursor.skip) = (true, skips),
        }
        self.behind += usize::from(cursor.is_behind(head));
        self.receivers.insert(self.joined, cursor);
        member
    }

    pub(super) fn leave(&mut self, id: u64) -> Called {
        let mut called = Called::default();
        if let Some(cursor) = self.receivers.remove(&id) {
            self.takers -= usize::from(cursor.takes_compressed);
            self.behind -= usize::from(cursor.is_behind(self.head()));
            self.blocking -= usize::from(cursor.blocks);
            // Nothing else kept what others have gone on from. Where thousands leave, few of them look.
            if cursor.next == self.first || self.behind == 0 {
                self.trim();
            }
            called.publisher = self.release_publisher();
        }
        called
    }

    /// It is to leave as soon as it is between messages.
    pub(super) fn ask_to_leave(&mut self, id: u64) -> Called {
        let mut called = Called::default();
        if let Some(cursor) = self.receivers.get_mut(&id) {
            cursor.leaves = true;
            cursor.call(&mut called.members);
        }
        called
    }

    /// Has the receiver woken when it is over, and not before.
    pub(super) fn wait_for_end(&mut self, id: u64) -> Option<Over> {
        let cursor = self.receivers.get_mut(&id)?;
        cursor.waits = Waits::End;
        cursor.over
    }

    /// Gives a receiver what is next for it, about `room` bytes.
    pub(super) fn take(&mut self, id: u64, room: usize, given: &mut VecDeque<Arc<Entry>>) -> (Taken, Called) {
        let none = Called::default();
        let head = self.head();
        let Some(cursor) = self.receivers.get_mut(&id) else { return (Taken::Left, none) };
        if let Some(over) = cursor.over {
            return (Taken::Over(over), none);
        }
        if cursor.leaves && !cursor.mid {
            return (Taken::Left, none);
        }
        let was_behind = cursor.is_behind(head);
        let view = View { entries: &self.entries, before: &self.before, first: self.first, published: self.published };
        cursor.give(room, given, &view);
        if given.is_empty() {
            if let Some(end) = &self.end {
                return (Taken::SourceEnd(end.clone()), none);
            }
            cursor.waits = Waits::Parts;
            return (Taken::Nothing, none);
        }
        let mut called = none;
        let mut taken = Taken::Parts;
        if self.end.is_none() && !cursor.leaves && !cursor.is_behind(head) {
            cursor.waits = Waits::Parts;
            taken = Taken::All;
        }
        if cursor.blocks && cursor.lag(self.published) <= cursor.budget / 2 {
            cursor.blocks = false;
            self.blocking -= 1;
        }
        if was_behind && !cursor.is_behind(head) {
            self.behind -= 1;
            if self.behind == 0 {
                self.trim();
            }
        }
        called.publisher = self.release_publisher();
        (taken, called)
    }

    pub(super) fn stats(&self, id: u64, now: Instant) -> Option<ReceiverStats> {
        let cursor = self.receivers.get(&id)?;
        let oldest = cursor.held.front().or_else(|| self.entries.get((cursor.next - self.first) as usize));
        let lag_time = oldest.map_or(Duration::ZERO, |entry| now.saturating_duration_since(entry.at));
        Some(ReceiverStats { lag_bytes: cursor.lag(self.published), lag_time, ..cursor.stats })
    }

    // ---- inside ----

    /// The number of the next entry.
    fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn cost_before(&self, number: u64) -> u64 {
        self.before.get((number - self.first) as usize).copied().unwrap_or(self.published)
    }

    /// The cost of what has been published from there on.
    fn since(&self, number: u64) -> u64 {
        self.published - self.cost_before(number)
    }

    fn count(&mut self, head: u64) {
        self.behind = self.receivers.values().filter(|cursor| cursor.is_behind(head)).count();
        for cursor in self.receivers.values_mut() {
            cursor.blocks &= cursor.over.is_none();
        }
        self.blocking = self.receivers.values().filter(|cursor| cursor.blocks).count();
    }

    fn release_publisher(&mut self) -> Option<Waker> {
        if self.blocking == 0 { self.publisher.take() } else { None }
    }

    /// Drops what nobody will be given any more.
    fn trim(&mut self) {
        let head = self.head();
        let needed = if self.behind == 0 {
            head
        } else {
            self.receivers.values().map(|cursor| cursor.next).min().unwrap_or(head)
        };
        let kept = self.key.filter(|key| *key >= self.first && self.since(*key) <= self.keep);
        let needed = needed.min(kept.unwrap_or(head));
        let len = (needed - self.first) as usize;
        self.entries.drain(..len);
        self.before.drain(..len);
        self.first = needed;
    }
}

/// What a cursor sees of the log.
pub(super) struct View<'a> {
    entries: &'a VecDeque<Arc<Entry>>,
    before: &'a VecDeque<u64>,
    first: u64,
    pub(super) published: u64,
}

impl View<'_> {
    pub(super) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Arc<Entry>> {
        self.entries.get(number.checked_sub(self.first)? as usize)
    }

    /// The cost of everything before.
    pub(super) fn cost_before(&self, number: u64) -> u64 {
        let before = number.checked_sub(self.first).and_then(|at| self.before.get(at as usize));
        before.copied().unwrap_or(self.published)
    }
}
