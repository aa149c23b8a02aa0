// SPDX-License-Identifier: GPL-2.0

//! Loads whose task does not come back.
//!
//! A task that runs into an oops in the kernel exits without unwinding its stack, so it never gives
//! its ticket back. Task work does it then: it is queued while the task loads, and an oopsing task
//! runs it on its way out, in most cases after it has closed its files. If task work runs before
//! that, which nothing does inside a system call without asking for it, then the load is left
//! alone, and an oops after that loses it.

use super::{
    key::Call,
    load,
    stats,
    TABLE, //
};
use kernel::{
    bindings,
    container_of,
    module_dedup::{
        Flight,
        Ticket, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// What is needed to end a load whose task has died. Only that task uses it.
pub(crate) struct Death {
    work: Opaque<bindings::callback_head>,
    /// The module, while it is in the list and its load not over.
    module: Atomic<*mut bindings::module>,
    /// Where tasks wait for modules.
    wq: Atomic<*mut bindings::wait_queue_head>,
}

// SAFETY: The work is only touched by the task that loads, and by the functions that queue and run
// it. The pointers are only dereferenced by that task.
unsafe impl Send for Death {}

// SAFETY: As for `Send`.
unsafe impl Sync for Death {}

impl Death {
    pub(crate) fn new() -> Self {
        Self {
            work: Opaque::uninit(),
            module: Atomic::new(core::ptr::null_mut()),
            wq: Atomic::new(core::ptr::null_mut()),
        }
    }

    /// Notes which module is in the list for this load, or, by null, that none is any more.
    pub(crate) fn set_module(
        &self,
        module: *mut bindings::module,
        wq: *mut bindings::wait_queue_head,
    ) {
        self.module.store(module, Relaxed);
        self.wq.store(wq, Relaxed);
    }
}

/// Has the current task end this load if it exits in it. To be called once.
pub(crate) fn expect(ticket: &Ticket<'static, Call>) {
    let work = ticket.key().death.work.get();
    // SAFETY: Nobody knows of the work before it is queued. It is part of the flight, of which the
    // ticket holds a reference until `rule_out()`. If the task has run its task work on exit the
    // work cannot be queued; but such a task loads no modules.
    unsafe {
        work.write(bindings::callback_head {
            next: core::ptr::null_mut(),
            func: Some(at_exit),
        });
        bindings::task_work_add(
            bindings::get_current(),
            work,
            bindings::task_work_notify_mode_TWA_NONE,
        )
    };
}

/// Takes [`expect`] back.
pub(crate) fn rule_out(ticket: &Ticket<'static, Call>) {
    // If it is not there it has run early.
    //
    // SAFETY: The current task is the one that the work was queued for.
    unsafe {
        bindings::task_work_cancel(bindings::get_current(), ticket.key().death.work.get());
    }
}

/// Ends a load in place of its task.
///
/// # Safety
///
/// `work` must be part of a flight, and run by the task for which [`expect`] has queued it.
unsafe extern "C" fn at_exit(work: *mut bindings::callback_head) {
    // Set first thing on the way out; a tracer, for one, has task work run before PF_EXITING.
    const EXITING: u32 = bindings::PF_POSTCOREDUMP | bindings::PF_EXITING;

    // SAFETY: The current task is valid, and changes its own flags.
    if unsafe { (*bindings::get_current()).flags } & EXITING == 0 {
        return;
    }
    let Some(table) = TABLE.as_ref() else {
        return;
    };
    // SAFETY: By the safety requirements the work is part of a `Call` that is part of a flight of
    // the one table. The ticket was on a stack that is not used again: the task exits, without
    // having come back to it.
    let ticket = unsafe {
        let call = container_of!(Opaque::cast_from(work), Call, death.work);
        Ticket::from_raw(table, Flight::of_key(call))
    };
    stats::DIED.add(1, Relaxed);
    let death = &ticket.key().death;
    let module = death.module.load(Relaxed);
    if !module.is_null() {
        // SAFETY: Until the load says that the module is not its own any more it holds a
        // reference, so that nobody else takes the module out of the list; nor does the load
        // without saying so.
        unsafe { bindings::module_dedup_bury(module, death.wq.load(Relaxed)) };
    }
    let result = EBUSY.to_errno();
    load::finish(ticket, Some(result), result);
}
