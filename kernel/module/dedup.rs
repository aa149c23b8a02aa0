// SPDX-License-Identifier: GPL-2.0

//! Module load de-duplication: the policy.
//!
//! The loader and `request_module()` ask at the begin of each call whether another one does what
//! they want. If so they wait for it, and return its result. If not they get a *ticket*, do their
//! own work, and give the ticket back with the result:
//!
//! - `dedup/key.rs` says which calls are the same;
//! - `dedup/load.rs` is about loads, `dedup/request.rs` about requests;
//! - `dedup/wait.rs` is how one call waits for another;
//! - `dedup/death.rs` is for loads whose task does not come back;
//! - `dedup/stats.rs`, `dedup/trace.rs` and `dedup/report.rs` are for people.
//!
//! The engine below that is [`kernel::module_dedup`].
//!
//! C header: [`include/linux/module_dedup.h`](srctree/include/linux/module_dedup.h)

use kernel::{
    bindings,
    module_dedup::{
        Handle,
        Table,
        Ticket, //
    },
    prelude::*,
    sync::SetOnce, //
};

#[path = "dedup/death.rs"]
mod death;
#[path = "dedup/key.rs"]
mod key;
#[path = "dedup/load.rs"]
mod load;
#[path = "dedup/report.rs"]
mod report;
#[path = "dedup/request.rs"]
mod request;
#[path = "dedup/stats.rs"]
mod stats;
#[path = "dedup/task.rs"]
mod task;
#[path = "dedup/trace.rs"]
mod trace;
#[path = "dedup/wait.rs"]
mod wait;

use key::{
    Call,
    What, //
};

const __LOG_PREFIX: &[u8] = b"module\0";

/// The one table. Empty until the early initcalls, and for good if there was no memory for it:
/// then each call does its own work.
static TABLE: SetOnce<Table<Call>> = SetOnce::new();

/// Makes the table. Called once, from an early initcall.
///
/// May sleep. Returns 0, or `-ENOMEM`: then loads are not de-duplicated.
///
/// # Safety
///
/// None: `unsafe` because C functions are, and older compilers want the two to be of one type.
#[export]
unsafe extern "C" fn module_dedup_init() -> c_int {
    match Table::new() {
        Ok(table) => {
            TABLE.populate(table);
            0
        }
        Err(e) => {
            pr_err!("no memory for the flight table, loads will not be de-duplicated\n");
            e.to_errno()
        }
    }
}

/// The table, if calls are to be joined now.
fn table() -> Option<&'static Table<Call>> {
    // SAFETY: The parameter is an `int`, and may change at any time.
    let mode = unsafe { (&raw const bindings::module_dedup_mode).read_volatile() };
    TABLE
        .as_ref()
        .filter(|_| mode == bindings::module_dedup_mode_MODULE_DEDUP_ON as c_int)
}

/// Gives a ticket to C.
fn give(ticket: Ticket<'static, Call>) -> *mut bindings::module_dedup {
    ticket.into_raw().cast_mut().cast()
}

/// Tells C how a begin function has ended: with a ticket, which may be null, or with the answer.
///
/// # Safety
///
/// Both pointers must be valid for writing.
unsafe fn begun(
    begun: Result<*mut bindings::module_dedup, c_int>,
    ticket: *mut *mut bindings::module_dedup,
    ret: *mut c_int,
) -> bool {
    // SAFETY: By the safety requirements.
    unsafe {
        match begun {
            Ok(given) => ticket.write(given),
            Err(answer) => ret.write(answer),
        }
    }
    begun.is_err()
}

/// Borrows what [`give`] has given, or a run.
///
/// # Safety
///
/// `raw` must be valid until this returns: a ticket that was not given back, or a run.
unsafe fn with<R>(
    raw: *const bindings::module_dedup,
    f: impl FnOnce(&Handle<'static, Call>) -> R,
) -> Option<R> {
    let table = TABLE.as_ref()?;
    // SAFETY: By the safety requirements this is a flight of the one table. The handle is not
    // dropped, so the reference stays where it was.
    let handle = core::mem::ManuallyDrop::new(unsafe { Handle::from_raw(table, raw.cast()) });
    Some(f(&handle))
}

/// Ends what a begin function has begun, with its result.
///
/// Returns `ret`. Does not sleep, takes the table lock.
///
/// # Safety
///
/// `ticket` must be null, or come from a begin function, in the current task, and is not to be used
/// again.
#[export]
unsafe extern "C" fn module_dedup_end(ticket: *mut bindings::module_dedup, ret: c_int) -> c_int {
    if let (Some(table), false) = (TABLE.as_ref(), ticket.is_null()) {
        // SAFETY: By the safety requirements this is a ticket of the one table.
        let ticket = unsafe { Ticket::from_raw(table, ticket.cast_const().cast()) };
        match ticket.key().what {
            What::Request(_) => request::end(ticket, ret),
            _ => load::end(ticket, ret),
        }
    }
    ret
}
