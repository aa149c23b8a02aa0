// SPDX-License-Identifier: GPL-2.0

//! The wait graph: which task waits for which, so that a wait that would close a circle is refused.
//!
//! Each ticket is a node: it notes for which flight its task waits, or which helper was started for
//! it. A task can have several tickets, one within the other, such as a load and a request that the
//! load makes; what it does now is up to the newest. An edge names a flight by a number that is
//! never used again. A flight that has ended is not found any more, so an edge that nobody has
//! cleared yet leads nowhere.
//!
//! A task waits for one thing at a time, and a flight for its leader only. Hence a walk from a
//! flight either ends at a task that goes on, or comes back to the caller.
//!
//! The check for a circle and the new edge are one hold of the lock. So if two tasks close a circle
//! together, one of them is refused.

use super::{
    line::File,
    Flight,
    Handle,
    Key,
    State,
    Table,
    Ticket,
    BUCKETS, //
};
use crate::{
    list::{
        impl_list_item,
        ListArc,
        ListLinks, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
};

/// How far a walk goes, which bounds for how long it holds the lock: three steps for each module
/// that is loaded on behalf of another one. There can be 50 of those, as there are so many helpers.
const MAX_STEPS: usize = 256;

/// Names a thread, also when its number is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskId {
    /// The process or thread id, in the initial namespace.
    pub pid: i32,
    /// When the task was started, in ns since boot.
    pub started: u64,
}

impl TaskId {
    fn bucket(self) -> usize {
        self.pid as usize % BUCKETS
    }
}

/// A key for flights that can wait for each other.
pub trait Waits: File {
    /// The thread whose end a helper waits for, which may be its own.
    ///
    /// [`None`] if the helper does anything but wait, or is not alive. Called with the table lock
    /// held.
    fn stands_in(helper: TaskId) -> Option<TaskId>;
}

/// What a flight has to be part of the graph. Guarded by the table lock.
#[pin_data]
pub(super) struct Node {
    #[pin]
    links: ListLinks<1>,
    /// Names the flight; the low bits are those of the bucket in which it is.
    id: u64,
    task: TaskId,
    /// The flight that the task waits for, or 0.
    waits_for: Atomic<u64>,
    helper_pid: Atomic<i32>,
    helper_started: Atomic<u64>,
    /// Whether a wait of the task was refused.
    refused: Atomic<bool>,
}

impl Node {
    pub(super) fn new(serial: u64, task: TaskId) -> impl PinInit<Self> {
        pin_init!(Self {
            links <- ListLinks::new(),
            id: serial * BUCKETS as u64 + task.bucket() as u64,
            task,
            waits_for: Atomic::new(0),
            helper_pid: Atomic::new(0),
            helper_started: Atomic::new(0),
            refused: Atomic::new(false),
        })
    }

    fn helper(&self) -> Option<TaskId> {
        let pid = self.helper_pid.load(Relaxed);
        let started = self.helper_started.load(Relaxed);
        (pid != 0).then_some(TaskId { pid, started })
    }
}

impl_list_item! {
    impl{K: Key} ListItem<1> for Flight<K> { using ListLinks { self.node.links }; }
}

impl<K: Key> Flight<K> {
    /// The task that leads the flight, or will, when its turn comes.
    pub fn leader(&self) -> TaskId {
        self.node.task
    }

    /// Names the flight, for [`Table::wait_for`]. Never 0.
    pub fn id(&self) -> u64 {
        self.node.id
    }

    /// Tells which of two flights is the older one.
    pub(super) fn serial(&self) -> u64 {
        self.node.id / BUCKETS as u64
    }

    /// The helper that was started for this flight, if there is one.
    pub fn helper(&self) -> Option<TaskId> {
        self.node.helper()
    }

    /// Whether a wait of the leader was refused.
    pub fn was_refused(&self) -> bool {
        self.node.refused.load(Relaxed)
    }
}

/// The nodes are in the bucket of their task, the newest first.
impl<K: Key> State<K> {
    pub(super) fn add_node(&mut self, node: ListArc<Flight<K>, 1>) {
        if let Some(bucket) = self.buckets.get_mut(node.node.task.bucket()) {
            bucket.tasks.push_front(node);
        }
    }

    pub(super) fn remove_node(&mut self, flight: &Flight<K>) -> Option<ListArc<Flight<K>, 1>> {
        let bucket = self.buckets.get_mut(flight.node.task.bucket())?;
        // SAFETY: A flight is put into a list with these links in one place, `add_node()`. That is
        // the list of its bucket, in the table of its handle, and this is that table.
        unsafe { bucket.tasks.remove(flight) }
    }

    fn newest(&self, task: TaskId) -> Option<ArcBorrow<'_, Flight<K>>> {
        let mut nodes = self.buckets.get(task.bucket())?.tasks.iter();
        nodes.find(|it| it.node.task == task)
    }

    fn oldest(&self, task: TaskId) -> Option<ArcBorrow<'_, Flight<K>>> {
        let nodes = self.buckets.get(task.bucket())?.tasks.iter();
        nodes.filter(|it| it.node.task == task).last()
    }

    fn by_id(&self, id: u64) -> Option<ArcBorrow<'_, Flight<K>>> {
        let mut nodes = self.buckets.get(id as usize % BUCKETS)?.tasks.iter();
        nodes.find(|it| it.node.id == id)
    }
}

