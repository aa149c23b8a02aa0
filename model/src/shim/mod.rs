// SPDX-License-Identifier: GPL-2.0

//! Modules of the `kernel` crate, with what the engine uses of them and no more.

pub mod alloc;
pub mod error;
pub mod init;
pub mod list;
pub mod sync;
pub mod time;
pub mod workqueue;

pub mod prelude {
    pub use crate::{
        alloc::{flags::*, KBox, KVec},
        current,
        error::{code::*, Error, Result},
        init::{InPlaceInit, PinInit},
        pin_init,
    };
    pub use core::pin::Pin;
    pub use macros::pin_data;
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

/// The structure that something is a part of, as the kernel's macro of this name.
#[macro_export]
macro_rules! container_of {
    ($part:expr, $whole:ty, $field:ident) => {
        $part
            .byte_sub(::core::mem::offset_of!($whole, $field))
            .cast::<$whole>()
    };
}
