// SPDX-License-Identifier: GPL-2.0

//! Module load de-duplication: the policy.
//!
//! What makes two calls of `finit_module(2)` the same, and what a caller does once the flight table
//! ([`kernel::module_dedup`]) has told it whether it leads, follows, or stands in line. The policy
//! for requests is in `request.rs`.
//!
//! C header: [`include/linux/module_dedup.h`](srctree/include/linux/module_dedup.h)

use core::{
    cell::Cell,
    ptr, //
};
use kernel::{
    bindings,
    error::to_result,
    exit_guard::ExitGuard,
    fmt,
    module_dedup::{
        Behind,
        Ended,
        Entry,
        Flight,
        Follower,
        Key,
        Leader,
        LoadId,
        Step,
        Table,
        Task,
        TaskId, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::BStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

#[path = "dedup/request.rs"]
mod request;

use trace::Seen;

const __LOG_PREFIX: &[u8] = b"module\0";

/// The one table. Empty until the early initcalls, and for good if there was no memory for it:
/// then every call goes to the loader by itself.
static TABLE: SetOnce<Table<Load>> = SetOnce::new();

/// The sizes of the files that were not read because the call joined another one.
static JOINED_BYTES: Atomic<u64> = Atomic::new(0);

/// Flights that ended without a load, since the module was live already.
static LATE: Atomic<u64> = Atomic::new(0);

/// Calls that could not be de-duplicated.
static BYPASSED: Atomic<u64> = Atomic::new(0);

/// Loads whose task died in them.
static DIED: Atomic<u64> = Atomic::new(0);

/// How long all callers together have waited for others, in ns.
static WAITED: Atomic<u64> = Atomic::new(0);

/// How long one of them did at the most, in ns.
static LONGEST: Atomic<u64> = Atomic::new(0);

/// A call of `finit_module(2)` that can be joined with others.
struct Load {
    /// Of the file, once the call has a flight.
    name: Option<Name>,
    /// On whose behalf it is loaded, once the call has a flight.
    context: Option<Context>,
    id: bindings::module_dedup_id,
    flags: c_int,
    args_hash: u32,
    /// With the final NUL; nothing if that is all there is.
    args: Option<KVec<u8>>,
}

// SAFETY: `id.inode` is compared and never dereferenced. All else can be sent to any task.
unsafe impl Send for Load {}

// SAFETY: A `Load` that is shared is never written, and `id.inode` is never dereferenced.
unsafe impl Sync for Load {}

impl Load {
    /// Takes the description of a call, and its copy of the arguments.
    ///
    /// Returns [`None`] if the call was found not to be joinable.
    ///
    /// # Safety
    ///
    /// If neither `call.args` is null nor `call.args_size` 0, then `call.args` must be the start
    /// of so many initialised bytes allocated with `kmalloc()`; this function takes ownership of
    /// these. The copy lives as long as the returned [`Load`].
    unsafe fn new(call: &bindings::module_dedup_call) -> Option<Self> {
        if call.args.is_null() {
            return None;
        }
        let size = call.args_size;
        let args = (size > 0).then(|| {
            // SAFETY: By the safety requirements these bytes are initialised, come from the
            // allocator of `KVec`, and are ours. An allocation is at least as large as what was
            // asked for.
            unsafe { KVec::from_raw_parts(call.args.cast_mut().cast::<u8>(), size, size) }
        });
        Some(Self {
            name: None,
            context: None,
            id: call.id,
            flags: call.flags,
            args_hash: call.args_hash,
            args,
        })
    }

    /// Notes the name of the file, and whose load it is, for a flight.
    ///
    /// # Safety
    ///
    /// `file` must be the file of the call, to which the caller has a reference.
    unsafe fn set_leader(&mut self, file: *mut bindings::file) {
        if self.name.is_some() {
            return;
        }
        self.context = Some(Context::current());
        let mut name = Name::EMPTY;
        let text = name.0.as_mut_ptr().cast::<c_char>();
        // SAFETY: By the safety requirements, and the name has so much room.
        unsafe { bindings::module_dedup_get_name(file, text, Name::SIZE) };
        self.name = Some(name);
    }

    /// An inode is told by its address, too. The leader has a reference to it, so no other one
    /// comes to that address while the flight is up; but for the moment in which a task that has
    /// died lets go of its files, before it ends the flight. The numbers tell them apart then.
    fn same_file(&self, other: &Self) -> bool {
        self.id.inode == other.id.inode
            && self.id.ino == other.id.ino
            && self.id.dev == other.id.dev
            && self.id.generation == other.id.generation
    }

    /// A file whose identity does not count has to be read.
    fn same_call(&self, other: &Self) -> bool {
        self.id.counts
            && other.id.counts
            && self.same_file(other)
            && self.id.size == other.id.size
            && self.id.ctime_sec == other.id.ctime_sec
            && self.id.ctime_nsec == other.id.ctime_nsec
            && self.id.change_cookie == other.id.change_cookie
            && self.flags == other.flags
            && self.args_hash == other.args_hash
            && self.args.as_deref() == other.args.as_deref()
    }
}

/// On whose behalf a task loads.
///
/// # Invariants
///
/// The context was filled in by `module_dedup_get_context()`, and owns the reference to the
/// credentials.
struct Context(bindings::module_dedup_context);

// SAFETY: Credentials are never changed, and any task may give up a reference to them. The other
// pointers are compared and never dereferenced.
unsafe impl Send for Context {}

// SAFETY: A shared `Context` is only compared with another one.
unsafe impl Sync for Context {}

impl Context {
    /// That of the current task.
    fn current() -> Self {
        let mut context = bindings::module_dedup_context::default();
        // SAFETY: `context` is valid for writing.
        unsafe { bindings::module_dedup_get_context(&mut context) };
        // INVARIANT: It was just filled in, and the reference is passed on.
        Self(context)
    }

    /// Whether a result of a load on behalf of this context holds for the current task.
    fn is_for_me(&self, result: c_int) -> bool {
        // SAFETY: By the type invariant, the context is valid.
        unsafe { bindings::module_dedup_is_for_me(&self.0, result) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this is the one owner of the reference.
        unsafe { bindings::module_dedup_put_context(&mut self.0) };
    }
}

impl Key for Load {
    fn hash(&self) -> usize {
        // Fibonacci hashing: the high half of the product depends on all bits of the number.
        const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;
        let number = self.id.ino ^ (u64::from(self.id.dev) << 32);
        (number.wrapping_mul(GOLDEN_RATIO) >> 32) as usize
    }

    fn same_file(&self, other: &Self) -> bool {
        Load::same_file(self, other)
    }

    fn same_call(&self, other: &Self) -> bool {
        Load::same_call(self, other)
    }

    fn is_for_me(&self, result: i32) -> bool {
        self.context.as_ref().is_none_or(|it| it.is_for_me(result))
    }

    type Label = Name;

    fn stands_in(helper: TaskId) -> Option<TaskId> {
        let mut thread = bindings::module_dedup_task::default();
        // SAFETY: Both are valid.
        let found = unsafe { bindings::module_dedup_stands_in(&c_task(helper), &mut thread) };
        found.then_some(task_id(thread))
    }

    fn refused(me: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        let chain = Chain::new(chain);
        // A follower of a flight has a trace event of its own.
        if let Some(Step::Load(task, Some(name))) = chain.0.first() {
            trace::refuse(&Seen::load(*task, name));
        }
        if !may_print(true) {
            return;
        }
        pr_warn!(
            "{} would wait for itself, and fails with EDEADLK: {}{}\n",
            Comm(me),
            chain,
            chain.end(", and that is itself")
        );
    }

    fn delayed(waiting: u32, loader: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        if !may_print(false) {
            return;
        }
        let chain = Chain::new(chain);
        pr_warn!(
            "{}{} has waited 10 s, one of {}, for {}{}\n",
            Comm(current_id()),
            request::Errand,
            waiting,
            chain,
            chain.end("")
        );
        // SAFETY: The task is valid.
        unsafe { bindings::module_dedup_show_task(&c_task(loader)) };
    }
}

/// Whether another line of the log is allowed now, about a wait that was `refused`, or takes long.
fn may_print(refused: bool) -> bool {
    // SAFETY: FFI call without requirements.
    unsafe { bindings::module_dedup_may_print(refused) }
}

fn task_id(task: bindings::module_dedup_task) -> TaskId {
    TaskId {
        pid: task.pid,
        started: task.started,
    }
}

fn c_task(task: TaskId) -> bindings::module_dedup_task {
    bindings::module_dedup_task {
        pid: task.pid,
        started: task.started,
    }
}

fn load_id(id: bindings::module_dedup_load_id) -> LoadId {
    LoadId {
        task: task_id(id.task),
        serial: id.serial,
    }
}

fn current_id() -> TaskId {
    let mut task = bindings::module_dedup_task::default();
    // SAFETY: `task` is valid.
    unsafe { bindings::module_dedup_current(&mut task) };
    task_id(task)
}

/// The current task, if it descends from a helper: then a request, and the load that made it, may
/// wait for it.
fn dependable() -> Option<TaskId> {
    // SAFETY: FFI call without requirements.
    unsafe { bindings::module_dedup_is_helped() }.then(current_id)
}

/// The name of a module, a file or a task, with a final NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name([u8; Name::SIZE]);

impl Name {
    const SIZE: usize = 64;
    const EMPTY: Self = Self([0; Self::SIZE]);

    /// Copies as much of a name as there is room for.
    fn new(name: &CStr) -> Self {
        let mut copy = Self::EMPTY;
        let name = name.to_bytes();
        let len = name.len().min(Self::SIZE - 1);
        if let (Some(to), Some(from)) = (copy.0.get_mut(..len), name.get(..len)) {
            to.copy_from_slice(from);
        }
        copy
    }

    /// For C.
    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast::<c_char>()
    }

    /// The name of what a flight is for.
    fn of(flight: &Flight<Load>) -> &Self {
        flight.key().name.as_ref().unwrap_or(&Self::EMPTY)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|byte| *byte == 0);
        let text = self.0.get(..len.unwrap_or(0)).unwrap_or_default();
        fmt::Display::fmt(BStr::from_bytes(text), f)
    }
}

/// Prints a task as `name[pid]`.
struct Comm(TaskId);

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comm = Name::EMPTY;
        // SAFETY: The task is valid, and the name has room for `TASK_COMM_LEN` bytes.
        unsafe {
            bindings::module_dedup_get_comm(&c_task(self.0), comm.0.as_mut_ptr().cast::<c_char>())
        };
        f.write_fmt(fmt!("{}[{}]", comm, self.0.pid))
    }
}

