// SPDX-License-Identifier: GPL-2.0

//! Loads of modules.

use super::{
    death,
    give,
    key::{
        Call,
        File,
        What, //
    },
    stats,
    table,
    task::{
        self,
        Name, //
    },
    trace,
    wait::Wait,
    with, //
};
use kernel::{
    bindings,
    module_dedup::{
        Entry,
        Flight,
        Follower,
        Handle,
        Table,
        TaskId,
        Ticket, //
    },
    prelude::*,
    sync::atomic::Relaxed, //
};

/// Checks again what was checked before a call had to wait: whether loading modules was forbidden
/// meanwhile, or the capability is lost. Returns 0 or `-EPERM`.
type MayLoad = Option<unsafe extern "C" fn() -> c_int>;

/// The answer of a leader of an image that says nothing of the module which its followers mean:
/// each of them loads by itself, as all do without a flight.
pub(crate) const ALONE: c_int = 1;

/// Begins a call of `finit_module(2)`, whose caller may load modules.
///
/// Returns false if the caller has to load the module, and then to call `module_dedup_end()` with
/// `*ticket`, which may be null. Returns true if the call is over, and sets `*ret` to what it
/// returns: 0 or an error of the load that another caller has done, `-EEXIST` if the module is live
/// already, `-ERESTARTSYS` if a signal came while the call waited, `-EDEADLK` if it would have
/// waited for itself, `-EPERM` if loading modules was forbidden meanwhile, or what a security
/// module denies it with.
///
/// May sleep for as long as loads of other callers take, interruptibly.
///
/// # Safety
///
/// `ticket` and `ret` must be valid for writing, and the caller must hold a reference to `file`.
/// `may_load` must be a function that may be called at any time.
#[export]
unsafe extern "C" fn module_dedup_begin(
    ticket: *mut *mut bindings::module_dedup,
    ret: *mut c_int,
    file: *mut bindings::file,
    uargs: *const c_char,
    flags: c_int,
    may_load: MayLoad,
) -> bool {
    let mut key = bindings::module_dedup_key::default();
    let begun = table().map_or(Ok(core::ptr::null_mut()), |table| {
        // SAFETY: By the safety requirements, and `key` is valid for writing.
        let seen = unsafe { bindings::module_dedup_describe(&mut key, file, uargs, flags) };
        // SAFETY: `key` comes from there.
        let what = unsafe { File::new(&key, Name::EMPTY) };
        begin(table, seen, what, file, may_load)
    });
    // SAFETY: By the safety requirements.
    unsafe { super::begun(begun, ticket, ret) }
}

/// Begins a call of `init_module(2)`, whose caller may load modules, with an image of `len` bytes
/// in user memory.
///
/// As [`module_dedup_begin`], but the answer is never 0: `-EEXIST` if the load of another caller
/// has made the module live, `-EBUSY` if that has failed, as the loader would say.
///
/// # Safety
///
/// `ticket` and `ret` must be valid for writing. `may_load` must be a function that may be called
/// at any time.
#[export]
unsafe extern "C" fn module_dedup_begin_copy(
    ticket: *mut *mut bindings::module_dedup,
    ret: *mut c_int,
    umod: *const c_void,
    len: c_ulong,
    may_load: MayLoad,
) -> bool {
    let (mut key, mut name) = (bindings::module_dedup_key::default(), Name::EMPTY);
    let begun = table().map_or(Ok(core::ptr::null_mut()), |table| {
        // SAFETY: `key` and `name` are valid for writing, and there is room for a name.
        let seen = unsafe { bindings::module_dedup_peek(&mut key, name.as_mut_ptr(), umod, len) };
        // SAFETY: `key` comes from there.
        let what = unsafe { File::new(&key, name) };
        begin(table, seen, what, core::ptr::null_mut(), may_load)
    });
    // SAFETY: By the safety requirements.
    unsafe { super::begun(begun, ticket, ret) }
}

/// Begins a load that no other caller can join, although callers may wait for its module.
fn alone(table: &'static Table<Call>) -> *mut bindings::module_dedup {
    stats::BYPASSED.add(1, Relaxed);
    let me = task::current();
    let ticket = table.ticket(Call::new(What::Alone(me)), me);
    ticket.map_or(core::ptr::null_mut(), |mut ticket| {
        ticket.close();
        ticket.enter();
        death::expect(&ticket);
        give(ticket)
    })
}

