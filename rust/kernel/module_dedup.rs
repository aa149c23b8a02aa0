// SPDX-License-Identifier: GPL-2.0

//! Single flight: work that is done once, however many callers ask for it at the same time.
//!
//! A *flight* is a piece of work in progress. The caller that does the work is its *leader*. A
//! caller that asks for the same while the flight is up becomes a *follower*: it sleeps, and gets
//! the leader's result.
//!
//! This is the engine of `kernel/module/dedup.rs`. It knows nothing of files, modules and
//! requests; what makes two calls the same is up to the [`Key`]. What else a flight can do is
//! added by the files in `module_dedup/`: stand in [`mod@line`], take part in the wait [`graph`],
//! be watched ([`watch`]) while it takes long, and have [`runs`] that are newer than a question.
//!
//! # How it works
//!
//! One spinlock guards 256 buckets of flights. Under it a flight is found, put into its bucket or
//! taken out of it. Nothing is allocated, freed, initialised, woken or printed there, and how long
//! it is held does not depend on the number of followers.
//!
//! # Invariants of a flight
//!
//! 1. `outcome` is `PENDING` until the flight ends. It is written once, under the lock, as the
//!    flight is taken out of its bucket.
//! 2. Each task that waits for a flight was counted in `waiters` under the lock, before the flight
//!    ended. When the flight ends its completion gets at least so many tokens. A waiter that gives
//!    up takes itself out of the count under the lock, unless the flight has ended by then. So a
//!    token may be too many, which does no harm, but none is missing.
//! 3. A flight is taken out of the table by identity, and not by key, and by the first task that
//!    ends it. Its [`Ticket`] ends it in any case.

use crate::{
    list::{
        impl_list_arc_safe,
        impl_list_item,
        List,
        ListArc,
        ListLinks, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Completion,
        SpinLock,
        UniqueArc, //
    },
    time::{
        msecs_to_jiffies,
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    },
    workqueue::{
        new_work,
        Work, //
    },
};
use core::{
    mem::replace,
    ops::Deref, //
};

pub mod graph;
pub mod line;
mod raw;
pub mod runs;
mod snapshot;
mod wake;
pub mod watch;

#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests_graph;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests_line;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests_many;
#[cfg(CONFIG_MODULE_DEDUP_KUNIT_TEST)]
mod tests_runs;

pub use graph::TaskId;
pub use snapshot::Seen;

const BUCKETS: usize = 256;

/// The outcome of a flight that is up.
const PENDING: i64 = i64::MIN;

/// The outcome of a flight that has ended without a result: its followers have to ask again.
const RETRY: i64 = i64::MIN + 1;

/// A longer sleep has no end.
pub const FOREVER: Msecs = Msecs::MAX;

/// What a flight is for.
pub trait Key: Send + Sync + 'static {
    /// A hash of the key. Keys that are the same have the same hash.
    fn hash(&self) -> usize;

    /// Whether a caller with the key `other` may use the result of the flight with this key.
    ///
    /// A key that cannot be compared is not even the same as itself. Called with the table lock
    /// held: it must be short, and look at whatever is cheap to compare first.
    fn same_call(&self, other: &Self) -> bool;

    /// How many flights of this kind there can be, if that is limited.
    fn limit(&self) -> Option<usize> {
        None
    }
}

/// Work in progress.
#[pin_data]
pub struct Flight<K: Key> {
    key: K,
    since: Instant<Monotonic>,
    /// Whether the flight takes no more followers. Guarded by the table lock, as are the counts.
    closed: Atomic<bool>,
    followers: Atomic<u32>,
    /// Invariant 2.
    waiters: Atomic<u32>,
    /// Invariant 1. Read under the lock, or after the completion.
    outcome: Atomic<i64>,
    /// How many tokens the completion got while the flight was up.
    early: Atomic<u64>,
    #[pin]
    completion: Completion,
    #[pin]
    links: ListLinks<0>,
    #[pin]
    node: graph::Node,
    #[pin]
    wake: Work<Self>,
    watched: watch::Watched,
}

impl_list_arc_safe! {
    impl{K: Key} ListArcSafe<0> for Flight<K> { untracked; }
    impl{K: Key} ListArcSafe<1> for Flight<K> { untracked; }
}

impl_list_item! {
    impl{K: Key} ListItem<0> for Flight<K> { using ListLinks { self.links }; }
}

impl<K: Key> Flight<K> {
    /// What the flight is for.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// How many followers it has, or had when it ended.
    pub fn followers(&self) -> u32 {
        self.followers.load(Relaxed)
    }