/// Prints a chain of waits.
struct Chain(KVec<Step<Load>>);

impl Chain {
    /// A line of the kernel log has room for about a thousand characters.
    const SHOWN: usize = 10;

    fn new(chain: impl Iterator<Item = Step<Load>>) -> Self {
        let mut steps = KVec::new();
        for step in chain.take(Self::SHOWN) {
            if steps.push(step, GFP_KERNEL).is_err() {
                break;
            }
        }
        Self(steps)
    }

    /// What comes after the steps, if that is all of them.
    fn end(&self, end: &'static str) -> &'static str {
        if self.0.len() == Self::SHOWN {
            ", ..."
        } else {
            end
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            f.write_fmt(fmt!("{}{}", comma, Shown(step)))?;
        }
        Ok(())
    }
}

/// Prints a step of a chain of waits.
struct Shown<'a>(&'a Step<Load>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::Flight(flight) => f.write_fmt(fmt!(
                "flight of {} by {}",
                Name::of(flight),
                Comm(flight.leader())
            )),
            Step::Load(task, Some(name)) => {
                f.write_fmt(fmt!("load of {} by {}", name, Comm(*task)))
            }
            Step::Load(task, None) => f.write_fmt(fmt!("load by {}", Comm(*task))),
            Step::Request {
                label,
                helper,
                load,
            } => {
                f.write_fmt(fmt!("request for {label}"))?;
                if let Some(helper) = helper {
                    f.write_fmt(fmt!(" with helper {}", Comm(*helper)))?;
                }
                if let Some(load) = load {
                    f.write_fmt(fmt!(" that loads {load}"))?;
                }
                Ok(())
            }
        }
    }
}

