// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the flight table.
//!
//! The threads are workers of the unbound workqueue, which starts as many as there are items that
//! sleep. They hand their results back to the thread of the test, since only there do assertions
//! count. Where a test waits for threads it polls a condition; no result depends on how long that
//! takes, except that it gives up at some point.

use super::{
    Behind,
    Ended,
    Entry,
    Follower,
    Key,
    Leader,
    Request,
    Seen,
    Step,
    Table,
    Task,
    TaskId, //
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
        Delta, //
    },
    workqueue,
};

/// A key that says itself in which bucket it is.
#[derive(Clone, Copy)]
struct TestKey {
    bucket: usize,
    file: u32,
    call: u32,
}

impl Key for TestKey {
    fn hash(&self) -> usize {
        self.bucket
    }

    fn same_file(&self, other: &Self) -> bool {
        self.file == other.file
    }

    fn same_call(&self, other: &Self) -> bool {
        self.same_file(other) && self.call == other.call
    }

    type Label = u32;

    /// A helper waits for what its own thread waits for, unless it is [`BUSY`].
    fn stands_in(helper: TaskId) -> Option<TaskId> {
        (helper != BUSY).then_some(helper)
    }

    fn refused(_: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        CIRCLE.store(chain.count() as u32, Relaxed);
    }

    /// One result is for nobody but the leader.
    fn is_for_me(&self, result: i32) -> bool {
        result != OWN_RESULT
    }

    fn delayed(_: u32, _: TaskId, _: impl Iterator<Item = Step<Self>>) {}
}

/// Whoever calls, where that does not matter.
const ANYBODY: TaskId = task(1);

/// A helper that goes on.
const BUSY: TaskId = task(99);

/// A result that no follower may have.
const OWN_RESULT: i32 = -13;

/// How many steps the last circle had that was refused.
static CIRCLE: Atomic<u32> = Atomic::new(0);

const fn task(pid: i32) -> TaskId {
    TaskId { pid, started: 1 }
}

/// A leader with its load, as a task does it that others may wait for.
fn loading(
    table: &Table<TestKey>,
    key: TestKey,
    by: TaskId,
) -> Result<(Leader<'_, TestKey>, Task<'_, TestKey>)> {
    let leader = leader(table, key)?;
    let task = table.load(by, Some(&leader))?;
    Ok((leader, task))
}

/// A request of a task, with its helper.
fn requesting(table: &Table<TestKey>, by: TaskId, helper: TaskId) -> Result<Request<'_, TestKey>> {
    let request = table.request(by, true, 0).ok_or(ENOMEM)?;
    table.set_helper(request.id(), helper);
    Ok(request)
}

fn key(file: u32, call: u32) -> TestKey {
    TestKey {
        bucket: 7,
        file,
        call,
    }
}

fn leader(table: &Table<TestKey>, key: TestKey) -> Result<Leader<'_, TestKey>> {
    match table.enter(key, ANYBODY) {
        Entry::Leader(leader) => Ok(leader),
        _ => Err(EINVAL),
    }
}

fn follower(table: &Table<TestKey>, key: TestKey) -> Result<Follower<'_, TestKey>> {
    match table.enter(key, ANYBODY) {
        Entry::Follower(follower, _) => Ok(follower),
        _ => Err(EINVAL),
    }
}

fn behind(table: &Table<TestKey>, key: TestKey) -> Result<Behind<'_, TestKey>> {
    match table.enter(key, ANYBODY) {
        Entry::Behind(behind) => Ok(behind),
        _ => Err(EINVAL),
    }
}

fn result_of(follower: Follower<'_, TestKey>) -> Result<i32> {
    match follower.wait(None).ended? {
        Ended::Result(result) => Ok(result),
        Ended::Retry => Err(EAGAIN),
    }
}

/// Waits until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) -> Result {
    for _ in 0..20_000 {
        if condition() {
            return Ok(());
        }
        fsleep(Delta::from_millis(1));
    }
    Err(ETIMEDOUT)
}

/// Makes a signal pending for the calling thread, until it is dropped.
struct PendingSignal;

