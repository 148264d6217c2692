//! One receiver's place in the log, and what its policy drops.

use std::{collections::VecDeque, sync::Arc};

use super::{
    lane::{Member, Members},
    log::{Entry, View},
    options::{Lag, ReceiverOptions, ReceiverStats},
};
use crate::close::CloseCode;

/// Why a receiver has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It lagged, and is to be closed with this.
    Lagged(CloseCode),
    /// It has part of a message that was left unfinished.
    Unfinished,
}

/// What becomes of the message that is being published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Nothing,
    /// It has begun before the receiver joined.
    NotJoined,
    /// It has been dropped.
    Dropped,
}

/// What a receiver waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// It is being served, or will be.
    #[default]
    Nothing,
    /// Its connection takes nothing: only the end concerns it.
    End,
    Parts,
}

#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) policy: Lag,
    pub(super) budget: u64,
    pub(super) takes_compressed: bool,
    /// What comes before the place in the log: there is a gap between the two.
    pub(super) held: VecDeque<Arc<Entry>>,
    held_cost: u64,
    /// The next entry of the log, and the cost of everything before it.
    pub(super) next: u64,
    pub(super) next_cost: u64,
    /// It has been given the beginning of a message and not its end.
    pub(super) mid: bool,
    pub(super) skip: Skip,
    /// Everything is dropped until a key message comes.
    pub(super) wants_key: bool,
    pub(super) leaves: bool,
    pub(super) over: Option<Over>,
    /// The publisher waits for it.
    pub(super) blocks: bool,
    pub(super) waits: Waits,
    member: Arc<dyn Member>,
    pub(super) stats: ReceiverStats,
}

impl Cursor {
    pub(super) fn new(
        options: &ReceiverOptions,
        takes_compressed: bool,
        member: Arc<dyn Member>,
        next: u64,
        next_cost: u64,
    ) -> Self {
        Self {
            policy: options.lag,
            budget: options.budget as u64,
            takes_compressed,
            held: VecDeque::new(),
            held_cost: 0,
            next,
            next_cost,
            mid: false,
            skip: Skip::Nothing,
            wants_key: false,
            leaves: false,
            over: None,
            blocks: false,
            waits: Waits::Nothing,
            member,
            stats: ReceiverStats::default(),
        }
    }

    /// Cost of what it has not been given.
    pub(super) fn lag(&self, published: u64) -> u64 {
        self.held_cost + published - self.next_cost
    }

    pub(super) fn is_behind(&self, head: u64) -> bool {
        self.over.is_none() && (self.next < head || !self.held.is_empty())
    }

    /// It is to be served, if it waits.
    pub(super) fn call(&mut self, members: &mut Members) {
        if std::mem::take(&mut self.waits) != Waits::Nothing {
            members.push(self.member.clone());
        }
    }

    pub(super) fn call_if_over(&mut self, members: &mut Members) {
        if self.over.is_some() {
            self.call(members);
        }
    }

    /// A message begins: it is accepted, or not, or others are dropped for it.
    pub(super) fn admit(&mut self, key: bool, last_key: Option<u64>, log: &View<'_>) {
        self.skip = Skip::Nothing;
        if self.over.is_some() {
            return;
        }
        if self.wants_key && !key {
            return self.skip_message(log);
        }
        self.wants_key = false;
        if self.has_room(log) {
            return;
        }
        match self.policy {
            Lag::Wait => {}
            Lag::DropNewest => self.skip_message(log),
            Lag::DropOldest => self.drop_oldest(log.head(), log),
            Lag::SkipToKey if key => self.drop_before(log.head(), log),
            Lag::SkipToKey => {
                self.jump_to_key(last_key, log.head(), log);
                if self.wants_key {
                    self.skip_message(log);
                }
            }
            Lag::Disconnect(close_code) => self.give_up(Over::Lagged(close_code), log),
        }
    }

    /// More is about to come of the message that begins at `begin`.
    pub(super) fn go_on(&mut self, begin: u64, key: bool, last_key: Option<u64>, log: &View<'_>) {
        if self.over.is_some() || self.skip != Skip::Nothing || self.has_room(log) {
            return;
        }
        // Nothing else is left to drop then, and what has been begun must not be torn.
        let has_begun = self.next > begin;
        match self.policy {
            Lag::Wait => return,
            Lag::Disconnect(close_code) => return self.give_up(Over::Lagged(close_code), log),
            _ if has_begun => return self.give_up(Over::Lagged(CloseCode::TRY_AGAIN_LATER), log),
            Lag::DropNewest => {}
            Lag::DropOldest => self.drop_oldest(begin, log),
            Lag::SkipToKey if key => self.drop_before(begin, log),
            Lag::SkipToKey => self.jump_to_key(last_key, begin, log),
        }
        if !self.has_room(log) || self.wants_key {
            self.wants_key |= self.policy == Lag::SkipToKey;
            self.drop_open(begin, log);
        }
    }

