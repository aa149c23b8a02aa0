// SPDX-License-Identifier: GPL-2.0

//! The wait graph: which task waits for which, so that a wait that would close a circle is refused.
//!
//! Its edges name what is waited for, and not tasks: a follower waits for a *flight*, the loader of
//! a module for the *load* of another one or for its own *request* to user space, and a request for
//! its *helper*. Each has a number that is never used again. What has ended is not found any more,
//! so an edge that nobody has cleared yet leads nowhere.
//!
//! Requests are in the graph only if the task that makes them is: it loads a module, or a helper
//! waits for it. Such a task makes each request itself, and never waits for that of another task.
//!
//! A task that waits was asked to do something by whom it may keep waiting: a thread by the
//! followers of its flight, a helper by its request. Hence everybody waits for at most one thing,
//! and a walk from there either ends at somebody who goes on, or comes back to the caller.

use super::{
    chain::{
        self,
        Buckets, //
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
    iter,
    mem::replace, //
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
    /// The request that this task makes.
    Request(LoadId),
}

/// A task that is in the graph because others may wait for it: one that loads, or one that was
/// started by a helper, and waits.
pub(super) struct TaskNode<L> {
    id: LoadId,
    label: Option<L>,
    waits_for: Option<Target>,
    /// What the task requests, and the helper that was started for that.
    request: Option<(L, Option<TaskId>)>,
    /// Whether a wait of this task was refused.
    refused: bool,
    /// Whether people were told that a wait for this load takes long.
    delayed: bool,
}

/// What the table lock guards of the wait graph.
pub(super) struct Graph<L> {
    tasks: Buckets<TaskNode<L>>,
}

impl<L> Graph<L> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            tasks: Buckets::new()?,
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
}

fn bucket(task: TaskId) -> usize {
    task.pid as usize
}

/// A step of a walk.
#[derive(Default)]
struct Hop {
    /// The task that does what is waited for, if it is known.
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
                        first.work.map(Target::Load)
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
            Target::Request(id) => {
                let (_, helper) = self.graph.load(id)?.request.as_ref()?;
                let helper = (*helper)?;
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
        self.graph.load(first.work?)?.waits_for
    }

    /// Whether `me`, if it waited for `target`, would wait for itself.
    fn closes_circle(&self, me: TaskId, target: Target) -> bool {
        let mut next = Some(target);
        for _ in 0..MAX_STEPS {
            let Some(target) = next else {
                return false;
            };
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
            Target::Request(id) => {
                let (label, helper) = self.graph.load(id)?.request?;
                let doer = helper.and_then(stands_in);
                Step::Request {
                    label,
                    helper,
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
    /// For a load: the task that loads, and the module.
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
    /// Tasks that wait for the flight wait for this load from then on.
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
                    request: None,
                    refused: false,
                    delayed: false,
                },
            );
        }
        if let Some(leader) = leader {
            state.set_work(leader.flight(), id);
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

    /// Notes that `me` requests something of user space, and is going to wait for the helper.
    ///
    /// A `me` that was not in the graph, and on which nobody `depends`, stays out of it, and its
    /// request with it. So does one for which there is no memory.
    ///
    /// May sleep, takes the table lock.
    pub fn request(&self, me: TaskId, depends: bool, label: K::Label) -> Option<Request<'_, K>> {
        let task = if depends { self.take_part(me) } else { None };

        let mut state = self.state.lock();
        let node = state.graph.task_mut(me)?;
        node.request = Some((label, None));
        node.waits_for = Some(Target::Request(node.id));
        let id = node.id;
        drop(state);

        Some(Request {
            table: self,
            id,
            _task: task,
        })
    }

    /// Tells the graph which helper was started for the request of a task. Does nothing if the
    /// request is over.
    ///
    /// Does not sleep. Takes the table lock.
    pub fn set_helper(&self, of: LoadId, helper: TaskId) {
        let mut state = self.state.lock();
        let node = state.graph.task_mut(of.task).filter(|node| node.id == of);
        if let Some((_, slot)) = node.and_then(|node| node.request.as_mut()) {
            *slot = Some(helper);
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

    /// Tells people that the current task has waited 10 s for a load, by the name of its module,
    /// unless that was done.
    ///
    /// May sleep, to print. Takes the table lock.
    pub fn tell_delay_of_load(&self, id: LoadId) {
        let mut state = self.state.lock();
        let node = state.graph.task_mut(id.task).filter(|node| node.id == id);
        let told = node.is_none_or(|node| replace(&mut node.delayed, true));
        drop(state);
        if !told {
            K::delayed(1, id.task, self.chain(None, Target::Load(id)));
        }
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
    id: LoadId,
    _task: Option<Task<'t, K>>,
}

impl<K: Key> Request<'_, K> {
    /// Names the request, for [`Table::set_helper`].
    pub fn id(&self) -> LoadId {
        self.id
    }
}

impl<K: Key> Drop for Request<'_, K> {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        if let Some(node) = state.graph.task_mut(self.id.task) {
            node.request = None;
            node.waits_for = None;
        }
    }
}
