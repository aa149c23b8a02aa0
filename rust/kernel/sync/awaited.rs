// SPDX-License-Identifier: GPL-2.0

//! Values that tasks wait for.
//!
//! C headers: [`include/linux/completion.h`](srctree/include/linux/completion.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    Arc,
    Completion,
    UniqueArc, //
};
use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*,
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    },
};
use core::{
    mem::MaybeUninit,
    ops::Deref, //
};

/// A value with a [`Completion`], for tasks that wait until something has come of it.
///
/// To wake one task takes about a microsecond, so whoever wakes many of them, one by one, is busy
/// for as long as that takes. Here a work item does it, which is part of the value: to queue it
/// needs no memory, and cannot fail. It runs when there is a worker for it, with the priority of a
/// worker.
///
/// # Examples
///
/// ```
/// use kernel::sync::Awaited;
///
/// let seven = Awaited::room(GFP_KERNEL)?.fill(7);
/// assert_eq!(**seven, 7);
///
/// // As many as are going to wait.
/// Awaited::complete(seven.clone(), 2);
/// seven.completion().wait_for_completion();
/// seven.completion().wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct Awaited<T> {
    #[pin]
    completion: Completion,
    #[pin]
    work: Work<Awaited<T>>,
    /// How many are to be woken. Ordered by queueing the work.
    owed: Atomic<u32>,
    value: T,
}

impl_has_work! {
    impl{T} HasWork<Self> for Awaited<T> { self.work }
}

impl<T> Awaited<T> {
    /// As many tasks are woken in less time than it takes to start the work item.
    const FEW: u32 = 4;

    /// Allocates the memory for a value, which is not known yet.
    ///
    /// May sleep, if `flags` allow it. Fails with `ENOMEM`.
    pub fn room(flags: Flags) -> Result<Room<T>, AllocError> {
        Ok(Room(UniqueArc::new_uninit(flags)?))
    }

    /// What to wait for.
    pub fn completion(&self) -> &Completion {
        &self.completion
    }
}

impl<T: Send + Sync + 'static> Awaited<T> {
    /// Signals the completion so many times. If these are more than a few a work item does that,
    /// and this does not wait for it.
    ///
    /// To be called once for each value. Does not sleep.
    pub fn complete(this: Arc<Self>, times: u32) {
        if times > Self::FEW {
            this.owed.store(times, Relaxed);
            // It cannot be in the queue already, as this is the only one that puts it there.
            let _ = workqueue::system_dfl().enqueue(this);
        } else {
            this.signal(times);
        }
    }
}

impl<T> Awaited<T> {
    /// One at a time: to wake all at once would keep interrupts off for as long as that takes.
    fn signal(&self, times: u32) {
        for _ in 0..times {
            self.completion.complete();
        }
    }
}

impl<T: Send + Sync + 'static> WorkItem for Awaited<T> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.signal(this.owed.load(Relaxed));
    }
}

/// The memory for an [`Awaited`].
pub struct Room<T>(UniqueArc<MaybeUninit<Awaited<T>>>);

impl<T: Send + Sync + 'static> Room<T> {
    /// Makes a value for which nobody waits yet.
    ///
    /// Does not sleep.
    pub fn fill(self, value: T) -> Arc<Awaited<T>> {
        let filled = self.0.pin_init_with(pin_init!(Awaited {
            completion <- Completion::new(),
            work <- new_work!("Awaited::work"),
            owed: Atomic::new(0),
            value,
        }));
        match filled {
            Ok(filled) => filled.into(),
            Err(e) => match e {},
        }
    }
}

impl<T> Deref for Awaited<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
