// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the wait graph, and of the chains and snapshots that people see.

use super::{
    graph::Step,
    tests::{
        behind,
        ensure,
        follows,
        key,
        task,
        told_at,
        up,
        wait_until,
        Shared,
        TestKey,
        BUSY, //
    },
    Entry,
    Handle,
    Seen,
    Table,
    TaskId,
    Ticket, //
};
use crate::{
    prelude::*,
    sync::atomic::{
        Full,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta,
        Msecs, //
    },
};

/// A request of a task, with its helper.
fn asks(table: &Table<TestKey>, by: TaskId, helper: TaskId) -> Result<Ticket<'_, TestKey>> {
    let request = up(table, key(100 + by.pid as u32, 1), by)?;
    request.set_helper(helper);
    Ok(request)
}

/// The pace of a task that gives up if its wait closes a circle.
fn as_task<'t>(me: TaskId) -> impl FnMut(&Handle<'t, TestKey>) -> Result<Msecs> {
    move |flight| {
        flight.table.wait_for(me, flight.id())?;
        Ok(1)
    }
}

/// The chain of waits that starts at a flight, up to eight steps of it.
fn chain(
    table: &Table<TestKey>,
    me: Option<TaskId>,
    from: &Handle<'_, TestKey>,
) -> Result<KVec<Step<TestKey>>> {
    let mut chain = KVec::with_capacity(8, GFP_KERNEL)?;
    table.chain_from(me, from.id(), &mut chain);
    Ok(chain)
}

