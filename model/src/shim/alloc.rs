// SPDX-License-Identifier: GPL-2.0

//! Memory that is counted, can run out, and must not be allocated or freed under a spinlock.

use crate::world;
use std::{
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
};

#[derive(Clone, Copy)]
pub struct Flags;

pub mod flags {
    pub const GFP_KERNEL: super::Flags = super::Flags;
}

#[derive(Debug)]
pub struct AllocError;

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
    allocation: Allocation,
}

impl<T> KBox<T> {
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            allocation: Allocation::new()?,
            value: Box::new(value),
        })
    }

    pub fn new_uninit(flags: Flags) -> Result<KBox<MaybeUninit<T>>, AllocError> {
        KBox::new(MaybeUninit::uninit(), flags)
    }
}

impl<T> KBox<MaybeUninit<T>> {
    pub fn write(this: Self, value: T) -> KBox<T> {
        KBox {
            value: Box::new(value),
            allocation: this.allocation,
        }
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

pub struct KVec<T> {
    values: Vec<T>,
    _allocation: Allocation,
}

pub type KVVec<T> = KVec<T>;

impl<T> KVec<T> {
    pub fn with_capacity(capacity: usize, _: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            _allocation: Allocation::new()?,
            values: Vec::with_capacity(capacity),
        })
    }

    pub fn push(&mut self, value: T, _: Flags) -> Result<(), AllocError> {
        self.push_within_capacity(value).map_err(|_| AllocError)
    }

    pub fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
        if self.values.len() == self.values.capacity() {
            return Err(value);
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
