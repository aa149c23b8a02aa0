// SPDX-License-Identifier: GPL-2.0

//! Waking the waiters of a flight.
//!
//! To wake one task takes about a microsecond, so a leader that woke many of them, one by one,
//! would be busy for as long as that takes. A work item that is part of the flight does it: to
//! queue it needs no memory, and cannot fail.

use super::{
    Flight,
    Key, //
};
use crate::{
    sync::Arc,
    workqueue::{
        self,
        impl_has_work,
        WorkItem, //
    },
};

/// So many tasks are woken in less time than it takes to start the work item.
const FEW: u32 = 4;

impl_has_work! {
    impl{K: Key} HasWork<Self> for Flight<K> { self.wake }
}

impl<K: Key> Flight<K> {
    /// Pays the wake-ups that a flight owes as it ends. To be called once.
    pub(super) fn wake(this: Arc<Self>, waiters: u32) {
        if waiters > FEW {
            // It cannot be in the queue already, as it is put there once.
            let _ = workqueue::system_dfl().enqueue(this);
        } else {
            this.signal();
        }
    }

    /// One at a time: to wake all at once would keep interrupts off for as long as that takes.
    fn signal(&self) {
        for _ in 0..self.waiters() {
            self.completion.complete();
        }
    }
}

impl<K: Key> WorkItem for Flight<K> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.signal();
    }
}
