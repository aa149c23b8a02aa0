// SPDX-License-Identifier: GPL-2.0

//! Lists whose memory is allocated before, and freed after, the lock is held that guards them.

use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KBox,
        KVec, //
    },
    error::Result, //
};
use core::{
    iter,
    mem::MaybeUninit, //
};

/// The number of chains of a [`Buckets`]. A power of two.
const BUCKETS: usize = 256;

/// Something in a [`Chain`], and what comes after it.
pub(super) struct Item<T> {
    pub(super) value: T,
    next: Option<KBox<Item<T>>>,
}

/// The memory for an [`Item`].
pub(super) type Spare<T> = KBox<MaybeUninit<Item<T>>>;

/// Allocates the memory for an item.
///
/// May sleep. Fails with `ENOMEM`.
pub(super) fn spare<T>() -> Result<Spare<T>> {
    Ok(KBox::new_uninit(GFP_KERNEL)?)
}

/// A list in order of arrival.
pub(super) struct Chain<T> {
    first: Option<KBox<Item<T>>>,
}

impl<T> Chain<T> {
    pub(super) const fn new() -> Self {
        Self { first: None }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        iter::successors(self.first.as_deref(), |item| item.next.as_deref()).map(|item| &item.value)
    }

    pub(super) fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        self.iter().find(|value| wanted(value))
    }

    pub(super) fn find_mut(&mut self, wanted: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut item = self.first.as_deref_mut();
        while let Some(here) = item {
            if wanted(&here.value) {
                return Some(&mut here.value);
            }
            item = here.next.as_deref_mut();
        }
        None
    }

    /// Adds a value at the end.
    pub(super) fn push(&mut self, spare: Spare<T>, value: T) {
        let mut link = &mut self.first;
        while let Some(item) = link {
            link = &mut item.next;
        }
        *link = Some(KBox::write(spare, Item { value, next: None }));
    }

    /// Takes out the first value that is wanted. The caller drops it, without the lock.
    pub(super) fn remove(&mut self, wanted: impl Fn(&T) -> bool) -> Option<KBox<Item<T>>> {
        let mut link = &mut self.first;
        while link.as_ref().is_some_and(|item| !wanted(&item.value)) {
            link = &mut link.as_mut()?.next;
        }
        let mut item = link.take()?;
        *link = item.next.take();
        Some(item)
    }
}

/// Chains by hash.
pub(super) struct Buckets<T> {
    chains: KVec<Chain<T>>,
}

impl<T> Buckets<T> {
    /// Makes empty buckets.
    ///
    /// May sleep. Fails with `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let mut chains = KVec::with_capacity(BUCKETS, GFP_KERNEL)?;
        for _ in 0..BUCKETS {
            chains.push(Chain::new(), GFP_KERNEL)?;
        }
        Ok(Self { chains })
    }

    /// The chain of a hash. There always is one.
    pub(super) fn get(&self, hash: usize) -> Option<&Chain<T>> {
        self.chains.get(hash % BUCKETS)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, hash: usize) -> Option<&mut Chain<T>> {
        self.chains.get_mut(hash % BUCKETS)
    }

    /// Everything in all chains.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chains.iter().flat_map(Chain::iter)
    }
}
