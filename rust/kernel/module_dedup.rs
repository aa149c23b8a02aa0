// SPDX-License-Identifier: GPL-2.0

//! A table of flights: work that is done once, however many callers ask for it at the same time.
//!
//! A *flight* is a piece of work in progress. The caller that starts it is its *leader*. A caller
//! that asks for the *same call* while the flight is up becomes a *follower*: it sleeps, and gets
//! the leader's result. A caller that asks for another call on the *same file* shares nothing; it
//! goes *behind*: its own flight waits in line, in order of arrival, until all flights for that
//! file that came before have ended.
//!
//! This is the engine of `kernel/module/dedup.rs`. It knows nothing of files and modules; what the
//! two relations mean is up to the [`Key`].
//!
//! # How it works
//!
//! One spinlock guards 256 buckets of flights, and the wait graph. Each bucket is a chain of
//! flights in order of arrival, so the first flight of a file in its chain is the one that is under
//! way, and the others of that file stand in line. What is done under the lock is short: it is
//! bounded by the number of flights in a bucket, and for those who may close a circle by the length
//! of a chain of waits, never by the number of followers. Nothing is allocated, freed, woken or
//! printed there.
//!
//! A flight owes one wake-up to every task that was waiting for it when it ended. The debt is
//! counted under the lock, and paid after it. Hence a waiter that gives up early may leave one
//! wake-up too many, which is harmless, but none is ever missing.
//!
//! A wait that would never end, because what is waited for waits for the very caller, is refused:
//! see [`Table::wait_for_load`] and [`Follower::wait`]. Such a circle is made by a load that asks
//! user space for another one.
//!
//! The leader holds a guard. Whichever way the guard goes away, the flight is taken out of the
//! table, by identity and not by key, and its followers are told what came of it.

use crate::{
    alloc::{
        flags::GFP_KERNEL,
        KBox, //
    },
    current,
    error::{
        code::{
            EDEADLK,
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
        awaited::{
            Awaited,
            Room, //
        },
        Arc,
        SpinLock, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    },
};
use core::{
    mem::replace,
    pin::Pin, //
};

mod chain;
mod graph;
pub mod runs;
mod snapshot;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests_runs;

use chain::{
    Buckets,
    Item, //
};
use graph::{
    FlightId,
    Graph,
    Target, //
};

pub use graph::{
    LoadId,
    Request,
    Step,
    Task,
    TaskId, //
};
pub use snapshot::{
    Seen,
    Snapshot, //
};

/// How often a task that waits looks whether it does so in vain.
const RECHECK: Msecs = 1_000;

/// How long a wait is before people are told of it.
const LONG: Msecs = 10_000;

/// A longer wait has no end; this is 24 days.
const FOREVER: Msecs = Msecs::MAX / 2;

/// What a flight is for.
///
/// The methods are called with the table lock held: they must be short and must not sleep, and
/// [`Key::same_call`] should look at whatever is cheap to compare first.
pub trait Key: Send + Sync + 'static {
    /// A hash of the file. Keys of the same file have the same hash.
    fn hash(&self) -> usize;

    /// Whether `self` and `other` are about the same file: one has to wait for the other.
    ///
    /// This must be an equivalence relation.
    fn same_file(&self, other: &Self) -> bool;

    /// Whether `self` and `other` ask for exactly the same: one may use the result of the other.
    ///
    /// This must be symmetric and transitive, and must imply [`Key::same_file`]. A call that cannot
    /// be compared is not even the same as itself.
    fn same_call(&self, other: &Self) -> bool;

    /// Whether the current task, which has followed a flight with this key, may have its result. If
    /// not it has to ask again.
    ///
    /// Called without the table lock.
    fn is_for_me(&self, _result: i32) -> bool {
        true
    }

    /// The name of a load or a request, for the log.
    type Label: Copy + Send;

    /// The thread whose end the helper of a request waits for, which may be its own.
    ///
    /// [`None`] if the helper does anything but wait, or is not alive. Called with the table lock
    /// held.
    fn stands_in(helper: TaskId) -> Option<TaskId>;

    /// Tells people that `me` was not let wait for the first step of `chain`, since that would
    /// have been for itself.
    ///
    /// Called without the table lock. `chain` takes it; its steps are to be collected before they
    /// are printed.
    fn refused(me: TaskId, chain: impl Iterator<Item = Step<Self>>)
    where
        Self: Sized;

    /// Tells people that the current task has waited 10 s for a flight, the first step of `chain`,
    /// that `loader` leads it, and that so many are `waiting` for it, at the most.
    ///
    /// Called once for a flight, without the table lock. `chain` takes it; its steps are to be
    /// collected before they are printed.
    fn delayed(waiting: u32, loader: TaskId, chain: impl Iterator<Item = Step<Self>>)
    where
        Self: Sized;
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// With a result that everybody who asked for the same call may have.
    Shared(i32),
    /// With nothing to share: whoever still wants it has to ask again.
    Retry,
}

