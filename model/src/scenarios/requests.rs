// SPDX-License-Identifier: GPL-2.0

//! Requests to user space, which may have several runs, and are ended by a worker.
//!
//! Each scenario keeps the answers that its runs gave, and checks that nobody got one that is older
//! than the question.

use crate::scene::{Name, Scene};
use kernel::{
    error::code::ERESTARTSYS,
    module_dedup::runs::{End, Entry, Moment, Run, Waited},
    world::{self, Event},
};
use std::{cell::Cell, rc::Rc};

/// As the kernel has it.
const PATIENCE: u32 = 5_000;

/// What user space has: whether the module is there, and how often helpers ran.
#[derive(Clone, Default)]
struct UserSpace {
    /// The generation of what is there; each removal begins another one.
    generation: Rc<Cell<u32>>,
    runs: Rc<Cell<u32>>,
}

impl UserSpace {
    /// A run of the helper: what it finds is the generation that it meets.
    fn help(&self, run: &Run<'static, Name>) -> i32 {
        run.begin();
        self.runs.set(self.runs.get() + 1);
        world::locked(|| ());
        self.generation.get() as i32
    }

    fn remove(&self, scene: Scene) {
        self.generation.set(self.generation.get() + 1);
        scene.runs.removal();
    }
}

/// What became of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It has led a run.
    Own,
    Shared(i32),
    Killed,
}

/// Asks, and if it has to lead does so with a run that ends as `end` says.
fn ask(scene: Scene, user: &UserSpace, end: impl Fn(i32) -> End) -> Answer {
    let moment: Moment = scene.runs.moment();
    loop {
        let follower = match scene.runs.enter(Name(1), moment) {
            Entry::Leader(run) => {
                let found = user.help(&run);
                let _ = run.end(end(found));
                return Answer::Own;
            }
            Entry::Alone => panic!("a caller is alone without need"),
            Entry::Follower(follower) => follower,
        };
        let killed = world::was_posted(Event::Kill);
        match follower.wait(PATIENCE) {
            Ok(Waited::Answer(answer)) => return Answer::Shared(answer),
            Ok(Waited::Again) => (),
            Ok(Waited::Turn(run)) => {
                assert!(!killed, "a task that is being killed starts a run");
                let found = user.help(&run);
                let _ = run.end(end(found));
                return Answer::Own;
            }
            Err(e) => {
                assert_eq!(e, ERESTARTSYS);
                assert!(world::was_posted(Event::Kill), "killed by nothing");
                return Answer::Killed;
            }
        }
    }
}

fn success(_: i32) -> End {
    End::Success
}

/// A failure that names the generation that the helper has met.
fn failure(found: i32) -> End {
    End::Failure(1 + found)
}

/// Starts a run that some worker is to end.
fn lead(scene: Scene) -> Run<'static, Name> {
    match scene.runs.enter(Name(1), scene.runs.moment()) {
        Entry::Leader(run) => run,
        _ => panic!("somebody else leads"),
    }
}

/// Two follow a request whose requester never runs again; a worker ends it.
pub fn ended_by_a_worker(scene: Scene, variant: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    for pid in [1, 2] {
        let user = user.clone();
        world::spawn(pid, move || {
            let answer = ask(scene, &user, success);
            assert!(matches!(answer, Answer::Own | Answer::Shared(0)));
        });
    }
    let end = [End::Success, End::Failure(1), End::Private][variant];
    let _ = run.end(end);
    world::end();
    assert!(
        world::now() < PATIENCE.into(),
        "a follower was not woken, and came back when its patience was at its end"
    );
}

/// The requester and the worker both say that the run has ended, and a follower waits.
pub fn ended_twice(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = Rc::new(lead(scene));
    user.help(&run);
    let follower = user.clone();
    world::spawn(1, move || {
        let answer = ask(scene, &follower, success);
        assert!(matches!(answer, Answer::Own | Answer::Shared(0)));
    });
    let worker = run.clone();
    world::spawn(2, move || {
        let _ = worker.end(End::Success);
    });
    let _ = run.end(End::Success);
    drop(run);
    assert!(matches!(
        ask(scene, &user, success),
        Answer::Own | Answer::Shared(0)
    ));
    world::end();
}

/// A failure is for those who asked before the run: a caller that comes later has a run of its own,
/// or shares that of another one.
pub fn failure_is_old(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    for pid in [1, 2] {
        let user = user.clone();
        world::spawn(pid, move || {
            user.generation.set(10);
            let answer = ask(scene, &user, failure);
            assert!(
                matches!(answer, Answer::Own | Answer::Shared(11)),
                "a failure is older than the question: {answer:?}"
            );
        });
    }
    let _ = run.end(End::Failure(1));
    world::end();
}

/// Something is removed while a run is up; a caller that asks after that does not get its success.
pub fn removal(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    let before = user.clone();
    world::spawn(1, move || {
        ask(scene, &before, success);
    });
    let after = user.clone();
    world::spawn(2, move || {
        after.remove(scene);
        let runs = after.runs.get();
        let answer = ask(scene, &after, success);
        assert!(
            answer == Answer::Own || after.runs.get() > runs,
            "a success is older than a removal that the caller knew of"
        );
    });
    let _ = run.end(End::Success);
    world::end();
}

/// The patience of a follower ends at any point; the run that it starts, or the first one, answers.
pub fn patience(scene: Scene, variant: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    let impatient = {
        let user = user.clone();
        world::spawn_exposed(1, move || {
            ask(scene, &user, success);
        })
    };
    let patient = user.clone();
    world::spawn(2, move || {
        ask(scene, &patient, success);
    });
    if variant == 0 {
        world::spawn(3, move || world::post(impatient, Event::Timer));
    } else {
        // All wait until their patience is at its end, and only one of them starts a run.
        world::sleep(6_000);
        assert_eq!(
            user.runs.get(),
            2,
            "more than one follower has started a run"
        );
    }
    let _ = run.end(End::Success);
    world::end();
}

/// The first run of a flight takes for ever, and the second one fails: that is the answer.
pub fn patience_fails(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    let impatient = user.clone();
    world::spawn(1, move || {
        let end = |_| {
            world::sleep_until_idle();
            End::Failure(1)
        };
        ask(scene, &impatient, end);
    });
    let patient = user.clone();
    world::sleep(2_000);
    world::spawn(2, move || {
        let answer = ask(scene, &patient, success);
        assert_eq!(answer, Answer::Shared(1), "a run that hangs is waited for");
    });
    world::sleep(4_000);
    let _ = run.end(End::Success);
    world::end();
}

/// A follower is killed at any point, another one is not.
pub fn killed(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = lead(scene);
    user.help(&run);
    let victim = {
        let user = user.clone();
        world::spawn_exposed(1, move || {
            ask(scene, &user, success);
        })
    };
    let other = user.clone();
    world::spawn(2, move || {
        let answer = ask(scene, &other, success);
        assert_ne!(answer, Answer::Killed);
    });
    world::spawn(3, move || world::post(victim, Event::Kill));
    let _ = run.end(End::Private);
    world::end();
}
