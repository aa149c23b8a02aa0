// SPDX-License-Identifier: GPL-2.0

//! What people are told of waits: lines in the kernel log, and what is in flight, in debugfs.

use super::{
    key::{
        Call,
        What, //
    },
    stats,
    task::{
        self,
        Comm, //
    },
    TABLE, //
};
use kernel::{
    bindings,
    fmt,
    module_dedup::{
        graph::Step,
        Flight,
        Handle,
        TaskId, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::atomic::Relaxed, //
};

/// Whether another line of the log is allowed now, about a wait that was `refused`, or takes long.
fn may_print(refused: bool) -> bool {
    // SAFETY: FFI call without requirements.
    unsafe { bindings::module_dedup_may_print(refused) }
}

/// Tells people that `me` is not let wait for a flight, since that would be for itself.
pub(crate) fn refused(me: TaskId, flight: &Flight<Call>) {
    stats::REFUSED.add(1, Relaxed);
    if may_print(true) {
        pr_warn!(
            "{} would wait for itself, and fails with EDEADLK: {}\n",
            Comm(me),
            Chain::new(Some(me), flight.id())
        );
    }
}

/// Tells people that the current task has waited 10 s for a flight, unless they were told so of
/// that flight before.
pub(crate) fn delayed(flight: &Handle<'static, Call>) {
    let first = flight.first();
    if !first.tell() || !may_print(false) {
        return;
    }
    pr_warn!(
        "{}{} has waited 10 s, one of {}, for {}\n",
        Comm(task::current()),
        Errand,
        first.waiters().max(1),
        Chain::new(None, first.id())
    );
    // SAFETY: The task is valid.
    unsafe { bindings::module_dedup_show_task(&task::to_c(first.leader())) };
}

/// Prints a chain of waits.
struct Chain {
    steps: KVec<Step<Call>>,
    circle: bool,
}

impl Chain {
    /// A line of the kernel log has room for about a thousand characters.
    const SHOWN: usize = 10;

    fn new(me: Option<TaskId>, id: u64) -> Self {
        let mut steps = KVec::with_capacity(Self::SHOWN, GFP_KERNEL).unwrap_or_default();
        if let Some(table) = TABLE.as_ref() {
            table.chain_from(me, id, &mut steps);
        }
        Self {
            steps,
            circle: me.is_some(),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for step in &self.steps {
            f.write_fmt(fmt!("{}{}", comma, Shown(step)))?;
            comma = ", ";
        }
        if self.steps.len() >= Self::SHOWN {
            f.write_str(", ...")
        } else if self.circle {
            f.write_str(", and that is itself")
        } else {
            Ok(())
        }
    }
}

/// Prints a step of a chain of waits.
struct Shown<'a>(&'a Step<Call>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { flight, work } = self.0;
        let (call, leader) = (flight.key(), Comm(flight.leader()));
        match (&call.what, call.module.as_ref()) {
            (What::Request(asked), _) => {
                f.write_fmt(fmt!("request for {}", asked.name))?;
                if let Some(helper) = flight.helper() {
                    f.write_fmt(fmt!(" with helper {}", Comm(helper)))?;
                }
                if let Some(work) = work {
                    let work = work.key();
                    let name = work.module.as_ref().unwrap_or(work.name());
                    f.write_fmt(fmt!(" that loads {name}"))?;
                }
                Ok(())
            }
            (_, Some(module)) => f.write_fmt(fmt!("load of {module} by {leader}")),
            (What::File(_), None) => f.write_fmt(fmt!("flight of {} by {leader}", call.name())),
            (What::Alone(_), None) => f.write_fmt(fmt!("load by {leader}")),
        }
    }
}

/// Prints for which request the current task runs, if it does so for one.
struct Errand;

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut helper = bindings::module_dedup_task::default();
        // SAFETY: `helper` is valid for writing.
        if !unsafe { bindings::module_dedup_find_helper(&mut helper) } {
            return Ok(());
        }
        let helper = Some(task::from_c(helper));
        let request = TABLE
            .as_ref()
            .and_then(|it| it.find(|it| it.helper() == helper));
        match request {
            Some(it) => f.write_fmt(fmt!(
                ", which runs for the request for {} by {},",
                it.key().name(),
                Comm(it.leader())
            )),
            None => f.write_str(", which runs for a request,"),
        }
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
    let (flights, more) = match table.snapshot() {
        Ok(seen) => seen,
        Err(e) => return e.to_errno(),
    };
    // What nobody can join is the business of its caller.
    for seen in flights.iter().filter(|it| it.flight.key().is_joinable()) {
        let flight = &seen.flight;
        let (kind, request) = match &flight.key().what {
            What::Request(_) => ("request", true),
            What::File(file) if file.is_copy() => ("copy", false),
            _ => ("load", false),
        };
        seq_print!(
            m,
            "{}\t{}\t{}\t{}\t{}\t",
            kind,
            flight.age().as_millis(),
            flight.followers(),
            Comm(flight.leader()),
            flight.key().name()
        );
        match &seen.waits_for {
            Some(step) => seq_print!(m, "{}\n", Shown(step)),
            None if request => seq_print!(m, "request for {}\n", flight.key().name()),
            None => seq_print!(m, "-\n"),
        }
    }
    if more > 0 {
        seq_print!(m, "and {} more\n", more);
    }
    0
}
