// SPDX-License-Identifier: GPL-2.0

//! Questions to user space that many callers ask at the same time, and that are answered once.
//!
//! A *flight* is a question that has no answer yet. A *run* is one attempt to get the answer; the
//! caller that starts a run leads it. A caller that asks the same question while the flight is up
//! becomes a *follower*: it sleeps until a run has answered.
//!
//! A run may take longer than a follower is willing to wait, or may never end. So a flight can have
//! several runs: a follower whose patience is at an end leads one more, and all other followers get
//! the first answer that comes. A follower that finds at the end of its patience that another run
//! was started meanwhile waits once more.
//!
//! # Which answers count
//!
//! No answer is older than its question. One clock numbers two kinds of events: the begin of a run,
//! and the removal of something that a run may have brought. A caller notes the clock when it asks,
//! as a [`Moment`]. Then
//!
//! 1. a failure is for those who asked before the run began, and
//! 2. a success is for those who saw no removal between the begin of the run and their question.
//!
//! A caller does not join a flight whose latest run began before the last removal that it knows of,
//! but starts another one. A follower for whom an answer does not count asks again, with the moment
//! of its first question.
//!
//! A run that could not begin, since it had to wait too long for its turn, counts from the moment
//! at which its leader began to wait.
//!
//! # Invariants
//!
//! All of these hold whenever the lock of the table is not held.
//!
//! 1. A flight is in the table exactly until it has its outcome.
//! 2. A flight in the table has at least one run that is going on. The first run that succeeds, or
//!    that fails, takes it out; one that has a private end does so if it is the last.
//! 3. When a flight leaves the table, one wake-up is owed to each of its followers. The debt is
//!    paid after the lock was released. A follower that leaves early reduces the debt if the flight
//!    is still in the table; otherwise it leaves a wake-up behind, which harms nobody.

use super::chain::{
    self,
    Buckets,
    Item, //
};
use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KBox,
        KVVec, //
    },
    current,
    error::{
        code::{
            ERESTARTSYS,
            ETIMEDOUT, //
        },
        Result, //
    },
    init::InPlaceInit,
    new_spinlock,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        awaited::Awaited,
        Arc,
        SpinLock, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic,
        Msecs, //
    },
};
use core::pin::Pin;

/// The largest number of flights. Beyond that a caller goes alone, which bounds the length of a
/// chain, and with it the time for which the lock is held.
const MOST: usize = 256;

/// What is asked.
///
/// The methods are called with the lock of the table held: they must be short and must not sleep.
pub trait Question: Send + Sync + 'static {
    /// A hash that nobody can predict who chooses questions.
    fn hash(&self) -> usize;

    /// Whether two questions are the same. This must be an equivalence relation.
    fn same(&self, other: &Self) -> bool;
}

/// When a caller asked, as the clock of the table counts.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The last event before the question.
    asked: u64,
    /// The last removal before the question.
    removed: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With success.
    Success,
    /// With a failure, which says something about the question.
    Failure(i32),
    /// With a failure that says something only about the run, or about the caller that led it.
    Private,
}

/// The outcome of a flight that has none yet, or none that could be shared: outside of the range of
/// `i32`.
const NOTHING: i64 = i64::MIN;

/// A question that has no answer yet.
pub struct Flight<Q> {
    question: Q,
    serial: u64,
    since: Instant<Monotonic>,
    /// The answer as an `i32`, or [`NOTHING`].
    ///
    /// Written once, under the lock, by the run that takes the flight out of the table. It is read
    /// only after that lock or the completion was passed, which order the accesses.
    answer: Atomic<i64>,
    /// When the run began that gave the answer. Ordered as `answer` is.
    begun: Atomic<i64>,
}

impl<Q> Flight<Q> {
    /// What is asked.
    pub fn question(&self) -> &Q {
        &self.question
    }

    /// How long the flight has been up.
    pub fn age(&self) -> Delta {
        self.since.elapsed()
    }

    /// The answer, if it counts for somebody who asked at that moment.
    fn answer_for(&self, moment: Moment) -> Option<i32> {
        let answer = i32::try_from(self.answer.load(Relaxed)).ok()?;
        let begun = self.begun.load(Relaxed) as u64;
        let counts = if answer == 0 {
            moment.removed < begun
        } else {
            moment.asked < begun
        };
        counts.then_some(answer)
    }
}

/// Refers to a flight. Its completion gets one token for each follower that is owed a wake-up.
pub type FlightRef<Q> = Arc<Awaited<Flight<Q>>>;

/// A flight in its bucket, with what the lock guards of it.
struct Node<Q> {
    flight: FlightRef<Q>,
    /// How many followers wait.
    followers: u32,
    /// How many runs are going on.
    runs: u32,
    /// How many runs there have been.
    started: u32,
    /// When the latest run began, or `u64::MAX` if none has begun yet.
    latest: u64,
}

struct State<Q> {
    flights: Buckets<Node<Q>>,
    count: usize,
}

impl<Q: Question> State<Q> {
    fn find(&mut self, flight: &Flight<Q>) -> Option<&mut Node<Q>> {
        self.flights
            .get_mut(flight.question.hash())?
            .find_mut(|node| node.flight.serial == flight.serial)
    }

