// SPDX-License-Identifier: GPL-2.0

//! Requests: concurrent calls of `request_module()` for one name share one modprobe.
//!
//! A request is answered when its helper has ended, by the worker that has reaped it: so the answer
//! does not depend on when, or whether, the task runs that has made the request.
//!
//! Some tasks make each request by themselves, and no other task joins them: a task that descends
//! from a helper, and one that loads a module. What they wait for may wait for them. So a wait for
//! a request is part of no circle. Only a loader for which there was no memory, or whose load began
//! while `module.dedup` was `c` or `off`, may join, for the limited time of a follower.

use super::{
    count_wait,
    current_id,
    dependable,
    nanos,
    trace::{
        self,
        Seen, //
    },
    Comm,
    Load,
    Name,
    TABLE, //
};
use core::ptr;
use kernel::{
    bindings, fmt,
    module_dedup::{
        runs::{
            End,
            Entry,
            Flight,
            Question,
            Run,
            Runs,
            Waited, //
        },
        LoadId,
        Request,
        TaskId, //
    },
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce,
        SpinLock, //
    },
    time::{
        Instant,
        Monotonic,
        Msecs, //
    },
};

/// How long a follower waits before one of them has another modprobe started: as long as the
/// kernel lets a request wait for a place (`MAX_KMOD_ALL_BUSY_TIMEOUT`).
const PATIENCE: Msecs = 5_000;

/// How often a follower asks again. After that it goes alone, as on a kernel that joins nothing:
/// the helpers of others may be killed again and again.
const TRIES: u32 = 3;

/// How many helpers are remembered. More can run if requesters are killed; those are then not named
/// in the log.
const HELPERS: usize = 64;

/// Empty until the early initcalls, and for good if there was no memory for it.
pub(super) static REQUESTS: SetOnce<Requests> = SetOnce::new();

/// Requests that had modprobe started, and could be joined.
pub(super) static LED: Atomic<u64> = Atomic::new(0);

/// Requests that were answered by the modprobe of another one.
pub(super) static JOINED: Atomic<u64> = Atomic::new(0);

/// Requests that could not be joined.
pub(super) static ALONE: Atomic<u64> = Atomic::new(0);

/// Followers that were killed.
pub(super) static INTERRUPTED: Atomic<u64> = Atomic::new(0);

/// Followers for whom an answer did not count.
pub(super) static RETRIED: Atomic<u64> = Atomic::new(0);

/// What is requested, and who was the first to do so.
pub(super) struct Asked {
    name: Name,
    by: TaskId,
    hash: usize,
}

impl Asked {
    fn new(name: Name, by: TaskId) -> Self {
        // SAFETY: The name is valid for so many bytes.
        let hash = unsafe { bindings::module_dedup_hash(name.as_ptr().cast(), Name::SIZE) };
        Self {
            name,
            by,
            hash: hash as usize,
        }
    }
}

impl Question for Asked {
    fn hash(&self) -> usize {
        self.hash
    }

    fn same(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All that is known of requests.
pub(super) struct Requests {
    runs: Runs<Asked>,
    helpers: Pin<KBox<SpinLock<KVec<Option<Helper>>>>>,
}

/// A helper that runs, and for which request.
#[derive(Clone, Copy)]
struct Helper {
    task: TaskId,
    name: Name,
    by: TaskId,
    /// Whether others may join the request.
    leads: bool,
}

impl Requests {
    /// May sleep. Fails with `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let helpers = KVec::from_elem(None, HELPERS, GFP_KERNEL)?;
        Ok(Self {
            runs: Runs::new()?,
            helpers: KBox::pin_init(new_spinlock!(helpers, "module_dedup_helpers"), GFP_KERNEL)?,
        })
    }

    fn add_helper(&self, helper: Helper) {
        let mut helpers = self.helpers.lock();
        if let Some(slot) = helpers.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(helper);
        }
    }

    fn remove_helper(&self, of: &Asking) {
        let mut helpers = self.helpers.lock();
        let is_it = |it: &Helper| it.by == of.by && it.name == of.name;
        if let Some(slot) = helpers
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(is_it))
        {
            *slot = None;
        }
    }

    fn find_helper(&self, wanted: impl Fn(&Helper) -> bool) -> Option<Helper> {
        let helpers = self.helpers.lock();
        helpers.iter().flatten().find(|it| wanted(it)).copied()
    }
}

/// A request that had modprobe started, or is about to. The task that has made it knows of it, and
/// so do its helper and the worker that waits for that.
struct Asking {
    name: Name,
    by: TaskId,
    /// The run, if others may join the request.
    run: Option<Run<'static, Asked>>,
    /// The request in the wait graph, if it is there.
    edge: Option<LoadId>,
}

impl Asking {
    /// Gives the followers the answer, unless that was done before.
    fn end(&self, result: c_int) {
        if let Some(followers) = self.run.as_ref().and_then(|run| run.end(end_of(result))) {
            trace::done(&Seen::request(self.by, &self.name), result, followers, 0);
        }
    }
}

