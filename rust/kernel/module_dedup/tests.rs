// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of single flight, and the helpers of all tests of flights.
//!
//! The threads are workers of the default workqueue, which starts as many as there are items that
//! sleep. They hand their results back to the thread of the test, since only there do assertions
//! count. Where a test waits for threads it polls a condition; no result depends on how long that
//! takes, except that it gives up at some point.

use super::{
    graph::Waits,
    line::File,
    Entry,
    Follower,
    Handle,
    Key,
    Pace,
    Table,
    TaskId,
    Ticket,
    FOREVER, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Msecs, //
    },
    workqueue,
};

/// A key that says itself in which bucket it is.
#[derive(Clone, Copy)]
pub(super) struct TestKey {
    pub(super) hash: usize,
    pub(super) file: u32,
    pub(super) call: u32,
    pub(super) limit: Option<usize>,
}

/// How often two keys were compared.
pub(super) static SAME_CALL: Atomic<u32> = Atomic::new(0);
pub(super) static SAME_FILE: Atomic<u32> = Atomic::new(0);

impl Key for TestKey {
    fn hash(&self) -> usize {
        self.hash
    }

    fn same_call(&self, other: &Self) -> bool {
        SAME_CALL.add(1, Relaxed);
        self.file == other.file && self.call == other.call
    }

    fn limit(&self) -> Option<usize> {
        self.limit
    }
}

impl File for TestKey {
    fn same_file(&self, other: &Self) -> bool {
        SAME_FILE.add(1, Relaxed);
        self.file == other.file
    }
}

impl Waits for TestKey {
    /// A helper waits for what its own thread waits for, unless it is [`BUSY`].
    fn stands_in(helper: TaskId) -> Option<TaskId> {
        (helper != BUSY).then_some(helper)
    }
}

/// A task that calls, where it does not matter which one that is.
pub(super) const ANYBODY: TaskId = task(100);

/// A helper that goes on.
pub(super) const BUSY: TaskId = task(99);

pub(super) const fn task(pid: i32) -> TaskId {
    TaskId { pid, started: 1 }
}

pub(super) fn key(file: u32, call: u32) -> TestKey {
    TestKey {
        hash: 7,
        file,
        call,
        limit: None,
    }
}

/// The ticket of a flight that is up, and that this task leads.
pub(super) fn up(table: &Table<TestKey>, key: TestKey, me: TaskId) -> Result<Ticket<'_, TestKey>> {
    let mut ticket = table.ticket(key, me)?;
    match ticket.enter() {
        Entry::Leads => Ok(ticket),
        Entry::Follows(_) => Err(EEXIST),
        Entry::Full => Err(EBUSY),
    }
}

/// Whether it is the turn of a flight.
fn is_first(flight: &Handle<'_, TestKey>) -> bool {
    core::ptr::eq(&*flight.first(), &**flight)
}

/// The same for a flight whose turn it is.
pub(super) fn first(table: &Table<TestKey>, key: TestKey) -> Result<Ticket<'_, TestKey>> {
    let ticket = up(table, key, ANYBODY)?;
    is_first(&ticket).then_some(ticket).ok_or(EINVAL)
}

/// The same for a flight that stands in line.
pub(super) fn behind(
    table: &Table<TestKey>,
    key: TestKey,
    me: TaskId,
) -> Result<Ticket<'_, TestKey>> {
    let ticket = up(table, key, me)?;
    (!is_first(&ticket)).then_some(ticket).ok_or(EINVAL)
}

pub(super) fn follows(table: &Table<TestKey>, key: TestKey) -> Result<Follower<'_, TestKey>> {
    table.follow(&key).ok_or(ENOENT)
}

/// The pace of a task that sleeps until it is woken.
pub(super) fn patient(_: &Handle<'_, TestKey>) -> Result<Msecs> {
    Ok(FOREVER)
}

/// The answer that a follower gets, or [`None`] if it has to ask again.
pub(super) fn told(follower: Follower<'_, TestKey>) -> Result<Option<i64>> {
    told_at(follower, &mut patient)
}

/// The same at another pace.
pub(super) fn told_at<'t>(
    follower: Follower<'t, TestKey>,
    pace: &mut Pace<'_, 't, TestKey>,
) -> Result<Option<i64>> {
    follower.wait(false, pace).1
}

/// Waits until `condition` holds.
pub(super) fn wait_until(condition: impl Fn() -> bool) -> Result {
    for _ in 0..20_000 {
        if condition() {
            return Ok(());
        }
        fsleep(Delta::from_millis(1));
    }
    Err(ETIMEDOUT)
}

/// Makes a signal pending for the calling thread, until it is dropped.
pub(super) struct PendingSignal;