/// Adds a wait to the statistics. Returns how long it took, in ns.
fn count_wait(time: Delta) -> u64 {
    let waited = nanos(time);
    WAITED.add(waited, Relaxed);
    let mut longest = LONGEST.load(Relaxed);
    while waited > longest {
        match LONGEST.cmpxchg(longest, waited, Relaxed) {
            Ok(_) => break,
            Err(now) => longest = now,
        }
    }
    waited
}

fn nanos(time: Delta) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(0)
}

/// A load that is under way. Dropping it is what happens if its task dies.
struct Underway {
    leader: Option<Leader<'static, Load>>,
    task: Option<Task<'static, Load>>,
    /// The module, while it is in the list and its load not over.
    module: Cell<*mut bindings::module>,
    /// Whether the task has set out to load.
    started: Cell<bool>,
}

// SAFETY: The pointer to the module is the only part that is not `Send` by itself. What is done
// with it, in `drop()`, may be done by any task.
unsafe impl Send for Underway {}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.started.get() {
            return;
        }
        DIED.add(1, Relaxed);
        if !self.module.get().is_null() {
            // SAFETY: Until its loader says that the module is not its own any more it holds a
            // reference, so that nobody else takes the module out of the list; nor does it itself
            // without telling us.
            unsafe { bindings::module_dedup_bury(self.module.get()) };
        }
        if let Some(leader) = self.leader.take() {
            done(leader, EBUSY.to_errno(), true);
        }
    }
}