/// What the result of a request is to those who have joined it: the exit status of the helper as
/// wait() reports it, or an error number.
fn end_of(result: c_int) -> End {
    const SIGNAL: c_int = 0x7f;
    match result {
        0 => End::Success,
        // The helper was killed.
        1.. if result & SIGNAL != 0 => End::Private,
        1.. => End::Failure(result),
        _ => match Error::from_errno(result) {
            ENOMEM | EAGAIN | EINTR | ERESTARTSYS => End::Private,
            _ => End::Failure(result),
        },
    }
}

/// What a task keeps of its request while it waits for the helper.
struct Ticket {
    asking: Arc<Asking>,
    /// Takes the request out of the wait graph when it is dropped.
    _edge: Option<Request<'static, Load>>,
}

/// Joins the request of another task, or sets out to make one.
///
/// Returns true if another task has made the request, and sets `request.result`; or false, and
/// sets `request.ticket`, to null if there is no memory. Sleeps killably for as long as other tasks
/// make that request, until it is the turn of this one.
///
/// # Safety
///
/// `request` must be valid, with a name.
#[export]
unsafe extern "C" fn module_dedup_enter_request(
    request: *mut bindings::module_dedup_request,
) -> bool {
    // SAFETY: By the safety requirements it is valid, and nobody else knows of it.
    let request = unsafe { &mut *request };
    let me = current_id();
    let helped = dependable().is_some();
    let loads = TABLE.as_ref().is_some_and(|table| table.knows(me));
    // SAFETY: FFI call without requirements.
    let on = unsafe { bindings::module_dedup_joins_requests() };
    let joins = on && request.wait && !helped && !loads;
    // SAFETY: By the safety requirements.
    let name = Name::new(unsafe { CStr::from_char_ptr(request.name) });

    let run = match REQUESTS.as_ref() {
        Some(requests) if joins => match join(requests, name, me, request) {
            Ok(run) => run,
            Err(result) => {
                request.result = result;
                return true;
            }
        },
        _ => None,
    };
    let leads = run.is_some();
    if request.wait {
        request.ticket = ask(name, me, run, helped);
    }
    if leads && !request.ticket.is_null() {
        LED.add(1, Relaxed);
    } else if on {
        ALONE.add(1, Relaxed);
    }
    false
}

/// Waits for the answer to the request of another task. Fails with that answer.
fn join(
    requests: &'static Requests,
    name: Name,
    me: TaskId,
    request: &bindings::module_dedup_request,
) -> Result<Option<Run<'static, Asked>>, c_int> {
    let moment = requests.runs.moment();
    for tries in 0..=TRIES {
        let follower = match requests.runs.enter(Asked::new(name, me), moment) {
            Entry::Leader(run) => return Ok(Some(run)),
            Entry::Alone => return Ok(None),
            Entry::Follower(follower) => follower,
        };
        if tries == 0 {
            // SAFETY: `request` is valid.
            unsafe { bindings::module_dedup_trace_request(request) };
        }
        let flight = follower.flight().clone();
        let seen = seen(&flight);
        trace::join(&seen, follower.followers());
        let begun = Instant::<Monotonic>::now();
        let waited = follower.wait(PATIENCE);
        let time = count_wait(begun.elapsed());
        match waited {
            Ok(Waited::Answer(result)) => {
                JOINED.add(1, Relaxed);
                trace::done(&seen, result, 0, time);
                return Err(result);
            }
            Ok(Waited::Again) => {
                RETRIED.add(1, Relaxed);
                trace::retry(&seen, time);
            }
            Ok(Waited::Turn(run)) => {
                trace::retry(&seen, time);
                return Ok(Some(run));
            }
            Err(e) => {
                INTERRUPTED.add(1, Relaxed);
                trace::done(&seen, e.to_errno(), 0, time);
                return Err(e.to_errno());
            }
        }
    }
    Ok(None)
}

/// A flight as the tracepoints show it.
fn seen(flight: &Flight<Asked>) -> Seen<'_> {
    let Asked { name, by, .. } = flight.question();
    Seen::request(*by, name)
}

/// Returns a [`Ticket`], or null if there is no memory: then the request is made all the same, and
/// the run has a private end.
fn ask(name: Name, me: TaskId, run: Option<Run<'static, Asked>>, helped: bool) -> *mut c_void {
    trace::lead(&Seen::request(me, &name), 0);
    let edge = TABLE
        .as_ref()
        .filter(|_| run.is_none())
        .and_then(|table| table.request(me, helped, name));
    let asking = Asking {
        name,
        by: me,
        run,
        edge: edge.as_ref().map(Request::id),
    };
    let ticket = Arc::new(asking, GFP_KERNEL).and_then(|asking| {
        KBox::new(
            Ticket {
                asking,
                _edge: edge,
            },
            GFP_KERNEL,
        )
    });
    ticket.map_or(ptr::null_mut(), |ticket| {
        KBox::into_raw(ticket).cast::<c_void>()
    })
}

