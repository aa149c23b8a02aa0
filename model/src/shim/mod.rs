// SPDX-License-Identifier: GPL-2.0

//! Modules of the `kernel` crate, with what the engine uses of them and no more.

pub mod alloc;
pub mod error;
pub mod sync;
pub mod time;

/// In the kernel this initialises in place, so that a value need not be moved.
pub mod init {
    use crate::{
        alloc::{Flags, KBox},
        error::Result,
    };
    use std::pin::Pin;

    pub trait InPlaceInit<T> {
        fn pin_init(value: T, flags: Flags) -> Result<Pin<KBox<T>>>;
    }

    impl<T: Unpin> InPlaceInit<T> for KBox<T> {
        fn pin_init(value: T, flags: Flags) -> Result<Pin<KBox<T>>> {
            Ok(Pin::new(KBox::new(value, flags)?))
        }
    }
}

#[macro_export]
macro_rules! current {
    () => {
        $crate::world::Current
    };
}

#[macro_export]
macro_rules! new_spinlock {
    ($value:expr, $name:literal) => {
        $crate::sync::SpinLock::new($value)
    };
}