impl Outcome {
    /// A value outside the range of `i32`, so that it cannot be mistaken for a result.
    const RETRY: i64 = i64::MIN;

    fn to_raw(self) -> i64 {
        match self {
            Self::Shared(result) => i64::from(result),
            Self::Retry => Self::RETRY,
        }
    }

    fn from_raw(raw: i64) -> Self {
        i32::try_from(raw).map_or(Self::Retry, Self::Shared)
    }
}

/// Refers to a flight. The table does, and so does everybody who waits for it: a flight never lives
/// on a stack.
///
/// Its completion gets one token for each waiter that is owed a wake-up.
pub type FlightRef<K> = Arc<Awaited<Flight<K>>>;

/// Work in progress.
pub struct Flight<K> {
    id: FlightId,
    key: K,
    leader: TaskId,
    since: Instant<Monotonic>,
    /// An [`Outcome`]. Written once, under the table lock, before the flight leaves the table.
    ///
    /// It is read only after that lock or the completion was passed, which order the accesses.
    outcome: Atomic<i64>,
    /// How often a follower that left early has woken another one to watch in its place.
    handed_over: Atomic<u64>,
}

impl<K> Flight<K> {
    /// What the flight is for.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Who leads it, or will, when its turn comes.
    pub fn leader(&self) -> TaskId {
        self.leader
    }

    /// How long it has been in the table.
    pub fn age(&self) -> Delta {
        self.since.elapsed()
    }

    fn outcome(&self) -> Outcome {
        Outcome::from_raw(self.outcome.load(Relaxed))
    }
}

/// Sleeps interruptibly until the flight has ended, for `timeout` at the most, which has no end
/// beyond [`FOREVER`].
fn sleep<K: Key>(flight: &Awaited<Flight<K>>, timeout: Msecs) -> Result {
    let timeout = if timeout > FOREVER {
        Jiffies::MAX
    } else {
        msecs_to_jiffies(timeout)
    };
    (flight.completion())
        .wait_for_completion_interruptible_timeout(timeout)
        .map(drop)
}

/// A flight in its bucket, with what the table lock guards of it.
struct Node<K> {
    flight: FlightRef<K>,
    /// How many followers wait for the flight.
    followers: u32,
    /// How many wake-ups the flight owes to those who stand in line behind it, at the most.
    behind: u32,
    /// Whether the flight takes no more followers.
    closed: bool,
    /// Whether a follower watches how long it takes. The others sleep without a timer.
    watched: bool,
    /// Whether people were told that it takes long.
    delayed: bool,
    /// The load, once it is under way.
    work: Option<LoadId>,
}

/// What the table lock guards.
struct State<K: Key> {
    flights: Buckets<Node<K>>,
    graph: Graph<K::Label>,
    serial: usize,
    /// How many flights there are.
    count: usize,
}

impl<K: Key> State<K> {
    fn new() -> Result<Self> {
        Ok(Self {
            flights: Buckets::new()?,
            graph: Graph::new()?,
            serial: 0,
            count: 0,
        })
    }

