// SPDX-License-Identifier: GPL-2.0

//! Module load de-duplication: the policy.
//!
//! What makes two calls of `finit_module(2)` the same, and what a caller does once the flight table
//! ([`kernel::module_dedup`]) has told it whether it leads, follows, or stands in line.
//!
//! C header: [`include/linux/module_dedup.h`](srctree/include/linux/module_dedup.h)

use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    exit_guard::ExitGuard,
    fmt,
    fs::File,
    module_dedup::{
        Ended,
        Entry,
        Flight,
        Key,
        Leader,
        LoadId,
        Request,
        Step,
        Table,
        Task,
        TaskId, //
    },
    prelude::*,
    str::BStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
};

const __LOG_PREFIX: &[u8] = b"module\0";

/// The one table. Empty until the early initcalls, and for good if there was no memory for it:
/// then every call goes to the loader by itself.
static TABLE: SetOnce<Table<Call>> = SetOnce::new();

/// The sizes of the files that were not read because the call joined another one.
static JOINED_BYTES: Atomic<u64> = Atomic::new(0);

/// Flights that ended without a load, since the module was live already.
static LATE: Atomic<u64> = Atomic::new(0);

/// Calls that could not be de-duplicated.
static BYPASSED: Atomic<u64> = Atomic::new(0);

/// Loads whose task died in them.
static DIED: Atomic<u64> = Atomic::new(0);

/// A call of `finit_module(2)` that can be joined with others.
struct Call {
    /// Keeps the inode alive, and with it the meaning of its address.
    file: ARef<File>,
    id: bindings::module_dedup_id,
    flags: c_int,
    args_hash: u32,
    /// With the final NUL.
    args: KVec<u8>,
}

// SAFETY: `id.inode` is compared and never dereferenced. All else can be sent to any task.
unsafe impl Send for Call {}

// SAFETY: A `Call` is never written once it was made, and `id.inode` is never dereferenced.
unsafe impl Sync for Call {}

impl Call {
    /// Takes the description of a call, and its copy of the arguments.
    ///
    /// Returns [`None`] if the call was found not to be joinable.
    ///
    /// # Safety
    ///
    /// `call.file` must be a file that the caller of this function has a reference to. `call.args`
    /// must be null, or the start of `call.args_size` initialised bytes allocated with `kmalloc()`;
    /// this function takes ownership of these. The copy lives as long as the returned [`Call`].
    unsafe fn new(call: &bindings::module_dedup_call) -> Option<Self> {
        if call.args.is_null() {
            return None;
        }
        // SAFETY: By the safety requirements these bytes are initialised, come from the allocator
        // of `KVec`, and are ours. An allocation is at least as large as what was asked for.
        let args =
            unsafe { KVec::from_raw_parts(call.args.cast::<u8>(), call.args_size, call.args_size) };
        let file = NonNull::new(call.file)?.cast::<File>();
        // SAFETY: The caller has a reference, so the count is not zero. A system call that got its
        // file by `fdget()` has no `fdget_pos()` active on this thread.
        let file = unsafe { file.as_ref() };
        Some(Self {
            file: file.into(),
            id: call.id,
            flags: call.flags,
            args_hash: call.args_hash,
            args,
        })
    }
}

impl Key for Call {
    fn hash(&self) -> usize {
        // Fibonacci hashing: the high half of the product depends on all bits of the number.
        const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;
        let file = self.id.ino ^ (u64::from(self.id.dev) << 32);
        (file.wrapping_mul(GOLDEN_RATIO) >> 32) as usize
    }

    fn same_file(&self, other: &Self) -> bool {
        self.id.inode == other.id.inode
            && self.id.ino == other.id.ino
            && self.id.dev == other.id.dev
            && self.id.generation == other.id.generation
    }

    fn same_call(&self, other: &Self) -> bool {
        self.same_file(other)
            && self.id.size == other.id.size
            && self.id.ctime_sec == other.id.ctime_sec
            && self.id.ctime_nsec == other.id.ctime_nsec
            && self.id.change_cookie == other.id.change_cookie
            && self.flags == other.flags
            && self.args_hash == other.args_hash
            && *self.args == *other.args
    }

    type Label = Name;

    fn stands_in(helper: TaskId) -> Option<TaskId> {
        let mut thread = bindings::module_dedup_task::default();
        // SAFETY: Both are valid.
        let found = unsafe { bindings::module_dedup_stands_in(&c_task(helper), &mut thread) };
        found.then_some(task_id(thread))
    }

