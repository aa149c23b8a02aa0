// SPDX-License-Identifier: GPL-2.0

//! What all scenarios share: the table, callers that use it as `kernel/module/dedup.rs` does, and
//! the properties that hold whatever happens.

use kernel::{
    alloc::{flags::GFP_KERNEL, KVec},
    error::{
        code::{EBUSY, EDEADLK, ERESTARTSYS},
        Result,
    },
    module_dedup::{
        graph::Waits, line::File, runs::Clock, watch::Watch, Entry, Follower, Handle, Key, Table,
        TaskId, Ticket, FOREVER,
    },
    time::{Instant, Monotonic, Msecs},
    world::{self, Event},
};
use loom::sync::atomic::{AtomicI32, Ordering};
use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// After this time people are told that a flight takes long, in ms.
const LONG: Msecs = 10_000;

/// How often a task that is part of the wait graph looks again, in ms.
const RECHECK: Msecs = 1_000;

/// Names a call, and with it the flight that it may lead.
pub type Number = usize;

/// What is asked for: a load of a file, or a request if there is a limit. All are in one bucket.
pub struct Call {
    number: Number,
    file: usize,
    arguments: u32,
    limit: Option<usize>,
}

impl Key for Call {
    fn hash(&self) -> usize {
        7
    }

    fn same_call(&self, other: &Self) -> bool {
        self.same_file(other) && self.arguments == other.arguments
    }

    fn limit(&self) -> Option<usize> {
        self.limit
    }
}

impl File for Call {
    fn same_file(&self, other: &Self) -> bool {
        world::must_hold_a_lock();
        self.limit.is_some() == other.limit.is_some() && self.file == other.file
    }
}

impl Waits for Call {
    /// A helper waits for its own thread, unless the scenario says something else.
    fn stands_in(helper: TaskId) -> Option<TaskId> {
        let Some(stands_in) = with(|it| it.stand_ins.get(&helper.pid).cloned()) else {
            return Some(helper);
        };
        let pid = stands_in.fetch_or(0, Ordering::AcqRel);
        (pid != 0).then(|| world::task_id(pid))
    }
}

/// How a load ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Result,
    /// With one that is nobody else's.
    Private,
    /// By an early return, which drops the ticket.
    Return,
    /// The task dies, and others end the flight as it exits.
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

/// The one table of an execution, and its clock.
#[derive(Clone, Copy)]
pub struct Scene {
    pub table: &'static Table<Call>,
    pub clock: &'static Clock,
}