/// Notes that the helper of a request is about to be started.
///
/// Returns what is to be passed to the helper, and to the worker that waits for it, and given back
/// with `module_dedup_put_run()`. Does not sleep, takes a spinlock.
///
/// # Safety
///
/// `ticket` must come from `module_dedup_enter_request()`, in the current task.
#[export]
unsafe extern "C" fn module_dedup_begin_run(ticket: *mut c_void) -> *mut c_void {
    // SAFETY: By the safety requirements the ticket is valid, and only this task uses it.
    let ticket = unsafe { &*ticket.cast::<Ticket>() };
    if let Some(run) = &ticket.asking.run {
        run.begin();
    }
    ticket.asking.clone().into_raw().cast_mut().cast::<c_void>()
}

/// Notes that the current task is the helper of a request.
///
/// Does not sleep, takes spinlocks.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`.
#[export]
unsafe extern "C" fn module_dedup_set_helper(run: *const c_void) {
    // SAFETY: By the safety requirements it is valid until it is given back.
    let asking = unsafe { &*run.cast::<Asking>() };
    let task = current_id();
    if let Some(requests) = REQUESTS.as_ref() {
        requests.add_helper(Helper {
            task,
            name: asking.name,
            by: asking.by,
            leads: asking.run.is_some(),
        });
    }
    if let (Some(table), Some(edge)) = (TABLE.as_ref(), asking.edge) {
        table.set_helper(edge, task);
    }
}

/// Notes that the helper of a request has ended, and gives the result to those who have joined it.
///
/// Does not sleep, takes spinlocks.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`.
#[export]
unsafe extern "C" fn module_dedup_end_run(run: *const c_void, result: c_int) {
    // SAFETY: By the safety requirements it is valid until it is given back.
    let asking = unsafe { &*run.cast::<Asking>() };
    if let Some(requests) = REQUESTS.as_ref() {
        requests.remove_helper(asking);
    }
    asking.end(result);
}

/// Gives back what `module_dedup_begin_run()` has returned.
///
/// Does not sleep.
///
/// # Safety
///
/// `run` must come from `module_dedup_begin_run()`, and is not to be used again.
#[export]
unsafe extern "C" fn module_dedup_put_run(run: *mut c_void) {
    // SAFETY: By the safety requirements this is a reference that was given away.
    drop(unsafe { Arc::from_raw(run.cast::<Asking>()) });
}

/// Notes that the task that has made a request does not wait for it any more, and returns `result`.
///
/// Does not sleep, takes spinlocks.
///
/// # Safety
///
/// `ticket` must come from `module_dedup_enter_request()`, in the current task, and is not to be
/// used again.
#[export]
unsafe extern "C" fn module_dedup_leave_request(ticket: *mut c_void, result: c_int) {
    // SAFETY: By the safety requirements this comes from a box, and nobody else uses it.
    let ticket = unsafe { KBox::from_raw(ticket.cast::<Ticket>()) };
    let asking = &ticket.asking;
    if asking.run.is_none() {
        trace::done(&Seen::request(asking.by, &asking.name), result, 0, 0);
    } else if result != ERESTARTSYS.to_errno() {
        // In most cases the worker has done this before. It has not if there was no helper. A task
        // that is being killed leaves the helper alone, and so it leaves the run to the worker.
        asking.end(result);
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
    if let Some(requests) = REQUESTS.as_ref() {
        requests.runs.removal();
    }
}

/// Prints for which request the current task runs, if it does so for one.
pub(super) struct Errand;

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut task = bindings::module_dedup_task::default();
        // SAFETY: `task` is valid for writing.
        if !unsafe { bindings::module_dedup_find_helper(&mut task) } {
            return Ok(());
        }
        let task = super::task_id(task);
        let found = REQUESTS
            .as_ref()
            .and_then(|it| it.find_helper(|helper| helper.task == task));
        match found {
            Some(Helper { name, by, .. }) => f.write_fmt(fmt!(
                ", which runs for the request for {} by {},",
                name,
                Comm(by)
            )),
            None => f.write_fmt(fmt!(", which runs for a request,")),
        }
    }
}

/// Prints the requests that can be joined, for debugfs.
///
/// May sleep, takes spinlocks. Fails with `ENOMEM`.
pub(super) fn show(m: &SeqFile) -> Result {
    let Some(requests) = REQUESTS.as_ref() else {
        return Ok(());
    };
    for (flight, followers) in &requests.runs.snapshot()? {
        let Asked { name, by, .. } = flight.question();
        seq_print!(
            m,
            "request\t{}\t{}\t{}\t{}\t",
            nanos(flight.age()) / 1_000_000,
            followers,
            Comm(*by),
            name
        );
        match requests.find_helper(|helper| helper.leads && helper.name == *name) {
            Some(helper) => seq_print!(
                m,
                "request for {} with helper {}\n",
                name,
                Comm(helper.task)
            ),
            None => seq_print!(m, "request for {}\n", name),
        }
    }
    Ok(())
}