    /// How many tasks wait for it, in whatever way.
    pub fn waiters(&self) -> u32 {
        self.waiters.load(Relaxed)
    }

    fn bucket(&self) -> usize {
        self.key.hash() % BUCKETS
    }

    fn is_up(&self) -> bool {
        self.outcome.load(Relaxed) == PENDING
    }

    fn add_waiter(&self) {
        self.waiters
            .store(self.waiters.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// Wakes the waiters of a flight that has left the table. Returns how many followers it had.
    fn over(ended: ListArc<Self, 0>) -> u32 {
        // Invariant 2: nobody joins it any more, so the counts are final.
        let (followers, waiters) = (ended.followers(), ended.waiters());
        Self::wake(ended.into_arc(), waiters);
        followers
    }
}

/// Flights whose keys have the same hash, in order of arrival, and the nodes of tasks.
struct Bucket<K: Key> {
    flights: List<Flight<K>, 0>,
    tasks: List<Flight<K>, 1>,
}

/// What the table lock guards.
struct State<K: Key> {
    buckets: KVec<Bucket<K>>,
    /// How many flights there are, and how many of these are of a limited kind.
    count: usize,
    limited: usize,
}

impl<K: Key> State<K> {
    fn new() -> Result<Self> {
        let mut buckets = KVec::with_capacity(BUCKETS, GFP_KERNEL)?;
        for _ in 0..BUCKETS {
            buckets.push_within_capacity(Bucket {
                flights: List::new(),
                tasks: List::new(),
            })?;
        }
        Ok(Self {
            buckets,
            count: 0,
            limited: 0,
        })
    }

    /// The flight that a caller with this key may follow.
    fn find(&self, key: &K) -> Option<ArcBorrow<'_, Flight<K>>> {
        let bucket = self.buckets.get(key.hash() % BUCKETS)?;
        let mut flights = bucket.flights.iter();
        flights.find(|it| !it.closed.load(Relaxed) && it.key.same_call(key))
    }

    /// Finds that flight, and counts the caller as a follower. Returns how many it has, too.
    fn follow(&mut self, key: &K) -> Option<(Arc<Flight<K>>, u32)> {
        let flight = self.find(key)?;
        let followers = flight.followers().saturating_add(1);
        flight.followers.store(followers, Relaxed);
        flight.add_waiter();
        Some((flight.into(), followers))
    }

    /// Puts a flight into its bucket. Fails if there are enough of its kind.
    fn start(&mut self, flight: ListArc<Flight<K>, 0>) -> Result {
        let limit = flight.key.limit();
        if limit.is_some_and(|limit| self.limited >= limit) {
            return Err(EBUSY);
        }
        let bucket = self.buckets.get_mut(flight.bucket()).ok_or(EINVAL)?;
        bucket.flights.push_back(flight);
        self.count = self.count.saturating_add(1);
        self.limited = self.limited.saturating_add(usize::from(limit.is_some()));
        Ok(())
    }

    /// Takes a flight out of its bucket, if it is there. Invariant 1.
    fn end(&mut self, flight: &Flight<K>, outcome: i64) -> Option<ListArc<Flight<K>, 0>> {
        let bucket = self.buckets.get_mut(flight.bucket())?;
        // SAFETY: A flight is put into a list with these links in one place, `Ticket::enter()`.
        // That is the list of its bucket, in the table of its handle, and this is that table.
        let removed = unsafe { bucket.flights.remove(flight) }?;
        flight.outcome.store(outcome, Relaxed);
        self.count = self.count.saturating_sub(1);
        let limited = usize::from(flight.key.limit().is_some());
        self.limited = self.limited.saturating_sub(limited);
        Some(removed)
    }
}

/// The flights that are up.
///
/// # Examples
///
/// ```
/// use kernel::module_dedup::{Entry, Key, Table, TaskId};
///
/// struct Name(&'static str);
///
/// impl Key for Name {
///     fn hash(&self) -> usize {
///         self.0.len()
///     }
///     fn same_call(&self, other: &Self) -> bool {
///         self.0 == other.0
///     }
/// }
///
/// let table = Table::new()?;
/// let mut ticket = table.ticket(Name("ext4"), TaskId::default())?;
/// assert!(matches!(ticket.enter(), Entry::Leads));
/// // A caller that asks for this name now is a follower, and will get -ENOENT.
/// let follower = table.follow(&Name("ext4")).ok_or(EINVAL)?;
/// assert_eq!(ticket.end(Some(-2)), Some(1));
/// assert_eq!(follower.wait(false, &mut |_| Ok(1000)).1, Ok(Some(-2)));
/// # Ok::<(), Error>(())
/// ```
pub struct Table<K: Key> {
    state: Pin<KBox<SpinLock<State<K>>>>,
    /// Numbers the flights.
    serial: Atomic<u64>,
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
            serial: Atomic::new(0),
        })
    }

    /// Follows the flight for `key`, if there is one.
    ///
    /// A follower, and most callers in a storm are that, needs no memory. Does not sleep. Takes the
    /// table lock.
    pub fn follow(&self, key: &K) -> Option<Follower<'_, K>> {
        let (flight, nth) = self.state.lock().follow(key)?;
        let handle = self.handle(flight);
        Some(Follower { handle, nth })
    }

    fn handle(&self, flight: Arc<Flight<K>>) -> Handle<'_, K> {
        Handle {
            table: self,
            flight,
        }
    }

    /// Makes a ticket for a caller that may have to lead, as the task `me`.
    ///
    /// May sleep. Fails with `ENOMEM` if there is no memory.
    pub fn ticket(&self, key: K, me: TaskId) -> Result<Ticket<'_, K>> {
        let serial = self.serial.fetch_add(1, Relaxed).wrapping_add(1);
        let flight = UniqueArc::pin_init(
            pin_init!(Flight {
                key,
                since: Instant::now(),
                closed: Atomic::new(false),
                followers: Atomic::new(0),
                waiters: Atomic::new(0),
                outcome: Atomic::new(PENDING),
                early: Atomic::new(0),
                completion <- Completion::new(),
                links <- ListLinks::new(),
                node <- graph::Node::new(serial, me),
                wake <- new_work!("module_dedup::wake"),
                watched: watch::Watched::new(),
            }),
            GFP_KERNEL,
        )?;
        let (place, node) = ListArc::pair_from_pin_unique(flight);
        Ok(Ticket {
            handle: self.handle(place.clone_arc()),
            place: Some(place),
            node: Some(node),
            over: false,
        })
    }
}