/// Runs one execution of a scenario, and checks how it ended.
pub fn run(scenario: impl FnOnce(Scene)) {
    with(|it| *it = Record::default());
    world::begin();
    let table = Box::into_raw(Box::new(Table::new().unwrap()));
    let clock = Box::into_raw(Box::new(Clock::at_zero()));
    let empty = world::allocations();

    // SAFETY: It is valid until it is freed, below.
    let table_ref: &'static Table<Call> = unsafe { &*table };
    // SAFETY: The same.
    let clock_ref: &'static Clock = unsafe { &*clock };
    let scene = Scene {
        table: table_ref,
        clock: clock_ref,
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
    drop(unsafe { Box::from_raw(clock) });
    assert_eq!(world::allocations(), 0, "memory leaks");
}

fn out_of_reach(number: Number) {
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

fn key(file: usize, arguments: u32, limit: Option<usize>) -> Call {
    let number = with(|it| {
        it.numbers += 1;
        it.numbers
    });
    Call {
        number,
        file,
        arguments,
        limit,
    }
}

/// A key for a file.
pub fn load(file: usize, arguments: u32) -> Call {
    key(file, arguments, None)
}

/// A key for a name that user space is asked for, by so many requests at the same time.
pub fn request(name: usize, limit: usize) -> Call {
    key(name, 0, Some(limit))
}

impl Call {
    /// What its own load would end with.
    pub fn result(&self) -> i32 {
        100 + self.number as i32
    }
}

/// A load that has asked a helper for something.
pub struct Loading {
    pub ticket: Ticket<'static, Call>,
    pub request: Ticket<'static, Call>,
}

/// A call on its way into the table: with its key, until it needs a ticket.
struct Caller {
    scene: Scene,
    key: Option<Call>,
    ticket: Option<Ticket<'static, Call>>,
}

enum Entered {
    Leads(Ticket<'static, Call>),
    Follows(Follower<'static, Call>),
    Alone,
}

impl Caller {
    fn get_ticket(&mut self) -> Option<&mut Ticket<'static, Call>> {
        if let Some(key) = self.key.take() {
            self.ticket = self.scene.table.ticket(key, world::current_id()).ok();
        }
        self.ticket.as_mut()
    }

    fn find_entry(&mut self) -> Entered {
        // A follower needs no memory.
        let follower = self.key.as_ref().and_then(|it| self.scene.table.follow(it));
        if let Some(follower) = follower {
            return Entered::Follows(follower);
        }
        let Some(ticket) = self.get_ticket() else {
            return Entered::Alone;
        };
        match ticket.enter() {
            Entry::Leads => Entered::Leads(self.ticket.take().unwrap()),
            Entry::Follows(follower) => Entered::Follows(follower),
            Entry::Full => panic!("there is no limit for loads"),
        }
    }

    fn enter(&mut self) -> Entered {
        let out_of_reach: Vec<Number> = with(|it| {
            let flights = it.flights.iter();
            flights
                .filter(|(_, flight)| flight.out_of_reach)
                .map(|(number, _)| *number)
                .collect()
        });
        let entered = self.find_entry();
        match &entered {
            Entered::Follows(follower) => {
                let number = follower.flight().key().number;
                world::note(format_args!("follows ({number})"));
                assert!(
                    !out_of_reach.contains(&number),
                    "a caller joined a flight that had ended, or was closed, before it came"
                );
            }
            Entered::Leads(ticket) => takes_off(ticket.key(), false),
            Entered::Alone => assert!(world::is_out_of_memory(), "a caller is alone without need"),
        }
        entered
    }
}

fn takes_off(key: &Call, closed: bool) {
    let Call { number, file, .. } = *key;
    world::note(format_args!("has a flight ({number})"));
    with(|it| {
        assert!(
            closed
                || !it.flights.values().any(|other| other.state == State::Up
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
                out_of_reach: closed,
                owed: 0,
                served: 0,
                retried: 0,
            },
        )
    });
}

/// What a load does each time before it sleeps.
struct Pace {
    scene: Scene,
    /// If it is part of the wait graph.
    me: Option<TaskId>,
    begun: Instant<Monotonic>,
    watch: Option<Watch<'static, Call>>,
    told: bool,
}

impl Pace {
    fn next(&mut self, flight: &Handle<'static, Call>) -> Result<Msecs> {
        if !self.watch.as_ref().is_some_and(|it| it.is_of(flight)) {
            self.watch = None;
            self.watch = flight.watch();
        }
        let mut time = FOREVER;
        if let Some(me) = self.me {
            let waits = self.scene.table.wait_for(me, flight.id());
            if waits.is_err() {
                self.scene.report("is refused", Some(me), flight.id());
                with(|it| it.refused.push(me.pid));
                return waits.map(|()| 0);
            }
            time = RECHECK;
        }
        if self.watch.is_some() && !self.told {
            let waited = self.begun.elapsed().as_millis() as Msecs;
            if waited < LONG {
                return Ok(time.min(LONG - waited));
            }
            self.told = true;
            let first = flight.first();
            if first.tell() {
                self.scene.report("is delayed", None, first.id());
                with(|it| it.delayed.push(first.waiters()));
            }
        }
        Ok(time)
    }
}

impl Scene {
    fn caller(&self, key: Call) -> Caller {
        Caller {
            scene: *self,
            key: Some(key),
            ticket: None,
        }
    }

    fn pace(&self, me: Option<TaskId>) -> Pace {
        Pace {
            scene: *self,
            me,
            begun: Instant::now(),
            watch: None,
            told: false,
        }
    }

    fn report(&self, what: &str, me: Option<TaskId>, id: u64) {
        if let Ok(mut chain) = KVec::with_capacity(8, GFP_KERNEL) {
            self.table.chain_from(me, id, &mut chain);
            world::note(format_args!("{what}, by a chain of {}", chain.len()));
        }
    }

    /// What a task does after a wait that others could see.
    fn waited(&self, me: Option<TaskId>) {
        if let Some(me) = me {
            let nothing = self.table.wait_for(me, 0);
            assert!(nothing.is_ok(), "to wait for nothing was refused");
        }
    }

    /// Enters where there is nobody else.
    pub fn leader(&self, key: Call) -> Ticket<'static, Call> {
        match self.caller(key).enter() {
            Entered::Leads(ticket) => ticket,
            _ => panic!("somebody else leads"),
        }
    }

    /// Follows the flight that there is.
    pub fn follower(&self, key: Call) -> Follower<'static, Call> {
        match self.caller(key).enter() {
            Entered::Follows(follower) => follower,
            _ => panic!("there is nobody to follow"),
        }
    }

    /// Enters with a flight that nobody can follow, and follows none.
    pub fn enters_closed(&self, key: Call) -> Ticket<'static, Call> {
        let mut ticket = self.table.ticket(key, world::current_id()).unwrap();
        ticket.close();
        let entry = ticket.enter();
        assert!(
            matches!(entry, Entry::Leads),
            "a ticket was closed, and follows"
        );
        takes_off(ticket.key(), true);
        ticket
    }

    /// Loads as the leader, up to the point where the flight ends.
    pub fn begin(&self, ticket: &Ticket<'static, Call>) {
        let key = ticket.key();
        with(|it| {
            it.turns.push(key.number);
            let running = it.running.entry(key.file).or_default();
            *running += 1;
            assert_eq!(*running, 1, "two loads of one file at the same time");
        });
    }

    /// Ends the flight of a load that has begun.
    pub fn end(&self, ticket: Ticket<'static, Call>, end: End) -> Result<i32> {
        let Call { number, file, .. } = *ticket.key();
        let result = ticket.key().result();
        with(|it| {
            *it.running.get_mut(&file).unwrap() -= 1;
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
            End::Result => ticket.finish(Some(result.into())),
            End::Private => ticket.finish(None),
            End::Return => {
                drop(ticket);
                Some(u32::MAX)
            }
            End::Death => {
                // Nothing on the stack is dropped.
                let left = ticket.into_raw();
                // SAFETY: It comes from a ticket of this table, and is not used any more.
                let ticket = unsafe { Ticket::from_raw(self.table, left) };
                ticket.finish(Some(EBUSY.to_errno().into()))
            }
        };
        with(|it| {
            let flight = it.flights.get_mut(&number).unwrap();
            flight.out_of_reach = true;
            flight.owed = owed.expect("a flight was ended by somebody else");
        });
        match end {
            End::Result => Ok(result),
            _ => Err(EBUSY),
        }
    }

    /// Loads as the leader.
    pub fn lead(&self, ticket: Ticket<'static, Call>, end: End) -> Result<i32> {
        self.begin(&ticket);
        self.end(ticket, end)
    }

    /// Waits as a follower, and checks what it is told: a result, or that it has to ask again.
    pub fn follow(
        &self,
        follower: Follower<'static, Call>,
        me: Option<TaskId>,
    ) -> Result<Option<i32>> {
        let stops = || world::was_posted(Event::Signal) || world::was_posted(Event::Kill);
        let had_signal = stops();
        let number = follower.flight().key().number;
        let mut pace = self.pace(me);
        let (_, waited) = follower.wait(false, &mut |flight| pace.next(flight));
        drop(pace);
        self.waited(me);
        world::note(format_args!("waited: {waited:?}"));
        with(|it| {
            let flight = it.flights.get_mut(&number).unwrap();
            match waited {
                Ok(Some(result)) => {
                    assert_eq!(
                        flight.state,
                        State::Shared(result as i32),
                        "a follower got something that is not the result of its flight"
                    );
                    flight.served += 1;
                }
                Ok(None) => {
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
                }
                Err(ERESTARTSYS) => assert!(stops(), "a follower was interrupted by nothing"),
                Err(e) => assert_eq!(e, EDEADLK, "an error that no wait ends with"),
            }
        });
        waited.map(|result| result.map(|it| it as i32))
    }

    /// Waits for its turn, and loads.
    pub fn lead_in_turn(
        &self,
        ticket: Ticket<'static, Call>,
        end: End,
        me: Option<TaskId>,
    ) -> Result<i32> {
        let number = ticket.key().number;
        let mut pace = self.pace(me);
        let waited = ticket.wait_for_turn(&mut |flight| pace.next(flight));
        drop(pace);
        self.waited(me);
        if let Err(e) = waited {
            world::note(format_args!("leaves the line: {e:?}"));
            assert!(
                e != ERESTARTSYS
                    || world::was_posted(Event::Signal)
                    || world::was_posted(Event::Kill),
                "a call in line was interrupted by nothing"
            );
            with(|it| {
                let flight = it.flights.get_mut(&number).unwrap();
                flight.state = State::Private;
                flight.owed = u32::MAX;
            });
            drop(ticket);
            out_of_reach(number);
            return Err(e);
        }
        self.lead(ticket, end)
    }

    /// A call, as it comes from user space.
    pub fn call(&self, key: Call, end: End) -> Result<i32> {
        self.call_as(key, end, None)
    }

    /// The same, for a task that others may wait for.
    pub fn call_as(&self, key: Call, end: End, me: Option<TaskId>) -> Result<i32> {
        let mut caller = self.caller(key);
        loop {
            let follower = match caller.enter() {
                Entered::Leads(ticket) => return self.lead_in_turn(ticket, end, me),
                Entered::Alone => return Ok(-1),
                Entered::Follows(follower) => follower,
            };
            if me.is_some() {
                // Without memory others cannot see this wait, but it still sees them.
                if let Some(ticket) = caller.get_ticket() {
                    ticket.take_part();
                }
            }
            if let Some(result) = self.follow(follower, me)? {
                return Ok(result);
            }
        }
    }

    /// Lets nobody join a flight from now on.
    pub fn close(&self, ticket: &Ticket<'static, Call>) {
        ticket.close();
        out_of_reach(ticket.key().number);
    }

    /// Leads a load of `by` that asks `helper` for something.
    pub fn loading(&self, key: Call, by: i32, helper: i32) -> Loading {
        let mut ticket = self.table.ticket(key, world::task_id(by)).unwrap();
        assert!(matches!(ticket.enter(), Entry::Leads));
        takes_off(ticket.key(), false);
        self.begin(&ticket);

        let name = request(by as usize, usize::MAX);
        let mut request = self.table.ticket(name, world::task_id(by)).unwrap();
        assert!(matches!(request.enter(), Entry::Leads));
        request.set_helper(world::task_id(helper));
        Loading { ticket, request }
    }

    /// A request of a task that joins no other, with its helper.
    pub fn requesting(&self, by: i32, helper: i32) -> Ticket<'static, Call> {
        let name = request(by as usize, usize::MAX);
        let mut request = self.table.ticket(name, world::task_id(by)).unwrap();
        request.take_part();
        request.set_helper(world::task_id(helper));
        request
    }

    /// The helper has come back, and the load goes on to its end.
    pub fn loaded(&self, loading: Loading) {
        let Loading { ticket, request } = loading;
        drop(request);
        let _ = self.end(ticket, End::Result);
    }

    /// What holds at the end of each execution.
    fn check(&self) {
        let (seen, more) = self.table.snapshot().unwrap();
        assert!(
            seen.is_empty() && more == 0,
            "a flight that has ended is still in the table"
        );
        drop(seen);
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
        });
    }
}