    /// A number that was not used before.
    fn serial(&mut self) -> usize {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// The node of a flight, unless it has ended.
    fn flight(&self, id: FlightId) -> Option<&Node<K>> {
        self.flights.get(id.hash)?.find(|node| node.flight.id == id)
    }

    /// The same, to be changed.
    fn flight_mut(&mut self, id: FlightId) -> Option<&mut Node<K>> {
        self.flights
            .get_mut(id.hash)?
            .find_mut(|node| node.flight.id == id)
    }

    /// The flight that is under way for the same file as a flight that has not ended.
    fn first_for(&self, id: FlightId) -> Option<&Node<K>> {
        let key = &self.flight(id)?.flight.key;
        self.flights
            .get(id.hash)?
            .find(|node| node.flight.key.same_file(key))
    }

    /// Whether there is a flight for the file of `key`.
    fn has_file(&self, key: &K) -> bool {
        self.flights
            .get(key.hash())
            .is_some_and(|chain| chain.iter().any(|node| node.flight.key.same_file(key)))
    }

    /// Puts a new flight at the end of its chain. There always is one.
    fn insert(&mut self, key: K, leader: TaskId, spare: Spare<K>) -> Option<FlightRef<K>> {
        let serial = self.serial();
        let hash = key.hash();
        let flight = spare.flight.fill(Flight {
            id: FlightId { hash, serial },
            key,
            leader,
            since: spare.since,
            outcome: Atomic::new(Outcome::Retry.to_raw()),
            handed_over: Atomic::new(0),
        });
        self.flights.get_mut(hash)?.push(
            spare.node,
            Node {
                flight: flight.clone(),
                followers: 0,
                behind: 0,
                closed: false,
                watched: false,
                delayed: false,
                work: None,
            },
        );
        self.count = self.count.saturating_add(1);
        Some(flight)
    }

    /// Notes which load a flight is for.
    fn set_work(&mut self, flight: &Flight<K>, work: LoadId) {
        if let Some(node) = self.flight_mut(flight.id) {
            node.work = Some(work);
        }
    }

    /// Takes a flight out of its chain, unless that has been done before.
    fn remove(&mut self, id: FlightId) -> Option<KBox<Item<Node<K>>>> {
        let removed = self
            .flights
            .get_mut(id.hash)?
            .remove(|node| node.flight.id == id)?;
        self.count = self.count.saturating_sub(1);
        Some(removed)
    }

    /// The flight that `flight` has to wait for, if there is one: the last for the same file that
    /// came before. The caller is owed a wake-up when it ends.
    fn get_behind(&mut self, flight: &Flight<K>) -> Option<FlightRef<K>> {
        let ahead = self
            .flights
            .get(flight.id.hash)?
            .iter()
            .take_while(|node| node.flight.id != flight.id)
            .filter(|node| node.flight.key.same_file(&flight.key))
            .last()?
            .flight
            .clone();
        let node = self.flight_mut(ahead.id)?;
        node.behind = node.behind.saturating_add(1);
        Some(ahead)
    }
}

/// The memory for a new flight, allocated before the table lock is taken.
struct Spare<K> {
    flight: Room<Flight<K>>,
    node: chain::Spare<Node<K>>,
    since: Instant<Monotonic>,
}

impl<K> Spare<K> {
    fn new() -> Result<Self> {
        Ok(Self {
            flight: Awaited::room(GFP_KERNEL)?,
            node: chain::spare()?,
            since: Instant::now(),
        })
    }
}

/// What happened since the table was made. All of it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Loads that got under way.
    pub led: u64,
    /// Loads that returned the result of somebody else's flight.
    pub joined: u64,
    /// The largest number of followers that one flight ever had at the same time.
    pub most_followers: u64,
    /// Followers, and callers in line, that a signal ended.
    pub interrupted: u64,
    /// Calls that found a flight for the same file, but not for the same call.
    pub behind: u64,
    /// Followers whose flight ended with nothing to share, so that they asked again.
    pub retried: u64,
    /// Waits that were refused, because they would have been for the one who waits.
    pub refused: u64,
}

