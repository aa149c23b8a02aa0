// SPDX-License-Identifier: GPL-2.0

//! Answers that are no older than the question.
//!
//! The leader of a flight starts a run, which gives the answer. Others join while the run goes on,
//! when it may have decided already. So one clock counts what could make a difference: each begin
//! of a run, and each removal of what a run may have brought. From these an answer and a question
//! get their times, and the caller that has asked compares them:
//!
//! - A failure counts for a caller that asked before the run began.
//! - A success counts for such a caller, and for one that asked later, unless there was a removal
//!   after the run began and before the question.

use super::{
    Handle,
    Key,
    Table,
    Ticket,
    PENDING,
    RETRY, //
};
use crate::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// Tells the time of runs, removals and questions.
pub struct Clock {
    now: Atomic<u64>,
    /// When the last removal was.
    removed: Atomic<u64>,
}

/// When a caller asked.
#[derive(Clone, Copy)]
pub struct Moment {
    now: u64,
    removed: u64,
}

/// The result of a run, and when that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 is a success. The exit status of a process, or an error number: so it is small.
    pub result: i32,
    /// What [`Clock::tick`] returned.
    pub begun: u64,
}

impl Clock {
    /// A clock that has not ticked yet.
    pub const fn at_zero() -> Self {
        Self {
            now: Atomic::new(0),
            removed: Atomic::new(0),
        }
    }

    /// The time of a question that is asked now.
    pub fn moment(&self) -> Moment {
        Moment {
            // This does not add anything, but is fully ordered: a run that ticks after it sees what
            // the caller has done before its question, and the caller sees all removals of which
            // it has seen anything.
            now: self.now.fetch_add(0, Full),
            removed: self.removed.load(Relaxed),
        }
    }

    /// Notes that a run begins, and returns when that is.
    pub fn tick(&self) -> u64 {
        self.now.fetch_add(1, Full).wrapping_add(1)
    }

    /// Notes that something is going to be removed, before anybody can see that it is. Removals
    /// must not overlap.
    pub fn removal(&self) {
        let now = self.tick();
        self.removed.xchg(now, Full);
    }
}

impl Moment {
    /// Whether an answer counts for a question of this moment.
    pub fn may_have(self, answer: Answer) -> bool {
        self.now < answer.begun || (answer.result == 0 && self.may_have_success(answer.begun))
    }

    /// Whether a success of a run that began then would count for a question of this moment.
    pub fn may_have_success(self, begun: u64) -> bool {
        self.removed < begun
    }
}

impl Answer {
    /// The bits of the result. Those that are left for the clock last for years at a million ticks
    /// a second.
    const BITS: u32 = 18;

    /// As a flight keeps it. Never negative.
    pub fn to_raw(self) -> i64 {
        let result = i64::from(self.result) & ((1 << Self::BITS) - 1);
        ((self.begun << Self::BITS) as i64 & i64::MAX) | result
    }

    /// What [`Answer::to_raw`] has made.
    pub fn from_raw(raw: i64) -> Self {
        Self {
            result: (raw << (64 - Self::BITS) >> (64 - Self::BITS)) as i32,
            begun: (raw >> Self::BITS) as u64,
        }
    }
}

impl<K: Key> Table<K> {
    /// Ends the flight that a caller with `key` could follow, if its own key is one that is wanted,
    /// with an answer from elsewhere. Returns how many followers it had.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn end_for(&self, key: &K, wanted: impl Fn(&K) -> bool, answer: i64) -> Option<u32> {
        let state = self.state.lock();
        let flight = state.find(key).filter(|it| wanted(&it.key))?.into();
        drop(state);
        self.handle(flight).end(Some(answer))
    }
}

impl<K: Key> Ticket<'_, K> {
    /// Leaves it to the owner of a [`Handle`] to end the flight.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn abandon(mut self) {
        self.over = true;
        self.leave_graph();
    }
}

impl<K: Key> Handle<'_, K> {
    /// The answer, if the flight has ended with one.
    ///
    /// Takes the table lock.
    pub fn answer(&self) -> Option<i64> {
        let _state = self.table.state.lock();
        let outcome = self.flight.outcome.load(Relaxed);
        (outcome != PENDING && outcome != RETRY).then_some(outcome)
    }
}
