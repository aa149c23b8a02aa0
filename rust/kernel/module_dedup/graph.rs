// SPDX-License-Identifier: GPL-2.0

//! The wait graph: who waits for whom, so that no wait goes round in a circle.
//!
//! Its edges name what is waited for, and not tasks: a follower waits for a *flight*, the loader of
//! a module for the *load* of another one, whoever asked user space for a module for that
//! *request*, and a request for its *helper*. Each has a number that is never used again. What has
//! ended is not found any more, so an edge that nobody has cleared yet leads nowhere.
//!
//! A task that waits was asked to do something by whom it may keep waiting: a thread by the
//! followers of its flight, a helper by its request. Hence everybody waits for at most one thing,
//! and a walk from there either ends at somebody who goes on, or comes back to the caller.

use super::{
    chain::{
        self,
        Buckets,
        Chain, //
    },
    FlightRef,
    Key,
    Leader,
    State,
    Table, //
};
use crate::{
    error::{
        code::EDEADLK,
        Result, //
    },
    sync::atomic::Relaxed, //
};
use core::{
    cell::Cell,
    iter, //
};

/// How far a walk goes: five steps for each module that is loaded on behalf of another one, of
/// which there are never more at a time than there may be helpers, 50.
const MAX_STEPS: usize = 256;

/// A task.
///
/// Process ids are used again, but never by two tasks that were started at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskId {
    /// The process or thread id, in the initial namespace.
    pub pid: i32,
    /// When the task was started, in ns since boot.
    pub started: u64,
}

/// Names a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) hash: usize,
    pub(super) serial: usize,
}

/// Names a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadId {
    /// The thread that loads.
    pub task: TaskId,
    /// Never used again.
    pub serial: usize,
}

/// What a task can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Flight(FlightId),
    Load(LoadId),
    /// A request, by its number.
    Request(usize),
}

/// A task that is in the graph because others may wait for it: one that loads, or one that was
/// started by a helper, and waits.
pub(super) struct TaskNode<L> {
    id: LoadId,
    label: Option<L>,
    waits_for: Option<Target>,
    /// Whether a wait of this task was refused.
    refused: bool,
}

/// A request, for as long as whoever made it waits.
pub(super) struct RequestNode<L> {
    serial: usize,
    label: L,
    pub(super) helper: Option<TaskId>,
    /// Whether a wait was refused because it would have been for this request, among others.
    refused: Cell<bool>,
}

/// What the table lock guards of the wait graph.
pub(super) struct Graph<L> {
    tasks: Buckets<TaskNode<L>>,
    requests: Chain<RequestNode<L>>,
}

impl<L> Graph<L> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            tasks: Buckets::new()?,
            requests: Chain::new(),
        })
    }

    fn task(&self, task: TaskId) -> Option<&TaskNode<L>> {
        self.tasks
            .get(bucket(task))?
            .find(|node| node.id.task == task)
    }

    fn task_mut(&mut self, task: TaskId) -> Option<&mut TaskNode<L>> {
        self.tasks
            .get_mut(bucket(task))?
            .find_mut(|node| node.id.task == task)
    }

    fn load(&self, id: LoadId) -> Option<&TaskNode<L>> {
        self.task(id.task).filter(|node| node.id == id)
    }

    fn request(&self, serial: usize) -> Option<&RequestNode<L>> {
        self.requests.find(|node| node.serial == serial)
    }

    /// What is waited for, if that is a request.
    pub(super) fn request_at(&self, target: Target) -> Option<&RequestNode<L>> {
        match target {
            Target::Request(serial) => self.request(serial),
            _ => None,
        }
    }
}

fn bucket(task: TaskId) -> usize {
    task.pid as usize
}

/// A step of a walk.
#[derive(Default)]
struct Hop {
    /// Who does what is waited for, if that is known.
    doer: Option<TaskId>,
    /// What that task waits for itself.
    next: Option<Target>,
}

impl<K: Key> State<K> {
    fn hop(&self, target: Target) -> Hop {
        self.try_hop(target).unwrap_or_default()
    }

    fn try_hop(&self, target: Target) -> Option<Hop> {
        Some(match target {
            Target::Flight(id) => {
                let first = self.first_for(id)?;
                Hop {
                    doer: None,
                    next: if first.flight.id == id {
                        first.work
                    } else {
                        // All in line wait for the one that is under way, if not directly.
                        Some(Target::Flight(first.flight.id))
                    },
                }
            }
            Target::Load(id) => Hop {
                doer: Some(id.task),
                next: self.graph.load(id)?.waits_for,
            },
            Target::Request(serial) => {
                let helper = self.graph.request(serial)?.helper?;
                let doer = K::stands_in(helper)?;
                Hop {
                    doer: Some(doer),
                    next: self.graph.task(doer).and_then(|node| node.waits_for),
                }
            }
        })
    }

