// SPDX-License-Identifier: GPL-2.0

//! Requests to user space, which may have several runs, and are ended by a worker.
//!
//! Each scenario keeps the answers that its runs gave, and checks that nobody got one that is older
//! than the question.

use crate::scene::{request, Call, Scene};
use kernel::{
    error::code::{ERESTARTSYS, ETIMEDOUT},
    module_dedup::{runs::Answer, Entry, Handle, Ticket},
    world::{self, Current, Event},
};
use std::{
    cell::{Cell, RefCell},
    mem::replace,
    rc::Rc,
};

/// As the kernel has it.
const PATIENCE: u32 = 5_000;

/// What a follower ends a flight with that has waited long enough: all ask again, and one of them
/// leads the next run.
const TAKEN: i64 = i64::MIN + 2;

/// What user space has: whether the module is there, and how often helpers ran.
#[derive(Clone, Default)]
struct UserSpace {
    /// The generation of what is there; each removal begins another one.
    generation: Rc<Cell<u32>>,
    runs: Rc<Cell<u32>>,
}

impl UserSpace {
    fn remove(&self, scene: Scene) {
        self.generation.set(self.generation.get() + 1);
        scene.clock.removal();
    }
}

/// How a run ends.
#[derive(Clone, Copy)]
enum End {
    Success,
    Failure(i32),
    /// By a signal, for one.
    Private,
}

/// A run of the helper. What it finds is the generation that it meets.
struct Run {
    flight: Handle<'static, Call>,
    begun: u64,
    found: i32,
}

impl Run {
    fn start(scene: Scene, user: &UserSpace, ticket: &Ticket<'static, Call>) -> Self {
        let begun = scene.clock.tick();
        user.runs.set(user.runs.get() + 1);
        world::locked(|| ());
        Self {
            flight: (**ticket).clone(),
            begun,
            found: user.generation.get() as i32,
        }
    }

    fn answer(&self, end: End) -> Option<i64> {
        let begun = self.begun;
        let answer = |result| Some(Answer { result, begun }.to_raw());
        match end {
            End::Success => answer(0),
            End::Failure(result) => answer(result),
            End::Private => None,
        }
    }

    /// What the worker does that has reaped the helper.
    fn reap(&self, scene: Scene, end: End) -> Option<u32> {
        let answer = self.answer(end);
        let ended = self.flight.end(answer);
        if ended.is_none() && self.flight.answer() == Some(TAKEN) {
            return scene.table.end_for(self.flight.key(), |_| true, answer?);
        }
        ended
    }
}

/// What became of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// It has led a run.
    Own,
    Shared(i32),
    Killed,
}

fn name() -> Call {
    request(1, usize::MAX)
}

/// Asks, and if it has to lead does so with a run that ends as `end` says.
fn ask(scene: Scene, user: &UserSpace, end: impl Fn(i32) -> End) -> Given {
    ask_and_lead(scene, user, |run, ticket| {
        let _ = run.reap(scene, end(run.found));
        drop(ticket);
    })
}

