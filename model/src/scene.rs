// SPDX-License-Identifier: GPL-2.0

//! What all scenarios share: the table, callers that use it as `kernel/module/dedup.rs` does, and
//! the properties that hold whatever happens.

use kernel::{
    error::{
        code::{EBUSY, EDEADLK, ERESTARTSYS},
        Result,
    },
    module_dedup::{
        runs::{Question, Runs},
        Ended, Entry, Follower, Key, Leader, Request, Step, Table, Task, TaskId, Waited,
    },
    world::{self, Event},
};
use loom::sync::atomic::{AtomicI32, Ordering};
use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// Names a call, and with it the flight that it may lead.
pub type Number = usize;

/// What is asked for. All are in one bucket.
pub struct Call {
    number: Number,
    file: usize,
    arguments: u32,
}

impl Key for Call {
    fn hash(&self) -> usize {
        7
    }

    fn same_file(&self, other: &Self) -> bool {
        world::must_hold_a_lock();
        self.file == other.file
    }

    fn same_call(&self, other: &Self) -> bool {
        self.same_file(other) && self.arguments == other.arguments
    }

    type Label = ();

    /// A helper waits for its own thread, unless the scenario says something else.
    fn stands_in(helper: TaskId) -> Option<TaskId> {
        let Some(stands_in) = with(|it| it.stand_ins.get(&helper.pid).cloned()) else {
            return Some(helper);
        };
        let pid = stands_in.fetch_or(0, Ordering::AcqRel);
        (pid != 0).then(|| world::task_id(pid))
    }

    fn refused(me: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        world::must_not_hold_a_lock("reports");
        let steps = chain.count();
        world::note(format_args!("is refused, by a chain of {steps}"));
        with(|it| it.refused.push(me.pid));
    }

    fn delayed(waiting: u32, _: TaskId, chain: impl Iterator<Item = Step<Self>>) {
        world::must_not_hold_a_lock("reports");
        assert!(chain.count() > 0, "a delay of nothing was reported");
        with(|it| it.delayed.push(waiting));
    }
}

/// How a load ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Result,
    /// With one that is nobody else's.
    Private,
    /// By an early return, which drops the guard.
    Return,
    /// The task dies, and what it keeps in an `ExitGuard` is dropped as it exits.
    Death,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Shared(i32),
    Private,
}

/// A flight, as the scenario saw it.
struct Flight {
    file: usize,
    arguments: u32,
    state: State,
    /// Whether nobody can come to it any more, since its end is over, or it was closed.
    out_of_reach: bool,
    /// How many wake-ups it said it owed to followers, and how many got its end.
    owed: u32,
    served: u32,
    retried: u32,
}

/// What happened in the current execution.
#[derive(Default)]
struct Record {
    numbers: Number,
    flights: HashMap<Number, Flight>,
    loads: u64,
    joined: u64,
    retried: u64,
    interrupted: u64,
    /// How many loads of a file run now.
    running: HashMap<usize, u32>,
    /// In which order calls came, and got their turn.
    arrivals: Vec<Number>,
    turns: Vec<Number>,
    refused: Vec<i32>,
    delayed: Vec<u32>,
    /// Whose end a helper waits for, if not its own; none by 0.
    stand_ins: HashMap<i32, Rc<AtomicI32>>,
}

thread_local! {
    static RECORD: RefCell<Record> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Record) -> R) -> R {
    RECORD.with(|record| f(&mut record.borrow_mut()))
}

/// The one table of an execution.
#[derive(Clone, Copy)]
pub struct Scene {
    pub table: &'static Table<Call>,
    pub runs: &'static Runs<Name>,
}

/// What is requested.
pub struct Name(pub u32);

impl Question for Name {
    fn hash(&self) -> usize {
        7
    }

    fn same(&self, other: &Self) -> bool {
        world::must_hold_a_lock();
        self.0 == other.0
    }
}

