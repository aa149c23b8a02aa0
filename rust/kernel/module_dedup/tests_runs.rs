// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of questions and their runs.
//!
//! Most of these need one thread only: an answer that is there, or a patience that is at its end,
//! does not make a follower sleep.

use super::runs::{
    End,
    Entry,
    Follower,
    Moment,
    Question,
    Run,
    Runs,
    Waited, //
};
use crate::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
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

/// A patience that does not end in a test.
const LONG: Msecs = 60_000;

struct Name(u32);

impl Question for Name {
    fn hash(&self) -> usize {
        7
    }

    fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn leader(runs: &Runs<Name>, moment: Moment) -> Result<Run<'_, Name>> {
    match runs.enter(Name(1), moment) {
        Entry::Leader(run) => Ok(run),
        _ => Err(EINVAL),
    }
}

fn follower(runs: &Runs<Name>, moment: Moment) -> Result<Follower<'_, Name>> {
    match runs.enter(Name(1), moment) {
        Entry::Follower(follower) => Ok(follower),
        _ => Err(EINVAL),
    }
}

/// What a follower is told: the answer, or [`None`] if it has to ask again.
fn told(follower: Follower<'_, Name>) -> Result<Option<i32>> {
    match follower.wait(LONG)? {
        Waited::Answer(answer) => Ok(Some(answer)),
        Waited::Again => Ok(None),
        Waited::Turn(_) => Err(ETIMEDOUT),
    }
}

