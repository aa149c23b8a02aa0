// SPDX-License-Identifier: GPL-2.0

//! Tickets and handles in the hands of C: as pointers to the flight.

use super::{
    Flight,
    Handle,
    Key,
    Table,
    Ticket, //
};
use crate::{
    container_of,
    sync::Arc, //
};

impl<K: Key> Flight<K> {
    /// The flight that a key is part of.
    ///
    /// # Safety
    ///
    /// `key` must be part of a flight.
    pub unsafe fn of_key(key: *const K) -> *const Self {
        // SAFETY: By the safety requirements.
        unsafe { container_of!(key.cast_mut(), Self, key) }
    }
}

impl<'t, K: Key> Handle<'t, K> {
    /// Gives up the handle, but not the reference.
    pub fn into_raw(self) -> *const Flight<K> {
        self.flight.into_raw()
    }

    /// Takes back what [`Handle::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `flight` must come from a handle of a flight of this `table`, whose reference is passed on.
    pub unsafe fn from_raw(table: &'t Table<K>, flight: *const Flight<K>) -> Self {
        // SAFETY: By the safety requirements.
        let flight = unsafe { Arc::from_raw(flight) };
        Self { table, flight }
    }
}

impl<'t, K: Key> Ticket<'t, K> {
    /// Gives up the ticket, but not the flight.
    pub fn into_raw(mut self) -> *const Flight<K> {
        self.over = true;
        self.handle.clone().into_raw()
    }

    /// Takes back what [`Ticket::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `flight` must come from a ticket of this `table`, and is not to be used again.
    pub unsafe fn from_raw(table: &'t Table<K>, flight: *const Flight<K>) -> Self {
        Self {
            // SAFETY: By the safety requirements.
            handle: unsafe { Handle::from_raw(table, flight) },
            place: None,
            node: None,
            over: false,
        }
    }
}
