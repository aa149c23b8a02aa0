// SPDX-License-Identifier: GPL-2.0

//! Requests: concurrent calls of `request_module()` for one name share one modprobe.
//!
//! The worker that reaps a helper ends the flight, so it does not matter whether the task that has
//! started the helper runs. A follower waits for 5 s. Then it ends the flight, and all
//! followers ask again: the first of them starts another modprobe, which the others follow. The
//! older modprobe still answers them, if it ends first.
//!
//! A task that descends from a helper, or loads a module itself, starts its own modprobe: so no
//! task waits for a request if a request may wait for that task.

use super::{
    give,
    key::{
        Call,
        What, //
    },
    stats,
    table,
    task::{
        self,
        Name, //
    },
    trace,
    with,
    TABLE, //
};
use kernel::{
    bindings,
    module_dedup::{
        runs::{
            Answer,
            Clock,
            Moment, //
        },
        Entry,
        Follower,
        Handle,
        Table,
        Ticket, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::Msecs, //
};

/// How long a follower waits before another modprobe is started: as long as the kernel lets a
/// request wait for a place (`MAX_KMOD_ALL_BUSY_TIMEOUT`).
const PATIENCE: Msecs = 5_000;

/// From how many flights a follower gets no answer, or none that is for it, before it goes alone,
/// as on a kernel that joins nothing: the helpers of others may be killed again and again.
const TRIES: u32 = 4;

/// How many flights there are for requests that can be joined. More requests than that go alone.
const MOST: usize = 256;

/// The end of a flight whose followers have lost patience. No [`Answer`] is negative.
const TAKEN: i64 = -1;

/// The begin of a run that has not begun.
const NEVER: u64 = u64::MAX;

static CLOCK: Clock = Clock::at_zero();

/// What is requested.
pub(crate) struct Asked {
    pub(crate) name: Name,
    pub(crate) hash: usize,
    /// Whether others may join the request.
    joinable: bool,
    /// When the request was made.
    moment: Moment,
    /// When it was the turn of the request to start a modprobe.
    led: Atomic<u64>,
    /// When it did, or [`NEVER`].
    begun: Atomic<u64>,
    /// Whether it has followed a flight that ended with [`TAKEN`]: then older runs may answer it.
    heir: Atomic<bool>,
}

impl Asked {
    fn new(name: Name, joinable: bool) -> Self {
        // SAFETY: The name is so long.
        let hash = unsafe { bindings::module_dedup_hash(name.as_ptr().cast(), Name::SIZE) };
        Self {
            name,
            hash: hash as usize,
            joinable,
            moment: CLOCK.moment(),
            led: Atomic::new(0),
            begun: Atomic::new(NEVER),
            heir: Atomic::new(false),
        }
    }

    /// Whether the request `other` can join this one: it cannot if a module was removed after the
    /// run began, since that could have been what the run has brought.
    pub(crate) fn is_for(&self, other: &Self) -> bool {
        self.name == other.name && other.moment.may_have_success(self.begun.load(Relaxed))
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.joinable.then_some(MOST)
    }
}

fn asked<'a>(flight: &'a Handle<'static, Call>) -> Option<&'a Asked> {
    match &flight.key().what {
        What::Request(asked) => Some(asked),
        _ => None,
    }
}

/// Begins a request for the module `name`.
///
/// Returns false if the caller has to make the request, and then to call `module_dedup_end()` with
/// `*ticket`, which may be null. Returns true if the call is over, and sets `*ret` to what it
/// returns: the answer to the request of another caller, or `-ERESTARTSYS` if the task is being
/// killed.
///
/// May sleep, killably, for as long as other callers make the request. A caller that does not
/// `wait` for modprobe does not wait here.
///
/// # Safety
///
/// `ticket` and `ret` must be valid for writing, and `name` a string.
#[export]
unsafe extern "C" fn module_dedup_begin_request(
    ticket: *mut *mut bindings::module_dedup,
    ret: *mut c_int,
    name: *const c_char,
    wait: bool,
    ip: c_ulong,
) -> bool {
    // SAFETY: By the safety requirements.
    let name = Name::new(unsafe { CStr::from_char_ptr(name) });
    let begun = match table() {
        Some(table) => begin(table, name, wait, ip),
        None => Ok(core::ptr::null_mut()),
    };
    // SAFETY: By the safety requirements.
    unsafe { super::begun(begun, ticket, ret) }
}

/// Waits for others, or begins a request. Fails with the answer.
fn begin(
    table: &'static Table<Call>,
    name: Name,
    wait: bool,
    ip: c_ulong,
) -> Result<*mut bindings::module_dedup, c_int> {
    // SAFETY: The parameter is a `bool`, and may change at any time.
    let on = unsafe { (&raw const bindings::module_dedup_requests).read_volatile() };
    let helped = task::helped().is_some();
    let loads = table.knows(task::current());
    let joins = on && wait && !helped && !loads;
    let led = if joins { lead(table, name, ip)? } else { None };

    let counter = match &led {
        Some(_) => &stats::REQUESTS_LED,
        None => &stats::REQUESTS_ALONE,
    };
    if on {
        counter.add(1, Relaxed);
    }
    let ticket = match led {
        None if wait => alone(table, name, helped || loads),
        led => led,
    };
    Ok(ticket.map_or(core::ptr::null_mut(), |ticket| {
        trace::lead(&ticket, 0);
        give(ticket)
    }))
}

/// Waits for the answer to the request of another task, and fails with that answer; or leads a
/// request, unless there are enough of them, or the helpers of others die again and again.
fn lead(
    table: &'static Table<Call>,
    name: Name,
    ip: c_ulong,
) -> Result<Option<Ticket<'static, Call>>, c_int> {
    let call = Call::new(What::Request(Asked::new(name, true)));
    let Ok(mut ticket) = table.ticket(call, task::current()) else {
        return Ok(None);
    };
    let (mut tries, mut traced) = (0u32, false);
    while tries < TRIES {
        let Some(asked) = asked(&ticket) else {
            break;
        };
        asked.led.store(CLOCK.tick(), Relaxed);
        let moment = asked.moment;
        match ticket.enter() {
            Entry::Follows(follower) => {
                let taken = follow(follower, moment, &mut traced, ip)?;
                if let Some(asked) = self::asked(&ticket) {
                    asked.heir.store(taken, Relaxed);
                }
                tries = tries.saturating_add(u32::from(!taken));
            }
            Entry::Leads => return Ok(Some(ticket)),
            Entry::Full => break,
        }
    }
    Ok(None)
}