    /// A flight that can still have an answer for whoever asks at that moment.
    fn ask(&mut self, question: &Q, moment: Moment) -> Option<&mut Node<Q>> {
        self.flights
            .get_mut(question.hash())?
            .find_mut(|node| moment.removed < node.latest && node.flight.question.same(question))
    }

    fn remove(&mut self, flight: &Flight<Q>) -> Option<KBox<Item<Node<Q>>>> {
        let removed = self
            .flights
            .get_mut(flight.question.hash())?
            .remove(|node| node.flight.serial == flight.serial)?;
        self.count = self.count.saturating_sub(1);
        Some(removed)
    }
}

impl<Q> Node<Q> {
    fn join<'t>(&mut self, runs: &'t Runs<Q>, moment: Moment) -> Entry<'t, Q>
    where
        Q: Question,
    {
        self.followers = self.followers.saturating_add(1);
        Entry::Follower(Follower {
            runs,
            flight: self.flight.clone(),
            moment,
            started: self.started,
            followers: self.followers,
        })
    }

    fn lead<'t>(&mut self, runs: &'t Runs<Q>) -> Run<'t, Q>
    where
        Q: Question,
    {
        self.runs = self.runs.saturating_add(1);
        self.started = self.started.wrapping_add(1);
        let led = runs.tick();
        Run {
            runs,
            flight: self.flight.clone(),
            led,
            begun: Atomic::new(led),
            over: Atomic::new(0),
        }
    }
}

/// A flight that is not in the table yet, and the memory for its node.
struct Spare<Q> {
    flight: FlightRef<Q>,
    node: chain::Spare<Node<Q>>,
}

/// The questions that have no answer yet.
pub struct Runs<Q: Question> {
    state: Pin<KBox<SpinLock<State<Q>>>>,
    /// Counts the begins of runs, and removals.
    clock: Atomic<u64>,
    /// When the last removal was.
    removed: Atomic<u64>,
    /// Counts flights.
    serial: Atomic<u64>,
}

/// What a caller of [`Runs::enter`] has become.
pub enum Entry<'t, Q: Question> {
    /// The caller has to find the answer, and to share it.
    Leader(Run<'t, Q>),
    /// The caller can wait for the answer.
    Follower(Follower<'t, Q>),
    /// There are too many flights, or there is no memory: the caller has to do without the table.
    Alone,
}

impl<Q: Question> Runs<Q> {
    /// Makes an empty table.
    ///
    /// May sleep. Fails with `ENOMEM`.
    pub fn new() -> Result<Self> {
        let state = State {
            flights: Buckets::new()?,
            count: 0,
        };
        Ok(Self {
            state: KBox::pin_init(new_spinlock!(state, "module_dedup_runs"), GFP_KERNEL)?,
            clock: Atomic::new(0),
            removed: Atomic::new(0),
            serial: Atomic::new(0),
        })
    }

    /// Notes when a caller asks. To be called once for each question, before [`Runs::enter`].
    ///
    /// Any context.
    pub fn moment(&self) -> Moment {
        // A removal that happens while this runs may count as earlier or as later.
        Moment {
            asked: self.clock.load(Relaxed),
            removed: self.removed.load(Relaxed),
        }
    }

    /// Notes that something was removed that a run may have brought.
    ///
    /// Any context. Calls must not overlap.
    pub fn removal(&self) {
        self.removed.store(self.tick(), Relaxed);
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Joins the flight of a question, or starts one.
    ///
    /// May sleep, to allocate; it does not wait for any run. Takes the lock of the table.
    pub fn enter(&self, question: Q, moment: Moment) -> Entry<'_, Q> {
        {
            let mut state = self.state.lock();
            if let Some(node) = state.ask(&question, moment) {
                return node.join(self, moment);
            }
            if state.count >= MOST {
                return Entry::Alone;
            }
        }
        let (Ok(room), Ok(spare)) = (Awaited::room(GFP_KERNEL), chain::spare()) else {
            return Entry::Alone;
        };
        let hash = question.hash();
        let flight = room.fill(Flight {
            question,
            serial: self.serial.fetch_add(1, Relaxed),
            since: Instant::now(),
            answer: Atomic::new(NOTHING),
            begun: Atomic::new(0),
        });
        // Freed, if it is not needed, after the lock was released.
        let spare = Spare {
            flight,
            node: spare,
        };

        let mut state = self.state.lock();
        // Another caller may have started the flight in the meantime.
        if let Some(node) = state.ask(&spare.flight.question, moment) {
            let entry = node.join(self, moment);
            drop(state);
            return entry;
        }
        if state.count >= MOST {
            drop(state);
            return Entry::Alone;
        }
        state.count = state.count.saturating_add(1);
        let Spare {
            flight,
            node: spare,
        } = spare;
        let mut node = Node {
            flight,
            followers: 0,
            runs: 0,
            started: 0,
            latest: u64::MAX,
        };
        let run = node.lead(self);
        // There always is a chain for a hash.
        if let Some(chain) = state.flights.get_mut(hash) {
            chain.push(spare, node);
        }
        Entry::Leader(run)
    }

    /// The flights that are up, and how many followers each has, for people to read.
    ///
    /// May sleep, takes the lock of the table once. Fails with `ENOMEM`.
    pub fn snapshot(&self) -> Result<KVVec<(FlightRef<Q>, u32)>> {
        let mut flights = KVVec::with_capacity(MOST, GFP_KERNEL)?;
        let state = self.state.lock();
        for node in state.flights.iter() {
            // There is room for all.
            let _ = flights.push_within_capacity((node.flight.clone(), node.followers));
        }
        drop(state);
        Ok(flights)
    }
}

/// One attempt to answer a question.
///
/// It may be ended by any task. If it is dropped before, it has a private end.
#[must_use = "a run that is dropped has a private end"]
pub struct Run<'t, Q: Question> {
    runs: &'t Runs<Q>,
    flight: FlightRef<Q>,
    /// When its leader set out to begin it.
    led: u64,
    /// When it began, or the same if it has not.
    begun: Atomic<u64>,
    /// Counts how often it was ended.
    over: Atomic<u64>,
}

