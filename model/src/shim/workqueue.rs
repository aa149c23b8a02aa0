// SPDX-License-Identifier: GPL-2.0

//! Work that is left to others.

use crate::{init::PinInit, sync::Arc, world};
use std::{cell::Cell, marker::PhantomData};

pub use crate::{impl_has_work, new_work};

/// Whether the work is in the queue.
pub struct Work<T>(Cell<bool>, PhantomData<T>);

impl<T> Work<T> {
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> impl PinInit<Self> {
        || Self(Cell::new(false), PhantomData)
    }
}

pub trait HasWork<T> {
    fn work(&self) -> &Work<T>;
}

pub trait WorkItem {
    type Pointer;

    fn run(this: Self::Pointer);
}

pub struct Queue;

pub fn system_dfl() -> &'static Queue {
    &Queue
}

impl Queue {
    /// Runs the work now, or leaves it to somebody else, if there is one.
    pub fn enqueue<T>(&self, item: Arc<T>) -> Result<(), Arc<T>>
    where
        T: HasWork<T> + WorkItem<Pointer = Arc<T>> + 'static,
    {
        world::must_not_hold_a_lock("wakes somebody");
        if item.work().0.replace(true) {
            return Err(item);
        }
        world::do_later(move || {
            item.work().0.set(false);
            T::run(item);
        });
        Ok(())
    }
}

#[macro_export]
macro_rules! new_work {
    ($name:literal) => {
        $crate::workqueue::Work::new()
    };
}

#[macro_export]
macro_rules! impl_has_work {
    (impl{$($generics:tt)*} HasWork<Self> for $type:ty { self.$field:ident }) => {
        impl<$($generics)*> $crate::workqueue::HasWork<Self> for $type {
            fn work(&self) -> &$crate::workqueue::Work<Self> {
                &self.$field
            }
        }
    };
}
