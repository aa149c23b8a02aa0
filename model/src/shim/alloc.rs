// SPDX-License-Identifier: GPL-2.0

//! Memory that is counted, can run out, and must not be allocated or freed under a spinlock.

use crate::{init::PinInit, world};
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy)]
pub struct Flags;

pub mod flags {
    pub const GFP_KERNEL: super::Flags = super::Flags;
}

#[derive(Debug)]
pub struct AllocError;

/// A vector was full.
pub struct PushError<T>(pub T);

/// Stands for one allocation.
pub(crate) struct Allocation;

impl Allocation {
    pub(crate) fn new() -> Result<Self, AllocError> {
        world::allocate().then(|| Self).ok_or(AllocError)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        world::free();
    }
}

pub struct KBox<T> {
    value: Box<T>,
    _allocation: Allocation,
}

impl<T> KBox<T> {
    pub(crate) fn new(init: impl PinInit<T>, _: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            _allocation: Allocation::new()?,
            value: Box::new(init.make()),
        })
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

pub struct KVec<T> {
    values: Vec<T>,
    _allocation: Allocation,
}

impl<T> KVec<T> {
    pub fn with_capacity(capacity: usize, _: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            _allocation: Allocation::new()?,
            values: Vec::with_capacity(capacity),
        })
    }

    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.values.len() == self.values.capacity() {
            return Err(PushError(value));
        }
        self.values.push(value);
        Ok(())
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}
