// SPDX-License-Identifier: GPL-2.0

//! How a call waits for a load.

use super::{
    key::Call,
    load,
    report,
    stats,
    task,
    trace,
    TABLE, //
};
use kernel::{
    module_dedup::{
        watch::Watch,
        Handle,
        TaskId,
        FOREVER, //
    },
    prelude::*,
    time::Msecs, //
};

/// How often a task that others may wait for looks whether it waits in vain.
const RECHECK: Msecs = 1_000;

/// How long a wait is before people are told of it.
const LONG: Msecs = 10_000;

/// A wait for one load after the other.
pub(crate) struct Wait {
    /// The task that waits, if others may wait for it.
    me: Option<TaskId>,
    begun: Option<stats::Begin>,
    watch: Option<Watch<'static, Call>>,
    /// Whether people were told that it takes long.
    told: bool,
}

impl Wait {
    pub(crate) fn new(me: Option<TaskId>) -> Self {
        Self {
            me,
            begun: None,
            watch: None,
            told: false,
        }
    }

    /// Says how long to sleep at the most, before having another look at `flight`.
    ///
    /// Fails with `EDEADLK` if the flight waits for the task.
    pub(crate) fn pace(&mut self, flight: &Handle<'static, Call>) -> Result<Msecs> {
        // First of all: a task that was woken to watch must do so, or leave it to another one, also
        // if it is not let wait any more.
        if self.watch.as_ref().is_none_or(|it| !it.is_of(flight)) {
            self.watch = flight.watch();
        }
        let waited = match self.begun {
            Some(begun) => Msecs::try_from(begun.elapsed().as_millis()).unwrap_or(LONG),
            None => {
                self.begun = Some(stats::Begin::now());
                0
            }
        };
        let mut slice = FOREVER;
        if let Some(me) = self.me {
            wait_for(me, flight)?;
            slice = RECHECK;
        }
        if self.watch.is_some() && !self.told {
            if waited >= LONG {
                self.told = true;
                report::delayed(flight);
                // The leader of an image may wait for its own memory; without a flight nobody would
                // wait for a load that has not reached its name.
                if load::reached(flight) == Some(false) {
                    flight.end(Some(load::ALONE.into()));
                }
            } else {
                slice = slice.min(LONG.saturating_sub(waited));
            }
        }
        Ok(slice)
    }

    /// Whether the task has waited at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Notes that the wait is over, and returns how long it took, in ns.
    pub(crate) fn over(self) -> u64 {
        if let (Some(me), Some(table)) = (self.me, TABLE.as_ref()) {
            let _ = table.wait_for(me, 0);
        }
        self.begun.map_or(0, stats::Begin::count)
    }
}

/// Notes that `me` waits for a flight. Fails with `EDEADLK`, and tells people, if the flight waits
/// for `me`.
fn wait_for(me: TaskId, flight: &Handle<'static, Call>) -> Result {
    let waits = TABLE.as_ref().map(|it| it.wait_for(me, flight.id()));
    waits.unwrap_or(Ok(())).inspect_err(|_| {
        report::refused(me, flight);
    })
}

/// Notes that the current task is going to wait for a load, or for none any more if `id` is 0, and
/// that it has done so for `waited` seconds.
///
/// Returns 0, or `-EDEADLK` if that load waits for the task. May sleep, to print.
///
/// # Safety
///
/// None.
#[export]
unsafe extern "C" fn module_dedup_wait_for(id: u64, waited: c_uint) -> c_int {
    let Some(table) = TABLE.as_ref() else {
        return 0;
    };
    let me = task::current();
    let Some(load) = table.flight(id) else {
        let _ = table.wait_for(me, 0);
        return 0;
    };
    if waited == LONG / 1000 {
        report::delayed(&load);
    }
    match wait_for(me, &load) {
        Ok(()) => 0,
        Err(e) => {
            trace::refuse(&load);
            e.to_errno()
        }
    }
}
