// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of many flights, and of many followers.

use super::{
    tests::{
        ensure,
        first,
        follows,
        key,
        task,
        told,
        told_at,
        up,
        Shared,
        TestKey,
        ANYBODY,
        SAME_CALL,
        SAME_FILE, //
    },
    Entry,
    Table, //
};
use crate::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// How many make a crowd.
const MANY: u32 = 20_000;

/// How many comparisons of two calls, and of two files, it takes to do something.
fn comparisons<T>(work: impl FnOnce() -> T) -> (T, (u32, u32)) {
    let (calls, files) = (SAME_CALL.load(Relaxed), SAME_FILE.load(Relaxed));
    let done = work();
    let calls = SAME_CALL.load(Relaxed).wrapping_sub(calls);
    let files = SAME_FILE.load(Relaxed).wrapping_sub(files);
    (done, (calls, files))
}

/// The comparisons for one more caller, alone in its bucket, that enters and finishes, and whether
/// it got a flight.
fn one_more(table: &Table<TestKey>, limit: Option<usize>) -> Result<(bool, (u32, u32))> {
    let key = TestKey {
        hash: 255,
        file: MANY,
        call: 0,
        limit,
    };
    let mut ticket = table.ticket(key, ANYBODY)?;
    Ok(comparisons(|| {
        let leads = matches!(ticket.enter(), Entry::Leads);
        ticket.finish(Some(0));
        leads
    }))
}

#[kunit_tests(module_dedup_many)]
mod suite {
    use super::*;

    #[test]
    fn several_keys_in_one_bucket() -> Result {
        let table = Table::new()?;
        let far = TestKey {
            hash: 7 + 256,
            ..key(3, 1)
        };
        let one = first(&table, key(1, 1))?;
        let two = first(&table, key(2, 1))?;
        let three = first(&table, far)?;
        let of_one = follows(&table, key(1, 1))?;
        let of_two = follows(&table, key(2, 1))?;
        let of_three = follows(&table, far)?;

        // From the middle, the end and the front of the list.
        two.finish(Some(2));
        three.finish(Some(3));
        assert_eq!(one.followers(), 1);
        one.finish(Some(1));
        assert_eq!(told(of_one)?, Some(1));
        assert_eq!(told(of_two)?, Some(2));
        assert_eq!(told(of_three)?, Some(3));
        Ok(())
    }

    #[test]
    fn limited_kind() -> Result {
        let table = Table::new()?;
        let limited = |file: u32| TestKey {
            hash: file as usize,
            limit: Some(2),
            ..key(file, 1)
        };
        let one = up(&table, limited(1), ANYBODY)?;
        let _two = up(&table, limited(2), ANYBODY)?;
        let mut three = table.ticket(limited(3), ANYBODY)?;
        assert!(matches!(three.enter(), Entry::Full));
        // Nobody can follow it, and it ends nothing.
        assert!(table.follow(&limited(3)).is_none());
        assert_eq!(three.finish(Some(3)), None);
        // Other kinds are not limited by that, nor are followers.
        let _four = up(&table, key(4, 1), ANYBODY)?;
        let of_one = follows(&table, limited(1))?;
        one.finish(Some(1));
        assert_eq!(told(of_one)?, Some(1));
        let _three = up(&table, limited(3), ANYBODY)?;
        assert_eq!(up(&table, limited(1), ANYBODY).err(), Some(EBUSY));
        Ok(())
    }

    /// The work under the lock for one more flight does not depend on how many there are.
    #[test]
    fn one_more_beside_many() -> Result {
        let table = Table::new()?;
        assert_eq!(one_more(&table, None)?, (true, (0, 0)));
        assert_eq!(one_more(&table, Some(256))?, (true, (0, 0)));

        let mut tickets = KVVec::with_capacity(MANY as usize, GFP_KERNEL)?;
        let mut leads = 0;
        for file in 0..MANY {
            // In any bucket but the last one.
            let one = TestKey {
                hash: file as usize % 255,
                limit: Some(256),
                ..key(file, 1)
            };
            let mut ticket = table.ticket(one, task(file as i32))?;
            match ticket.enter() {
                Entry::Leads => leads += 1,
                Entry::Full => {}
                Entry::Follows(_) => return Err(EINVAL),
            }
            tickets.push(ticket, GFP_KERNEL)?;
        }
        assert_eq!(leads, 256);
        assert_eq!(one_more(&table, None)?, (true, (0, 0)));
        assert_eq!(one_more(&table, Some(256))?, (false, (0, 0)));
        Ok(())
    }

    /// Nor does it for one more follower, which comes and goes, or for the end of the flight.
    #[test]
    fn one_more_of_many_followers() -> Result {
        let table = Table::new()?;
        let flight = first(&table, key(1, 1))?;
        let mut followers = KVVec::with_capacity(MANY as usize, GFP_KERNEL)?;
        for _ in 0..MANY {
            let (follower, compared) = comparisons(|| follows(&table, key(1, 1)));
            if compared != (1, 0) {
                return Err(EINVAL);
            }
            followers.push(follower?, GFP_KERNEL)?;
        }
        let (gave_up, compared) = comparisons(|| {
            let one_more = follows(&table, key(1, 1))?;
            told_at(one_more, &mut |_| Err(EAGAIN))
        });
        assert_eq!((gave_up, compared), (Err(EAGAIN), (1, 0)));

        let (ended, compared) = comparisons(|| flight.finish(Some(3)));
        assert_eq!((ended, compared), (Some(MANY), (0, 0)));
        let mut good = 0;
        for follower in followers {
            good += u32::from(told(follower)? == Some(3));
        }
        assert_eq!(good, MANY);
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
                hash: file as usize % 4,
                ..key(file, 0)
            };
            Shared::spawn(&shared, 1, move |this| {
                (0..CALLS).try_for_each(|_| ensure(this.call(key, file.into())? == file.into()))
            })?;
        }
        assert_eq!(shared.wait_over(64)?, 64);
        assert_eq!(shared.overlaps.load(Relaxed), 0);

        let loads: u32 = shared.loads.iter().map(|n| n.load(Relaxed)).sum();
        let joined = shared.joined.load(Relaxed);
        assert_eq!(loads + joined, 64 * CALLS);
        assert!(joined > 0);
        Ok(())
    }
}