/// A flight, and the table that it belongs to.
pub struct Handle<'t, K: Key> {
    table: &'t Table<K>,
    flight: Arc<Flight<K>>,
}

impl<K: Key> Clone for Handle<'_, K> {
    fn clone(&self) -> Self {
        Self {
            table: self.table,
            flight: self.flight.clone(),
        }
    }
}

impl<K: Key> Deref for Handle<'_, K> {
    type Target = Flight<K>;

    fn deref(&self) -> &Flight<K> {
        &self.flight
    }
}

impl<'t, K: Key> Handle<'t, K> {
    /// Lets the flight take no more followers. It stays in the table.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn close(&self) {
        let _state = self.table.state.lock();
        self.flight.closed.store(true, Relaxed);
    }

    /// Ends the flight. All followers get `answer`; without one they have to ask again.
    ///
    /// Returns how many these are, or [`None`] if the flight was not up. Does not sleep. Takes the
    /// table lock.
    pub fn end(&self, answer: Option<i64>) -> Option<u32> {
        let ended = {
            let mut state = self.table.state.lock();
            state.end(&self.flight, answer.unwrap_or(RETRY))
        };
        ended.map(Flight::over)
    }

    /// Waits until the flight has ended. The caller was counted as a waiter.
    ///
    /// Sleeps, killably if so wanted, or else interruptibly, for as long at once as `pace` says.
    fn wait(&self, killable: bool, pace: &mut Pace<'_, 't, K>) -> Result {
        loop {
            let timeout = match pace(self)? {
                FOREVER => Jiffies::MAX,
                time => msecs_to_jiffies(time),
            };
            let done = &self.flight.completion;
            let slept = if killable {
                done.wait_for_completion_killable_timeout(timeout)
            } else {
                done.wait_for_completion_interruptible_timeout(timeout)
            };
            match slept {
                Ok(_) if self.early.load(Relaxed) == 0 => return Ok(()),
                Ok(_) => {
                    let _state = self.table.state.lock();
                    if !self.flight.is_up() {
                        return Ok(());
                    }
                }
                Err(e) if e == ETIMEDOUT => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the caller out of the count of waiters. Returns false if the flight has ended.
    fn leave(&self, follower: bool) -> bool {
        let _state = self.table.state.lock();
        let flight = &self.flight;
        if !flight.is_up() {
            return false;
        }
        let less =
            |count: &Atomic<u32>| count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
        less(&flight.waiters);
        if follower {
            less(&flight.followers);
        }
        true
    }
}

/// What a waiter does each time before it sleeps: it says for how many milliseconds at the most,
/// or gives up with an error.
pub type Pace<'a, 't, K> = dyn FnMut(&Handle<'t, K>) -> Result<Msecs> + 'a;

/// What a caller of [`Ticket::enter`] has become.
pub enum Entry<'t, K: Key> {
    /// The flight of the ticket is up, and the caller leads it.
    Leads,
    /// There is a flight for the same call.
    Follows(Follower<'t, K>),
    /// There are enough flights of this kind: the caller has to do the work without a flight.
    Full,
}

/// The right and the duty to lead a flight, from [`Table::ticket`].
///
/// It is in one of three states: new; up, when [`Ticket::enter`] has found nobody to follow; ended,
/// after [`Handle::end`]. When it is dropped the flight ends, and the followers have to ask again.
#[must_use = "the flight ends when the ticket is dropped"]
pub struct Ticket<'t, K: Key> {
    handle: Handle<'t, K>,
    /// What is needed to be put into the bucket, until that is done.
    place: Option<ListArc<Flight<K>, 0>>,
    /// The same for the list of tasks.
    node: Option<ListArc<Flight<K>, 1>>,
    /// Whether nothing is left to be done when this is dropped.
    over: bool,
}

impl<'t, K: Key> Deref for Ticket<'t, K> {
    type Target = Handle<'t, K>;

    fn deref(&self) -> &Handle<'t, K> {
        &self.handle
    }
}

impl<'t, K: Key> Ticket<'t, K> {
    /// Follows the flight for the same call, if there is one. If not, or if this flight was closed
    /// before, it is up from now on. Only after it has followed may a ticket enter again.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn enter(&mut self) -> Entry<'t, K> {
        let Handle { table, flight } = &self.handle;
        let mut state = table.state.lock();
        if !flight.closed.load(Relaxed) {
            if let Some((flight, nth)) = state.follow(&flight.key) {
                let handle = table.handle(flight);
                return Entry::Follows(Follower { handle, nth });
            }
        }
        if let Some(node) = self.node.take() {
            state.add_node(node);
        }
        match self.place.take().map(|place| state.start(place)) {
            Some(Err(_)) => Entry::Full,
            _ => Entry::Leads,
        }
    }

    /// Ends the flight, as [`Handle::end`] does, and the ticket with it.
    pub fn finish(mut self, answer: Option<i64>) -> Option<u32> {
        self.retire(answer)
    }

    fn retire(&mut self, answer: Option<i64>) -> Option<u32> {
        if replace(&mut self.over, true) {
            return None;
        }
        let (node, ended) = {
            let mut state = self.table.state.lock();
            let node = state.remove_node(&self.flight);
            (node, state.end(&self.flight, answer.unwrap_or(RETRY)))
        };
        drop(node);
        ended.map(Flight::over)
    }
}

