// SPDX-License-Identifier: GPL-2.0

//! Module load de-duplication: the policy.
//!
//! What makes two calls of `finit_module(2)` the same, and what a caller does once the flight table
//! ([`kernel::module_dedup`]) has told it whether it leads, follows, or stands in line.
//!
//! C header: [`include/linux/module_dedup.h`](srctree/include/linux/module_dedup.h)

use core::{
    ffi::{
        c_int,
        c_void, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    fs::File,
    module_dedup::{
        Ended,
        Entry,
        Flight,
        Key,
        Leader,
        Table, //
    },
    prelude::*,
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
static TABLE: SetOnce<Table<Load>> = SetOnce::new();

/// The sizes of the files that were not read because the call joined another one.
static JOINED_BYTES: Atomic<u64> = Atomic::new(0);

/// Flights that ended without a load, since the module was live already.
static LATE: Atomic<u64> = Atomic::new(0);

/// Calls that could not be de-duplicated.
static BYPASSED: Atomic<u64> = Atomic::new(0);

/// A call of `finit_module(2)` that can be joined with others.
struct Load {
    /// Keeps the inode alive, and with it the meaning of its address.
    _file: ARef<File>,
    id: bindings::module_dedup_id,
    flags: c_int,
    args_hash: u32,
    /// With the final NUL.
    args: KVec<u8>,
}

// SAFETY: `id.inode` is compared and never dereferenced. All else can be sent to any task.
unsafe impl Send for Load {}

// SAFETY: A `Load` is never written once it was made, and `id.inode` is never dereferenced.
unsafe impl Sync for Load {}

impl Load {
    /// Takes the description of a call, and its copy of the arguments.
    ///
    /// Returns [`None`] if the call was found not to be joinable.
    ///
    /// # Safety
    ///
    /// `call.file` must be a file that the caller of this function has a reference to. `call.args`
    /// must be null, or the start of `call.args_size` initialised bytes allocated with `kmalloc()`;
    /// this function takes ownership of these. The copy lives as long as the returned [`Load`].
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
            _file: file.into(),
            id: call.id,
            flags: call.flags,
            args_hash: call.args_hash,
            args,
        })
    }
}

impl Key for Load {
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
    let load = unsafe { Load::new(call) };
    let result = match (load, TABLE.as_ref()) {
        (Some(load), Some(table)) => enter(table, load, call),
        _ => Ok(load_alone(call)),
    };
    result.unwrap_or_else(|e| e.to_errno())
}

fn enter(
    table: &Table<Load>,
    mut load: Load,
    call: &mut bindings::module_dedup_call,
) -> Result<c_int> {
    let size = load.id.size;
    loop {
        match table.enter(load) {
            Entry::Leader(leader) => return Ok(lead(leader, call)),
            Entry::Behind(behind) => return Ok(lead(behind.wait()?, call)),
            Entry::Alone => return Ok(load_alone(call)),
            Entry::Follower(follower) => match follower.wait()? {
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

fn lead(leader: Leader<'_, Load>, call: &mut bindings::module_dedup_call) -> c_int {
    call.flight = ptr::from_ref(leader.flight()).cast::<c_void>();
    // SAFETY: `call` is valid, and describes a file.
    if unsafe { bindings::module_dedup_is_late(call) } {
        LATE.add(1, Relaxed);
        return leader.finish(EEXIST.to_errno());
    }
    // SAFETY: `call` is valid. The flight and, as part of its key, `call.args` live at least as
    // long as `leader`, which is until after the load.
    let result = unsafe { bindings::module_dedup_load(call) };
    // SAFETY: FFI call without requirements.
    if unsafe { bindings::module_dedup_is_private(result) } {
        // Without a result, the followers try again.
        drop(leader);
        return result;
    }
    leader.finish(result)
}

fn load_alone(call: &mut bindings::module_dedup_call) -> c_int {
    BYPASSED.add(1, Relaxed);
    // The copy of the arguments, if there was one, is gone.
    call.args = ptr::null_mut();
    // SAFETY: `call` is valid, and has neither arguments nor a flight that could be dangling.
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
    let flight = unsafe { &*flight.cast::<Flight<Load>>() };
    if let Some(table) = TABLE.as_ref() {
        table.close(flight);
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
    };
    // SAFETY: By the safety requirements.
    unsafe { stats.write(read) };
}