/// Whether a chain goes through these flights, with this work done in the name of the helper.
fn is_chain(chain: &[Step<TestKey>], wanted: &[(&Handle<'_, TestKey>, Option<u64>)]) -> bool {
    chain.len() == wanted.len()
        && chain.iter().zip(wanted).all(|(step, (flight, work))| {
            step.flight.id() == flight.id() && step.work.as_ref().map(|work| work.id()) == *work
        })
}

#[kunit_tests(module_dedup_graph)]
mod suite {
    use super::*;

    /// The helper of a load asks for the same load.
    #[test]
    fn circle_of_one_load() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        let asks = asks(&table, task(1), task(2))?;

        let helper = follows(&table, key(1, 1))?;
        assert_eq!(told_at(helper, &mut as_task(task(2))), Err(EDEADLK));
        assert_eq!((load.followers(), load.waiters()), (0, 0));
        let steps = chain(&table, Some(task(2)), &load)?;
        assert!(is_chain(&steps, &[(&load, None), (&asks, None)]));

        // With other arguments it is in line, and does not stay there.
        let in_line = behind(&table, key(1, 2), task(2))?;
        let turn = in_line.wait_for_turn(&mut as_task(task(2)));
        assert_eq!(turn, Err(EDEADLK));
        assert!(in_line.was_refused());
        assert_eq!(load.waiters(), 0);
        let steps = chain(&table, Some(task(2)), &in_line)?;
        let work = Some(in_line.id());
        assert!(is_chain(
            &steps,
            &[(&in_line, None), (&load, None), (&asks, work)]
        ));
        drop(in_line);
        behind(&table, key(1, 2), task(3))?.finish(None);

        // It is not the load that was refused.
        assert!(!load.was_refused());
        assert_eq!(table.wait_for(task(2), load.id()), Err(EDEADLK));
        assert_eq!(load.finish(Some(0)), Some(0));
        up(&table, key(1, 1), task(1))?.finish(Some(0));
        Ok(())
    }

    /// A load waits for itself, if its own task does.
    #[test]
    fn circle_of_one_task() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        assert_eq!(table.wait_for(task(1), load.id()), Err(EDEADLK));
        assert!(load.was_refused());
        Ok(())
    }

    /// Two loads wait for each other.
    #[test]
    fn circle_of_two_loads() -> Result {
        let table = Table::new()?;
        let one = up(&table, key(1, 1), task(1))?;
        let two = up(&table, key(2, 1), task(2))?;
        table.wait_for(task(1), two.id())?;
        assert_eq!(table.wait_for(task(2), one.id()), Err(EDEADLK));
        assert!(two.was_refused() && !one.was_refused());
        let steps = chain(&table, Some(task(2)), &one)?;
        assert!(is_chain(&steps, &[(&one, None)]));
        let steps = chain(&table, None, &one)?;
        assert!(is_chain(&steps, &[(&one, None), (&two, None)]));

        // The first one waits no more.
        table.wait_for(task(1), 0)?;
        table.wait_for(task(2), one.id())?;
        assert_eq!(table.wait_for(task(1), two.id()), Err(EDEADLK));
        Ok(())
    }

    /// A wait by name is refused, and the load that waited knows it.
    #[test]
    fn circle_by_name() -> Result {
        let table = Table::new()?;
        let one = up(&table, key(1, 1), task(1))?;
        let _asks = asks(&table, task(1), task(2))?;
        let two = up(&table, key(2, 1), task(2))?;
        assert_eq!(table.wait_for(task(2), one.id()), Err(EDEADLK));
        assert!(two.was_refused());
        Ok(())
    }

    #[test]
    fn circle_of_three_loads() -> Result {
        let table = Table::new()?;
        let one = up(&table, key(1, 1), task(1))?;
        let one_asks = asks(&table, task(1), task(2))?;
        let two = up(&table, key(2, 1), task(2))?;
        let two_asks = asks(&table, task(2), task(3))?;
        let three = up(&table, key(3, 1), task(3))?;
        let three_asks = asks(&table, task(3), task(4))?;

        let helper = follows(&table, key(1, 1))?;
        assert_eq!(told_at(helper, &mut as_task(task(4))), Err(EDEADLK));
        let all: [(&Handle<'_, TestKey>, _); 4] = [
            (&one, None),
            (&one_asks, Some(two.id())),
            (&two_asks, Some(three.id())),
            (&three_asks, None),
        ];
        let steps = chain(&table, Some(task(4)), &one)?;
        assert!(is_chain(&steps, &all));

        // It has so many steps as there is room for.
        let mut steps = KVec::with_capacity(2, GFP_KERNEL)?;
        table.chain_from(None, one.id(), &mut steps);
        assert!(is_chain(&steps, &all[..2]));
        Ok(())
    }

    /// A helper asks for something, on the way to which there are a line and a wait by name.
    #[test]
    fn circle_through_others() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        let _asks = asks(&table, task(1), task(2))?;
        // Not a load, but some other system call of the helper that requests a module.
        let _helper_asks = asks(&table, task(2), task(3))?;
        let other = up(&table, key(2, 1), task(4))?;
        table.wait_for(task(4), load.id())?;
        let in_line = behind(&table, key(2, 2), task(5))?;

        let helper = follows(&table, key(2, 2))?;
        assert_eq!(told_at(helper, &mut as_task(task(3))), Err(EDEADLK));
        table.wait_for(task(4), 0)?;
        assert_eq!(table.wait_for(task(3), in_line.id()), Ok(()));
        assert!(!other.was_refused() && !load.was_refused());
        Ok(())
    }

    /// A task that goes on, or that only has the number of another one, closes no circle.
    #[test]
    fn no_circle() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        let request = asks(&table, task(1), BUSY)?;
        table.wait_for(BUSY, load.id())?;

        // It is not the helper; not even if it has the number of one that is dead.
        request.set_helper(task(2));
        let reborn = TaskId { pid: 2, started: 2 };
        table.wait_for(task(3), load.id())?;
        table.wait_for(reborn, load.id())?;

        // The request is over, and so is the next one, before the helper is known.
        drop(request);
        table.wait_for(task(2), load.id())?;
        let request = up(&table, key(101, 1), task(1))?;
        table.wait_for(task(2), load.id())?;
        let over = Handle::clone(&request);
        drop(request);
        over.set_helper(task(2));
        table.wait_for(task(2), load.id())?;

        let waits = follows(&table, key(1, 1))?;
        load.finish(Some(5));
        assert_eq!(told_at(waits, &mut as_task(task(2)))?, Some(5));
        Ok(())
    }

    /// A wait for a flight that is over leads nowhere, whatever its task does next.
    #[test]
    fn no_circle_of_what_is_over() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        let mut waits = table.ticket(key(9, 1), task(2))?;
        waits.take_part();
        table.wait_for(task(2), load.id())?;
        drop(load);

        // The task goes on to ask for something, before the other one has woken up.
        let again = up(&table, key(1, 1), task(1))?;
        let _asks = asks(&table, task(1), task(2))?;
        assert_eq!(table.wait_for(task(3), again.id()), Ok(()));
        let _asks = asks(&table, task(3), task(1))?;
        assert_eq!(table.wait_for(task(4), again.id()), Ok(()));
        assert!(!waits.was_refused() && !again.was_refused());
        Ok(())
    }

    /// A task is in the graph while it leads, or takes part for another reason.
    #[test]
    fn tasks_that_take_part() -> Result {
        let table = Table::new()?;
        let mut request = table.ticket(key(1, 1), task(1))?;
        assert!(!table.knows(task(1)));
        request.take_part();
        assert!(table.knows(task(1)));
        assert!(matches!(request.enter(), Entry::Leads));
        assert!(!table.knows(TaskId { pid: 1, started: 2 }));

        // A follower does not, unless it wants to.
        let mut other = table.ticket(key(1, 1), task(2))?;
        assert!(matches!(other.enter(), Entry::Follows(_)));
        assert!(!table.knows(task(2)));
        other.take_part();
        assert!(table.knows(task(2)));
        table.wait_for(task(2), request.id())?;
        assert_eq!(table.wait_for(task(1), other.id()), Err(EDEADLK));
        drop((request, other));
        assert!(!table.knows(task(1)) && !table.knows(task(2)));

        // A task for which there is no room takes part, too.
        let full = TestKey {
            limit: Some(0),
            ..key(2, 1)
        };
        let mut full = table.ticket(full, task(3))?;
        assert!(matches!(full.enter(), Entry::Full));
        assert!(table.knows(task(3)));
        full.finish(None);
        assert!(!table.knows(task(3)));
        Ok(())
    }

    /// The newest ticket of a task tells for which flight the task waits.
    #[test]
    fn newest_ticket_counts() -> Result {
        let table = Table::new()?;
        let load = up(&table, key(1, 1), task(1))?;
        let goal = up(&table, key(2, 1), task(2))?;
        table.wait_for(task(1), goal.id())?;
        let within = up(&table, key(3, 1), task(1))?;
        table.wait_for(task(2), load.id())?;
        drop(within);
        assert_eq!(table.wait_for(task(2), load.id()), Err(EDEADLK));
        Ok(())
    }

    /// Two wait for each other, at the same time: one of them is refused.
    #[test]
    fn both_sides_at_once() -> Result {
        const ROUNDS: u32 = 200;

        let shared = Shared::new()?;
        for round in 1..=ROUNDS {
            let left = up(&shared.table, key(1, 1), task(1))?;
            let right = up(&shared.table, key(2, 1), task(2))?;
            for (me, other) in [(task(1), right.id()), (task(2), left.id())] {
                Shared::spawn(&shared, 1, move |this| {
                    this.steps.fetch_add(1, Full);
                    let mut looks = 0;
                    while this.steps.load(Relaxed) < 2 * round {
                        // The first looks are close together. Longer pauses let the other thread
                        // run, if there is one CPU only.
                        fsleep(Delta::from_micros(if looks < 100 { 1 } else { 50 }));
                        looks += 1;
                    }
                    this.table.wait_for(me, other)
                })?;
            }
            assert_eq!(shared.wait_over(2 * round)?, round);
            assert!(left.was_refused() != right.was_refused());
        }
        Ok(())
    }

    /// A circle that is closed while one waits is seen the next time that it looks.
    #[test]
    fn circle_that_is_closed_later() -> Result {
        let shared = Shared::new()?;
        let load = up(&shared.table, key(1, 1), task(1))?;
        let asks = asks(&shared.table, task(1), BUSY)?;
        Shared::spawn(&shared, 1, |this| {
            let follower = follows(&this.table, key(1, 1))?;
            let waited = told_at(follower, &mut as_task(task(2)));
            ensure(waited == Err(EDEADLK))
        })?;
        wait_until(|| load.followers() == 1)?;
        assert_eq!(shared.over.load(Relaxed), 0);

        asks.set_helper(task(2));
        assert_eq!(shared.wait_over(1)?, 1);
        assert_eq!(load.followers(), 0);
        Ok(())
    }

    #[test]
    fn snapshot_of_all_kinds() -> Result {
        let table = Table::new()?;
        let (seen, more) = table.snapshot()?;
        assert!(seen.is_empty() && more == 0);
        let one = up(&table, key(1, 1), task(1))?;
        let two = behind(&table, key(1, 2), task(2))?;
        let _follower = follows(&table, key(1, 2))?;
        let asks = asks(&table, task(1), task(3))?;

        let (seen, more) = table.snapshot()?;
        let [first, second, third] = &*seen else {
            return Err(EINVAL);
        };
        assert_eq!(more, 0);
        assert_eq!(first.flight.followers(), 0);
        assert_eq!(second.flight.followers(), 1);
        assert_eq!(first.flight.leader(), task(1));
        // The first one has asked for something; the second one is in line.
        let step = first.waits_for.as_ref().ok_or(EINVAL)?;
        assert_eq!(
            (step.flight.id(), step.flight.helper()),
            (asks.id(), Some(task(3)))
        );
        let step = second.waits_for.as_ref().ok_or(EINVAL)?;
        assert_eq!((step.flight.id(), step.flight.helper()), (one.id(), None));
        assert_eq!(third.flight.id(), asks.id());

        drop(asks);
        drop(one);
        let (seen, _) = table.snapshot()?;
        assert!(matches!(&*seen, [only] if only.waits_for.is_none()));
        assert_eq!(two.finish(None), Some(1));
        Ok(())
    }

    /// It shows 128 flights at the most, in order of their start, whatever their buckets are.
    #[test]
    fn snapshot_has_an_order_and_an_end() -> Result {
        let table = Table::new()?;
        let mut flights = KVec::new();
        for file in 0..200 {
            let key = TestKey {
                hash: 255 - file as usize,
                ..key(file, 1)
            };
            flights.push(up(&table, key, task(1))?, GFP_KERNEL)?;
            let (seen, more) = table.snapshot()?;
            let up = file as usize + 1;
            assert_eq!((seen.len(), more), (up.min(128), up.saturating_sub(128)));
            let in_order = |two: &[Seen<TestKey>]| match two {
                [a, b] => a.flight.serial() < b.flight.serial(),
                _ => false,
            };
            assert!(seen.windows(2).all(in_order));
        }
        Ok(())
    }
}