/// The counters behind [`Stats`].
struct Counters {
    led: Atomic<u64>,
    joined: Atomic<u64>,
    /// Written under the table lock.
    most_followers: Atomic<u64>,
    interrupted: Atomic<u64>,
    behind: Atomic<u64>,
    retried: Atomic<u64>,
    refused: Atomic<u64>,
}

impl Counters {
    const fn new() -> Self {
        Self {
            led: Atomic::new(0),
            joined: Atomic::new(0),
            most_followers: Atomic::new(0),
            interrupted: Atomic::new(0),
            behind: Atomic::new(0),
            retried: Atomic::new(0),
            refused: Atomic::new(0),
        }
    }
}

/// The flights that are up.
///
/// # Examples
///
/// ```
/// use kernel::module_dedup::{Entry, Key, Step, Table, TaskId};
///
/// struct Name(&'static str);
///
/// impl Key for Name {
///     fn hash(&self) -> usize {
///         self.0.len()
///     }
///     fn same_file(&self, other: &Self) -> bool {
///         self.0 == other.0
///     }
///     fn same_call(&self, other: &Self) -> bool {
///         self.same_file(other)
///     }
///
///     // Nobody asks a helper for anything here.
///     type Label = ();
///     fn stands_in(_: TaskId) -> Option<TaskId> {
///         None
///     }
///     fn refused(_: TaskId, _: impl Iterator<Item = Step<Self>>) {}
///     fn delayed(_: u32, _: TaskId, _: impl Iterator<Item = Step<Self>>) {}
/// }
///
/// let table = Table::new()?;
/// let Entry::Leader(leader) = table.enter(Name("ext4"), TaskId::default()) else {
///     return Err(EINVAL);
/// };
/// // Whoever enters with this name now is a follower, and will get -ENOENT.
/// assert_eq!(leader.finish(-2), 0);
/// assert_eq!(table.stats().led, 1);
/// # Ok::<(), Error>(())
/// ```
pub struct Table<K: Key> {
    state: Pin<KBox<SpinLock<State<K>>>>,
    counters: Counters,
}