    /// What a flight waits for, if that is known to be anything.
    pub(super) fn waits_for(&self, id: FlightId) -> Option<Target> {
        let first = self.first_for(id)?;
        if first.flight.id != id {
            return Some(Target::Flight(first.flight.id));
        }
        match first.work? {
            Target::Load(load) => self.graph.load(load)?.waits_for,
            work => Some(work),
        }
    }

    /// Whether `me`, if it waited for `target`, would wait for itself.
    fn closes_circle(&self, me: TaskId, target: Target) -> bool {
        let closed = self.walk(me, target, |_| ());
        if closed {
            self.walk(me, target, |past| {
                if let Some(request) = self.graph.request_at(past) {
                    request.refused.set(true);
                }
            });
        }
        closed
    }

    /// Goes from `target` on, past each step, and says whether it came to `me`.
    fn walk(&self, me: TaskId, target: Target, mut past: impl FnMut(Target)) -> bool {
        let mut next = Some(target);
        for _ in 0..MAX_STEPS {
            let Some(target) = next else {
                return false;
            };
            past(target);
            let hop = self.hop(target);
            if hop.doer == Some(me) {
                return true;
            }
            next = hop.next;
        }
        false
    }

    /// A step for people, who are told what a helper loads if `stands_in` says who does that.
    pub(super) fn step(
        &self,
        target: Target,
        stands_in: impl Fn(TaskId) -> Option<TaskId>,
    ) -> Option<Step<K>> {
        Some(match target {
            Target::Flight(id) => Step::Flight(self.flight(id)?.flight.clone()),
            Target::Load(id) => Step::Load(id.task, self.graph.load(id)?.label),
            Target::Request(serial) => {
                let node = self.graph.request(serial)?;
                let doer = node.helper.and_then(stands_in);
                Step::Request {
                    label: node.label,
                    helper: node.helper,
                    load: doer.and_then(|doer| self.graph.task(doer)?.label),
                }
            }
        })
    }
}

/// A step of a chain of waits, for whoever prints it.
pub enum Step<K: Key> {
    /// For a flight.
    Flight(FlightRef<K>),
    /// For a load: who does it, and of what.
    Load(TaskId, Option<K::Label>),
    /// For a request.
    Request {
        /// What was requested.
        label: K::Label,
        /// Who was started for it.
        helper: Option<TaskId>,
        /// What that loads now, itself or by a child.
        load: Option<K::Label>,
    },
}

