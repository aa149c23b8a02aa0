// SPDX-License-Identifier: GPL-2.0

//! Locks, completions, references and atomics.

use crate::{
    alloc::{AllocError, Allocation, Flags},
    error::{
        code::{ERESTARTSYS, ETIMEDOUT},
        Result,
    },
    init::PinInit,
    time::Jiffies,
    world::{self, Event},
};
use loom::sync::{Mutex, MutexGuard};
use std::{
    cell::RefCell,
    collections::VecDeque,
    ops::{Deref, DerefMut},
};

pub struct SpinLock<T>(Mutex<T>);

impl<T> SpinLock<T> {
    #[allow(clippy::new_ret_no_self)]
    pub fn new(value: T) -> impl PinInit<Self> {
        move || Self(Mutex::new(value))
    }

    pub fn lock(&self) -> Guard<'_, T> {
        world::must_not_hold_a_lock("takes a spinlock");
        let guard = self.0.lock().unwrap();
        world::set_holds_lock(true);
        Guard(guard)
    }
}

pub struct Guard<'a, T>(MutexGuard<'a, T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        world::set_holds_lock(false);
    }
}

/// As `kernel/sched/completion.c` has it: each [`Completion::complete`] is one token, and wakes the
/// task that has waited longest. A task that sleeps is given the token as it is woken, so that it
/// need not come back for it. In the kernel another one that comes in between would take it, and
/// the token for that one be left for the first: they are all alike.
#[derive(Default)]
pub struct Completion(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    done: usize,
    queue: VecDeque<world::Index>,
}

impl Completion {
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> impl PinInit<Self> {
        Self::default
    }

    pub fn complete(&self) {
        world::must_not_hold_a_lock("wakes somebody");
        world::locked(|| {
            let mut waiting = self.0.borrow_mut();
            let first = waiting.queue.pop_front();
            if !first.is_some_and(world::wake_with_token) {
                waiting.done += 1;
            }
        });
    }

    pub fn wait_for_completion_interruptible_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait(timeout, &[Event::Signal, Event::Kill])
    }

    pub fn wait_for_completion_killable_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        self.wait(timeout, &[Event::Kill])
    }

    /// This is `do_wait_for_common()`.
    fn wait(&self, timeout: Jiffies, signals: &[Event]) -> Result<Jiffies> {
        world::must_not_hold_a_lock("sleeps");
        let me = world::index();
        let mut timer = world::Timer::new(timeout);
        loop {
            let over = world::locked(|| {
                let mut waiting = self.0.borrow_mut();
                waiting.queue.retain(|task| *task != me);
                if waiting.done > 0 {
                    waiting.done -= 1;
                    return Some(Ok(1));
                }
                if timer.is_over() {
                    return Some(Err(ETIMEDOUT));
                }
                if world::has_happened(signals) {
                    return Some(Err(ERESTARTSYS));
                }
                waiting.queue.push_back(me);
                None
            });
            if let Some(result) = over {
                return result;
            }
            timer.sleep();
            if world::take_token() {
                return Ok(1);
            }
        }
    }
}

/// Its count is not one of loom's objects: that it is right is known, and each one that is used
/// multiplies what there is to explore.
pub struct Arc<T>(std::sync::Arc<Shared<T>>);

/// The value comes first, so that a pointer to it is one to all of this.
#[repr(C)]
struct Shared<T> {
    value: T,
    _allocation: Allocation,
}

impl<T> Arc<T> {
    pub fn into_raw(self) -> *const T {
        std::sync::Arc::into_raw(self.0).cast()
    }