/// Ends a flight. Its followers get the result, if that is for them.
fn done(leader: Leader<'static, Load>, result: c_int, shared: bool) {
    let flight = leader.flight().clone();
    let followers = if shared {
        leader.finish(result)
    } else {
        leader.give_up()
    };
    trace::done(&Seen::flight(&flight), result, followers, 0);
}

/// Makes the table. Called once, from an early initcall.
///
/// May sleep. Returns 0, or `-ENOMEM`: then loads are not de-duplicated.
///
/// # Safety
///
/// None: `unsafe` because C functions are, and older compilers want the two to be of one type.
#[export]
unsafe extern "C" fn module_dedup_init() -> c_int {
    match Table::new().and_then(|table| Ok((table, request::Requests::new()?))) {
        Ok((table, requests)) => {
            TABLE.populate(table);
            request::REQUESTS.populate(requests);
            0
        }
        Err(e) => {
            pr_err!("no memory for the flight table, loads will not be de-duplicated\n");
            e.to_errno()
        }
    }
}

/// Loads a module, or waits for another task to do it.
///
/// Returns what `finit_module(2)` returns. May sleep for as long as a load takes, interruptibly
/// while it waits for another one (`-ERESTARTSYS`).
///
/// # Safety
///
/// `call` must be valid, with a file that the caller has a reference to. If neither `args` is null
/// nor `args_size` 0, then `args` must be the start of so many initialised bytes from `kmalloc()`,
/// of which this function takes ownership.
#[export]
unsafe extern "C" fn module_dedup_enter(call: *mut bindings::module_dedup_call) -> c_int {
    // SAFETY: By the safety requirements `call` is valid, and nobody else knows of it.
    let call = unsafe { &mut *call };
    // SAFETY: By the safety requirements of this function.
    let load = unsafe { Load::new(call) };
    let result = match (load, TABLE.as_ref()) {
        (Some(load), Some(table)) => enter(table, load, call),
        _ => Ok(load_alone(call)),
    };
    result.unwrap_or_else(|e| e.to_errno())
}

/// Loads a module for a call that is not to be joined with others.
///
/// Returns what `init_module(2)` returns. May sleep for as long as a load takes.
///
/// # Safety
///
/// `call` must be valid, and describe a module that was copied from user space.
#[export]
unsafe extern "C" fn module_dedup_watch(call: *mut bindings::module_dedup_call) -> c_int {
    // SAFETY: By the safety requirements `call` is valid, and nobody else knows of it.
    load(None, unsafe { &mut *call })
}

fn enter(
    table: &'static Table<Load>,
    mut load: Load,
    call: &mut bindings::module_dedup_call,
) -> Result<c_int> {
    let size = load.id.size;
    let result = loop {
        // Most callers follow, so that comes first; then the key stays where it is.
        let follower = match table.follow(&load) {
            Some(follower) => follower,
            None => {
                // SAFETY: It is the file of this call.
                unsafe { load.set_leader(call.file) };
                match table.start(load, current_id()) {
                    Entry::Leader(leader) => return Ok(lead(leader, call, 0)),
                    Entry::Behind(behind) => {
                        let (leader, waited) = stand_in_line(behind, dependable())?;
                        may_load()?;
                        return Ok(lead(leader, call, waited));
                    }
                    Entry::Alone => return Ok(load_alone(call)),
                    Entry::Follower(follower, again) => {
                        load = again;
                        follower
                    }
                }
            }
        };
        match follow(follower, dependable())? {
            Ended::Result(result) => break result,
            Ended::Retry => may_load()?,
        }
    };
    JOINED_BYTES.add(size, Relaxed);
    Ok(result)
}