/// Waits for others, or begins a load. Fails with the answer.
///
/// `seen` is what the look at `file` has returned: 0, 1 if it cannot be compared with others, or
/// the error of a security module that denies it.
fn begin(
    table: &'static Table<Call>,
    seen: c_int,
    file: File,
    of: *mut bindings::file,
    may_load: MayLoad,
) -> Result<*mut bindings::module_dedup, c_int> {
    match seen {
        0 => match join_or_lead(table, file, of, may_load) {
            Err(ALONE) => {
                check_again(Some(0), may_load)?;
                Ok(alone(table))
            }
            begun => begun,
        },
        1 => Ok(alone(table)),
        denied => Err(denied),
    }
}

fn join_or_lead(
    table: &'static Table<Call>,
    file: File,
    of: *mut bindings::file,
    may_load: MayLoad,
) -> Result<*mut bindings::module_dedup, c_int> {
    let helped = task::helped();
    let mut call = Call::new(What::File(file));
    // Most callers follow, and need no ticket, unless others may wait for them.
    let mut waited = None;
    if helped.is_none() {
        while let Some(follower) = table.follow(&call) {
            follow(follower, None)?;
            waited = Some(0);
        }
    }

    match &mut call.what {
        // SAFETY: It is the file of this call.
        What::File(file) if !of.is_null() => unsafe { file.set_leader(of) },
        _ => {}
    }
    let Ok(mut ticket) = table.ticket(call, task::current()) else {
        stats::BYPASSED.add(1, Relaxed);
        check_again(waited, may_load)?;
        return Ok(core::ptr::null_mut());
    };
    if helped.is_some() {
        ticket.take_part();
    }
    while let Entry::Follows(follower) = ticket.enter() {
        follow(follower, helped)?;
        waited = Some(0);
    }
    waited = stand_in_line(&ticket, helped)
        .map_err(Error::to_errno)?
        .or(waited);
    check_again(waited, may_load)?;
    lead(ticket, waited.unwrap_or(0))
}

/// Checks whether a call that has waited may load.
fn check_again(waited: Option<u64>, may_load: MayLoad) -> Result<(), c_int> {
    let (Some(_), Some(may_load)) = (waited, may_load) else {
        return Ok(());
    };
    // SAFETY: By the safety requirements of `module_dedup_begin()`.
    match unsafe { may_load() } {
        0 => Ok(()),
        denied => Err(denied),
    }
}

/// Waits for the flight of another caller. Fails with the answer, if there is one.
fn follow(follower: Follower<'static, Call>, me: Option<TaskId>) -> Result<(), c_int> {
    trace::join(follower.flight(), follower.nth());
    stats::raise(&stats::MOST_FOLLOWERS, follower.nth().into());
    let mut wait = Wait::new(me);
    let (flight, ended) = follower.wait(false, &mut |flight| wait.pace(flight));
    let waited = wait.over();

    match ended.map(|answer| answer.and_then(|answer| shared(&flight, answer))) {
        Ok(Some(result)) if result != ALONE => {
            trace::done(&flight, result, 0, waited);
            Err(result)
        }
        // A task that is about to handle a signal must not take up the work.
        Ok(_) if current!().signal_pending() => Err(not_waited(&flight, ERESTARTSYS, waited)),
        Ok(alone) => {
            stats::RETRIED.add(1, Relaxed);
            trace::retry(&flight, waited);
            alone.map_or(Ok(()), Err)
        }
        Err(e) => Err(not_waited(&flight, e, waited)),
    }
}

/// What a follower returns, if the answer of its leader holds for it.
fn shared(flight: &Flight<Call>, answer: i64) -> Option<c_int> {
    let result = answer as c_int;
    let What::File(file) = &flight.key().what else {
        return None;
    };
    if result == ALONE {
        return Some(ALONE);
    }
    if !file.is_for_me(result) {
        return None;
    }
    if file.is_copy() {
        // SAFETY: The name is a string.
        unsafe { bindings::module_dedup_audit(flight.key().name().as_ptr()) };
        stats::COPIES_JOINED.add(1, Relaxed);
        stats::COPIES_BYTES.add(file.id.size, Relaxed);
        return Some(result);
    }
    stats::JOINED.add(1, Relaxed);
    stats::JOINED_BYTES.add(file.id.size, Relaxed);
    // A follower that has no signal to handle must not restart.
    Some(if is_restart(result) {
        EINTR.to_errno()
    } else {
        result
    })
}

