// SPDX-License-Identifier: GPL-2.0

//! Lists of references, of which an item can be in one for each set of its links.

use crate::sync::{Arc, ArcBorrow, UniqueArc};
use std::{
    cell::Cell,
    collections::{vec_deque, VecDeque},
    ops::Deref,
};

pub use crate::{impl_list_arc_safe, impl_list_item};

thread_local! {
    static LISTS: Cell<usize> = const { Cell::new(0) };
}

/// Names the list in which an item is.
pub struct ListLinks<const ID: u64>(Cell<Option<usize>>);

impl<const ID: u64> ListLinks<ID> {
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> impl crate::init::PinInit<Self> {
        || Self(Cell::new(None))
    }
}

pub trait ListItem<const ID: u64> {
    fn links(&self) -> &ListLinks<ID>;
}

/// The right to put an item into a list.
pub struct ListArc<T, const ID: u64 = 0>(Arc<T>);

impl<T, const ID: u64> ListArc<T, ID> {
    pub fn pair_from_pin_unique<const ID2: u64>(item: UniqueArc<T>) -> (Self, ListArc<T, ID2>) {
        let item = item.share();
        (Self(item.clone()), ListArc(item))
    }

    pub fn clone_arc(&self) -> Arc<T> {
        self.0.clone()
    }

    pub fn into_arc(self) -> Arc<T> {
        self.0
    }
}

impl<T, const ID: u64> Deref for ListArc<T, ID> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub struct List<T, const ID: u64> {
    name: usize,
    items: VecDeque<Arc<T>>,
}

impl<T: ListItem<ID>, const ID: u64> List<T, ID> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let name = LISTS.get();
        LISTS.set(name + 1);
        Self {
            name,
            items: VecDeque::new(),
        }
    }

    fn joins(&self, item: &T) {
        let before = item.links().0.replace(Some(self.name));
        assert!(before.is_none(), "an item was put into a list twice");
    }

    pub fn push_back(&mut self, item: ListArc<T, ID>) {
        self.joins(&item);
        self.items.push_back(item.0);
    }

    pub fn push_front(&mut self, item: ListArc<T, ID>) {
        self.joins(&item);
        self.items.push_front(item.0);
    }

    /// # Safety
    ///
    /// The item must not be in another list with these links, which is looked at here.
    pub unsafe fn remove(&mut self, item: &T) -> Option<ListArc<T, ID>> {
        let list = item.links().0.take()?;
        assert_eq!(list, self.name, "an item was taken out of another list");
        let at = self.items.iter().position(|it| std::ptr::eq(&**it, item));
        self.items.remove(at.expect("an item")).map(ListArc)
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self.items.iter())
    }
}

pub struct Iter<'a, T>(vec_deque::Iter<'a, Arc<T>>);

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = ArcBorrow<'a, T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(ArcBorrow::from)
    }
}

impl<'a, T: ListItem<ID>, const ID: u64> IntoIterator for &'a List<T, ID> {
    type Item = ArcBorrow<'a, T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// In the kernel this says who sees to it that there is one [`ListArc`] of an item.
#[macro_export]
macro_rules! impl_list_arc_safe {
    ($($anything:tt)*) => {};
}

#[macro_export]
macro_rules! impl_list_item {
    (impl{$($generics:tt)*} ListItem<$id:tt> for $type:ty {
        using ListLinks { self$(.$field:ident)* };
    }) => {
        impl<$($generics)*> $crate::list::ListItem<$id> for $type {
            fn links(&self) -> &$crate::list::ListLinks<$id> {
                &self$(.$field)*
            }
        }
    };
}