fn ask_and_lead(
    scene: Scene,
    user: &UserSpace,
    lead: impl FnOnce(Run, Ticket<'static, Call>),
) -> Given {
    let moment = scene.clock.moment();
    let mut ticket = scene.table.ticket(name(), world::current_id()).unwrap();
    let mut killed = false;
    loop {
        let follower = match ticket.enter() {
            Entry::Leads => {
                assert!(!killed, "a task that is being killed starts a run");
                lead(Run::start(scene, user, &ticket), ticket);
                return Given::Own;
            }
            Entry::Full => panic!("a caller is alone without need"),
            Entry::Follows(follower) => follower,
        };
        killed = world::was_posted(Event::Kill);
        let mut waited = false;
        let (flight, answer) = follower.wait(true, &mut |_| {
            if replace(&mut waited, true) {
                Err(ETIMEDOUT)
            } else {
                Ok(PATIENCE)
            }
        });
        world::note(format_args!("waited: {answer:?}"));
        match answer {
            Ok(Some(TAKEN)) if Current.fatal_signal_pending() => return Given::Killed,
            Ok(None | Some(TAKEN)) => (),
            Ok(Some(raw)) => {
                let answer = Answer::from_raw(raw);
                if moment.may_have(answer) {
                    return Given::Shared(answer.result);
                }
            }
            Err(ETIMEDOUT) => {
                let _ = flight.end(Some(TAKEN));
            }
            Err(e) => {
                assert_eq!(e, ERESTARTSYS);
                assert!(world::was_posted(Event::Kill), "killed by nothing");
                return Given::Killed;
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

/// Starts a run.
fn lead(scene: Scene, user: &UserSpace) -> (Run, Ticket<'static, Call>) {
    let mut ticket = scene.table.ticket(name(), world::current_id()).unwrap();
    assert!(matches!(ticket.enter(), Entry::Leads));
    (Run::start(scene, user, &ticket), ticket)
}

/// Starts a run whose requester never runs again.
fn run(scene: Scene, user: &UserSpace) -> Run {
    let (run, ticket) = lead(scene, user);
    ticket.abandon();
    run
}

/// Two follow a request that a worker ends.
pub fn ended_by_a_worker(scene: Scene, variant: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
    for pid in [1, 2] {
        let user = user.clone();
        world::spawn(pid, move || {
            let answer = ask(scene, &user, success);
            assert!(matches!(answer, Given::Own | Given::Shared(0)));
        });
    }
    let _ = run.reap(
        scene,
        [End::Success, End::Failure(1), End::Private][variant],
    );
    world::end();
    assert!(
        world::now() < PATIENCE.into(),
        "a follower was not woken, and came back when its patience was at its end"
    );
}

/// The requester and the worker both say that the run has ended, and a follower waits.
pub fn ended_twice(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let (run, ticket) = lead(scene, &user);
    let follower = user.clone();
    world::spawn(1, move || {
        let answer = ask(scene, &follower, success);
        assert!(matches!(answer, Given::Own | Given::Shared(0)));
    });
    let answer = run.answer(End::Success);
    let ended = Rc::new(Cell::new(0));
    let by_worker = ended.clone();
    world::spawn(2, move || {
        let once = run.reap(scene, End::Success).is_some();
        by_worker.set(by_worker.get() + u32::from(once));
    });
    let once = ticket.finish(answer).is_some();
    ended.set(ended.get() + u32::from(once));
    assert!(matches!(
        ask(scene, &user, success),
        Given::Own | Given::Shared(0)
    ));
    world::end();
    assert_eq!(ended.get(), 1, "a flight ends once");
}

/// A failure is for those who asked before the run: a caller that comes later has a run of its own,
/// or shares that of another one.
pub fn failure_is_old(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
    for pid in [1, 2] {
        let user = user.clone();
        world::spawn(pid, move || {
            user.generation.set(10);
            let answer = ask(scene, &user, failure);
            assert!(
                matches!(answer, Given::Own | Given::Shared(11)),
                "a failure is older than the question: {answer:?}"
            );
        });
    }
    let _ = run.reap(scene, End::Failure(1));
    world::end();
}

/// Something is removed while a run is up; a caller that asks after that does not get its success.
pub fn removal(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
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
            answer == Given::Own || after.runs.get() > runs,
            "a success is older than a removal that the caller knew of"
        );
    });
    let _ = run.reap(scene, End::Success);
    world::end();
}

/// The patience of a follower ends at any point; the run that it starts, or the first one, answers.
pub fn patience(scene: Scene, variant: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
    let end = |_| {
        if world::now() > 0 {
            // All are back before this run is over.
            world::sleep(500);
        }
        End::Success
    };
    let impatient = {
        let user = user.clone();
        world::spawn_exposed(1, move || {
            ask(scene, &user, end);
        })
    };
    let patient = user.clone();
    world::spawn(2, move || {
        ask(scene, &patient, end);
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
    let _ = run.reap(scene, End::Success);
    world::end();
}

/// The first run of a flight takes for ever, and the second one fails: that is the answer, also for
/// a follower that came later.
pub fn patience_fails(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
    let answers = Rc::new(RefCell::new(Vec::new()));
    for pid in [1, 2] {
        let (user, answers) = (user.clone(), answers.clone());
        world::spawn(pid, move || {
            let end = |_| {
                // All are back before this run is over.
                world::sleep_until_idle();
                End::Failure(1)
            };
            let answer = ask(scene, &user, end);
            answers.borrow_mut().push(answer);
        });
        world::sleep(2_000);
    }
    world::sleep(2_000);
    let _ = run.reap(scene, End::Success);
    world::end();
    let answers = answers.take();
    assert!(
        answers.contains(&Given::Own) && answers.contains(&Given::Shared(1)),
        "a run that hangs is waited for: {answers:?}"
    );
}

/// The second run hangs, and then, or as that starts, the first one answers after all.
pub fn late_answer(scene: Scene, variant: usize) {
    let user = UserSpace::default();
    let first = run(scene, &user);
    let hangs = Rc::new(RefCell::new(Vec::new()));
    let answers = Rc::new(RefCell::new(Vec::new()));
    for pid in [1, 2] {
        let (user, hangs, answers) = (user.clone(), hangs.clone(), answers.clone());
        world::spawn(pid, move || {
            let answer = ask_and_lead(scene, &user, |run, ticket| {
                ticket.abandon();
                hangs.borrow_mut().push(run);
            });
            answers.borrow_mut().push(answer);
        });
    }
    world::sleep([6_000, 5_000][variant]);
    let _ = first.reap(scene, End::Success);
    if variant == 0 {
        world::sleep_until_idle();
        let answers = answers.borrow();
        assert!(
            answers.contains(&Given::Own) && answers.contains(&Given::Shared(0)),
            "the answer of a run was lost: {answers:?}"
        );
    }
    world::sleep(10_000);
    for run in hangs.take() {
        let _ = run.reap(scene, End::Private);
    }
    world::end();
}

/// A follower is killed at any point, another one is not.
pub fn killed(scene: Scene, _: usize) {
    let user = UserSpace::default();
    let run = run(scene, &user);
    let victim = {
        let user = user.clone();
        world::spawn_exposed(1, move || {
            ask(scene, &user, success);
        })
    };
    let other = user.clone();
    world::spawn(2, move || {
        let answer = ask(scene, &other, success);
        assert_ne!(answer, Given::Killed);
    });
    world::spawn(3, move || world::post(victim, Event::Kill));
    let _ = run.reap(scene, End::Private);
    world::end();
}

/// There can be two flights of requests, and three names are asked for.
pub fn limit(scene: Scene, _: usize) {
    let up = Rc::new(Cell::new(0));
    let ask = move |up: Rc<Cell<u32>>, name| {
        let key = request(name, 2);
        let mut ticket = scene.table.ticket(key, world::current_id()).unwrap();
        match ticket.enter() {
            Entry::Leads => up.set(up.get() + 1),
            Entry::Full => {
                let follower = scene.table.follow(ticket.key());
                assert!(
                    follower.is_none(),
                    "a call that is alone has a flight for others"
                );
                return false;
            }
            Entry::Follows(_) => panic!("names are not told apart"),
        }
        assert!(up.get() <= 2, "there are more flights than there can be");
        world::locked(|| ());
        up.set(up.get() - 1);
        let _ = ticket.finish(None);
        true
    };
    for pid in [1, 2] {
        let up = up.clone();
        world::spawn(pid, move || {
            ask(up, pid as usize);
        });
    }
    ask(up.clone(), 3);
    world::sleep_until_idle();
    assert!(ask(up, 3), "a flight that has ended still counts");
}