/// Checks again what was checked before the call had to wait.
///
/// Fails with `EPERM` if loading modules was forbidden, or the capability is lost.
fn may_load() -> Result {
    // SAFETY: FFI call without requirements.
    to_result(unsafe { bindings::module_dedup_may_load() })
}

/// Waits for the flight of another task.
fn follow(follower: Follower<'static, Load>, me: Option<TaskId>) -> Result<Ended> {
    trace::join(&Seen::flight(follower.flight()), follower.followers());
    let waited = follower.wait(me);
    let time = count_wait(waited.time);
    let flight = &waited.flight;
    match waited.ended {
        Ok(Ended::Result(result)) => {
            trace::done(&Seen::flight(flight), result, 0, time);
            // SAFETY: FFI call without requirements.
            let shared = unsafe { bindings::module_dedup_shared_result(result) };
            return Ok(Ended::Result(shared));
        }
        Ok(_) => trace::retry(&Seen::flight(flight), time),
        Err(e) => not_waited(flight, e, time),
    }
    waited.ended
}

/// Waits until it is the turn of a call. Returns how long that took, too, in ns.
fn stand_in_line(
    behind: Behind<'static, Load>,
    me: Option<TaskId>,
) -> Result<(Leader<'static, Load>, u64)> {
    let flight = behind.flight().clone();
    let begun = Instant::<Monotonic>::now();
    let leader = behind.wait(me);
    let waited = count_wait(begun.elapsed());
    if let Err(e) = &leader {
        not_waited(&flight, *e, waited);
    }
    Ok((leader?, waited))
}

/// Shows that a call does not wait for a flight any more, and returns.
fn not_waited(flight: &Flight<Load>, error: Error, waited: u64) {
    let seen = Seen::flight(flight);
    if error == EDEADLK {
        trace::refuse(&seen);
    } else {
        trace::done(&seen, error.to_errno(), 0, waited);
    }
}

fn lead(
    leader: Leader<'static, Load>,
    call: &mut bindings::module_dedup_call,
    waited: u64,
) -> c_int {
    trace::lead(&Seen::flight(leader.flight()), waited);
    call.flight = ptr::from_ref::<Flight<Load>>(leader.flight()).cast::<c_void>();
    // SAFETY: `call` is valid, and describes a file.
    if unsafe { bindings::module_dedup_is_late(call) } {
        LATE.add(1, Relaxed);
        let result = EEXIST.to_errno();
        done(leader, result, true);
        return result;
    }
    load(Some(leader), call)
}

fn load_alone(call: &mut bindings::module_dedup_call) -> c_int {
    BYPASSED.add(1, Relaxed);
    // The copy of the arguments, if there was one, is gone.
    call.args = ptr::null();
    load(None, call)
}

/// Loads, and sees to it that whoever waits for the load is told of its end, however it comes.
fn load(leader: Option<Leader<'static, Load>>, call: &mut bindings::module_dedup_call) -> c_int {
    let task = TABLE
        .as_ref()
        .and_then(|table| table.load(current_id(), leader.as_ref()).ok());
    if let Some(task) = &task {
        let LoadId { task, serial } = task.id();
        call.load_id = bindings::module_dedup_load_id {
            task: c_task(task),
            serial,
        };
    }
    let underway = Underway {
        leader,
        task,
        module: Cell::new(ptr::null_mut()),
        started: Cell::new(false),
    };
    // Without memory for the guard the flight stays up, so that there is one load all the same.
    // Only if the task dies in it do its followers wait in vain.
    let guard = ExitGuard::new(underway, GFP_KERNEL);
    if let Ok(guard) = &guard {
        guard.started.set(true);
        call.load = ptr::from_ref(&**guard).cast::<c_void>();
    }

    // SAFETY: `call` is valid. The flight and, as part of its key, `call.args` live at least as
    // long as `guard`, which is until after the load.
    let result = unsafe { bindings::module_dedup_load(call) };

    let mut underway = guard.map_or_else(|underway| underway, ExitGuard::into_inner);
    underway.started.set(false);
    // SAFETY: FFI call without requirements.
    let private = unsafe { bindings::module_dedup_is_private(result) }
        || (result == EDEADLK.to_errno() && underway.task.as_ref().is_none_or(Task::was_refused));
    if let Some(leader) = underway.leader.take() {
        done(leader, result, !private);
    }
    result
}

