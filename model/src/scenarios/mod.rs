// SPDX-License-Identifier: GPL-2.0

//! The scenarios.
//!
//! The first task sets the scene, before there is anybody else, and may then play a part itself.

mod circles;
mod flights;
mod line;
mod requests;
mod trouble;

use crate::scene::Scene;

/// What is explored.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// With the one that sets the scene.
    pub threads: usize,
    /// How often a task is interrupted at the most where it could go on, or [`None`] for no bound.
    pub bound: Option<usize>,
    /// How many ways there are to play it.
    pub variants: usize,
    pub run: fn(Scene, usize),
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "three-callers",
        about: "three calls at once, of which any may lead",
        threads: 3,
        bound: None,
        variants: 1,
        run: flights::three_callers,
    },
    Scenario {
        name: "four-callers",
        about: "four of them",
        threads: 4,
        bound: Some(4),
        variants: 1,
        run: flights::four_callers,
    },
    Scenario {
        name: "result",
        about: "a leader with two followers ends by result",
        threads: 3,
        bound: None,
        variants: 1,
        run: flights::result,
    },
    Scenario {
        name: "private-end",
        about: "it ends by a result of its own, or by an early return",
        threads: 3,
        bound: None,
        variants: 2,
        run: flights::private_end,
    },
    Scenario {
        name: "death",
        about: "its task dies",
        threads: 3,
        bound: None,
        variants: 1,
        run: flights::death,
    },
    Scenario {
        name: "fourth-caller",
        about: "a fourth call comes as a flight with two followers ends",
        threads: 4,
        bound: None,
        variants: 1,
        run: flights::fourth_caller,
    },
    Scenario {
        name: "fourth-caller-retry",
        about: "the same, and they have to try again",
        threads: 4,
        bound: Some(4),
        variants: 1,
        run: flights::fourth_caller_retry,
    },
    Scenario {
        name: "interrupted",
        about: "a follower is interrupted at every point, another one is not",
        threads: 4,
        bound: None,
        variants: 2,
        run: flights::interrupted,
    },
    Scenario {
        name: "woken-later",
        about: "two followers are woken by somebody else than their leader",
        threads: 4,
        bound: Some(4),
        variants: 2,
        run: flights::woken_later,
    },
    Scenario {
        name: "two-keys",
        about: "a flight ends beside one of another file, in the same bucket",
        threads: 4,
        bound: None,
        variants: 1,
        run: line::two_keys,
    },
    Scenario {
        name: "in-line",
        about: "two calls with other arguments stand in line, or one follows the other",
        threads: 3,
        bound: None,
        variants: 2,
        run: line::in_line,
    },
    Scenario {
        name: "in-line-interrupted",
        about: "one in line with a follower is interrupted at every point",
        threads: 4,
        bound: None,
        variants: 1,
        run: line::in_line_interrupted,
    },
    Scenario {
        name: "closed",
        about: "two calls come while the flight closes",
        threads: 3,
        bound: None,
        variants: 1,
        run: line::closed,
    },
    Scenario {
        name: "by-identity",
        about: "one gives up in line, behind a closed flight of the same call",
        threads: 3,
        bound: None,
        variants: 1,
        run: line::by_identity,
    },
    Scenario {
        name: "circle-at-once",
        about: "two flights close a circle at the same moment",
        threads: 3,
        bound: None,
        variants: 1,
        run: circles::at_once,
    },
    Scenario {
        name: "circle-in-line",
        about: "the same, and one of the two waits is in line",
        threads: 3,
        bound: None,
        variants: 1,
        run: circles::in_line,
    },
    Scenario {
        name: "circle-later",
        about: "a circle is closed after the waits have begun",
        threads: 3,
        bound: None,
        variants: 1,
        run: circles::later,
    },
    Scenario {
        name: "circle-request",
        about: "a circle of a load, a request and its helper",
        threads: 3,
        bound: None,
        variants: 1,
        run: circles::through_a_request,
    },
    Scenario {
        name: "no-false-alarm",
        about: "a wait for what has ended is no part of a circle",
        threads: 3,
        bound: Some(6),
        variants: 1,
        run: circles::no_false_alarm,
    },
    Scenario {
        name: "ended-by-a-worker",
        about: "a request is ended by another task than the one that made it",
        threads: 3,
        bound: None,
        variants: 3,
        run: requests::ended_by_a_worker,
    },
    Scenario {
        name: "ended-twice",
        about: "a request is ended by its requester and by the worker",
        threads: 3,
        bound: None,
        variants: 1,
        run: requests::ended_twice,
    },
    Scenario {
        name: "failure-is-old",
        about: "callers come after a run has begun that fails",
        threads: 3,
        bound: None,
        variants: 1,
        run: requests::failure_is_old,
    },
    Scenario {
        name: "removal",
        about: "something is removed between a run and a question",
        threads: 3,
        bound: None,
        variants: 1,
        run: requests::removal,
    },
    Scenario {
        name: "patience",
        about: "a follower has waited long enough for a run",
        threads: 4,
        bound: Some(4),
        variants: 2,
        run: requests::patience,
    },
    Scenario {
        name: "patience-fails",
        about: "a follower starts a run that fails, beside one that hangs",
        threads: 3,
        bound: Some(4),
        variants: 1,
        run: requests::patience_fails,
    },
    Scenario {
        name: "killed",
        about: "a follower of a request is killed at every point",
        threads: 4,
        bound: Some(4),
        variants: 1,
        run: requests::killed,
    },
    Scenario {
        name: "no-memory",
        about: "one of three callers has no memory for a flight",
        threads: 3,
        bound: None,
        variants: 3,
        run: trouble::no_memory,
    },
    Scenario {
        name: "no-memory-to-wait",
        about: "a circle is seen without memory, too",
        threads: 2,
        bound: None,
        variants: 1,
        run: trouble::no_memory_to_wait,
    },
    Scenario {
        name: "delayed",
        about: "a flight takes longer than 10 s",
        threads: 4,
        bound: Some(2),
        variants: 1,
        run: trouble::delayed,
    },
    Scenario {
        name: "heir",
        about: "who watches a flight that takes long is interrupted",
        threads: 4,
        bound: Some(4),
        variants: 2,
        run: trouble::heir,
    },
];
