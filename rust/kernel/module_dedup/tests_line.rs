// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of standing in line, and of watching.

use super::{
    tests::{
        behind,
        ensure,
        first,
        follows,
        key,
        patient,
        told,
        told_at,
        wait_until,
        PendingSignal,
        Shared,
        ANYBODY, //
    },
    Table,
    FOREVER, //
};
use crate::{
    prelude::*,
    sync::atomic::Relaxed, //
};

#[kunit_tests(module_dedup_line)]
mod suite {
    use super::*;

    #[test]
    fn other_calls_share_nothing() -> Result {
        let table = Table::new()?;
        let one = first(&table, key(1, 1))?;
        let two = behind(&table, key(1, 2), ANYBODY)?;
        let of_one = follows(&table, key(1, 1))?;
        let of_two = follows(&table, key(1, 2))?;
        // Another file is not concerned at all.
        first(&table, key(2, 1))?.finish(Some(0));

        one.finish(Some(-5));
        assert_eq!(told(of_one)?, Some(-5));
        two.wait_for_turn(&mut patient)?;
        two.finish(Some(6));
        assert_eq!(told(of_two)?, Some(6));
        Ok(())
    }

    #[test]
    fn in_order_of_arrival() -> Result {
        let shared = Shared::new()?;
        let flight = first(&shared.table, key(1, 0))?;
        for call in 1..=8 {
            Shared::spawn(&shared, 1, move |this| {
                let ticket = behind(&this.table, key(1, call), ANYBODY)?;
                this.steps.add(1, Relaxed);
                ticket.wait_for_turn(&mut patient)?;
                let before = this.loads[1].load(Relaxed);
                this.load(ticket, 0);
                ensure(before == call - 1)
            })?;
            wait_until(|| shared.steps.load(Relaxed) == call)?;
        }
        assert_eq!(shared.over.load(Relaxed), 0);
        assert_eq!(flight.finish(Some(0)), Some(0));

        assert_eq!(shared.wait_over(8)?, 8);
        assert_eq!(shared.overlaps.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn interrupted_in_line() -> Result {
        let table = Table::new()?;
        let one = first(&table, key(1, 1))?;
        let two = behind(&table, key(1, 2), ANYBODY)?;
        let three = behind(&table, key(1, 3), ANYBODY)?;
        let of_two = follows(&table, key(1, 2))?;
        {
            let _signal = PendingSignal::new();
            assert_eq!(two.wait_for_turn(&mut patient), Err(ERESTARTSYS));
        }
        assert_eq!(two.wait_for_turn(&mut |_| Err(EAGAIN)), Err(EAGAIN));
        assert_eq!(one.waiters(), 0);
        // Its follower asks again, and is now the last in line.
        drop(two);
        assert_eq!(told(of_two)?, None);
        let four = behind(&table, key(1, 2), ANYBODY)?;

        one.finish(Some(0));
        three.wait_for_turn(&mut patient)?;
        three.finish(Some(0));
        four.wait_for_turn(&mut patient)?;
        four.finish(Some(0));
        Ok(())
    }

    /// The flight right ahead gives up: now the one behind it waits for the first one.
    #[test]
    fn behind_one_that_gives_up() -> Result {
        let shared = Shared::new()?;
        let one = first(&shared.table, key(1, 1))?;
        let two = behind(&shared.table, key(1, 2), ANYBODY)?;
        Shared::spawn(&shared, 1, |this| {
            let three = behind(&this.table, key(1, 3), ANYBODY)?;
            three.wait_for_turn(&mut patient)
        })?;
        wait_until(|| two.waiters() == 1)?;
        assert_eq!((one.waiters(), two.followers()), (0, 0));
        drop(two);
        wait_until(|| one.waiters() == 1)?;
        assert_eq!(shared.over.load(Relaxed), 0);
        drop(one);
        assert_eq!(shared.wait_over(1)?, 1);
        Ok(())
    }

    #[test]
    fn first_of_a_line() -> Result {
        let table = Table::new()?;
        let other = first(&table, key(2, 1))?;
        let one = first(&table, key(1, 1))?;
        let two = behind(&table, key(1, 2), ANYBODY)?;
        let three = behind(&table, key(1, 3), ANYBODY)?;
        assert_eq!(three.first().id(), one.id());
        assert_eq!(one.first().id(), one.id());
        assert_eq!(other.first().id(), other.id());
        let ended = (*one).clone();
        drop((one, three));
        assert_eq!(two.first().id(), two.id());
        // A flight that has ended is under way by itself, if there is no other.
        drop(two);
        assert_eq!(ended.first().id(), ended.id());
        Ok(())
    }

    /// One of three waiters watches. If it gives up one other is woken, and takes its place.
    fn hand_over(gives_up: bool) -> Result<(u32, u32, Option<u32>)> {
        let shared = Shared::new()?;
        let flight = first(&shared.table, key(1, 1))?;
        let watch = flight.watch().ok_or(EINVAL)?;
        Shared::spawn(&shared, 3, move |this| {
            let mut watch = None;
            let follower = follows(&this.table, key(1, 1))?;
            let waited = told_at(follower, &mut |flight| {
                watch = flight.watch();
                this.steps.add(1, Relaxed);
                if gives_up && watch.is_some() {
                    return Err(EAGAIN);
                }
                Ok(FOREVER)
            });
            ensure(waited == if gives_up { Err(EAGAIN) } else { Ok(Some(7)) })
        })?;
        wait_until(|| shared.steps.load(Relaxed) == 3)?;
        drop(watch);
        wait_until(|| shared.steps.load(Relaxed) == if gives_up { 6 } else { 4 })?;
        if gives_up {
            shared.wait_over(3)?;
        }
        ensure(flight.watch().is_some() == gives_up)?;
        let ended = flight.finish(Some(7));
        Ok((shared.wait_over(3)?, shared.steps.load(Relaxed), ended))
    }

    #[test]
    fn watch_is_handed_over() -> Result {
        assert_eq!(hand_over(false)?, (3, 4, Some(3)));
        assert_eq!(hand_over(true)?, (3, 6, Some(0)));
        Ok(())
    }

    #[test]
    fn one_watches_and_tells_once() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let watch = flight.watch();
        assert!(watch.is_some() && flight.watch().is_none());
        drop(watch);
        assert!(flight.watch().is_some());
        assert!(flight.tell());
        assert!(!flight.tell());
        // The last watcher may come to its end after the flight.
        let watch = flight.watch();
        assert_eq!(flight.finish(Some(0)), Some(0));
        drop(watch);
        Ok(())
    }
}