/// A request that no other one can join. It is in no list, unless a task may wait for it: users can
/// make many of them.
fn alone(
    table: &'static Table<Call>,
    name: Name,
    waited_for: bool,
) -> Option<Ticket<'static, Call>> {
    let call = Call::new(What::Request(Asked::new(name, false)));
    let mut ticket = table.ticket(call, task::current()).ok()?;
    if waited_for {
        ticket.take_part();
    }
    Some(ticket)
}

/// Waits for the answer to the request of another task, and fails with that answer. If there is
/// none, returns whether that is because a follower has lost patience.
fn follow(
    follower: Follower<'static, Call>,
    moment: Moment,
    traced: &mut bool,
    ip: c_ulong,
) -> Result<bool, c_int> {
    if !core::mem::replace(traced, true) {
        let name = follower.flight().key().name().as_ptr();
        // SAFETY: The name is valid, and is not written to.
        unsafe { bindings::module_dedup_trace_request(name.cast_mut(), ip) };
    }
    trace::join(follower.flight(), follower.nth());
    stats::raise(&stats::MOST_FOLLOWERS, follower.nth().into());
    let begun = stats::Begin::now();
    let mut slept = false;
    let (flight, ended) = follower.wait(true, &mut |_| {
        if core::mem::replace(&mut slept, true) {
            Err(ETIMEDOUT)
        } else {
            Ok(PATIENCE)
        }
    });
    let waited = begun.count();

    let answer = match ended {
        Err(e) if e == ETIMEDOUT => match flight.end(Some(TAKEN)) {
            Some(_) => Ok(Some(TAKEN)),
            // There is an answer after all, or another follower was faster.
            None => Ok(flight.answer()),
        },
        ended => ended,
    };
    match answer {
        Ok(Some(raw)) if raw != TAKEN && moment.may_have(Answer::from_raw(raw)) => {
            let result = Answer::from_raw(raw).result;
            stats::REQUESTS_JOINED.add(1, Relaxed);
            trace::done(&flight, result, 0, waited);
            Err(result)
        }
        // A task that is being killed must not take up the work.
        Ok(_) if !current!().fatal_signal_pending() => {
            let taken = answer == Ok(Some(TAKEN));
            if !taken {
                stats::RETRIED.add(1, Relaxed);
            }
            trace::retry(&flight, waited);
            Ok(taken)
        }
        _ => {
            let result = answer.err().unwrap_or(ERESTARTSYS).to_errno();
            stats::INTERRUPTED.add(1, Relaxed);
            trace::done(&flight, result, 0, waited);
            Err(result)
        }
    }
}