/// What a caller of [`Table::enter`] has become.
pub enum Entry<'t, K: Key> {
    /// There is no flight for this file: the caller leads one now.
    Leader(Leader<'t, K>),
    /// There is a flight for this call: the caller can have its result, or its key back, to ask
    /// again.
    Follower(Follower<'t, K>, K),
    /// There are flights for this file, but none for this call: the caller has to wait its turn.
    Behind(Behind<'t, K>),
    /// There was no memory: the caller has to do without the table.
    Alone,
}

impl<K: Key> Table<K> {
    /// Makes an empty table.
    ///
    /// May sleep. Fails with `ENOMEM` if there is no memory.
    pub fn new() -> Result<Self> {
        Ok(Self {
            state: KBox::pin_init(
                new_spinlock!(State::new()?, "module_dedup_table"),
                GFP_KERNEL,
            )?,
            counters: Counters::new(),
        })
    }

    /// Joins the flight for `key`, or starts one, with `me` as its leader.
    ///
    /// May sleep, to allocate; it does not wait for any flight. Takes the table lock.
    pub fn enter(&self, key: K, me: TaskId) -> Entry<'_, K> {
        match self.follow(&key) {
            Some(follower) => Entry::Follower(follower, key),
            None => self.start(key, me),
        }
    }

    /// Joins the flight for `key`, if there is one.
    ///
    /// A follower, and most callers in a storm are that, needs no memory. Does not sleep. Takes the
    /// table lock.
    pub fn follow(&self, key: &K) -> Option<Follower<'_, K>> {
        let joined = self.follow_locked(&mut self.state.lock(), key)?;
        Some(joined.follower(self))
    }

    /// The same as [`Table::enter`], for a caller that had nothing to follow a moment ago.
    ///
    /// May sleep, to allocate. Takes the table lock.
    pub fn start(&self, key: K, me: TaskId) -> Entry<'_, K> {
        let Ok(spare) = Spare::new() else {
            return Entry::Alone;
        };

        // Somebody else may have started the flight in the meantime.
        let mut state = self.state.lock();
        if let Some(joined) = self.follow_locked(&mut state, &key) {
            drop(state);
            return Entry::Follower(joined.follower(self), key);
        }
        let in_line = state.has_file(&key);
        let inserted = state.insert(key, me, spare);
        drop(state);

        let Some(flight) = inserted else {
            return Entry::Alone;
        };
        let leader = Leader {
            table: self,
            flight,
            ended: false,
        };
        if in_line {
            self.counters.behind.add(1, Relaxed);
            Entry::Behind(Behind { leader })
        } else {
            self.counters.led.add(1, Relaxed);
            Entry::Leader(leader)
        }
    }

    /// Lets the flight take no more followers. It stays in the table, and calls for the same file
    /// still wait for its end.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn close(&self, flight: &Flight<K>) {
        if let Some(node) = self.state.lock().flight_mut(flight.id) {
            node.closed = true;
        }
    }

    /// What happened so far.
    ///
    /// Takes no lock, so that reading never delays a load; the figures need not all be of the same
    /// moment.
    pub fn stats(&self) -> Stats {
        Stats {
            led: self.counters.led.load(Relaxed),
            joined: self.counters.joined.load(Relaxed),
            most_followers: self.counters.most_followers.load(Relaxed),
            interrupted: self.counters.interrupted.load(Relaxed),
            behind: self.counters.behind.load(Relaxed),
            retried: self.counters.retried.load(Relaxed),
            refused: self.counters.refused.load(Relaxed),
        }
    }

    fn follow_locked(&self, state: &mut State<K>, key: &K) -> Option<Joined<K>> {
        let node = state
            .flights
            .get_mut(key.hash())?
            .find_mut(|node| !node.closed && node.flight.key.same_call(key))?;
        node.followers = node.followers.saturating_add(1);
        let followers = u64::from(node.followers);
        if followers > self.counters.most_followers.load(Relaxed) {
            self.counters.most_followers.store(followers, Relaxed);
        }
        Some(Joined {
            flight: node.flight.clone(),
            followers: node.followers,
            watches: !replace(&mut node.watched, true),
        })
    }

    /// Ends a wait early. Returns `false` if the flight has ended all the same.
    fn leave(&self, flight: &Awaited<Flight<K>>, watches: bool) -> bool {
        let mut state = self.state.lock();
        let Some(node) = state.flight_mut(flight.id) else {
            return false;
        };
        node.followers = node.followers.saturating_sub(1);
        let heirs = watches && node.followers > 0;
        if watches {
            node.watched = heirs;
        }
        drop(state);
        if heirs {
            Self::hand_over(flight);
        }
        true
    }

    /// Wakes who has waited longest, to watch in the place of the current task.
    ///
    /// If nobody is left by then, whoever waits next comes back at once.
    fn hand_over(flight: &Awaited<Flight<K>>) {
        flight.handed_over.add(1, Relaxed);
        flight.completion().complete();
    }

    /// Whether what woke the current task is not the end of the flight, but somebody who left.
    fn is_handed_over(&self, flight: &Flight<K>) -> bool {
        flight.handed_over.load(Relaxed) > 0 && self.state.lock().flight(flight.id).is_some()
    }

    /// Ends a flight. Returns how many followers it had.
    fn end(&self, flight: &FlightRef<K>, outcome: Outcome) -> u32 {
        let mut state = self.state.lock();
        let removed = state.remove(flight.id);
        if removed.is_some() {
            flight.outcome.store(outcome.to_raw(), Relaxed);
        }
        drop(state);

        let Some(item) = removed else {
            return 0;
        };
        let node = &item.value;
        let owed = node.followers.saturating_add(node.behind);
        Awaited::complete(flight.clone(), owed);
        node.followers
    }
}

/// The guard of a flight that is under way.
///
/// When it is dropped the flight ends. Unless [`Leader::finish`] was called there is no result,
/// and the followers have to try again.
#[must_use = "the flight ends when the guard is dropped"]
pub struct Leader<'t, K: Key> {
    table: &'t Table<K>,
    flight: FlightRef<K>,
    ended: bool,
}