    fn refused(me: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        let mut steps = KVec::new();
        for step in chain.take(Circle::SHOWN) {
            if steps.push(step, GFP_KERNEL).is_err() {
                break;
            }
        }
        pr_warn!(
            "{} would wait for itself, and fails with EDEADLK:{}\n",
            Comm(me),
            Circle(steps)
        );
    }
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

fn current_id() -> TaskId {
    let mut task = bindings::module_dedup_task::default();
    // SAFETY: `task` is valid.
    unsafe { bindings::module_dedup_current(&mut task) };
    task_id(task)
}

/// Whoever may be waited for by others, apart from the followers of a flight of its own.
fn dependable() -> Option<TaskId> {
    // SAFETY: FFI call without requirements.
    unsafe { bindings::module_dedup_is_helped() }.then(current_id)
}

/// The name of a module, a file or a task, with a final NUL.
#[derive(Clone, Copy)]
struct Name([u8; Name::SIZE]);

impl Name {
    const SIZE: usize = 64;

    /// Copies as much of a name as there is room for.
    fn new(name: &CStr) -> Self {
        let mut copy = [0; Self::SIZE];
        for (to, from) in copy.iter_mut().take(Self::SIZE - 1).zip(name.to_bytes()) {
            *to = *from;
        }
        Self(copy)
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
        let mut comm = Name([0; Name::SIZE]);
        // SAFETY: The task is valid, and the name has room for `TASK_COMM_LEN` bytes.
        unsafe {
            bindings::module_dedup_get_comm(&c_task(self.0), comm.0.as_mut_ptr().cast::<c_char>())
        };
        f.write_fmt(fmt!("{}[{}]", comm, self.0.pid))
    }
}

/// Prints a chain of waits.
struct Circle(KVec<Step<Call>>);

impl Circle {
    /// A line of the kernel log has room for about a thousand characters.
    const SHOWN: usize = 10;
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Flight(flight) => {
                    let mut name = Name([0; Name::SIZE]);
                    // SAFETY: The flight has a reference to the file. A `File` is a `struct file`.
                    unsafe {
                        bindings::module_dedup_get_name(
                            flight.key().file.as_ptr(),
                            name.0.as_mut_ptr().cast::<c_char>(),
                            Name::SIZE,
                        )
                    };
                    f.write_fmt(fmt!(" flight of {name},"))?;
                }
                Step::Load(task, Some(name)) => {
                    f.write_fmt(fmt!(" load of {name} by {},", Comm(*task)))?
                }
                Step::Load(task, None) => f.write_fmt(fmt!(" load by {},", Comm(*task)))?,
                Step::Request {
                    label,
                    helper,
                    load,
                } => {
                    f.write_fmt(fmt!(" request for {label}"))?;
                    if let Some(helper) = helper {
                        f.write_fmt(fmt!(" with helper {}", Comm(*helper)))?;
                    }
                    if let Some(load) = load {
                        f.write_fmt(fmt!(" that loads {load}"))?;
                    }
                    f.write_str(",")?;
                }
            }
        }
        if self.0.len() == Self::SHOWN {
            f.write_str(" ...")
        } else {
            f.write_str(" and that is itself")
        }
    }
}

/// A load that is under way. Dropping it is what happens if its task dies.
struct Underway {
    leader: Option<Leader<'static, Call>>,
    task: Option<Task<'static, Call>>,
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
            leader.finish(EBUSY.to_errno());
        }
    }
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

/// Loads a module, or waits for somebody else to do it.
///
/// Returns what `finit_module(2)` returns. May sleep for as long as a load takes, interruptibly
/// while it waits for another one (`-ERESTARTSYS`).
///
/// # Safety
///
/// `call` must be valid, with a file that the caller has a reference to. `args` must be null, or
/// the start of `args_size` initialised bytes from `kmalloc()`, of which this function takes
/// ownership.
#[export]
unsafe extern "C" fn module_dedup_enter(call: *mut bindings::module_dedup_call) -> c_int {
    // SAFETY: By the safety requirements `call` is valid, and nobody else knows of it.
    let call = unsafe { &mut *call };
    // SAFETY: By the safety requirements of this function.
    let load = unsafe { Call::new(call) };
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
    table: &'static Table<Call>,
    mut load: Call,
    call: &mut bindings::module_dedup_call,
) -> Result<c_int> {
    let size = load.id.size;
    loop {
        match table.enter(load) {
            Entry::Leader(leader) => return Ok(lead(leader, call)),
            Entry::Behind(behind) => return Ok(lead(behind.wait(dependable())?, call)),
            Entry::Alone => return Ok(load_alone(call)),
            Entry::Follower(follower) => match follower.wait(dependable())? {
                Ended::Result(result) => {
                    JOINED_BYTES.add(size, Relaxed);
                    // SAFETY: FFI call without requirements.
                    return Ok(unsafe { bindings::module_dedup_shared_result(result) });
                }
                Ended::Retry(again) => load = again,
            },
        }
    }
}

fn lead(leader: Leader<'static, Call>, call: &mut bindings::module_dedup_call) -> c_int {
    call.flight = ptr::from_ref(leader.flight()).cast::<c_void>();
    // SAFETY: `call` is valid, and describes a file.
    if unsafe { bindings::module_dedup_is_late(call) } {
        LATE.add(1, Relaxed);
        return leader.finish(EEXIST.to_errno());
    }
    load(Some(leader), call)
}

