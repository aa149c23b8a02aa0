// SPDX-License-Identifier: GPL-2.0

//! The clock of the [`world`].

use crate::world;
use std::marker::PhantomData;

pub type Jiffies = usize;
pub type Msecs = u32;

/// There is one jiffy to a millisecond.
pub fn msecs_to_jiffies(msecs: Msecs) -> Jiffies {
    msecs as Jiffies
}

pub struct Delta(pub u64);

impl Delta {
    pub fn as_millis(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy)]
pub struct Monotonic;

#[derive(Clone, Copy)]
pub struct Instant<C> {
    msecs: u64,
    _clock: PhantomData<C>,
}

impl<C> Instant<C> {
    pub fn now() -> Self {
        Self {
            msecs: world::now(),
            _clock: PhantomData,
        }
    }

    pub fn elapsed(&self) -> Delta {
        Delta(world::now() - self.msecs)
    }
}