/// Runs one execution of a scenario, and checks how it ended.
pub fn run(scenario: impl FnOnce(Scene)) {
    with(|it| *it = Record::default());
    world::begin();
    let table = Box::into_raw(Box::new(Table::new().unwrap()));
    let runs = Box::into_raw(Box::new(Runs::new().unwrap()));
    let empty = world::allocations();

    // SAFETY: It is valid until it is freed, below.
    let table_ref: &'static Table<Call> = unsafe { &*table };
    // SAFETY: The same.
    let runs_ref: &'static Runs<Name> = unsafe { &*runs };
    let scene = Scene {
        table: table_ref,
        runs: runs_ref,
    };
    scenario(scene);
    world::end();

    assert_eq!(
        world::allocations(),
        empty,
        "a record is left that nobody needs"
    );
    scene.check();
    // SAFETY: It comes from a box. Its users were the scenario and the tasks that it spawned, and
    // all of these have ended.
    drop(unsafe { Box::from_raw(table) });
    // SAFETY: The same.
    drop(unsafe { Box::from_raw(runs) });
    assert_eq!(world::allocations(), 0, "memory leaks");
}

fn out_of_reach(leader: &Leader<'static, Call>) {
    let number = leader.flight().key().number;
    with(|it| it.flights.get_mut(&number).unwrap().out_of_reach = true);
}

/// Says that a helper waits for the end of another task, from now on.
pub fn waits_for_child(helper: i32, child: i32) {
    let stands_in = with(|it| it.stand_ins[&helper].clone());
    stands_in.fetch_or(child, Ordering::AcqRel);
}

/// Says that a helper goes on, until it [`waits_for_child`].
pub fn is_busy(helper: i32) {
    with(|it| it.stand_ins.insert(helper, Rc::new(AtomicI32::new(0))));
}

/// The tasks whose waits were refused.
pub fn refused() -> Vec<i32> {
    with(|it| it.refused.clone())
}

/// How many waited, for each report of a delay.
pub fn delayed() -> Vec<u32> {
    with(|it| it.delayed.clone())
}

/// A key for a file.
pub fn load(file: usize, arguments: u32) -> Call {
    let number = with(|it| {
        it.numbers += 1;
        it.numbers
    });
    Call {
        number,
        file,
        arguments,
    }
}

impl Call {
    /// What its own load would end with.
    pub fn result(&self) -> i32 {
        100 + self.number as i32
    }
}

/// A load that others may wait for, by their flight or by name, with the helper that it asks.
pub struct Loading {
    pub leader: Leader<'static, Call>,
    pub task: Task<'static, Call>,
    pub request: Request<'static, Call>,
}