fn load_alone(call: &mut bindings::module_dedup_call) -> c_int {
    BYPASSED.add(1, Relaxed);
    // The copy of the arguments, if there was one, is gone.
    call.args = ptr::null_mut();
    load(None, call)
}

/// Loads, and sees to it that whoever waits for the load is told of its end, however it comes.
fn load(leader: Option<Leader<'static, Call>>, call: &mut bindings::module_dedup_call) -> c_int {
    let task = TABLE
        .as_ref()
        .and_then(|table| table.task(current_id()).ok());
    if let Some(task) = &task {
        let LoadId { task, serial } = task.id();
        call.load_id = bindings::module_dedup_load_id {
            task: c_task(task),
            serial,
        };
        if let Some(leader) = &leader {
            leader.set_load(LoadId { task, serial });
        }
    }
    let underway = Underway {
        leader,
        task,
        module: Cell::new(ptr::null_mut()),
        started: Cell::new(false),
    };
    let Ok(guard) = ExitGuard::new(underway, GFP_KERNEL) else {
        return load_unwatched(call);
    };
    guard.started.set(true);
    call.load = ptr::from_ref(&*guard).cast::<c_void>();

    // SAFETY: `call` is valid. The flight and, as part of its key, `call.args` live at least as
    // long as `guard`, which is until after the load.
    let result = unsafe { bindings::module_dedup_load(call) };

    let mut underway = guard.into_inner();
    underway.started.set(false);
    // SAFETY: `call` is valid.
    let private = unsafe { bindings::module_dedup_is_private(call, result) }
        || (result == EDEADLK.to_errno() && underway.task.as_ref().is_none_or(Task::was_refused));
    match underway.leader.take() {
        // A leader that is dropped has no result, and the followers try again.
        Some(leader) if !private => leader.finish(result),
        _ => result,
    }
}

/// Loads without anything that others could wait for: there is no memory for it.
fn load_unwatched(call: &mut bindings::module_dedup_call) -> c_int {
    call.args = ptr::null_mut();
    call.flight = ptr::null();
    call.load_id = Default::default();
    // SAFETY: `call` is valid, and has nothing left that could be dangling.
    unsafe { bindings::module_dedup_load(call) }
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
    let flight = unsafe { &*flight.cast::<Flight<Call>>() };
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
    let id = unsafe { *id };
    let load = LoadId {
        task: task_id(id.task),
        serial: id.serial,
    };
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

/// Notes that the current task is going to wait for a request to user space.
///
/// Returns what is to be given to `module_dedup_request_drop()`, or null. May sleep.
///
/// # Safety
///
/// `name` must be valid.
#[export]
unsafe extern "C" fn module_dedup_request_new(name: *const c_char) -> *mut c_void {
    // SAFETY: By the safety requirements.
    let name = Name::new(unsafe { CStr::from_char_ptr(name) });
    let (depends, me) = (dependable().is_some(), current_id());
    let request = TABLE
        .as_ref()
        .and_then(|table| table.request(me, depends, name).ok())
        .and_then(|request| KBox::new(request, GFP_KERNEL).ok());
    request.map_or(ptr::null_mut(), |request| {
        KBox::into_raw(request).cast::<c_void>()
    })
}

/// Returns the number of a request, for `module_dedup_set_helper()`.
///
/// # Safety
///
/// `request` must come from `module_dedup_request_new()`.
#[export]
unsafe extern "C" fn module_dedup_request_serial(request: *const c_void) -> c_ulong {
    // SAFETY: By the safety requirements.
    unsafe { &*request.cast::<Request<'static, Call>>() }.serial()
}

/// Notes that a request is over, or not waited for any more.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// `request` must come from `module_dedup_request_new()`, in the current task, and is not to be
/// used again.
#[export]
unsafe extern "C" fn module_dedup_request_drop(request: *mut c_void) {
    // SAFETY: By the safety requirements this is ours, and comes from a box.
    drop(unsafe { KBox::from_raw(request.cast::<Request<'static, Call>>()) });
}

/// Notes that the current task is the helper of a request, which may be over.
///
/// Does not sleep, takes the table lock.
///
/// # Safety
///
/// None.
#[export]
unsafe extern "C" fn module_dedup_set_helper(request: c_ulong) {
    if let Some(table) = TABLE.as_ref() {
        table.set_helper(request, current_id());
    }
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
        interrupted: table.interrupted,
        behind: table.behind,
        retried: table.retried,
        late: LATE.load(Relaxed),
        bypassed: BYPASSED.load(Relaxed),
        died: DIED.load(Relaxed),
        refused: table.refused,
    };
    // SAFETY: By the safety requirements.
    unsafe { stats.write(read) };
}
