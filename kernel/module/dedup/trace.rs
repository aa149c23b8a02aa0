// SPDX-License-Identifier: GPL-2.0

//! The tracepoints, which cost nothing while they are off.
//!
//! See [`include/trace/events/module_dedup.h`](srctree/include/trace/events/module_dedup.h).

use super::key::Call;
use kernel::{
    bindings,
    module_dedup::Flight,
    prelude::*,
    tracepoint::declare_trace, //
};

type Seen = bindings::module_dedup_seen;

declare_trace! {
    /// # Safety
    ///
    /// `seen` must be valid.
    unsafe fn module_dedup_lead(seen: *const Seen, result: c_int, followers: c_uint, waited: u64);

    /// # Safety
    ///
    /// `seen` must be valid.
    unsafe fn module_dedup_join(seen: *const Seen, result: c_int, followers: c_uint, waited: u64);

    /// # Safety
    ///
    /// `seen` must be valid.
    unsafe fn module_dedup_done(seen: *const Seen, result: c_int, followers: c_uint, waited: u64);

    /// # Safety
    ///
    /// `seen` must be valid.
    unsafe fn module_dedup_retry(seen: *const Seen, result: c_int, followers: c_uint, waited: u64);

    /// # Safety
    ///
    /// `seen` must be valid.
    unsafe fn module_dedup_refuse(seen: *const Seen, result: c_int, followers: c_uint, waited: u64);
}

/// What the tracepoints show of a flight. It is valid for as long as the flight.
fn seen(flight: &Flight<Call>) -> Seen {
    Seen {
        name: flight.key().name().as_ptr(),
        leader: flight.leader().pid,
        request: flight.key().is_request(),
    }
}

/// A call leads the flight, for which it has waited so many ns.
pub(crate) fn lead(flight: &Flight<Call>, waited: u64) {
    // SAFETY: The flight is borrowed.
    unsafe { module_dedup_lead(&seen(flight), 0, 0, waited) };
}

/// A call has joined the flight, and is one of so many followers.
pub(crate) fn join(flight: &Flight<Call>, followers: u32) {
    // SAFETY: The flight is borrowed.
    unsafe { module_dedup_join(&seen(flight), 0, followers, 0) };
}

/// The flight has ended with this result for so many followers, or a follower has got it.
pub(crate) fn done(flight: &Flight<Call>, result: c_int, followers: u32, waited: u64) {
    // SAFETY: The flight is borrowed.
    unsafe { module_dedup_done(&seen(flight), result, followers, waited) };
}

/// The flight had no result for a follower, which asks again.
pub(crate) fn retry(flight: &Flight<Call>, waited: u64) {
    // SAFETY: The flight is borrowed.
    unsafe { module_dedup_retry(&seen(flight), 0, 0, waited) };
}

/// A wait for the flight was refused.
pub(crate) fn refuse(flight: &Flight<Call>) {
    // SAFETY: The flight is borrowed.
    unsafe { module_dedup_refuse(&seen(flight), EDEADLK.to_errno(), 0, 0) };
}
