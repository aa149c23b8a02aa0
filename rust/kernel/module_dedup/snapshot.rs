// SPDX-License-Identifier: GPL-2.0

//! What is in flight at one moment, for people to read.

use super::{
    graph::{
        Step,
        Waits, //
    },
    Flight,
    Key,
    Table, //
};
use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KVec, //
    },
    error::Result,
    sync::Arc,
    time::Delta, //
};

/// The largest number of flights that are shown.
///
/// It bounds the time for which the table lock is held, and the memory.
const MOST: usize = 128;

/// A flight as it was.
pub struct Seen<K: Key> {
    /// The flight.
    pub flight: Arc<Flight<K>>,
    /// What it waited for, if that was anything that the table knows of.
    pub waits_for: Option<Step<K>>,
}

impl<K: Key> Flight<K> {
    /// How long ago its leader has asked.
    pub fn age(&self) -> Delta {
        self.since.elapsed()
    }
}

impl<K: Waits> Table<K> {
    /// Looks at the flights: 128 at the most, in order of their start. Returns how many there are
    /// besides, too.
    ///
    /// May sleep, takes the table lock once. Fails with `ENOMEM`.
    pub fn snapshot(&self) -> Result<(KVec<Seen<K>>, usize)> {
        let mut seen = KVec::with_capacity(MOST, GFP_KERNEL)?;
        let state = self.state.lock();
        for flight in state.buckets.iter().flat_map(|it| &it.flights).take(MOST) {
            // There is room for it.
            let _ = seen.push_within_capacity(Seen {
                waits_for: state.waits_for(flight),
                flight: flight.into(),
            });
        }
        let more = state.count.saturating_sub(seen.len());
        drop(state);

        // They are few, and code that sorts many is large.
        for end in 1..seen.len() {
            for at in (0..end).rev() {
                if let Some([a, b]) = seen.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                    if a.flight.serial() > b.flight.serial() {
                        core::mem::swap(a, b);
                    }
                }
            }
        }
        Ok((seen, more))
    }

    /// Looks for a flight, or for a ticket in the wait graph, among as many as [`Table::snapshot`]
    /// shows.
    ///
    /// Takes the table lock.
    pub fn find(&self, wanted: impl Fn(&Flight<K>) -> bool) -> Option<Arc<Flight<K>>> {
        let state = self.state.lock();
        let all = (state.buckets.iter()).flat_map(|it| it.flights.iter().chain(it.tasks.iter()));
        let mut flights = all.take(MOST);
        flights.find(|it| wanted(it)).map(Arc::from)
    }
}