impl PendingSignal {
    fn new() -> Self {
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

/// What the threads of a test share.
struct Shared {
    table: Table<TestKey>,
    /// How often a load was run, and how many run now, by file.
    loads: [Atomic<u32>; 8],
    running: [Atomic<u32>; 8],
    /// Loads that ran beside another one of the same file.
    overlaps: Atomic<u32>,
    /// Calls that got the result that they should.
    good: Atomic<u32>,
    /// Calls that are over.
    over: Atomic<u32>,
}

impl Shared {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                table: Table::new()?,
                loads: [const { Atomic::new(0) }; 8],
                running: [const { Atomic::new(0) }; 8],
                overlaps: Atomic::new(0),
                good: Atomic::new(0),
                over: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    fn load(&self, leader: Leader<'_, TestKey>, file: u32, result: i32) -> i32 {
        let file = file as usize % 8;
        if self.running[file].fetch_add(1, Full) != 0 {
            self.overlaps.add(1, Relaxed);
        }
        self.loads[file].add(1, Relaxed);
        fsleep(Delta::from_micros(50));
        self.running[file].fetch_sub(1, Full);
        leader.finish(result);
        result
    }

    /// What a caller does. A load of its own would end with `result`.
    fn call(&self, mut key: TestKey, result: i32) -> Result<i32> {
        let file = key.file;
        loop {
            match self.table.enter(key, ANYBODY) {
                Entry::Alone => return Err(ENOMEM),
                Entry::Leader(leader) => return Ok(self.load(leader, file, result)),
                Entry::Behind(behind) => return Ok(self.load(behind.wait(None)?, file, result)),
                Entry::Follower(follower, again) => match follower.wait(None).ended? {
                    Ended::Result(result) => return Ok(result),
                    Ended::Retry => key = again,
                },
            }
        }
    }

    /// Calls from `threads` new threads, `calls` times each.
    fn spawn(
        this: &Arc<Self>,
        threads: u32,
        calls: u32,
        key: TestKey,
        result: i32,
        expected: i32,
    ) -> Result {
        for _ in 0..threads {
            let shared = this.clone();
            workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                for _ in 0..calls {
                    if shared.call(key, result) == Ok(expected) {
                        shared.good.add(1, Relaxed);
                    }
                    shared.over.add(1, Relaxed);
                }
            })?;
        }
        Ok(())
    }

    fn wait_over(&self, calls: u32) -> Result {
        wait_until(|| self.over.load(Relaxed) == calls)
    }
}

#[kunit_tests(module_dedup)]
mod suite {
    use super::*;

    #[test]
    fn leader_without_followers() -> Result {
        let table = Table::new()?;
        for result in [0, -5, i32::MIN] {
            assert_eq!(leader(&table, key(1, 1))?.finish(result), 0);
        }
        let stats = table.stats();
        assert_eq!((stats.led, stats.joined, stats.behind), (3, 0, 0));
        Ok(())
    }

    fn shared_result(result: i32) -> Result {
        let shared = Shared::new()?;
        let flight = leader(&shared.table, key(1, 1))?;
        // A load of their own would give another result.
        Shared::spawn(&shared, 8, 1, key(1, 1), 77, result)?;
        wait_until(|| flight.followers() == 8)?;
        assert_eq!(shared.over.load(Relaxed), 0);
        assert_eq!(flight.finish(result), 8);

        shared.wait_over(8)?;
        assert_eq!(shared.good.load(Relaxed), 8);
        let stats = shared.table.stats();
        assert_eq!((stats.led, stats.joined, stats.most_followers), (1, 8, 8));

        // Nothing lingers: the next caller leads.
        assert_eq!(shared.call(key(1, 1), 77)?, 77);
        Ok(())
    }

    #[test]
    fn followers_get_the_result() -> Result {
        shared_result(0)
    }

    #[test]
    fn followers_of_a_leader_that_fails() -> Result {
        shared_result(-5)
    }

    /// A result that is not for a follower makes it ask again.
    #[test]
    fn result_that_is_not_for_me() -> Result {
        let table = Table::new()?;
        let flight = leader(&table, key(1, 1))?;
        let other = follower(&table, key(1, 1))?;
        flight.finish(OWN_RESULT);
        assert_eq!(result_of(other), Err(EAGAIN));
        let stats = table.stats();
        assert_eq!((stats.joined, stats.retried), (0, 1));
        Ok(())
    }