/// Counts and shows that a call does not wait any more, and returns with an error.
fn not_waited(flight: &Flight<Call>, error: Error, waited: u64) -> c_int {
    if error == EDEADLK {
        trace::refuse(flight);
    } else {
        stats::INTERRUPTED.add(1, Relaxed);
        trace::done(flight, error.to_errno(), 0, waited);
    }
    error.to_errno()
}

/// Waits until it is the turn of a call. Returns how long that took, in ns, if it was not at once.
fn stand_in_line(ticket: &Ticket<'static, Call>, me: Option<TaskId>) -> Result<Option<u64>> {
    let mut wait = Wait::new(me);
    let ended = ticket.wait_for_turn(&mut |ahead| {
        if !wait.has_begun() {
            stats::BEHIND.add(1, Relaxed);
        }
        wait.pace(ahead)
    });
    if !wait.has_begun() {
        return Ok(None);
    }
    let waited = wait.over();
    if let Err(e) = ended {
        not_waited(ticket, e, waited);
        return Err(e);
    }
    Ok(Some(waited))
}

/// Leads a load, unless the module is live. Fails with the answer then.
fn lead(ticket: Ticket<'static, Call>, waited: u64) -> Result<*mut bindings::module_dedup, c_int> {
    trace::lead(&ticket, waited);
    death::expect(&ticket);
    // The file stays where it is for as long as the ticket.
    let (id, name) = match &ticket.key().what {
        What::File(file) => (&raw const file.id, file.module()),
        _ => return Ok(give(ticket)),
    };
    let copy = name.is_some();
    let name = name.map_or(core::ptr::null(), Name::as_ptr);
    if copy {
        &stats::COPIES_LED
    } else {
        &stats::LED
    }
    .add(1, Relaxed);
    let given = give(ticket);
    // SAFETY: The ticket was given just now, and `id` and `name` are part of its flight.
    let err = unsafe { bindings::module_dedup_is_late(given, id, name) };
    if err != 0 {
        if copy {
            // SAFETY: As above.
            unsafe { module_dedup_exists(given, name, err) };
            stats::COPIES_LATE.add(1, Relaxed);
            // SAFETY: As above.
            stats::COPIES_BYTES.add(unsafe { (*id).size }, Relaxed);
        } else {
            stats::LATE.add(1, Relaxed);
        }
        // SAFETY: The ticket is not used again.
        return Err(unsafe { super::module_dedup_end(given, err) });
    }
    Ok(given)
}

/// Ends a load with its result.
pub(crate) fn end(ticket: Ticket<'static, Call>, result: c_int) {
    death::rule_out(&ticket);
    let private = is_private(result) || (result == EDEADLK.to_errno() && ticket.was_refused());
    let answer = match reached(&ticket) {
        // Whatever else it could be was said before.
        Some(true) => EBUSY.to_errno(),
        Some(false) => ALONE,
        None => result,
    };
    finish(ticket, (!private).then_some(answer), result);
}

/// Ends a load that has come to this result, and gives its followers an answer, unless they have
/// one.
pub(crate) fn finish(ticket: Ticket<'static, Call>, answer: Option<c_int>, result: c_int) {
    let flight = (*ticket).clone();
    match ticket.finish(answer.map(i64::from)) {
        Some(followers) if flight.key().is_joinable() => trace::done(&flight, result, followers, 0),
        _ => {}
    }
}

/// Whether the load of an image has reached the name that its followers mean: the image may have
/// changed after the look at it. [`None`] for a file.
pub(crate) fn reached(flight: &Flight<Call>) -> Option<bool> {
    let call = flight.key();
    match &call.what {
        What::File(file) if file.is_copy() => Some(call.module.as_ref() == file.module()),
        _ => None,
    }
}

/// Gives the followers of an image their answer before its load is over.
fn answer(flight: &Handle<'static, Call>, result: c_int) {
    if reached(flight) == Some(true) {
        if let Some(followers) = flight.end(Some(result.into())) {
            trace::done(flight, result, followers, 0);
        }
    }
}