impl PendingSignal {
    pub(super) fn new() -> Self {
        extern "C" fn never_called(_: c_int) {}

        // SAFETY: These change the signal state of the current task, which is the kernel thread of
        // a test and does not share it. A kernel thread never runs a handler: any handler makes the
        // signal wake it.
        unsafe {
            bindings::kernel_sigaction(bindings::SIGUSR1 as c_int, Some(never_called));
            bindings::send_sig(bindings::SIGUSR1 as c_int, bindings::get_current(), 1);
        }
        Self
    }
}

impl Drop for PendingSignal {
    fn drop(&mut self) {
        // SAFETY: The current task is valid, and these are its own signals.
        unsafe { bindings::flush_signals(bindings::get_current()) };
    }
}

/// The state that the threads of a test share.
pub(super) struct Shared {
    pub(super) table: Table<TestKey>,
    /// How often a load was run, and how many run now, by file.
    pub(super) loads: [Atomic<u32>; 8],
    running: [Atomic<u32>; 8],
    /// Loads that ran beside another one of the same file.
    pub(super) overlaps: Atomic<u32>,
    /// Followers that got an answer, and those that had to ask again.
    pub(super) joined: Atomic<u32>,
    again: Atomic<u32>,
    /// How far the threads have come; each test counts its own steps.
    pub(super) steps: Atomic<u32>,
    /// Threads that saw the expected outcome.
    pub(super) good: Atomic<u32>,
    /// Threads that are over.
    pub(super) over: Atomic<u32>,
}

impl Shared {
    pub(super) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                table: Table::new()?,
                loads: [const { Atomic::new(0) }; 8],
                running: [const { Atomic::new(0) }; 8],
                overlaps: Atomic::new(0),
                joined: Atomic::new(0),
                again: Atomic::new(0),
                steps: Atomic::new(0),
                good: Atomic::new(0),
                over: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Does `work` in so many new threads.
    pub(super) fn spawn(
        this: &Arc<Self>,
        threads: u32,
        work: impl Fn(&Self) -> Result + Copy + Send + 'static,
    ) -> Result {
        for _ in 0..threads {
            let shared = this.clone();
            workqueue::system_dfl().try_spawn(GFP_KERNEL, move || {
                if work(&shared).is_ok() {
                    shared.good.add(1, Relaxed);
                }
                shared.over.fetch_add(1, Full);
            })?;
        }
        Ok(())
    }

    /// Waits until so many threads are over. Returns how many of them saw the expected outcome.
    pub(super) fn wait_over(&self, threads: u32) -> Result<u32> {
        wait_until(|| self.over.load(Relaxed) == threads)?;
        Ok(self.good.load(Relaxed))
    }

    pub(super) fn load(&self, ticket: Ticket<'_, TestKey>, answer: i64) {
        let file = ticket.key().file as usize % 8;
        if self.running[file].fetch_add(1, Full) != 0 {
            self.overlaps.add(1, Relaxed);
        }
        self.loads[file].add(1, Relaxed);
        fsleep(Delta::from_micros(50));
        self.running[file].fetch_sub(1, Full);
        ticket.finish(Some(answer));
    }

    /// Asks until there is an answer. A load of its own ends with `answer`.
    pub(super) fn call(&self, key: TestKey, answer: i64) -> Result<i64> {
        let mut ticket = self.table.ticket(key, ANYBODY)?;
        loop {
            match ticket.enter() {
                Entry::Full => return Err(EBUSY),
                Entry::Leads => {
                    ticket.wait_for_turn(&mut patient)?;
                    self.load(ticket, answer);
                    return Ok(answer);
                }
                Entry::Follows(follower) => {
                    if let Some(answer) = told(follower)? {
                        self.joined.add(1, Relaxed);
                        return Ok(answer);
                    }
                    self.again.add(1, Relaxed);
                }
            }
        }
    }
}

/// An assertion in a thread, where those of KUnit do not count.
pub(super) fn ensure(good: bool) -> Result {
    good.then_some(()).ok_or(EINVAL)
}

#[kunit_tests(module_dedup)]
mod suite {
    use super::*;

    #[test]
    fn leader_without_followers() -> Result {
        let table = Table::new()?;
        for answer in [Some(0), Some(-5), Some(i64::MAX), None] {
            let flight = first(&table, key(1, 1))?;
            let seen = Handle::clone(&flight);
            assert_eq!(seen.answer(), None);
            assert_eq!(flight.finish(answer), Some(0));
            assert_eq!(seen.answer(), answer);
        }
        Ok(())
    }