    #[test]
    fn interrupted_follower() -> Result {
        let table = Table::new()?;
        let flight = leader(&table, key(1, 1))?;
        let interrupted = follower(&table, key(1, 1))?;
        let patient = follower(&table, key(1, 1))?;
        assert_eq!(flight.followers(), 2);
        {
            let _signal = PendingSignal::new();
            assert_eq!(result_of(interrupted), Err(ERESTARTSYS));
        }
        // It removed only itself.
        assert_eq!(flight.followers(), 1);
        flight.finish(3);
        assert_eq!(result_of(patient)?, 3);

        let stats = table.stats();
        assert_eq!((stats.joined, stats.interrupted), (1, 1));
        Ok(())
    }

    #[test]
    fn result_wins_over_a_signal() -> Result {
        let table = Table::new()?;
        let flight = leader(&table, key(1, 1))?;
        let late = follower(&table, key(1, 1))?;
        flight.finish(3);

        let _signal = PendingSignal::new();
        assert_eq!(result_of(late)?, 3);
        assert_eq!(table.stats().interrupted, 0);
        Ok(())
    }

    #[test]
    fn no_retry_with_a_signal_pending() -> Result {
        let table = Table::new()?;
        let flight = leader(&table, key(1, 1))?;
        let late = follower(&table, key(1, 1))?;
        drop(flight);

        let _signal = PendingSignal::new();
        assert_eq!(result_of(late), Err(ERESTARTSYS));
        assert_eq!(table.stats().interrupted, 1);
        Ok(())
    }

    #[test]
    fn other_calls_share_nothing() -> Result {
        let table = Table::new()?;
        let first = leader(&table, key(1, 1))?;
        let second = behind(&table, key(1, 2))?;
        let of_first = follower(&table, key(1, 1))?;
        let of_second = follower(&table, key(1, 2))?;
        // Another file is not concerned at all.
        leader(&table, key(2, 1))?.finish(0);

        first.finish(-5);
        assert_eq!(result_of(of_first)?, -5);
        second.wait(None)?.finish(6);
        assert_eq!(result_of(of_second)?, 6);
        assert_eq!(table.stats().behind, 1);
        Ok(())
    }