    /// # Safety
    ///
    /// It must come from [`Arc::into_raw`].
    pub unsafe fn from_raw(value: *const T) -> Self {
        // SAFETY: By the safety requirements; see `Shared`.
        Self(unsafe { std::sync::Arc::from_raw(value.cast()) })
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// The only reference to a value.
pub struct UniqueArc<T>(Arc<T>);

impl<T> UniqueArc<T> {
    pub(crate) fn new(init: impl PinInit<T>, _: Flags) -> Result<Self, AllocError> {
        let _allocation = Allocation::new()?;
        let value = init.make();
        let shared = Shared { value, _allocation };
        Ok(Self(Arc(std::sync::Arc::new(shared))))
    }

    pub(crate) fn share(self) -> Arc<T> {
        self.0
    }
}

pub struct ArcBorrow<'a, T>(&'a Arc<T>);

impl<T> Clone for ArcBorrow<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ArcBorrow<'_, T> {}

impl<T> Deref for ArcBorrow<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<'a, T> From<&'a Arc<T>> for ArcBorrow<'a, T> {
    fn from(arc: &'a Arc<T>) -> Self {
        Self(arc)
    }
}

impl<T> From<ArcBorrow<'_, T>> for Arc<T> {
    fn from(borrow: ArcBorrow<'_, T>) -> Self {
        borrow.0.clone()
    }
}

pub mod atomic {
    use loom::cell::UnsafeCell;
    use std::cell::RefCell;

    pub struct Relaxed;
    pub struct Full;

    pub trait Order {}

    impl Order for Relaxed {}
    impl Order for Full {}

    /// Memory without an order of its own, as nearly all accesses are relaxed.
    ///
    /// None of them is a place where loom switches, which would multiply what there is to explore.
    /// Loom's atomics would let a load see an old value wherever nothing orders the two. Here that
    /// is found all the same, and at once: each value is in a cell of its own, and loom complains
    /// if a load comes after a store that is not ordered before it. That goes for an `i64`, in
    /// which a flight keeps its outcome. All else counts, marks or tells the time: it is written
    /// under the lock, or may be read at any moment.
    pub struct Atomic<T: Value> {
        first: T,
        latest: RefCell<Option<T::Cell>>,
    }

    pub trait Value: Copy {
        type Cell;

        fn cell(self) -> Self::Cell;
        fn get(cell: &Self::Cell) -> Self;
    }

    pub trait Number: Value {
        fn plus(self, other: Self) -> Self;
    }

    macro_rules! plain {
        ($($type:ty)*) => {
            $(impl Value for $type {
                type Cell = Self;

                fn cell(self) -> Self {
                    self
                }

                fn get(cell: &Self) -> Self {
                    *cell
                }
            })*
        };
    }

    plain! { bool i32 u32 u64 }

    impl Number for u32 {
        fn plus(self, other: Self) -> Self {
            self.wrapping_add(other)
        }
    }

    impl Number for u64 {
        fn plus(self, other: Self) -> Self {
            self.wrapping_add(other)
        }
    }

    impl Value for i64 {
        type Cell = (UnsafeCell<()>, i64);

        fn cell(self) -> Self::Cell {
            let cell = UnsafeCell::new(());
            cell.with_mut(|_| ());
            (cell, self)
        }

        fn get(cell: &Self::Cell) -> i64 {
            cell.0.with(|_| ());
            cell.1
        }
    }

    impl<T: Value> Atomic<T> {
        pub const fn new(first: T) -> Self {
            Self {
                first,
                latest: RefCell::new(None),
            }
        }

        pub fn load(&self, _: Relaxed) -> T {
            self.latest.borrow().as_ref().map_or(self.first, T::get)
        }

        pub fn store(&self, value: T, _: Relaxed) {
            *self.latest.borrow_mut() = Some(value.cell());
        }

        pub fn xchg(&self, value: T, _: impl Order) -> T {
            let before = self.load(Relaxed);
            self.store(value, Relaxed);
            before
        }
    }

    impl<T: Number> Atomic<T> {
        pub fn add(&self, value: T, _: Relaxed) {
            self.fetch_add(value, Relaxed);
        }

        pub fn fetch_add(&self, value: T, _: impl Order) -> T {
            let before = self.load(Relaxed);
            self.store(before.plus(value), Relaxed);
            before
        }
    }
}