    /// A work item wakes many waiters; the leader wakes a few by itself.
    #[test]
    fn followers_get_the_answer() -> Result {
        for (threads, answer) in [(8, 0), (8, -5), (2, 0)] {
            let shared = Shared::new()?;
            let flight = first(&shared.table, key(1, 1))?;
            // A load of their own would give another answer.
            Shared::spawn(&shared, threads, move |this| {
                ensure(this.call(key(1, 1), 77)? == answer)
            })?;
            wait_until(|| flight.followers() == threads)?;
            assert_eq!(flight.waiters(), threads);
            assert_eq!(shared.over.load(Relaxed), 0);
            assert_eq!(flight.finish(Some(answer)), Some(threads));

            assert_eq!(shared.wait_over(threads)?, threads);
            assert_eq!(shared.joined.load(Relaxed), threads);
            // Nothing lingers: the next caller leads.
            assert_eq!(shared.call(key(1, 1), 77)?, 77);
        }
        Ok(())
    }

    #[test]
    fn followers_are_numbered() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let one = follows(&table, key(1, 1))?;
        let Entry::Follows(two) = table.ticket(key(1, 1), ANYBODY)?.enter() else {
            return Err(EINVAL);
        };
        assert_eq!((one.nth(), two.nth()), (1, 2));
        assert_eq!(two.flight().id(), flight.id());
        assert!(table.follow(&key(1, 2)).is_none());
        assert_eq!(flight.finish(Some(3)), Some(2));
        assert_eq!(told(two)?, Some(3));
        assert_eq!(told(one)?, Some(3));
        Ok(())
    }

    /// A flight that ends without an answer makes its followers ask again.
    #[test]
    fn no_answer() -> Result {
        let table = Table::new()?;
        for dropped in [false, true] {
            let flight = first(&table, key(1, 1))?;
            let waits = follows(&table, key(1, 1))?;
            if dropped {
                drop(flight);
            } else {
                assert_eq!(flight.finish(None), Some(1));
            }
            assert_eq!(told(waits)?, None);
        }
        Ok(())
    }

    #[test]
    fn interrupted_follower() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let interrupted = follows(&table, key(1, 1))?;
        let waits = follows(&table, key(1, 1))?;
        assert_eq!(flight.followers(), 2);
        {
            let _signal = PendingSignal::new();
            assert_eq!(told(interrupted), Err(ERESTARTSYS));
        }
        // It removed only itself.
        assert_eq!((flight.followers(), flight.waiters()), (1, 1));
        assert_eq!(flight.finish(Some(3)), Some(1));
        assert_eq!(told(waits)?, Some(3));
        Ok(())
    }

    #[test]
    fn answer_wins_over_a_signal() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let late = follows(&table, key(1, 1))?;
        flight.finish(Some(3));

        let _signal = PendingSignal::new();
        assert_eq!(told(late)?, Some(3));
        Ok(())
    }

    #[test]
    fn nobody_asks_again_with_a_signal_pending() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let late = follows(&table, key(1, 1))?;
        drop(flight);

        let _signal = PendingSignal::new();
        assert_eq!(told(late), Err(ERESTARTSYS));
        Ok(())
    }

    /// A signal that does not kill does not end a killable wait.
    #[test]
    fn killable_follower() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let waits = follows(&table, key(1, 1))?;
        let _signal = PendingSignal::new();
        let mut naps = 0;
        let (_, waited) = waits.wait(true, &mut |flight| {
            naps += 1;
            if naps == 3 {
                flight.end(None);
            }
            Ok(1)
        });
        assert_eq!((waited?, naps), (None, 3));
        assert_eq!(flight.finish(Some(3)), None);
        Ok(())
    }

    /// A follower whose pace fails leaves, unless there is an answer.
    #[test]
    fn follower_that_gives_up() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let gives_up = follows(&table, key(1, 1))?;
        assert_eq!(told_at(gives_up, &mut |_| Err(EAGAIN)), Err(EAGAIN));
        assert_eq!((flight.followers(), flight.waiters()), (0, 0));

        for answer in [Some(3), None] {
            let flight = up(&table, key(1, 2), ANYBODY)?;
            let late = follows(&table, key(1, 2))?;
            flight.finish(answer);
            assert_eq!(told_at(late, &mut |_| Err(EAGAIN))?, answer);
        }
        Ok(())
    }

    #[test]
    fn early_return_of_the_leader() -> Result {
        /// Leads, and fails before there is a result.
        fn lead(shared: &Shared) -> Result {
            let flight = first(&shared.table, key(1, 1))?;
            shared.steps.add(1, Relaxed);
            wait_until(|| flight.followers() == 4)?;
            Err(ENOEXEC)
        }

        let shared = Shared::new()?;
        Shared::spawn(&shared, 1, |this| ensure(lead(this) == Err(ENOEXEC)))?;
        wait_until(|| shared.steps.load(Relaxed) == 1)?;
        Shared::spawn(&shared, 4, |this| ensure(this.call(key(1, 1), 42)? == 42))?;

        // One of them leads, or several, one after the other; each gets a result.
        assert_eq!(shared.wait_over(5)?, 5);
        assert_eq!(shared.again.load(Relaxed), 4);
        assert_eq!(shared.overlaps.load(Relaxed), 0);
        Ok(())
    }

    /// The same key, but another flight; the first one was closed, or has ended.
    #[test]
    fn ends_by_identity() -> Result {
        let table = Table::new()?;
        for closed in [true, false] {
            let one = first(&table, key(1, 1))?;
            if closed {
                one.close();
            } else {
                one.end(None);
            }
            let two = up(&table, key(1, 1), ANYBODY)?;
            assert_eq!(is_first(&two), !closed);
            let of_two = follows(&table, key(1, 1))?;
            assert_eq!((one.followers(), two.followers()), (0, 1));
            assert_eq!(one.finish(Some(1)), closed.then_some(0));
            assert_eq!(two.followers(), 1);
            two.wait_for_turn(&mut patient)?;
            assert_eq!(two.finish(Some(2)), Some(1));
            assert_eq!(told(of_two)?, Some(2));
        }
        Ok(())
    }

    #[test]
    fn closed_flight_takes_no_followers() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let early = follows(&table, key(1, 1))?;
        flight.close();
        assert!(table.follow(&key(1, 1)).is_none());
        assert_eq!(table.end_for(&key(1, 1), |_| true, 5), None);
        let late = behind(&table, key(1, 1), ANYBODY)?;
        flight.finish(Some(0));
        assert_eq!(told(early)?, Some(0));
        late.wait_for_turn(&mut patient)?;
        late.finish(Some(-17));
        Ok(())
    }

    /// A flight that is closed before it enters follows nobody, and has no followers.
    #[test]
    fn closed_from_the_start() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let mut alone = table.ticket(key(1, 1), ANYBODY)?;
        alone.close();
        assert!(matches!(alone.enter(), Entry::Leads));
        assert!(!is_first(&alone));
        drop(flight);
        assert!(table.follow(&key(1, 1)).is_none());
        Ok(())
    }

    /// Each holder of a handle can end the flight; the first end counts.
    #[test]
    fn ended_by_a_handle() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let other = Handle::clone(&flight);
        let waits = follows(&table, key(1, 1))?;
        assert_eq!(other.end(Some(5)), Some(1));
        assert_eq!(other.end(Some(6)), None);
        let next = first(&table, key(1, 1))?;
        assert_eq!(flight.finish(Some(7)), None);
        assert_eq!(other.answer(), Some(5));
        assert_eq!(told(waits)?, Some(5));
        assert_eq!(next.finish(Some(8)), Some(0));
        Ok(())
    }

    /// The answer comes from another task than the leader, and wakes those who sleep.
    #[test]
    fn ended_from_elsewhere() -> Result {
        let shared = Shared::new()?;
        assert_eq!(shared.table.end_for(&key(1, 1), |_| true, 5), None);
        let flight = first(&shared.table, key(1, 1))?;
        Shared::spawn(&shared, 8, |this| ensure(this.call(key(1, 1), 77)? == 5))?;
        wait_until(|| flight.followers() == 8)?;
        assert_eq!(shared.table.end_for(&key(1, 2), |_| true, 5), None);
        Shared::spawn(&shared, 1, |this| {
            ensure(this.table.end_for(&key(1, 1), |_| true, 5) == Some(8))
        })?;
        assert_eq!(shared.wait_over(9)?, 9);
        assert_eq!(flight.answer(), Some(5));
        assert_eq!(flight.finish(Some(6)), None);
        Ok(())
    }

    /// A flight whose ticket was abandoned is up until the holder of a handle ends it.
    #[test]
    fn abandoned_ticket() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let early = follows(&table, key(1, 1))?;
        let handle = Handle::clone(&flight);
        assert!(table.knows(ANYBODY));
        flight.abandon();
        assert!(!table.knows(ANYBODY));
        let late = follows(&table, key(1, 1))?;
        assert_eq!(handle.end(Some(4)), Some(2));
        assert_eq!(told(early)?, Some(4));
        assert_eq!(told(late)?, Some(4));
        Ok(())
    }

    #[test]
    fn raw_ticket_and_handle() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let id = flight.id();
        let handle = Handle::clone(&flight).into_raw();
        let ticket = flight.into_raw();
        assert!(table.knows(ANYBODY));
        let waits = follows(&table, key(1, 1))?;
        // SAFETY: This has just come from a handle of this table.
        let handle = unsafe { Handle::from_raw(&table, handle) };
        // SAFETY: This has just come from a ticket of this table.
        let flight = unsafe { Ticket::from_raw(&table, ticket) };
        assert_eq!((handle.id(), flight.id()), (id, id));
        assert_eq!(flight.finish(Some(3)), Some(1));
        assert!(!table.knows(ANYBODY));
        assert_eq!((told(waits)?, handle.answer()), (Some(3), Some(3)));
        Ok(())
    }
}