/// Gives the followers of a request its result, unless it was given before. Returns false if they
/// have lost patience meanwhile.
fn answer(flight: &Handle<'static, Call>, result: c_int) -> bool {
    let raw = shared(flight, result);
    if let Some(followers) = flight.end(raw) {
        trace::done(flight, result, followers, 0);
    }
    flight.answer() != Some(TAKEN)
}

/// What the result of a request is to its followers: the exit status of the helper as
/// wait() reports it, or an error number. Nothing, if it is private.
fn shared(flight: &Handle<'static, Call>, result: c_int) -> Option<i64> {
    const SIGNAL: c_int = 0x7f;
    let private = match result {
        // The helper was killed.
        1.. => result & SIGNAL != 0,
        0 => false,
        _ => [ENOMEM, EAGAIN, EINTR, ERESTARTSYS]
            .iter()
            .any(|e| e.to_errno() == result),
    };
    let asked = asked(flight).filter(|_| !private)?;
    let begun = match asked.begun.load(Relaxed) {
        NEVER => asked.led.load(Relaxed),
        begun => begun,
    };
    Some(Answer { result, begun }.to_raw())
}

/// Ends a request with its result.
pub(crate) fn end(ticket: Ticket<'static, Call>, result: c_int) {
    // A task that is being killed leaves the helper alone, and so it leaves the flight to the
    // worker that waits for the helper.
    let helper = asked(&ticket).is_some_and(|it| it.begun.load(Relaxed) != NEVER);
    if result != ERESTARTSYS.to_errno() || !helper {
        // In most cases the worker has done this. It has not if there was no helper.
        answer(&ticket, result);
    }
    ticket.abandon();
}

/// Notes that the helper of a request is about to be started.
///
/// Returns what is to be passed to the helper, and to the worker that waits for it, and given back
/// with `module_dedup_put_run()`. Does not sleep.
///
/// # Safety
///
/// `ticket` must come from `module_dedup_begin_request()`, in the current task.
#[export]
unsafe extern "C" fn module_dedup_begin_run(
    ticket: *mut bindings::module_dedup,
) -> *mut bindings::module_dedup {
    // SAFETY: By the safety requirements.
    let run = unsafe {
        with(ticket, |flight| {
            if let Some(asked) = asked(flight) {
                asked.begun.store(CLOCK.tick(), Relaxed);
            }
            flight.clone().into_raw()
        })
    };
    run.map_or(core::ptr::null_mut(), |run| run.cast_mut().cast())
}

/// Notes that the current task is the helper of a request.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`.
#[export]
unsafe extern "C" fn module_dedup_set_helper(run: *mut bindings::module_dedup) {
    // SAFETY: By the safety requirements it is valid until it is given back.
    unsafe { with(run, |flight| flight.set_helper(task::current())) };
}

/// Notes that the helper of a request has ended, and gives the result to the followers, or to those
/// of a later request that have left this one since it took too long.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`.
#[export]
unsafe extern "C" fn module_dedup_end_run(run: *mut bindings::module_dedup, result: c_int) {
    let end = |flight: &Handle<'static, Call>| {
        if answer(flight, result) {
            return;
        }
        if let (Some(table), Some(raw)) = (TABLE.as_ref(), shared(flight, result)) {
            let heir =
                |call: &Call| matches!(&call.what, What::Request(it) if it.heir.load(Relaxed));
            table.end_for(flight.key(), heir, raw);
        }
    };
    // SAFETY: By the safety requirements it is valid until it is given back.
    unsafe { with(run, end) };
}

/// Gives back what `module_dedup_begin_run()` has returned.
///
/// Does not sleep.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`, and is not to be used again.
#[export]
unsafe extern "C" fn module_dedup_put_run(run: *mut bindings::module_dedup) {
    if let Some(table) = TABLE.as_ref() {
        // SAFETY: By the safety requirements this is a reference that was given away.
        drop(unsafe { Handle::from_raw(table, run.cast_const().cast()) });
    }
}

/// Notes that a module is about to be removed, which a request may have brought.
///
/// Does not sleep.
///
/// # Safety
///
/// The caller must hold `module_mutex`.
#[export]
unsafe extern "C" fn module_dedup_removal() {
    CLOCK.removal();
}