/// Whether an error is one that restarts the system call.
fn is_restart(result: c_int) -> bool {
    [
        ERESTARTSYS,
        ERESTARTNOINTR,
        ERESTARTNOHAND,
        ERESTART_RESTARTBLOCK,
    ]
    .iter()
    .any(|e| e.to_errno() == result)
}

/// Whether a signal to the current task ended its load: that says nothing of the file, so nobody
/// else may have it.
fn is_private(result: c_int) -> bool {
    if result == EINTR.to_errno() || is_restart(result) {
        current!().signal_pending()
    } else {
        result < 0 && current!().fatal_signal_pending()
    }
}

/// Lets nobody join a load any more: its result is decided.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `ticket` must be one of a load that is under way in the current task.
#[export]
unsafe extern "C" fn module_dedup_close(ticket: *mut bindings::module_dedup) {
    // SAFETY: By the safety requirements.
    unsafe { with(ticket, |flight| flight.close()) };
}

/// Lets nobody join a load any more, which fails with `err` since there is, or was, a module with
/// its name.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `ticket` must be one of a load that is under way in the current task, and `name` a string.
#[export]
unsafe extern "C" fn module_dedup_exists(
    ticket: *mut bindings::module_dedup,
    name: *const c_char,
    err: c_int,
) {
    let exists = |flight: &Handle<'static, Call>| {
        // SAFETY: By the safety requirements.
        let name = Name::new(unsafe { CStr::from_char_ptr(name) });
        flight.key().module.populate(name);
        if [EEXIST, EBUSY].iter().any(|e| e.to_errno() == err) {
            answer(flight, err);
        }
        flight.close();
    };
    // SAFETY: By the safety requirements.
    unsafe { with(ticket, exists) };
}

/// Notes that the module of a load is live, while the load goes on.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `ticket` must be one of a load that is under way in the current task.
#[export]
unsafe extern "C" fn module_dedup_answer(ticket: *mut bindings::module_dedup) {
    // SAFETY: By the safety requirements.
    unsafe { with(ticket, |flight| answer(flight, EEXIST.to_errno())) };
}

/// Notes that a module is in the list of modules for a load, or by null that none is any more.
///
/// Sets `id` to what the module is loaded from, if that can be compared with other files. Returns a
/// number that names the load, for `module_dedup_wait_for()`. Does not sleep.
///
/// # Safety
///
/// `ticket` must be one of a load that is under way in the current task. `module` must be null, or
/// in the list of modules; then `name` must be its name, `id` valid for writing, and `wq` where
/// tasks wait for it.
#[export]
unsafe extern "C" fn module_dedup_set_module(
    ticket: *mut bindings::module_dedup,
    module: *mut bindings::module,
    name: *const c_char,
    id: *mut bindings::module_dedup_id,
    wq: *mut bindings::wait_queue_head,
) -> u64 {
    let set = |flight: &Flight<Call>| {
        let call = flight.key();
        call.death.set_module(module, wq);
        if !module.is_null() {
            // SAFETY: By the safety requirements.
            let name = Name::new(unsafe { CStr::from_char_ptr(name) });
            call.module.populate(name);
            match &call.what {
                // SAFETY: By the safety requirements.
                What::File(file) if file.module().is_none_or(|it| *it == name) => unsafe {
                    id.write(file.id);
                },
                _ => {}
            }
        }
        flight.id()
    };
    // SAFETY: By the safety requirements.
    unsafe { with(ticket, |flight| set(flight)) }.unwrap_or(0)
}

/// Gets the arguments of a load, or null if they have to be read from user space.
///
/// They are valid for as long as the ticket. Does not sleep.
///
/// # Safety
///
/// `ticket` must be one of a load that is under way in the current task.
#[export]
unsafe extern "C" fn module_dedup_get_args(ticket: *mut bindings::module_dedup) -> *const c_char {
    // SAFETY: By the safety requirements.
    let args = unsafe {
        with(ticket, |flight| match &flight.key().what {
            What::File(file) => file.args().map(|args| args.as_ptr().cast()),
            _ => None,
        })
    };
    args.flatten().unwrap_or(core::ptr::null())
}