    /// Entries have been added, of `bytes` of payload.
    pub(super) fn pushed(&mut self, count: u64, bytes: u64, head: u64, published: u64, message_ended: bool) {
        if self.over.is_some() {
            (self.next, self.next_cost) = (head, published);
            return;
        }
        if self.skip == Skip::Nothing {
            return;
        }
        debug_assert_eq!(self.next + count, head);
        if self.skip == Skip::Dropped {
            self.stats.dropped_bytes += bytes;
        }
        (self.next, self.next_cost) = (head, published);
        if message_ended {
            self.skip = Skip::Nothing;
        }
    }

    /// The message that begins at `begin`, the last of the log, will never be finished.
    pub(super) fn cut(&mut self, begin: u64, log: &View<'_>) {
        if self.over.is_some() {
            return;
        }
        if self.skip == Skip::Nothing && self.next > begin {
            self.give_up(Over::Unfinished, log);
        } else if self.skip == Skip::Nothing && log.head() > begin {
            self.drop_open(begin, log);
        }
        self.skip = Skip::Nothing;
    }

    /// Gives what is next, at least one part if there is one, and no more than one that goes beyond `room`.
    pub(super) fn give(&mut self, room: usize, given: &mut VecDeque<Arc<Entry>>, log: &View<'_>) {
        let mut size = 0;
        while size < room as u64 && (self.mid || !self.leaves) {
            let entry = if let Some(entry) = self.held.pop_front() {
                self.held_cost -= entry.cost();
                entry
            } else if let Some(entry) = log.entry(self.next) {
                self.next += 1;
                self.next_cost += entry.cost();
                entry.clone()
            } else {
                break;
            };
            size += entry.cost();
            self.mid = !entry.part.last;
            self.stats.sent_messages += u64::from(entry.part.last);
            self.stats.sent_bytes += entry.part.payload.len() as u64;
            given.push_back(entry);
        }
    }

    fn has_room(&self, log: &View<'_>) -> bool {
        self.lag(log.published) < self.budget
    }

    fn give_up(&mut self, over: Over, log: &View<'_>) {
        self.over = Some(over);
        self.skip = Skip::Nothing;
        self.held = VecDeque::new();
        self.held_cost = 0;
        (self.next, self.next_cost) = (log.head(), log.published);
    }

    /// The message that begins now is not for it. What comes before is.
    fn skip_message(&mut self, log: &View<'_>) {
        self.hold(log.head(), log);
        self.skip = Skip::Dropped;
        self.stats.dropped_messages += 1;
    }

    /// The message that began at `begin`, of which it has been given nothing, is not for it after all.
    fn drop_open(&mut self, begin: u64, log: &View<'_>) {
        self.hold(begin, log);
        self.drop_before(log.head(), log);
        self.skip = Skip::Dropped;
        // The part that is there has been counted as a message already, as are those of whole ones.
    }

    /// Moves everything before `until` from the log to its own list.
    fn hold(&mut self, until: u64, log: &View<'_>) {
        while self.next < until
            && let Some(entry) = log.entry(self.next)
        {
            self.held_cost += entry.cost();
            self.held.push_back(entry.clone());
            self.next += 1;
        }
        self.next_cost = log.cost_before(self.next);
    }

    /// The rest of a message that it has been given the beginning of cannot be dropped.
    fn hold_rest(&mut self, log: &View<'_>) {
        // Where something is held, it ends with such a rest.
        while self.mid
            && self.held.back().is_none_or(|entry| !entry.part.last)
            && let Some(entry) = log.entry(self.next)
        {
            let entry = entry.clone();
            self.next += 1;
            self.next_cost += entry.cost();
            self.held_cost += entry.cost();
            self.held.push_back(entry);
        }
    }

    /// Drops whole messages, the oldest first, until there is room; none that begins at `until` or later.
    fn drop_oldest(&mut self, until: u64, log: &View<'_>) {
        self.hold_rest(log);
        while self.next < until && !self.has_room(log) {
            self.drop_message(log);
        }
    }

    fn drop_before(&mut self, until: u64, log: &View<'_>) {
        self.hold_rest(log);
        while self.next < until {
            self.drop_message(log);
        }
    }

    /// Goes on with the last key message before `until`, if it is ahead and there is room from there on; or waits for
    /// the next one.
    fn jump_to_key(&mut self, last_key: Option<u64>, until: u64, log: &View<'_>) {
        self.hold_rest(log);
        let fits = |key: &u64| self.held_cost + log.published - log.cost_before(*key) < self.budget;
        match last_key.filter(|key| *key > self.next && *key < until).filter(fits) {
            Some(key) => self.drop_before(key, log),
            None => {
                self.drop_before(until, log);
                self.wants_key = true;
            }
        }
    }

    /// Drops the message at its place, as far as it has been published.
    fn drop_message(&mut self, log: &View<'_>) {
        self.stats.dropped_messages += 1;
        while let Some(entry) = log.entry(self.next) {
            self.next += 1;
            self.next_cost += entry.cost();
            self.stats.dropped_bytes += entry.part.payload.len() as u64;
            if entry.part.last {
                break;
            }
        }
    }
}
