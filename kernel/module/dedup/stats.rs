// SPDX-License-Identifier: GPL-2.0

//! What happened since boot.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::Delta, //
};

/// Declares each counter, and the line in which people read it: its label, and the unit of that
/// in the unit of the counter.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident($label:literal, $unit:literal);)*) => {
        $($(#[$doc])* pub(crate) static $name: Atomic<u64> = Atomic::new(0);)*
        static ALL: &[(&CStr, u64, &Atomic<u64>)] = &[$(($label, $unit, &$name)),*];
    };
}

// Each call that is de-duplicated, or could not be, ends as exactly one of LED, JOINED,
// COPIES_LED, COPIES_JOINED, REQUESTS_LED, REQUESTS_JOINED, REQUESTS_ALONE, INTERRUPTED and
// BYPASSED, or its wait for another call is REFUSED. A load that leads can be REFUSED as well,
// if it waits for another one of the same name. A call that security modules deny is in none of
// these; nor is one that has followed, and may not load any more when it would have to.
counters! {
    /// Flights led.
    LED(c"Flights led", 1);
    /// Calls that returned the result of another caller's flight.
    JOINED(c"Calls joined", 1);
    /// The sizes of the files of these calls, which they did not read, in bytes.
    JOINED_BYTES(c"Joined bytes saved", 1);
    /// The most followers that one flight had at once.
    MOST_FOLLOWERS(c"Most followers at once", 1);
    /// Followers, and callers in line, that a signal ended.
    INTERRUPTED(c"Followers interrupted", 1);
    /// Calls that had to wait for another load of the same file.
    BEHIND(c"Same file, other call", 1);
    /// Followers that asked again, because the result of their leader was private, or older than
    /// their question.
    RETRIED(c"Retried after leader end", 1);
    /// Flights that ended without a load, since the module was live.
    LATE(c"Late duplicates", 1);
    /// Flights of `init_module()` led.
    COPIES_LED(c"Copies led", 1);
    /// Calls of it that returned what came of another caller's flight.
    COPIES_JOINED(c"Copies joined", 1);
    /// Flights of it that ended without a load, since the module was live, or on its way out.
    COPIES_LATE(c"Late copies", 1);
    /// The lengths of the images that these two kinds of calls did not copy, in bytes.
    COPIES_BYTES(c"Copy bytes saved", 1);
    /// Calls that could not be de-duplicated, and went to the loader.
    BYPASSED(c"Calls not joinable", 1);
    /// Loads whose task died in them.
    DIED(c"Leaders that died", 1);
    /// Waits that were refused, since the task would have waited for itself.
    REFUSED(c"Deadlocks refused", 1);
    /// Requests that went to user space, and could be joined.
    REQUESTS_LED(c"Requests led", 1);
    /// Requests that returned the answer to another one.
    REQUESTS_JOINED(c"Requests joined", 1);
    /// Requests that went to user space, and could not be joined; with dedup_requests=N requests
    /// are not counted at all.
    REQUESTS_ALONE(c"Requests not joinable", 1);
    /// How long all calls together have waited for others, in ns.
    WAITED(c"Total time waited (us)", 1000);
    /// How long one of them did, at the most, in ns.
    LONGEST(c"Longest wait (us)", 1000);
}

/// Raises a counter to `value`, if that is more.
pub(crate) fn raise(counter: &Atomic<u64>, value: u64) {
    let mut most = counter.load(Relaxed);
    while value > most {
        match counter.cmpxchg(most, value, Relaxed) {
            Ok(_) => break,
            Err(now) => most = now,
        }
    }
}

/// When a wait began, in ns, by the clock of the scheduler: it costs less than half of the one that
/// all CPUs share, and is good enough to be added up.
#[derive(Clone, Copy)]
pub(crate) struct Begin(u64);

impl Begin {
    pub(crate) fn now() -> Self {
        // SAFETY: FFI call without requirements.
        Self(unsafe { bindings::sched_clock() })
    }

    pub(crate) fn elapsed(self) -> Delta {
        // It may have begun on a CPU whose clock is ahead.
        Delta::from_nanos(Self::now().0.saturating_sub(self.0) as i64)
    }

    /// Counts the wait. Returns how long it took, in ns.
    pub(crate) fn count(self) -> u64 {
        let waited = self.elapsed().as_nanos() as u64;
        WAITED.add(waited, Relaxed);
        raise(&LONGEST, waited);
        waited
    }
}

/// Prints the counters. Takes no lock.
///
/// # Safety
///
/// `buf` must be valid for `size` bytes, of which the first `len` are a string.
#[export]
unsafe extern "C" fn module_dedup_show_stats(buf: *mut c_char, size: usize, len: *mut c_uint) {
    for (label, unit, counter) in ALL {
        // SAFETY: By the safety requirements the string ends within the buffer, and scnprintf()
        // keeps it so. The arguments are what the format says.
        unsafe {
            let used = *len as usize;
            *len += bindings::scnprintf(
                buf.add(used),
                size - used,
                c"%25s\t%llu\n".as_char_ptr(),
                label.as_char_ptr(),
                counter.load(Relaxed) / unit,
            ) as c_uint;
        }
    }
}