impl<K: Key> Leader<'_, K> {
    /// The flight.
    pub fn flight(&self) -> &FlightRef<K> {
        &self.flight
    }

    /// How many followers wait for this flight now.
    ///
    /// Takes the table lock.
    pub fn followers(&self) -> u32 {
        self.table.followers(&self.flight)
    }

    /// Ends the flight. All followers get `result`.
    ///
    /// Returns how many these are. Does not sleep. Takes the table lock.
    pub fn finish(mut self, result: i32) -> u32 {
        self.end(Outcome::Shared(result))
    }

    /// Ends the flight without a result. All followers have to try again.
    ///
    /// Returns how many these are. Does not sleep. Takes the table lock.
    pub fn give_up(mut self) -> u32 {
        self.end(Outcome::Retry)
    }

    fn end(&mut self, outcome: Outcome) -> u32 {
        if replace(&mut self.ended, true) {
            return 0;
        }
        self.table.end(&self.flight, outcome)
    }
}

impl<K: Key> Drop for Leader<'_, K> {
    fn drop(&mut self) {
        self.end(Outcome::Retry);
    }
}

/// How the wait of a [`Follower`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With the result of the flight.
    Result(i32),
    /// The flight had no result for the follower: enter the table again.
    Retry,
}

/// What a [`Follower`] is after its wait.
pub struct Waited<K> {
    /// The flight that it waited for.
    pub flight: FlightRef<K>,
    /// `ERESTARTSYS` if a signal came before the result, `EDEADLK` if the flight waits for the
    /// follower.
    pub ended: Result<Ended>,
    /// How long it waited.
    pub time: Delta,
}

/// A flight that was joined.
struct Joined<K> {
    flight: FlightRef<K>,
    followers: u32,
    watches: bool,
}

impl<K: Key> Joined<K> {
    fn follower(self, table: &Table<K>) -> Follower<'_, K> {
        Follower {
            table,
            joined: self,
        }
    }
}

/// A call that has joined a flight, and is about to wait for it.
#[must_use = "a follower gets its result from wait()"]
pub struct Follower<'t, K: Key> {
    table: &'t Table<K>,
    joined: Joined<K>,
}

impl<K: Key> Follower<'_, K> {
    /// The flight.
    pub fn flight(&self) -> &Flight<K> {
        &self.joined.flight
    }

    /// How many followers the flight had when this one joined.
    pub fn followers(&self) -> u32 {
        self.joined.followers
    }

    /// Waits for the end of the flight.
    ///
    /// The caller names itself as `me` if others may wait for it. Sleeps interruptibly.
    pub fn wait(self, me: Option<TaskId>) -> Waited<K> {
        let Self { table, joined } = self;
        let begun = Instant::now();
        let ended = table.wait_for_result(&joined, begun, me);
        Waited {
            flight: joined.flight,
            ended,
            time: begun.elapsed(),
        }
    }
}

impl<K: Key> Table<K> {
    fn wait_for_result(
        &self,
        joined: &Joined<K>,
        begun: Instant<Monotonic>,
        me: Option<TaskId>,
    ) -> Result<Ended> {
        let flight = &joined.flight;
        let mut watches = joined.watches;
        let waited = self.wait_for_end(flight, begun, me, &mut watches);
        let left = waited.is_err() && self.leave(flight, watches);

        match flight.outcome() {
            // Nobody else has been told of a result that is there, so it wins over the signal.
            Outcome::Shared(result) if !left && flight.key.is_for_me(result) => {
                self.counters.joined.add(1, Relaxed);
                Ok(Ended::Result(result))
            }
            _ if left && waited == Err(EDEADLK) => Err(EDEADLK),
            // A task that is about to handle a signal must not take up the work.
            _ if waited == Err(ERESTARTSYS) || current!().signal_pending() => {
                self.counters.interrupted.add(1, Relaxed);
                Err(ERESTARTSYS)
            }
            _ => {
                self.counters.retried.add(1, Relaxed);
                Ok(Ended::Retry)
            }
        }
    }
}

