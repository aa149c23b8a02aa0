// SPDX-License-Identifier: GPL-2.0

//! Standing in line: of several flights for one file only the oldest is under way.
//!
//! The flights of a file are in one bucket, in order of arrival. So the first one there is under
//! way, and each other one waits for the end of the one before it. A flight that waits in line can
//! have followers.

use super::{
    Flight,
    Handle,
    Key,
    Pace,
    State,
    Ticket, //
};
use crate::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

/// A key for flights of which some have to wait for others.
pub trait File: Key {
    /// Whether two flights are for the same file. Those have the same hash.
    ///
    /// This is symmetric and transitive. Called with the table lock held.
    fn same_file(&self, other: &Self) -> bool;
}

impl<K: File> State<K> {
    /// The flight that is under way for the same file.
    pub(super) fn first_for(&self, flight: &Flight<K>) -> Option<ArcBorrow<'_, Flight<K>>> {
        let mut bucket = self.buckets.get(flight.bucket())?.flights.iter();
        bucket.find(|it| it.key.same_file(&flight.key))
    }

    /// The last flight for the same file that came before.
    fn ahead_of(&self, flight: &Flight<K>) -> Option<Arc<Flight<K>>> {
        let bucket = self.buckets.get(flight.bucket())?.flights.iter();
        bucket
            .take_while(|it| !core::ptr::eq(&**it, flight))
            .filter(|it| it.key.same_file(&flight.key))
            .last()
            .map(Arc::from)
    }
}

impl<'t, K: File> Handle<'t, K> {
    /// The flight that is under way for the same file.
    ///
    /// Takes the table lock.
    pub fn first(&self) -> Handle<'t, K> {
        let state = self.table.state.lock();
        let first = state.first_for(self).map(Into::into);
        drop(state);
        first.map_or_else(|| self.clone(), |first| self.table.handle(first))
    }
}

impl<'t, K: File> Ticket<'t, K> {
    /// Waits until it is the turn of this flight, which is up.
    ///
    /// Sleeps interruptibly. Fails with `ERESTARTSYS` if a signal came first, and with what `pace`
    /// fails with.
    pub fn wait_for_turn(&self, pace: &mut Pace<'_, 't, K>) -> Result {
        loop {
            let state = self.table.state.lock();
            let Some(flight) = state.ahead_of(self).filter(|_| self.is_up()) else {
                return Ok(());
            };
            flight.add_waiter();
            drop(state);
            let ahead = self.table.handle(flight);
            if let Err(e) = ahead.wait(false, pace) {
                ahead.leave(false);
                return Err(e);
            }
        }
    }
}
