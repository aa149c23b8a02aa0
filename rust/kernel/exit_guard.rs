// SPDX-License-Identifier: GPL-2.0

//! Values that do not outlive their task.
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use crate::{
    alloc::Flags,
    bindings,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// A value that is dropped with its guard, or when the current task exits.
///
/// A task that runs into an oops in the kernel exits without dropping what is on its stack, which
/// is used for other things from then on. What others wait for must not get lost that way: keep it
/// in one of these.
///
/// The value is dropped while the task exits, in most cases after it has closed its files. If task
/// work runs before that, which nothing does inside a system call without asking for it, then the
/// value is left alone, and an oops after that loses it.
///
/// A value must be [`Send`], which guards are not: so none is part of the value of another one, and
/// when the task exits no guard is left that could still be used.
///
/// # Invariants
///
/// `inner` owns its memory, which is that of a [`KBox`]. Its `work` is queued for the current task,
/// or has run, or could not be queued.
///
/// # Examples
///
/// ```
/// use kernel::exit_guard::ExitGuard;
///
/// let guard = ExitGuard::new(7, GFP_KERNEL).map_err(|_| ENOMEM)?;
/// assert_eq!(*guard, 7);
/// assert_eq!(guard.into_inner(), 7);
/// # Ok::<(), Error>(())
/// ```
pub struct ExitGuard<T: Send + 'static> {
    inner: NonNull<Inner<T>>,
    /// The work is queued for this task, so no other may cancel it.
    _not_send: NotThreadSafe,
}

#[repr(C)]
struct Inner<T> {
    /// Comes first: its address is that of the whole.
    work: Opaque<bindings::callback_head>,
    value: T,
}

impl<T: Send + 'static> ExitGuard<T> {
    /// Puts a value into the care of the current task.
    ///
    /// May sleep, if `flags` allow it. Gives the value back if there is no memory.
    pub fn new(value: T, flags: Flags) -> Result<Self, T> {
        let Ok(room) = KBox::<Inner<T>>::new_uninit(flags) else {
            return Err(value);
        };
        let inner = KBox::write(
            room,
            Inner {
                work: Opaque::new(bindings::callback_head {
                    next: core::ptr::null_mut(),
                    func: Some(Self::at_exit),
                }),
                value,
            },
        );
        let inner = NonNull::from(KBox::leak(inner));
        // It fails for a task that has run its task work on exit, and that makes no guards.
        //
        // SAFETY: The current task is valid, and the work, which comes first in `inner`, was
        // initialised. It stays where it is until it has run, or was cancelled.
        unsafe {
            bindings::task_work_add(
                bindings::get_current(),
                inner.as_ptr().cast(),
                bindings::task_work_notify_mode_TWA_NONE,
            )
        };
        // INVARIANT: `inner` was leaked, and its work was queued if that was possible.
        Ok(Self {
            inner,
            _not_send: NotThreadSafe,
        })
    }

    /// Takes the value out again.
    ///
    /// Does not sleep.
    pub fn into_inner(self) -> T {
        let mut guard = ManuallyDrop::new(self);
        // SAFETY: The guard is not used again.
        let inner = unsafe { guard.take() };
        KBox::into_inner(inner).value
    }

    /// Gets the memory back.
    ///
    /// # Safety
    ///
    /// The guard must not be used after that.
    unsafe fn take(&mut self) -> KBox<Inner<T>> {
        let work = self.inner.as_ptr().cast();
        // If it is not there it has run early, or was never queued.
        //
        // SAFETY: The current task is valid, and the one that the work was queued for.
        unsafe { bindings::task_work_cancel(bindings::get_current(), work) };
        // SAFETY: By the type invariant, the memory is that of a box, and the guard owns it. The
        // work is not queued any more, so nobody else knows of it.
        unsafe { KBox::from_raw(self.inner.as_ptr()) }
    }

    /// Drops the value, in place of the guard.
    ///
    /// # Safety
    ///
    /// `work` must be that of an `Inner<T>`, and run by the task for which it was queued.
    unsafe extern "C" fn at_exit(work: *mut bindings::callback_head) {
        // Set first thing on the way out; a tracer, for one, has task work run before PF_EXITING.
        const EXITING: u32 = bindings::PF_POSTCOREDUMP | bindings::PF_EXITING;

        // SAFETY: The current task is valid, and changes its own flags.
        if unsafe { (*bindings::get_current()).flags } & EXITING == 0 {
            return;
        }
        // SAFETY: `work` is the first member of the memory that `new()` leaked. The guard is on a
        // stack that is not used again: the task exits, without having come back to it.
        drop(unsafe { KBox::from_raw(work.cast::<Inner<T>>()) });
    }
}

impl<T: Send + 'static> Deref for ExitGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant, `inner` is valid for as long as the guard.
        unsafe { &self.inner.as_ref().value }
    }
}

impl<T: Send + 'static> Drop for ExitGuard<T> {
    fn drop(&mut self) {
        // SAFETY: The guard is being dropped.
        drop(unsafe { self.take() });
    }
}