/// A call in line behind flights for the same file.
///
/// Its own flight is in the table already, and may have followers. If this is dropped they have to
/// try again.
#[must_use = "a call in line gets its turn from wait()"]
pub struct Behind<'t, K: Key> {
    leader: Leader<'t, K>,
}

impl<'t, K: Key> Behind<'t, K> {
    /// Waits until all earlier flights for the file have ended.
    ///
    /// The caller names itself as `me` if others may wait for it. Sleeps interruptibly. Fails with
    /// `ERESTARTSYS` if a signal came first, and with `EDEADLK` if one of those flights waits for
    /// `me`.
    pub fn wait(self, me: Option<TaskId>) -> Result<Leader<'t, K>> {
        let Self { leader } = self;
        while let Some(ahead) = leader.table.get_behind(&leader.flight) {
            let waited = (leader.table).wait_for_end(&ahead, Instant::now(), me, &mut true);
            if let Err(e) = waited {
                if ahead.handed_over.load(Relaxed) > 0 {
                    Table::hand_over(&ahead);
                }
                if e == ERESTARTSYS {
                    leader.table.counters.interrupted.add(1, Relaxed);
                }
                return Err(e);
            }
        }
        leader.table.counters.led.add(1, Relaxed);
        Ok(leader)
    }

    /// The flight of the call itself.
    pub fn flight(&self) -> &FlightRef<K> {
        &self.leader.flight
    }

    /// How many followers wait for this flight now.
    ///
    /// Takes the table lock.
    pub fn followers(&self) -> u32 {
        self.leader.followers()
    }
}

impl<K: Key> Table<K> {
    fn followers(&self, flight: &Flight<K>) -> u32 {
        let state = self.state.lock();
        state.flight(flight.id).map_or(0, |node| node.followers)
    }

    fn get_behind(&self, flight: &Flight<K>) -> Option<FlightRef<K>> {
        self.state.lock().get_behind(flight)
    }

    /// Waits until `flight` has ended, or fails as [`Follower::wait`] does.
    ///
    /// Who `watches` tells people if that takes long. Others may be told to while they wait.
    fn wait_for_end(
        &self,
        flight: &Awaited<Flight<K>>,
        begun: Instant<Monotonic>,
        me: Option<TaskId>,
        watches: &mut bool,
    ) -> Result {
        let mut task = None;
        let mut slept: Msecs = 0;
        let mut told = false;
        let ended = loop {
            if let Some(me) = me {
                // Without memory others cannot see this wait, but it still sees them.
                task = task.or_else(|| self.take_part(me));
                if let Err(e) = self.wait_for(me, Target::Flight(flight.id)) {
                    break Err(e);
                }
            }
            let until = if *watches && !told { LONG } else { Msecs::MAX };
            let slice = until.saturating_sub(slept);
            let slice = slice.min(if me.is_some() { RECHECK } else { Msecs::MAX });
            let ended = sleep(flight, slice);
            if ended.is_ok() && self.is_handed_over(flight) {
                *watches = true;
                slept = Msecs::try_from(begun.elapsed().as_millis()).unwrap_or(slept);
            } else if ended == Err(ETIMEDOUT) {
                slept = slept.saturating_add(slice);
            } else {
                break ended;
            }
            if *watches && slept >= LONG && !replace(&mut told, true) {
                self.tell_delay(flight);
            }
        };
        if let Some(me) = me {
            self.waited(me);
        }
        ended
    }

    /// Tells people that a flight takes long, unless that was done. Who stands in line waits for
    /// the one that is under way.
    fn tell_delay(&self, flight: &Flight<K>) {
        let mut state = self.state.lock();
        let Some(id) = state.first_for(flight.id).map(|node| node.flight.id) else {
            return;
        };
        let Some(node) = state.flight_mut(id) else {
            return;
        };
        let waiting = node.followers.saturating_add(node.behind);
        let loader = node.flight.leader;
        let told = replace(&mut node.delayed, true);
        drop(state);
        if !told {
            K::delayed(waiting, loader, self.chain(None, Target::Flight(id)));
        }
    }
}