    #[test]
    fn in_order_of_arrival() -> Result {
        let shared = Shared::new()?;
        let first = leader(&shared.table, key(1, 0))?;
        let turn = Arc::new(Atomic::new(1u32), GFP_KERNEL)?;
        for call in 1..=8 {
            let (this, turn) = (shared.clone(), turn.clone());
            workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                if let Ok(Ok(leader)) = behind(&this.table, key(1, call)).map(|it| it.wait(None)) {
                    if turn.fetch_add(1, Full) == call {
                        this.good.add(1, Relaxed);
                    }
                    this.load(leader, 1, 0);
                }
                this.over.add(1, Relaxed);
            })?;
            wait_until(|| shared.table.stats().behind == u64::from(call))?;
        }
        assert_eq!(shared.over.load(Relaxed), 0);
        first.finish(0);

        shared.wait_over(8)?;
        assert_eq!(shared.good.load(Relaxed), 8);
        assert_eq!(shared.overlaps.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn interrupted_in_line() -> Result {
        let table = Table::new()?;
        let first = leader(&table, key(1, 1))?;
        let second = behind(&table, key(1, 2))?;
        let third = behind(&table, key(1, 3))?;
        let of_second = follower(&table, key(1, 2))?;
        {
            let _signal = PendingSignal::new();
            assert!(second.wait(None).is_err());
        }
        // Its follower asks again, and is now the last in line.
        assert_eq!(of_second.wait(None).ended, Ok(Ended::Retry));
        let fourth = behind(&table, key(1, 2))?;

        first.finish(0);
        third.wait(None)?.finish(0);
        fourth.wait(None)?.finish(0);
        let stats = table.stats();
        assert_eq!((stats.led, stats.interrupted), (3, 1));
        Ok(())
    }

    #[test]
    fn early_return_of_the_leader() -> Result {
        /// Leads, and fails before there is a result.
        fn lead(shared: &Shared) -> Result {
            let flight = leader(&shared.table, key(1, 1))?;
            wait_until(|| flight.followers() == 4)?;
            Err(ENOEXEC)
        }

        let shared = Shared::new()?;
        let this = shared.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            if lead(&this) == Err(ENOEXEC) {
                this.good.add(1, Relaxed);
            }
            this.over.add(1, Relaxed);
        })?;
        wait_until(|| shared.table.stats().led == 1)?;
        Shared::spawn(&shared, 4, 1, key(1, 1), 42, 42)?;

        // One of them leads, or several, one after the other; each gets a result.
        shared.wait_over(5)?;
        assert_eq!(shared.good.load(Relaxed), 5);
        assert_eq!(shared.table.stats().retried, 4);
        assert_eq!(shared.overlaps.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn two_keys_in_one_bucket() -> Result {
        let table = Table::new()?;
        let one = leader(&table, key(1, 1))?;
        let two = leader(&table, key(2, 1))?;
        let three = leader(&table, key(3, 1))?;
        let of_one = follower(&table, key(1, 1))?;
        let of_two = follower(&table, key(2, 1))?;
        let of_three = follower(&table, key(3, 1))?;

        // From the middle, the end and the front of the chain.
        two.finish(2);
        three.finish(3);
        assert_eq!(one.followers(), 1);
        one.finish(1);
        assert_eq!(result_of(of_one)?, 1);
        assert_eq!(result_of(of_two)?, 2);
        assert_eq!(result_of(of_three)?, 3);
        Ok(())
    }

    #[test]
    fn ends_by_identity() -> Result {
        let table = Table::new()?;
        let first = leader(&table, key(1, 1))?;
        table.close(first.flight());
        // The same key, but another flight.
        let second = behind(&table, key(1, 1))?;
        let of_second = follower(&table, key(1, 1))?;
        assert_eq!(first.followers(), 0);
        assert_eq!(second.followers(), 1);
        first.finish(1);
        assert_eq!(second.followers(), 1);
        second.wait(None)?.finish(2);
        assert_eq!(result_of(of_second)?, 2);
        Ok(())
    }

    #[test]
    fn closed_flight_takes_no_followers() -> Result {
        let table = Table::new()?;
        let flight = leader(&table, key(1, 1))?;
        let early = follower(&table, key(1, 1))?;
        table.close(flight.flight());
        let late = behind(&table, key(1, 1))?;
        flight.finish(0);
        assert_eq!(result_of(early)?, 0);
        late.wait(None)?.finish(-17);
        Ok(())
    }

    #[test]
    fn many_threads_on_eight_keys() -> Result {
        const CALLS: u32 = 50;

        let shared = Shared::new()?;
        for thread in 0..64 {
            let file = thread % 8;
            // Eight files in four buckets.
            let key = TestKey {
                bucket: file as usize % 4,
                file,
                call: 0,
            };
            Shared::spawn(&shared, 1, CALLS, key, file as i32, file as i32)?;
        }
        shared.wait_over(64 * CALLS)?;
        assert_eq!(shared.good.load(Relaxed), 64 * CALLS);
        assert_eq!(shared.overlaps.load(Relaxed), 0);

        let loads: u32 = shared.loads.iter().map(|n| n.load(Relaxed)).sum();
        let stats = shared.table.stats();
        assert_eq!(stats.led, u64::from(loads));
        assert_eq!(stats.led + stats.joined, u64::from(64 * CALLS));
        assert!(stats.joined > 0);
        Ok(())
    }

    /// The helper of a load asks for the same load.
    #[test]
    fn circle_of_one_load() -> Result {
        let table = Table::new()?;
        let (flight, load) = loading(&table, key(1, 1), task(1))?;
        let _request = requesting(&table, task(1), task(2))?;

        let helper = follower(&table, key(1, 1))?;
        assert_eq!(helper.wait(Some(task(2))).ended, Err(EDEADLK));
        assert_eq!(CIRCLE.load(Relaxed), 3);
        assert_eq!(flight.followers(), 0);

        // With other arguments it is in line, and does not stay there.
        let in_line = behind(&table, key(1, 2))?;
        assert_eq!(in_line.wait(Some(task(2))).err(), Some(EDEADLK));
        assert!(matches!(table.enter(key(1, 2), ANYBODY), Entry::Behind(_)));

        // It is not the load that was refused.
        assert!(!load.was_refused());
        assert_eq!(table.wait_for_load(task(2), load.id()), Err(EDEADLK));
        let stats = table.stats();
        assert_eq!((stats.refused, stats.interrupted, stats.joined), (3, 0, 0));
        assert_eq!(flight.finish(0), 0);
        leader(&table, key(1, 1))?.finish(0);
        Ok(())
    }

    /// A wait by name is refused, and the load that waited knows it.
    #[test]
    fn circle_by_name() -> Result {
        let table = Table::new()?;
        let (_flight, first) = loading(&table, key(1, 1), task(1))?;
        let _request = requesting(&table, task(1), task(2))?;
        let (_copy, second) = loading(&table, key(2, 1), task(2))?;
        assert_eq!(table.wait_for_load(task(2), first.id()), Err(EDEADLK));
        assert!(second.was_refused());
        Ok(())
    }

    #[test]
    fn circle_of_three_loads() -> Result {
        let table = Table::new()?;
        let _first = loading(&table, key(1, 1), task(1))?;
        let _asks = requesting(&table, task(1), task(2))?;
        let _second = loading(&table, key(2, 1), task(2))?;
        let _asks = requesting(&table, task(2), task(3))?;
        let _third = loading(&table, key(3, 1), task(3))?;
        let _asks = requesting(&table, task(3), task(4))?;

        let helper = follower(&table, key(1, 1))?;
        assert_eq!(helper.wait(Some(task(4))).ended, Err(EDEADLK));
        assert_eq!(CIRCLE.load(Relaxed), 5);
        Ok(())
    }

    /// A helper asks for something, on the way to which there is a wait by name.
    #[test]
    fn circle_through_others() -> Result {
        let table = Table::new()?;
        let (_flight, first) = loading(&table, key(1, 1), task(1))?;
        let _asks = requesting(&table, task(1), task(2))?;
        // Not a load, but some other system call of the helper that requests a module.
        let _asks = requesting(&table, task(2), task(3))?;
        let _other = loading(&table, key(2, 1), task(4))?;
        table.wait_for_load(task(4), first.id())?;
        let _in_line = behind(&table, key(2, 2))?;

        let helper = follower(&table, key(2, 2))?;
        assert_eq!(helper.wait(Some(task(3))).ended, Err(EDEADLK));
        table.waited(task(4));
        assert_eq!(table.stats().refused, 1);
        Ok(())
    }

    /// Whoever goes on, or is somebody else, closes no circle.
    #[test]
    fn no_circle() -> Result {
        let table = Table::new()?;
        let (flight, load) = loading(&table, key(1, 1), task(1))?;
        let asks = requesting(&table, task(1), BUSY)?;
        table.wait_for_load(BUSY, load.id())?;

        // It is not the helper; not even if it has the number of one that is dead.
        table.set_helper(asks.id(), task(2));
        let reborn = TaskId { pid: 2, started: 2 };
        table.wait_for_load(task(3), load.id())?;
        table.wait_for_load(reborn, load.id())?;

        // The request is over, and so is the next one, before the helper is known.
        drop(asks);
        table.wait_for_load(task(2), load.id())?;
        let asks = table.request(task(1), true, 0).ok_or(ENOMEM)?;
        let over = asks.id();
        table.wait_for_load(task(2), load.id())?;
        drop(asks);
        table.set_helper(over, task(2));
        table.wait_for_load(task(2), load.id())?;

        let waits = follower(&table, key(1, 1))?;
        flight.finish(5);
        assert_eq!(waits.wait(Some(task(2))).ended, Ok(Ended::Result(5)));
        assert_eq!(table.stats().refused, 0);
        Ok(())
    }

    /// A wait for what is over leads nowhere, whatever its task does next.
    #[test]
    fn no_circle_of_what_is_over() -> Result {
        let table = Table::new()?;
        let (flight, load) = loading(&table, key(1, 1), task(1))?;
        let _waits = table.task(task(2))?;
        table.wait_for_load(task(2), load.id())?;
        drop((flight, load));

        // The task goes on to ask for something, before the other one has woken up.
        let (_flight, again) = loading(&table, key(1, 1), task(1))?;
        let _asks = requesting(&table, task(1), task(2))?;
        assert_eq!(table.wait_for_load(task(3), again.id()), Ok(()));
        let _asks = requesting(&table, task(3), task(1))?;
        assert_eq!(table.stats().refused, 0);
        Ok(())
    }

    /// A task outside of the graph makes a request, and stays outside.
    #[test]
    fn request_of_an_outsider() -> Result {
        let table = Table::<TestKey>::new()?;
        assert!(table.request(task(1), false, 0).is_none());
        assert!(!table.knows(task(1)));

        let inside = table.request(task(1), true, 0);
        assert!(inside.is_some() && table.knows(task(1)));
        drop(inside);
        assert!(!table.knows(task(1)));
        Ok(())
    }

    /// Two wait for each other, at the same time: one of them is refused.
    #[test]
    fn both_sides_at_once() -> Result {
        const ROUNDS: u32 = 200;

        struct Race {
            table: Table<TestKey>,
            at_start: Atomic<u32>,
            refused: Atomic<u32>,
            over: Atomic<u32>,
        }

        let race = Arc::new(
            Race {
                table: Table::new()?,
                at_start: Atomic::new(0),
                refused: Atomic::new(0),
                over: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        for round in 0..ROUNDS {
            let (left, right) = (race.table.task(task(1))?, race.table.task(task(2))?);
            for (me, other) in [(left.id(), right.id()), (right.id(), left.id())] {
                let race = race.clone();
                workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                    race.at_start.add(1, Relaxed);
                    while race.at_start.load(Relaxed) < 2 * (round + 1) {
                        fsleep(Delta::from_micros(1));
                    }
                    if race.table.wait_for_load(me.task, other) == Err(EDEADLK) {
                        race.refused.add(1, Relaxed);
                    }
                    race.over.add(1, Relaxed);
                })?;
            }
            wait_until(|| race.over.load(Relaxed) == 2 * (round + 1))?;
            assert_eq!(race.refused.load(Relaxed), round + 1);
        }
        Ok(())
    }

    /// A circle that is closed while one waits is seen before long.
    #[test]
    fn circle_that_is_closed_later() -> Result {
        let shared = Shared::new()?;
        let (flight, _load) = loading(&shared.table, key(1, 1), task(1))?;
        let asks = requesting(&shared.table, task(1), BUSY)?;
        let this = shared.clone();
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            let waited = follower(&this.table, key(1, 1)).map(|it| it.wait(Some(task(2))));
            if waited.is_ok_and(|waited| waited.ended == Err(EDEADLK)) {
                this.good.add(1, Relaxed);
            }
            this.over.add(1, Relaxed);
        })?;
        wait_until(|| flight.followers() == 1)?;
        assert_eq!(shared.over.load(Relaxed), 0);

        shared.table.set_helper(asks.id(), task(2));
        shared.wait_over(1)?;
        assert_eq!(shared.good.load(Relaxed), 1);
        Ok(())
    }

    fn waits_for_flight(seen: &Seen<TestKey>) -> bool {
        matches!(seen.waits_for, Some(Step::Flight(_)))
    }

    #[test]
    fn snapshot_of_all_kinds() -> Result {
        let table = Table::new()?;
        assert!(table.snapshot()?.flights.is_empty());
        let (_first, load) = loading(&table, key(1, 1), task(1))?;
        let _second = behind(&table, key(1, 2))?;
        let _follower = follower(&table, key(1, 2))?;
        let request = requesting(&table, task(1), task(2))?;

        let seen = table.snapshot()?;
        let [first, second] = &*seen.flights else {
            return Err(EINVAL);
        };
        assert_eq!(seen.more, 0);
        assert_eq!((first.followers, second.followers), (0, 1));
        assert_eq!(first.flight.leader(), ANYBODY);
        // The first loads, and has asked somebody else; the second is in line.
        assert!(
            matches!(first.waits_for, Some(Step::Request { helper: Some(h), .. }) if h == task(2))
        );
        assert!(waits_for_flight(second));

        drop(request);
        assert!(table
            .snapshot()?
            .flights
            .iter()
            .all(|it| it.followers > 0 || it.waits_for.is_none()));
        drop(load);
        Ok(())
    }

    #[test]
    fn snapshot_has_an_end() -> Result {
        let table = Table::new()?;
        let mut flights = KVec::new();
        for file in 0..200 {
            flights.push(
                leader(
                    &table,
                    TestKey {
                        bucket: file as usize,
                        file,
                        call: 1,
                    },
                )?,
                GFP_KERNEL,
            )?;
        }
        let seen = table.snapshot()?;
        assert_eq!((seen.flights.len(), seen.more), (128, 72));
        Ok(())
    }
}