/// Leads one more run, as a follower whose patience is at its end.
fn turn(follower: Follower<'_, Name>) -> Result<Run<'_, Name>> {
    match follower.wait(1)? {
        Waited::Turn(run) => Ok(run),
        _ => Err(EINVAL),
    }
}

#[kunit_tests(module_dedup_runs)]
mod suite {
    use super::*;

    #[test]
    fn success_is_for_all() -> Result {
        let runs = Runs::new()?;
        let run = leader(&runs, runs.moment())?;
        let before = follower(&runs, runs.moment())?;
        run.begin();
        let after = follower(&runs, runs.moment())?;
        assert_eq!(run.end(End::Success), Some(2));
        assert_eq!(run.end(End::Failure(1)), None);
        assert_eq!(told(before)?, Some(0));
        assert_eq!(told(after)?, Some(0));

        // Nothing lingers: the next caller leads.
        drop(leader(&runs, runs.moment())?);
        assert!(runs.snapshot()?.is_empty());
        Ok(())
    }

    /// A failure was decided after the run began; who asked later asks for something newer.
    #[test]
    fn failure_is_for_those_who_asked_before_the_run() -> Result {
        let runs = Runs::new()?;
        let run = leader(&runs, runs.moment())?;
        let early = follower(&runs, runs.moment())?;
        run.begin();
        let moment = runs.moment();
        let late = follower(&runs, moment)?;
        run.end(End::Failure(256));
        assert_eq!(told(early)?, Some(256));
        assert_eq!(told(late)?, None);

        // It keeps its moment, and gets the failure of the next run, whichever caller leads that.
        let run = leader(&runs, runs.moment())?;
        run.begin();
        let again = follower(&runs, moment)?;
        run.end(End::Failure(512));
        assert_eq!(told(again)?, Some(512));
        Ok(())
    }

    #[test]
    fn private_end_is_for_nobody() -> Result {
        let runs = Runs::new()?;
        let run = leader(&runs, runs.moment())?;
        let waits = follower(&runs, runs.moment())?;
        run.begin();
        run.end(End::Private);
        assert_eq!(told(waits)?, None);

        // So is that of a run that is dropped.
        let run = leader(&runs, runs.moment())?;
        let waits = follower(&runs, runs.moment())?;
        drop(run);
        assert_eq!(told(waits)?, None);
        Ok(())
    }

    /// What was found is gone again when the second caller asks: it leads a run of its own.
    #[test]
    fn success_before_a_removal_is_old() -> Result {
        let runs = Runs::new()?;
        let first = leader(&runs, runs.moment())?;
        first.begin();
        let before = follower(&runs, runs.moment())?;
        runs.removal();
        let moment = runs.moment();
        let second = leader(&runs, moment)?;
        // A run that is about to begin will see the removal.
        let after = follower(&runs, moment)?;
        assert_eq!(first.end(End::Success), Some(1));
        assert_eq!(told(before)?, Some(0));
        second.begin();
        assert_eq!(second.end(End::Success), Some(1));
        assert_eq!(told(after)?, Some(0));
        Ok(())
    }

    /// A further run that never begins makes an old flight no newer, and gives it no answer.
    #[test]
    fn further_run_that_never_begins() -> Result {
        let runs = Runs::new()?;
        let first = leader(&runs, runs.moment())?;
        first.begin();
        let waits = follower(&runs, runs.moment())?;
        let second = turn(follower(&runs, runs.moment())?)?;
        runs.removal();
        let newer = leader(&runs, runs.moment())?;
        assert_eq!(second.end(End::Failure(-62)), Some(0));
        drop(newer);
        assert_eq!(first.end(End::Success), Some(1));
        assert_eq!(told(waits)?, Some(0));
        Ok(())
    }

    #[test]
    fn removal_before_the_run_does_not_matter() -> Result {
        let runs = Runs::new()?;
        let run = leader(&runs, runs.moment())?;
        runs.removal();
        let waits = follower(&runs, runs.moment())?;
        run.begin();
        run.end(End::Success);
        assert_eq!(told(waits)?, Some(0));
        Ok(())
    }

    /// At the end of its patience one follower leads another run, and the first answer is for all.
    #[test]
    fn several_runs_of_one_flight() -> Result {
        for answer in [0, 3] {
            let runs = Runs::new()?;
            let first = leader(&runs, runs.moment())?;
            let waits = follower(&runs, runs.moment())?;
            let second = turn(follower(&runs, runs.moment())?)?;
            first.begin();
            second.begin();

            // The first run may never end: nobody waits for it any more.
            let end = if answer == 0 {
                End::Success
            } else {
                End::Failure(answer)
            };
            assert_eq!(second.end(end), Some(1));
            assert_eq!(told(waits)?, Some(answer));
            let next = leader(&runs, runs.moment())?;
            assert_eq!(first.end(End::Success), Some(0));
            drop(next);
        }
        Ok(())
    }

    /// A run that never began has failed for those who asked before its leader.
    #[test]
    fn run_that_could_not_begin() -> Result {
        let runs = Runs::new()?;
        let moment = runs.moment();
        let run = leader(&runs, runs.moment())?;
        let before = follower(&runs, moment)?;
        let after = follower(&runs, runs.moment())?;
        run.end(End::Failure(-62));
        assert_eq!(told(before)?, Some(-62));
        assert_eq!(told(after)?, None);
        Ok(())
    }

    #[test]
    fn last_run_fails() -> Result {
        let runs = Runs::new()?;
        let first = leader(&runs, runs.moment())?;
        let waits = follower(&runs, runs.moment())?;
        let second = turn(follower(&runs, runs.moment())?)?;
        first.begin();
        second.begin();
        first.end(End::Private);
        second.end(End::Failure(4));
        assert_eq!(told(waits)?, Some(4));
        Ok(())
    }

    /// A follower that sees that another run was started waits anew.
    #[test]
    fn patience_begins_anew_with_each_run() -> Result {
        let runs = Runs::new()?;
        let first = leader(&runs, runs.moment())?;
        let second = follower(&runs, runs.moment())?;
        let third = follower(&runs, runs.moment())?;
        let second = turn(second)?;
        let Waited::Turn(third) = third.wait(1)? else {
            return Err(EINVAL);
        };
        // The third has slept twice; the numbers of runs that it saw are no result of it.
        drop((second, third));
        assert_eq!(first.end(End::Success), Some(0));
        Ok(())
    }

    /// The end of a flight is by identity: a run that comes late ends nothing else.
    #[test]
    fn ends_by_identity() -> Result {
        let runs = Runs::new()?;
        let first = leader(&runs, runs.moment())?;
        let slow = turn(follower(&runs, runs.moment())?)?;
        first.begin();
        slow.begin();
        first.end(End::Success);

        let next = leader(&runs, runs.moment())?;
        let waits = follower(&runs, runs.moment())?;
        next.begin();
        assert_eq!(slow.end(End::Failure(9)), Some(0));
        assert_eq!(next.end(End::Failure(8)), Some(1));
        assert_eq!(told(waits)?, Some(8));
        Ok(())
    }

    #[test]
    fn flights_are_limited() -> Result {
        let runs = Runs::new()?;
        let mut up = KVec::new();
        for number in 0..256 {
            match runs.enter(Name(number), runs.moment()) {
                Entry::Leader(run) => up.push(run, GFP_KERNEL)?,
                _ => return Err(EINVAL),
            }
        }
        assert!(matches!(runs.enter(Name(256), runs.moment()), Entry::Alone));
        assert!(matches!(
            runs.enter(Name(255), runs.moment()),
            Entry::Follower(_)
        ));
        assert_eq!(runs.snapshot()?.len(), 256);
        up.pop();
        assert!(matches!(
            runs.enter(Name(256), runs.moment()),
            Entry::Leader(_)
        ));
        Ok(())
    }

    /// The answer wakes followers that sleep, and comes from another task than the leader.
    #[test]
    fn answered_by_another_task() -> Result {
        struct Shared {
            runs: Runs<Name>,
            good: Atomic<u32>,
            over: Atomic<u32>,
        }

        let shared = Arc::new(
            Shared {
                runs: Runs::new()?,
                good: Atomic::new(0),
                over: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let run = leader(&shared.runs, shared.runs.moment())?;
        for _ in 0..8 {
            let this = shared.clone();
            workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
                let moment = this.runs.moment();
                if follower(&this.runs, moment).and_then(told) == Ok(Some(0)) {
                    this.good.add(1, Relaxed);
                }
                this.over.add(1, Relaxed);
            })?;
        }
        let follow = || {
            shared
                .runs
                .snapshot()
                .is_ok_and(|flights| flights.iter().any(|(_, followers)| *followers == 8))
        };
        for _ in 0..20_000 {
            if follow() {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        run.begin();
        assert_eq!(run.end(End::Success), Some(8));
        for _ in 0..20_000 {
            if shared.over.load(Relaxed) == 8 {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(shared.good.load(Relaxed), 8);
        Ok(())
    }
}
