// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the clock of runs, and of the answers that count for a question.

use super::{
    runs::{
        Answer,
        Clock,
        Moment, //
    },
    PENDING,
    RETRY, //
};
use crate::prelude::*;

/// Whether a success of a run that began then, and whether a failure of it, counts.
fn may_have(moment: Moment, begun: u64) -> (bool, bool) {
    let has = |result| moment.may_have(Answer { result, begun });
    (has(0), has(-2))
}

#[kunit_tests(module_dedup_runs)]
mod suite {
    use super::*;

    /// A failure is decided after the run begins; a later question asks for something newer.
    #[test]
    fn asked_before_or_after_the_run_began() -> Result {
        let clock = Clock::at_zero();
        let before = clock.moment();
        let begun = clock.tick();
        let after = clock.moment();
        assert_eq!(may_have(before, begun), (true, true));
        assert_eq!(may_have(after, begun), (true, false));

        // It keeps its moment, and gets the failure of the next run.
        let next = clock.tick();
        assert_eq!(may_have(after, next), (true, true));
        assert_eq!(may_have(before, next), (true, true));
        // Any failure is one, also that of the helper.
        let failed = |result| before.may_have(Answer { result, begun });
        assert!(failed(256) && failed(i32::MIN));
        Ok(())
    }

    /// A success that a removal has undone does not count for later questions.
    #[test]
    fn removal_makes_a_success_old() -> Result {
        let clock = Clock::at_zero();
        let before = clock.moment();
        let begun = clock.tick();
        let early = clock.moment();
        clock.removal();
        let late = clock.moment();
        assert_eq!(may_have(before, begun), (true, true));
        assert_eq!(may_have(early, begun), (true, false));
        assert_eq!(may_have(late, begun), (false, false));

        // A run that begins now sees the removal.
        let next = clock.tick();
        assert_eq!(may_have(late, next), (true, true));
        assert_eq!(may_have(clock.moment(), next), (true, false));
        // So it is with each removal.
        clock.removal();
        assert_eq!(may_have(late, next), (true, true));
        assert_eq!(may_have(clock.moment(), next), (false, false));
        Ok(())
    }

    #[test]
    fn removal_before_the_run_does_not_matter() -> Result {
        let clock = Clock::at_zero();
        let before = clock.moment();
        clock.removal();
        let between = clock.moment();
        let begun = clock.tick();
        assert_eq!(may_have(before, begun), (true, true));
        assert_eq!(may_have(between, begun), (true, true));
        assert_eq!(may_have(clock.moment(), begun), (true, false));
        Ok(())
    }

    /// No answer looks like none.
    #[test]
    fn answers_are_kept_whole() -> Result {
        for begun in [0, 1, 1 << 32, 1 << 44] {
            for result in [0, 1, 256, 0xffff, -1, -2, -4095] {
                let answer = Answer { result, begun };
                let raw = answer.to_raw();
                assert_eq!(Answer::from_raw(raw), answer);
                assert!(raw >= 0 && raw != PENDING && raw != RETRY);
            }
        }
        Ok(())
    }
}