impl Scene {
    pub fn enter(&self, key: Call) -> Entry<'static, Call> {
        let out_of_reach: Vec<Number> = with(|it| {
            let flights = it.flights.iter();
            flights
                .filter(|(_, flight)| flight.out_of_reach)
                .map(|(number, _)| *number)
                .collect()
        });
        let number = key.number;
        let entry = self.table.enter(key, world::current_id());
        let (what, of) = match &entry {
            Entry::Leader(leader) => ("leads", leader.flight().key().number),
            Entry::Follower(follower, _) => ("follows", follower.flight().key().number),
            Entry::Behind(behind) => ("is behind", behind.flight().key().number),
            Entry::Alone => ("is alone", 0),
        };
        world::note(format_args!("{what} ({of})"));
        match &entry {
            Entry::Follower(follower, _) => {
                assert!(
                    !out_of_reach.contains(&follower.flight().key().number),
                    "a caller joined a flight that had ended, or was closed, before it came"
                );
            }
            Entry::Leader(_) | Entry::Behind(_) => self.takes_off(number, &entry),
            Entry::Alone => assert!(world::is_out_of_memory(), "a caller is alone without need"),
        }
        entry
    }

    fn takes_off(&self, number: Number, entry: &Entry<'static, Call>) {
        let key = match entry {
            Entry::Leader(leader) => leader.flight().key(),
            Entry::Behind(behind) => behind.flight().key(),
            _ => return,
        };
        let file = key.file;
        with(|it| {
            assert!(
                !it.flights.values().any(|other| other.state == State::Up
                    && !other.out_of_reach
                    && (other.file, other.arguments) == (file, key.arguments)),
                "a caller did not join the flight for its call"
            );
            it.arrivals.push(number);
            it.flights.insert(
                number,
                Flight {
                    file,
                    arguments: key.arguments,
                    state: State::Up,
                    out_of_reach: false,
                    owed: 0,
                    served: 0,
                    retried: 0,
                },
            )
        });
    }

    /// Enters where there is nobody else.
    pub fn leader(&self, key: Call) -> Leader<'static, Call> {
        match self.enter(key) {
            Entry::Leader(leader) => leader,
            _ => panic!("somebody else leads"),
        }
    }

    /// Loads as the leader, up to the point where the flight ends.
    pub fn begin(&self, leader: &Leader<'static, Call>) {
        let key = leader.flight().key();
        with(|it| {
            it.turns.push(key.number);
            it.loads += 1;
            let running = it.running.entry(key.file).or_default();
            *running += 1;
            assert_eq!(*running, 1, "two loads of one file at the same time");
        });
    }

    /// Ends the flight of a load that has begun.
    pub fn end(&self, leader: Leader<'static, Call>, end: End) -> Result<i32> {
        let (number, key) = {
            let key = leader.flight().key();
            (key.number, key.file)
        };
        let result = leader.flight().key().result();
        with(|it| {
            *it.running.get_mut(&key).unwrap() -= 1;
            let flight = it.flights.get_mut(&number).unwrap();
            assert_eq!(flight.state, State::Up, "a flight ended twice");
            flight.state = match end {
                End::Result => State::Shared(result),
                End::Death => State::Shared(EBUSY.to_errno()),
                End::Private | End::Return => State::Private,
            };
        });
        world::note(format_args!("ends ({number})"));
        let owed = match end {
            End::Result => Some(leader.finish(result)),
            End::Private => Some(leader.give_up()),
            End::Return => {
                drop(leader);
                None
            }
            End::Death => {
                // Nothing on the stack is dropped; the task work finds it all in its box.
                let in_exit_guard = Box::new(leader);
                Some(in_exit_guard.finish(EBUSY.to_errno()))
            }
        };
        with(|it| {
            let flight = it.flights.get_mut(&number).unwrap();
            flight.out_of_reach = true;
            flight.owed = owed.unwrap_or(u32::MAX);
        });
        match end {
            End::Result => Ok(result),
            _ => Err(EBUSY),
        }
    }

    /// Loads as the leader.
    pub fn lead(&self, leader: Leader<'static, Call>, end: End) -> Result<i32> {
        self.begin(&leader);
        self.end(leader, end)
    }

    /// Waits as a follower, and checks what it is told.
    pub fn follow(&self, follower: Follower<'static, Call>, me: Option<TaskId>) -> Waited<Call> {
        let stops = || world::was_posted(Event::Signal) || world::was_posted(Event::Kill);
        let had_signal = stops();
        let waited = follower.wait(me);
        world::note(format_args!("waited: {:?}", waited.ended));
        let number = waited.flight.key().number;
        with(|it| {
            let flight = it.flights.get_mut(&number).unwrap();
            match waited.ended {
                Ok(Ended::Result(result)) => {
                    assert_eq!(
                        flight.state,
                        State::Shared(result),
                        "a follower got something that is not the result of its flight"
                    );
                    flight.served += 1;
                    it.joined += 1;
                }
                Ok(Ended::Retry) => {
                    assert_eq!(
                        flight.state,
                        State::Private,
                        "a follower was told to try again, by a flight with a result"
                    );
                    assert!(
                        !had_signal,
                        "a task that is about to handle a signal was told to try again"
                    );
                    flight.retried += 1;
                    it.retried += 1;
                }
                Err(ERESTARTSYS) => {
                    assert!(stops(), "a follower was interrupted by nothing");
                    it.interrupted += 1;
                }
                Err(e) => assert_eq!(e, EDEADLK, "an error that no wait ends with"),
            }
        });
        waited
    }

    /// Waits in line, and checks how that ends.
    pub fn stand_in_line(
        &self,
        behind: kernel::module_dedup::Behind<'static, Call>,
        me: Option<TaskId>,
    ) -> Result<Leader<'static, Call>> {
        let number = behind.flight().key().number;
        let waited = behind.wait(me);
        if let Err(e) = waited {
            world::note(format_args!("leaves the line: {e:?}"));
            with(|it| {
                if e == ERESTARTSYS {
                    assert!(
                        world::was_posted(Event::Signal) || world::was_posted(Event::Kill),
                        "a call in line was interrupted by nothing"
                    );
                    it.interrupted += 1;
                }
                let flight = it.flights.get_mut(&number).unwrap();
                flight.state = State::Private;
                flight.out_of_reach = true;
                flight.owed = u32::MAX;
            });
            return Err(e);
        }
        waited
    }

    /// A call, as it comes from user space.
    pub fn call(&self, key: Call, end: End) -> Result<i32> {
        self.call_as(key, end, None)
    }

    /// The same, for a task that others may wait for.
    pub fn call_as(&self, mut key: Call, end: End, me: Option<TaskId>) -> Result<i32> {
        loop {
            match self.enter(key) {
                Entry::Leader(leader) => return self.lead(leader, end),
                Entry::Behind(behind) => return self.lead(self.stand_in_line(behind, me)?, end),
                Entry::Alone => return Ok(-1),
                Entry::Follower(follower, again) => match self.follow(follower, me).ended? {
                    Ended::Result(result) => return Ok(result),
                    Ended::Retry => key = again,
                },
            }
        }
    }

    /// Lets nobody join a flight from now on.
    pub fn close(&self, leader: &Leader<'static, Call>) {
        self.table.close(leader.flight());
        out_of_reach(leader);
    }

    /// Leads a load of `by` that asks `helper` for something.
    pub fn loading(&self, key: Call, by: i32, helper: i32) -> Loading {
        let leader = self.leader(key);
        let task = self.table.load(world::task_id(by), Some(&leader)).unwrap();
        self.begin(&leader);
        let request = self.requesting(by, helper);
        Loading {
            leader,
            task,
            request,
        }
    }

    /// A request of a task, with its helper.
    pub fn requesting(&self, by: i32, helper: i32) -> Request<'static, Call> {
        let request = self.table.request(world::task_id(by), true, ()).unwrap();
        self.table.set_helper(request.id(), world::task_id(helper));
        request
    }

    /// The helper has come back, and the load goes on to its end.
    pub fn loaded(&self, loading: Loading) {
        let Loading {
            leader,
            task,
            request,
        } = loading;
        drop(request);
        let _ = self.end(leader, End::Result);
        drop(task);
    }

    /// What holds at the end of each execution.
    fn check(&self) {
        let seen = self.table.snapshot().unwrap();
        assert!(
            seen.flights.is_empty() && seen.more == 0,
            "a flight that has ended is still in the table"
        );
        drop(seen);
        assert!(
            self.runs.snapshot().unwrap().is_empty(),
            "a question that has an answer is still in the table"
        );
        let stats = self.table.stats();
        with(|it| {
            for flight in it.flights.values() {
                assert_ne!(flight.state, State::Up, "a flight never ended");
                let Flight {
                    owed,
                    served,
                    retried,
                    ..
                } = *flight;
                match flight.state {
                    State::Shared(_) => assert!(
                        served == owed,
                        "a flight owed {owed} followers a wake-up, and {served} got its result"
                    ),
                    _ => assert!(
                        owed >= retried,
                        "a flight owed {owed} followers a wake-up, and {retried} had one"
                    ),
                }
            }
            // Those who left the line have no turn, and files do not wait for each other.
            let rank = |number: &Number| it.arrivals.iter().position(|it| it == number);
            for (at, number) in it.turns.iter().enumerate() {
                let file = it.flights[number].file;
                let earlier = &it.turns[..at];
                assert!(
                    earlier
                        .iter()
                        .filter(|other| it.flights[other].file == file)
                        .all(|other| rank(other) < rank(number)),
                    "a call in line was overtaken"
                );
            }
            assert_eq!(stats.led, it.loads, "the count of loads is wrong");
            assert_eq!(
                (stats.joined, stats.retried, stats.interrupted),
                (it.joined, it.retried, it.interrupted),
                "the count of followers is wrong"
            );
            assert_eq!(
                stats.refused,
                it.refused.len() as u64,
                "the count of refusals is wrong"
            );
        });
    }
}