/// Lets a flight take no more followers: its module is live, and about to be removable.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `flight` must be the `flight` member of a call whose load is under way.
#[export]
unsafe extern "C" fn module_dedup_close(flight: *const c_void) {
    // SAFETY: By the safety requirements the call is in `lead()`, which holds the flight.
    let flight = unsafe { &*flight.cast::<Flight<Load>>() };
    if let Some(table) = TABLE.as_ref() {
        table.close(flight);
    }
}

/// Tells which module a load is about, by null that it is about none any more.
///
/// Does not sleep, may take the table lock.
///
/// # Safety
///
/// `load` must be the `load` member of a call whose load is under way in the current task. `module`
/// must be in the list of modules, or null. `name` must be its name.
#[export]
unsafe extern "C" fn module_dedup_set_module(
    load: *const c_void,
    module: *mut bindings::module,
    name: *const c_char,
) {
    // SAFETY: By the safety requirements the call is in `load()`, which keeps this alive.
    let underway = unsafe { &*load.cast::<Underway>() };
    underway.module.set(module);
    if let (Some(task), false) = (&underway.task, module.is_null()) {
        // SAFETY: By the safety requirements.
        task.set_label(Name::new(unsafe { CStr::from_char_ptr(name) }));
    }
}

/// Notes that the current task is going to wait for the end of a load.
///
/// Returns 0, or `-EDEADLK` if that would never come. May sleep.
///
/// # Safety
///
/// `id` must be valid.
#[export]
unsafe extern "C" fn module_dedup_wait_for(id: *const bindings::module_dedup_load_id) -> c_int {
    // SAFETY: By the safety requirements.
    let load = load_id(unsafe { *id });
    let waits = TABLE
        .as_ref()
        .map_or(Ok(()), |table| table.wait_for_load(current_id(), load));
    waits.map_or_else(|e| e.to_errno(), |()| 0)
}

/// Notes that the current task does not wait for a load any more.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// None.
#[export]
unsafe extern "C" fn module_dedup_waited() {
    if let Some(table) = TABLE.as_ref() {
        table.waited(current_id());
    }
}

/// Tells people that the current task has waited 10 s for a load.
///
/// May sleep.
///
/// # Safety
///
/// `id` must be valid.
#[export]
unsafe extern "C" fn module_dedup_delayed(id: *const bindings::module_dedup_load_id) {
    // SAFETY: By the safety requirements.
    let id = load_id(unsafe { *id });
    if let Some(table) = TABLE.as_ref() {
        table.tell_delay_of_load(id);
    }
}

/// Prints what is in flight, for debugfs.
///
/// Returns 0 or `-ENOMEM`. May sleep, takes the table lock once.
///
/// # Safety
///
/// `m` must be valid, and nobody else must use it.
#[export]
unsafe extern "C" fn module_dedup_show(m: *mut bindings::seq_file, _unused: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements.
    let m = unsafe { SeqFile::from_raw(m) };
    seq_print!(m, "kind\tage_ms\tfollowers\tleader\tname\twaits_for\n");
    let Some(table) = TABLE.as_ref() else {
        return 0;
    };
    let snapshot = match table.snapshot() {
        Ok(snapshot) => snapshot,
        Err(e) => return e.to_errno(),
    };
    for seen in &snapshot.flights {
        let flight = &seen.flight;
        seq_print!(
            m,
            "load\t{}\t{}\t{}\t{}\t",
            nanos(flight.age()) / 1_000_000,
            seen.followers,
            Comm(flight.leader()),
            Name::of(flight)
        );
        match &seen.waits_for {
            Some(step) => seq_print!(m, "{}\n", Shown(step)),
            None => seq_print!(m, "-\n"),
        }
    }
    if snapshot.more > 0 {
        seq_print!(m, "and {} more\n", snapshot.more);
    }
    request::show(m).map_or_else(|e| e.to_errno(), |()| 0)
}

