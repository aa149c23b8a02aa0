// SPDX-License-Identifier: GPL-2.0

//! What is in flight at one moment, for people to read.

use super::{
    FlightRef,
    Key,
    Step,
    Table, //
};
use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KVVec, //
    },
    error::Result, //
};

/// The largest number of flights that are looked at.
///
/// It bounds the time for which the table lock is held, and the memory.
const MOST: usize = 128;

/// A flight as it was.
pub struct Seen<K: Key> {
    /// The flight.
    pub flight: FlightRef<K>,
    /// How many followers it had.
    pub followers: u32,
    /// What it waited for, if that was anything that the table knows of: a flight that was ahead of
    /// it, a load, or a request.
    pub waits_for: Option<Step<K>>,
}

/// The flights that were in the table at one moment.
pub struct Snapshot<K: Key> {
    /// 128 flights at the most, in order of their start.
    pub flights: KVVec<Seen<K>>,
    /// How many there were besides.
    pub more: usize,
}

impl<K: Key> Table<K> {
    /// Looks at the flights.
    ///
    /// May sleep, takes the table lock once. Fails with `ENOMEM`.
    pub fn snapshot(&self) -> Result<Snapshot<K>> {
        let mut flights = KVVec::with_capacity(MOST, GFP_KERNEL)?;

        let state = self.state.lock();
        for node in state.flights.iter().take(MOST) {
            let waits_for = state.waits_for(node.flight.id);
            // There is room for it.
            let _ = flights.push_within_capacity(Seen {
                flight: node.flight.clone(),
                followers: node.followers,
                waits_for: waits_for.and_then(|target| state.step(target, |_| None)),
            });
        }
        let more = state.count.saturating_sub(flights.len());
        drop(state);

        flights.sort_unstable_by_key(|seen: &Seen<K>| seen.flight.id.serial);
        Ok(Snapshot { flights, more })
    }
}