impl<K: Key> Drop for Ticket<'_, K> {
    fn drop(&mut self) {
        self.retire(None);
    }
}

/// A caller that follows a flight, and is counted as one of its waiters.
#[must_use = "a follower gets its answer from wait()"]
pub struct Follower<'t, K: Key> {
    handle: Handle<'t, K>,
    nth: u32,
}

impl<'t, K: Key> Follower<'t, K> {
    /// The flight.
    pub fn flight(&self) -> &Handle<'t, K> {
        &self.handle
    }

    /// How many followers the flight had when this one joined.
    pub fn nth(&self) -> u32 {
        self.nth
    }

    /// Waits for the end of the flight. Returns the flight, and the answer, or [`None`] if there is
    /// none and the caller has to ask again.
    ///
    /// Sleeps, killably if so wanted, or else interruptibly. Fails with `ERESTARTSYS` if a signal
    /// came before the answer, and with what `pace` fails with.
    pub fn wait(
        self,
        killable: bool,
        pace: &mut Pace<'_, 't, K>,
    ) -> (Handle<'t, K>, Result<Option<i64>>) {
        let waited = self.handle.wait(killable, pace);
        let answer = match waited {
            Err(e) if self.handle.leave(true) => Err(e),
            _ => match self.handle.outcome.load(Relaxed) {
                // A task that is about to handle a signal must not take up the work.
                RETRY if waited == Err(ERESTARTSYS) || is_signalled(killable) => Err(ERESTARTSYS),
                RETRY => Ok(None),
                // Nobody else was told of this answer, so it wins over the signal.
                answer => Ok(Some(answer)),
            },
        };
        (self.handle, answer)
    }
}

/// Whether the current task has a signal that ends such a wait.
fn is_signalled(killable: bool) -> bool {
    if killable {
        current!().fatal_signal_pending()
    } else {
        current!().signal_pending()
    }
}