/// A stop of a walk: a task, and what it does, if that is known.
type Stop<'a, K> = (TaskId, Option<ArcBorrow<'a, Flight<K>>>);

impl<K: Waits> State<K> {
    /// Where a walk to the flight `id` begins: at what is under way for its file.
    fn under_way(&self, id: u64) -> Option<Stop<'_, K>> {
        let flight = self.by_id(id).filter(|it| it.is_up())?;
        let first = self.first_for(&flight).unwrap_or(flight);
        Some((first.leader(), Some(first)))
    }

    /// The stop that this one waits for.
    fn next(&self, (task, now): Stop<'_, K>) -> Option<Stop<'_, K>> {
        let newest = self.newest(task)?;
        if now.is_some_and(|now| now.id() != newest.id()) {
            return Some((task, Some(newest)));
        }
        match newest.helper() {
            Some(helper) => {
                let thread = K::stands_in(helper)?;
                Some((thread, self.newest(thread)))
            }
            None => self.under_way(newest.node.waits_for.load(Relaxed)),
        }
    }

    fn closes_circle(&self, me: TaskId, id: u64) -> bool {
        let mut stop = self.under_way(id);
        for _ in 0..MAX_STEPS {
            match stop {
                None => return false,
                Some((task, _)) if task == me => return true,
                Some(here) => stop = self.next(here),
            }
        }
        false
    }

    /// What a flight waits for, for people: that may be its own helper.
    pub(super) fn waits_for(&self, flight: ArcBorrow<'_, Flight<K>>) -> Option<Step<K>> {
        match self.first_for(&flight) {
            Some(first) if first.id() != flight.id() => return Some(Step::new(first)),
            _ if flight.helper().is_some() => return Some(Step::new(flight)),
            _ => {}
        }
        let (_, next) = self.next((flight.leader(), Some(flight)))?;
        next.map(Step::new)
    }
}

/// A step of a chain of waits, to be printed.
pub struct Step<K: Key> {
    /// The flight that the step before waits for.
    pub flight: Arc<Flight<K>>,
    /// What the helper of that flight does, if it has one.
    pub work: Option<Arc<Flight<K>>>,
}

impl<K: Key> Step<K> {
    fn new(flight: ArcBorrow<'_, Flight<K>>) -> Self {
        Self {
            flight: flight.into(),
            work: None,
        }
    }
}

impl<K: Waits> Table<K> {
    /// The flight `id`, if it is part of the graph.
    ///
    /// Takes the table lock.
    pub fn flight(&self, id: u64) -> Option<Handle<'_, K>> {
        let state = self.state.lock();
        let flight = state.by_id(id)?.into();
        drop(state);
        Some(self.handle(flight))
    }

    /// Whether a task has a ticket that is part of the graph.
    ///
    /// Takes the table lock.
    pub fn knows(&self, task: TaskId) -> bool {
        self.state.lock().newest(task).is_some()
    }

    /// Notes that `me` waits for the flight `id`, or for nothing any more if that is 0.
    ///
    /// Fails with `EDEADLK` if the flight itself waits for `me`. To be called again about once a
    /// second for as long as the wait takes: what the helpers do may close a circle later.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn wait_for(&self, me: TaskId, id: u64) -> Result {
        let state = self.state.lock();
        let refused = state.closes_circle(me, id);
        if let Some(newest) = state.newest(me) {
            let waits_for = if refused { 0 } else { id };
            newest.node.waits_for.store(waits_for, Relaxed);
            if refused {
                newest.node.refused.store(true, Relaxed);
            }
        }
        drop(state);
        if refused {
            Err(EDEADLK)
        } else {
            Ok(())
        }
    }

    /// The chain of waits from the flight `id` on, and to `me` if it is a circle; at the most as
    /// many steps as `chain` has room for.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn chain_from(&self, me: Option<TaskId>, id: u64, chain: &mut KVec<Step<K>>) {
        let state = self.state.lock();
        if let Some(flight) = state.by_id(id) {
            let first = state.first_for(&flight);
            if first.is_some_and(|first| first.id() != id) {
                let _ = chain.push_within_capacity(Step::new(flight));
            }
        }
        let mut stop = state.under_way(id);
        while let Some((task, flight)) = stop {
            let by_helper = chain
                .last_mut()
                .filter(|step| step.flight.helper().is_some());
            if let Some(step) = by_helper {
                step.work = state.oldest(task).map(Arc::from);
            }
            if me == Some(task) {
                return;
            }
            if let Some(flight) = flight {
                if chain.push_within_capacity(Step::new(flight)).is_err() {
                    return;
                }
            }
            stop = state.next((task, flight));
        }
    }
}

impl<K: Key> Handle<'_, K> {
    /// Notes which helper was started for this flight.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn set_helper(&self, helper: TaskId) {
        let _state = self.table.state.lock();
        self.node.helper_started.store(helper.started, Relaxed);
        self.node.helper_pid.store(helper.pid, Relaxed);
    }
}

impl<K: Key> Ticket<'_, K> {
    /// Makes the ticket part of the graph, also if it is not going to lead.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn take_part(&mut self) {
        if let Some(node) = self.node.take() {
            self.handle.table.state.lock().add_node(node);
        }
    }

    /// Takes the ticket out of the graph.
    pub(super) fn leave_graph(&self) {
        let node = self.table.state.lock().remove_node(&self.flight);
        drop(node);
    }
}
