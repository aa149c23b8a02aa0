// SPDX-License-Identifier: GPL-2.0

//! Values that are made where they are kept. In the kernel they need not be moved; here they are.

use crate::{
    alloc::{Flags, KBox},
    error::Result,
    sync::UniqueArc,
    world,
};
use std::pin::Pin;

/// How to make a value.
pub trait PinInit<T>: Sized {
    fn make(self) -> T;
}

impl<T, F: FnOnce() -> T> PinInit<T> for F {
    fn make(self) -> T {
        world::must_not_hold_a_lock("initialises");
        self()
    }
}

/// Memory in which a value can be made.
pub trait InPlaceInit<T>: Sized {
    type Pinned;

    fn pin_init(init: impl PinInit<T>, flags: Flags) -> Result<Self::Pinned>;
}

impl<T: Unpin> InPlaceInit<T> for KBox<T> {
    type Pinned = Pin<Self>;

    fn pin_init(init: impl PinInit<T>, flags: Flags) -> Result<Pin<Self>> {
        Ok(Pin::new(KBox::new(init, flags)?))
    }
}

impl<T> InPlaceInit<T> for UniqueArc<T> {
    type Pinned = Self;

    fn pin_init(init: impl PinInit<T>, flags: Flags) -> Result<Self> {
        Ok(UniqueArc::new(init, flags)?)
    }
}

/// Field by field, as the kernel's macro of this name.
#[macro_export]
macro_rules! pin_init {
    (@ $type:ident [$($done:tt)*]) => {
        move || $type { $($done)* }
    };
    (@ $type:ident [$($done:tt)*] $field:ident <- $init:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ $type [
            $($done)* $field: $crate::init::PinInit::make($init),
        ] $($rest)*)
    };
    (@ $type:ident [$($done:tt)*] $field:ident: $value:expr, $($rest:tt)*) => {
        $crate::pin_init!(@ $type [$($done)* $field: $value,] $($rest)*)
    };
    (@ $type:ident [$($done:tt)*] $field:ident, $($rest:tt)*) => {
        $crate::pin_init!(@ $type [$($done)* $field,] $($rest)*)
    };
    ($type:ident { $($fields:tt)* }) => {
        $crate::pin_init!(@ $type [] $($fields)*)
    };
}