impl<K: Key> Table<K> {
    /// Puts a task into the wait graph: others will wait for it.
    ///
    /// May sleep, takes the table lock. Fails with `ENOMEM`.
    pub fn task(&self, task: TaskId) -> Result<Task<'_, K>> {
        self.load(task, None)
    }

    /// Puts a task into the wait graph that loads, and so leads a flight, unless it does so alone.
    ///
    /// Who waits for the flight waits for this load from then on.
    ///
    /// May sleep, takes the table lock. Fails with `ENOMEM`.
    pub fn load(&self, task: TaskId, leader: Option<&Leader<'_, K>>) -> Result<Task<'_, K>> {
        let spare = chain::spare()?;
        let mut state = self.state.lock();
        let serial = state.serial();
        let id = LoadId { task, serial };
        if let Some(chain) = state.graph.tasks.get_mut(bucket(task)) {
            chain.push(
                spare,
                TaskNode {
                    id,
                    label: None,
                    waits_for: None,
                    refused: false,
                },
            );
        }
        if let Some(leader) = leader {
            state.set_work(leader.flight(), Target::Load(id));
        }
        Ok(Task { table: self, id })
    }

    /// Puts a task into the wait graph, unless it is there, or there is no memory.
    pub(super) fn take_part(&self, task: TaskId) -> Option<Task<'_, K>> {
        if self.knows(task) {
            return None;
        }
        self.task(task).ok()
    }

    /// Whether a task is in the wait graph.
    ///
    /// Takes the table lock.
    pub fn knows(&self, task: TaskId) -> bool {
        self.state.lock().graph.task(task).is_some()
    }

    /// Puts a request into the wait graph, for which `me` is going to wait.
    ///
    /// A `me` that was not in the graph, and on which nobody `depends`, stays out of it.
    ///
    /// May sleep, takes the table lock. Fails with `ENOMEM`.
    pub fn request(&self, me: TaskId, depends: bool, label: K::Label) -> Result<Request<'_, K>> {
        let spare = chain::spare()?;
        let task = if depends { self.take_part(me) } else { None };

        let mut state = self.state.lock();
        let serial = state.serial();
        state.graph.requests.push(
            spare,
            RequestNode {
                serial,
                label,
                helper: None,
                refused: Cell::new(false),
            },
        );
        if let Some(node) = state.graph.task_mut(me) {
            node.waits_for = Some(Target::Request(serial));
        }
        drop(state);

        Ok(Request {
            table: self,
            me,
            serial,
            _task: task,
        })
    }

    /// Tells the graph who the helper of a request is. Does nothing if the request is over.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn set_helper(&self, request: usize, helper: TaskId) {
        let mut state = self.state.lock();
        let node = state.graph.requests.find_mut(|it| it.serial == request);
        if let Some(node) = node {
            node.helper = Some(helper);
        }
    }

    /// Notes that `me` waits for the load `id`, unless that would never end.
    ///
    /// Fails with `EDEADLK` if the load itself waits for `me`. To be called again about once a
    /// second for as long as the wait takes: what others do may close a circle later. When the wait
    /// is over [`Table::waited`] has to be called.
    ///
    /// May sleep, to print. Takes the table lock.
    pub fn wait_for_load(&self, me: TaskId, id: LoadId) -> Result {
        self.wait_for(me, Target::Load(id))
    }

    /// Notes that `me` waits no more.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn waited(&self, me: TaskId) {
        if let Some(node) = self.state.lock().graph.task_mut(me) {
            node.waits_for = None;
        }
    }

    /// The check and the edge are one: of two that would close a circle together, one is refused.
    pub(super) fn wait_for(&self, me: TaskId, target: Target) -> Result {
        let mut state = self.state.lock();
        let refused = state.closes_circle(me, target);
        if let Some(node) = state.graph.task_mut(me) {
            node.waits_for = (!refused).then_some(target);
            node.refused |= refused;
        }
        drop(state);

        if refused {
            self.counters.refused.add(1, Relaxed);
            K::refused(me, self.chain(Some(me), target));
            return Err(EDEADLK);
        }
        Ok(())
    }

    /// The chain of waits from `target` on, and to `me` if it is a circle.
    ///
    /// Each step is looked up for itself; a circle does not move.
    pub(super) fn chain(
        &self,
        me: Option<TaskId>,
        target: Target,
    ) -> impl Iterator<Item = Step<K>> + '_ {
        let mut next = Some(target);
        iter::from_fn(move || {
            let target = next.take()?;
            let state = self.state.lock();
            let hop = state.hop(target);
            if hop.doer.is_none() || hop.doer != me {
                next = hop.next;
            }
            state.step(target, K::stands_in)
        })
        .take(MAX_STEPS)
    }
}

/// A task that is in the wait graph until this is dropped.
#[must_use = "the task is in the wait graph until this is dropped"]
pub struct Task<'t, K: Key> {
    table: &'t Table<K>,
    id: LoadId,
}

impl<K: Key> Task<'_, K> {
    /// What those who wait for this task name.
    pub fn id(&self) -> LoadId {
        self.id
    }

    /// Gives the load of this task a name.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn set_label(&self, label: K::Label) {
        if let Some(node) = self.table.state.lock().graph.task_mut(self.id.task) {
            node.label = Some(label);
        }
    }

    /// Whether a wait of this task was refused.
    ///
    /// Takes the table lock.
    pub fn was_refused(&self) -> bool {
        let state = self.table.state.lock();
        state.graph.load(self.id).is_some_and(|node| node.refused)
    }
}

impl<K: Key> Drop for Task<'_, K> {
    fn drop(&mut self) {
        let id = self.id;
        let mut state = self.table.state.lock();
        let chain = state.graph.tasks.get_mut(bucket(id.task));
        let removed = chain.and_then(|chain| chain.remove(|node| node.id == id));
        drop(state);
        drop(removed);
    }
}

/// A request that is in the wait graph until this is dropped.
#[must_use = "the request is in the wait graph until this is dropped"]
pub struct Request<'t, K: Key> {
    table: &'t Table<K>,
    me: TaskId,
    serial: usize,
    _task: Option<Task<'t, K>>,
}

impl<K: Key> Request<'_, K> {
    /// The number for [`Table::set_helper`].
    pub fn serial(&self) -> usize {
        self.serial
    }

    /// Whether a wait was refused on behalf of this request, so that its answer is nobody else's.
    ///
    /// Takes the table lock.
    pub fn was_refused(&self) -> bool {
        let state = self.table.state.lock();
        let node = state.graph.request(self.serial);
        node.is_some_and(|node| node.refused.get())
    }
}

impl<K: Key> Drop for Request<'_, K> {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        let serial = self.serial;
        let removed = state.graph.requests.remove(|node| node.serial == serial);
        if let Some(node) = state.graph.task_mut(self.me) {
            node.waits_for = None;
        }
        drop(state);
        drop(removed);
    }
}