/// Reads the counters. Takes no lock.
///
/// # Safety
///
/// `stats` must be valid for writing.
#[export]
unsafe extern "C" fn module_dedup_read_stats(stats: *mut bindings::module_dedup_stats) {
    let table = TABLE.as_ref().map(Table::stats).unwrap_or_default();
    let read = bindings::module_dedup_stats {
        led: table.led,
        joined: table.joined,
        joined_bytes: JOINED_BYTES.load(Relaxed),
        most_followers: table.most_followers,
        interrupted: table
            .interrupted
            .saturating_add(request::INTERRUPTED.load(Relaxed)),
        behind: table.behind,
        retried: table.retried.saturating_add(request::RETRIED.load(Relaxed)),
        late: LATE.load(Relaxed),
        bypassed: BYPASSED.load(Relaxed),
        died: DIED.load(Relaxed),
        refused: table.refused,
        requests_led: request::LED.load(Relaxed),
        requests_joined: request::JOINED.load(Relaxed),
        requests_alone: request::ALONE.load(Relaxed),
        waited_ns: WAITED.load(Relaxed),
        longest_ns: LONGEST.load(Relaxed),
    };
    // SAFETY: By the safety requirements.
    unsafe { stats.write(read) };
}

/// The tracepoints, which cost nothing while they are off.
///
/// See [`include/trace/events/module_dedup.h`](srctree/include/trace/events/module_dedup.h).
mod trace {
    use super::{
        Load,
        Name, //
    };
    use core::marker::PhantomData;
    use kernel::{
        bindings,
        module_dedup::{
            Flight,
            TaskId, //
        },
        prelude::*,
        tracepoint::declare_trace,
    };

    declare_trace! {
        /// # Safety
        ///
        /// `seen` must be valid.
        unsafe fn module_dedup_lead(seen: *const bindings::module_dedup_seen, waited: u64);

        /// # Safety
        ///
        /// `seen` must be valid.
        unsafe fn module_dedup_join(seen: *const bindings::module_dedup_seen, followers: c_uint);

        /// # Safety
        ///
        /// `seen` must be valid.
        unsafe fn module_dedup_done(
            seen: *const bindings::module_dedup_seen,
            result: c_int,
            followers: c_uint,
            waited: u64,
        );

        /// # Safety
        ///
        /// `seen` must be valid.
        unsafe fn module_dedup_retry(seen: *const bindings::module_dedup_seen, waited: u64);

        /// # Safety
        ///
        /// `seen` must be valid.
        unsafe fn module_dedup_refuse(seen: *const bindings::module_dedup_seen);
    }

    /// What the tracepoints show of a flight or a load.
    ///
    /// # Invariants
    ///
    /// What `seen` refers to is borrowed for `'a`.
    pub(super) struct Seen<'a> {
        seen: bindings::module_dedup_seen,
        _borrowed: PhantomData<&'a ()>,
    }

    impl<'a> Seen<'a> {
        pub(super) fn flight(flight: &'a Flight<Load>) -> Self {
            Self::new(Name::of(flight), flight.leader(), false)
        }

        pub(super) fn load(by: TaskId, name: &'a Name) -> Self {
            Self::new(name, by, false)
        }

        pub(super) fn request(by: TaskId, name: &'a Name) -> Self {
            Self::new(name, by, true)
        }

        fn new(name: &'a Name, by: TaskId, request: bool) -> Self {
            // INVARIANT: The name is borrowed for `'a`.
            Self {
                seen: bindings::module_dedup_seen {
                    name: name.as_ptr(),
                    leader: by.pid,
                    request,
                },
                _borrowed: PhantomData,
            }
        }
    }

    pub(super) fn lead(seen: &Seen<'_>, waited: u64) {
        // SAFETY: By its invariant, `seen` is valid.
        unsafe { module_dedup_lead(&seen.seen, waited) };
    }

    pub(super) fn join(seen: &Seen<'_>, followers: c_uint) {
        // SAFETY: By its invariant, `seen` is valid.
        unsafe { module_dedup_join(&seen.seen, followers) };
    }

    pub(super) fn done(seen: &Seen<'_>, result: c_int, followers: c_uint, waited: u64) {
        // SAFETY: By its invariant, `seen` is valid.
        unsafe { module_dedup_done(&seen.seen, result, followers, waited) };
    }

    pub(super) fn retry(seen: &Seen<'_>, waited: u64) {
        // SAFETY: By its invariant, `seen` is valid.
        unsafe { module_dedup_retry(&seen.seen, waited) };
    }

    pub(super) fn refuse(seen: &Seen<'_>) {
        // SAFETY: By its invariant, `seen` is valid.
        unsafe { module_dedup_refuse(&seen.seen) };
    }
}