impl<Q: Question> Run<'_, Q> {
    /// Notes that the run begins: what it finds is true for all who ask from here on, until there
    /// is a removal. To be called once.
    ///
    /// Does not sleep. Takes the lock of the table.
    pub fn begin(&self) {
        let mut state = self.runs.state.lock();
        let begun = self.runs.tick();
        self.begun.store(begun, Relaxed);
        if let Some(node) = state.find(&self.flight) {
            node.latest = begun;
        }
    }

    /// Ends the run. The first end of a run counts.
    ///
    /// A success or a failure is the answer. A private end, and that of a run that never began,
    /// leaves it to the other runs to give one, if there are any. Returns how many followers were
    /// told, or [`None`] if it had ended before.
    ///
    /// Does not sleep. Takes the lock of the table.
    pub fn end(&self, end: End) -> Option<u32> {
        if self.over.fetch_add(1, Relaxed) > 0 {
            return None;
        }
        let mut state = self.runs.state.lock();
        let Some(node) = state.find(&self.flight) else {
            return Some(0);
        };
        node.runs = node.runs.saturating_sub(1);
        let begun = self.begun.load(Relaxed);
        if node.runs > 0 && (end == End::Private || begun == self.led) {
            return Some(0);
        }
        let removed = state.remove(&self.flight);
        let answer = match end {
            End::Success => 0,
            End::Failure(result) => i64::from(result),
            End::Private => NOTHING,
        };
        self.flight.begun.store(begun as i64, Relaxed);
        self.flight.answer.store(answer, Relaxed);
        drop(state);

        let followers = removed.map_or(0, |item| item.value.followers);
        Awaited::complete(self.flight.clone(), followers);
        Some(followers)
    }
}

impl<Q: Question> Drop for Run<'_, Q> {
    fn drop(&mut self) {
        self.end(End::Private);
    }
}

/// How the wait of a [`Follower`] ended.
pub enum Waited<'t, Q: Question> {
    /// With the answer.
    Answer(i32),
    /// Without an answer that counts for the follower: it has to ask again.
    Again,
    /// With the end of its patience: it leads one more run.
    Turn(Run<'t, Q>),
}

/// A caller that waits for an answer.
#[must_use = "a follower gets its answer from wait()"]
pub struct Follower<'t, Q: Question> {
    runs: &'t Runs<Q>,
    flight: FlightRef<Q>,
    moment: Moment,
    /// How many runs the flight has had when the current patience began.
    started: u32,
    followers: u32,
}

impl<'t, Q: Question> Follower<'t, Q> {
    /// The flight that it has joined.
    pub fn flight(&self) -> &FlightRef<Q> {
        &self.flight
    }

    /// How many followers the flight had when this one joined.
    pub fn followers(&self) -> u32 {
        self.followers
    }

    /// Waits for the answer, for as long as no run was started for `patience`.
    ///
    /// Sleeps killably. Fails with `ERESTARTSYS` if the task is being killed, unless there is an
    /// answer.
    pub fn wait(mut self, patience: Msecs) -> Result<Waited<'t, Q>> {
        loop {
            let waited = (self.flight.completion())
                .wait_for_completion_killable_timeout(msecs_to_jiffies(patience));
            let Err(e) = waited else {
                break;
            };
            let mut state = self.runs.state.lock();
            let Some(node) = state.find(&self.flight) else {
                break;
            };
            if e == ETIMEDOUT && node.started != self.started {
                self.started = node.started;
                continue;
            }
            node.followers = node.followers.saturating_sub(1);
            if e == ETIMEDOUT {
                return Ok(Waited::Turn(node.lead(self.runs)));
            }
            return Err(e);
        }
        match self.flight.answer_for(self.moment) {
            Some(answer) => Ok(Waited::Answer(answer)),
            None if current!().fatal_signal_pending() => Err(ERESTARTSYS),
            None => Ok(Waited::Again),
        }
    }
}
