// SPDX-License-Identifier: GPL-2.0

//! Watching a flight, to tell people if it takes long.
//!
//! One of the waiters of a flight watches it; the others sleep without a timer. If the watcher
//! gives up, another waiter is woken, and takes its place.

use super::{
    Handle,
    Key, //
};
use crate::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Whether a flight is watched, and whether people were told of it.
pub(super) struct Watched {
    by_somebody: Atomic<bool>,
    told: Atomic<bool>,
}

impl Watched {
    pub(super) fn new() -> Self {
        Self {
            by_somebody: Atomic::new(false),
            told: Atomic::new(false),
        }
    }
}

/// A task that watches a flight, until this is dropped.
pub struct Watch<'t, K: Key>(Handle<'t, K>);

impl<'t, K: Key> Handle<'t, K> {
    /// Watches the flight, unless another waiter does.
    pub fn watch(&self) -> Option<Watch<'t, K>> {
        // Most look, and find that there is a watcher; only a task that finds none has to write.
        let by_somebody = &self.watched.by_somebody;
        let watched = by_somebody.load(Relaxed) || by_somebody.xchg(true, Relaxed);
        (!watched).then(|| Watch(self.clone()))
    }

    /// Whether people have to be told that this flight takes long, which they are once.
    pub fn tell(&self) -> bool {
        !self.watched.told.xchg(true, Relaxed)
    }
}

impl<K: Key> Watch<'_, K> {
    /// Whether this is the watch of that flight.
    pub fn is_of(&self, flight: &Handle<'_, K>) -> bool {
        self.0.id() == flight.id()
    }
}

impl<K: Key> Drop for Watch<'_, K> {
    fn drop(&mut self) {
        let Self(flight) = self;
        // The waiter that is woken finds that none watches. A token too many does no harm.
        flight.watched.by_somebody.store(false, Relaxed);
        let state = flight.table.state.lock();
        let others = flight.is_up() && flight.waiters() > 0;
        drop(state);
        if others {
            // It looks around, and sleeps again.
            flight.early.add(1, Relaxed);
            flight.completion.complete();
        }
    }
}
