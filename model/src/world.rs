// SPDX-License-Identifier: GPL-2.0

//! The tasks of one execution: how they sleep, get signals, and account for memory.
//!
//! What is kept here is plain memory, since only one of loom's threads runs at a time. A task looks
//! at it, or changes it, between two uses of an object of loom, so that nothing comes in between.
//!
//! Time stands still while anybody can go on, and moves to the next timer when nobody can. A timer
//! that runs out at another moment is an event, as a signal is: see [`Event`].

use crate::{
    module_dedup::TaskId,
    time::{Jiffies, Msecs},
};
use loom::{
    sync::Mutex,
    thread::{JoinHandle, Thread},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// After this time everybody should have come to an end, in ms. The engine is done with all that it
/// does at certain times after 10 s.
const LIMIT: u64 = 40_000;

/// The place of a task in the world. The first is the one that sets the scene.
pub type Index = usize;

/// What can happen to a task at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// A signal with a handler.
    Signal = 1,
    /// A signal that ends the task.
    Kill = 2,
    /// The timer of the wait that it is in, or of the next one, runs out.
    Timer = 4,
}

struct Task {
    id: TaskId,
    thread: Option<Thread>,
    /// What has happened to it, as a mask.
    events: u32,
    /// Whether anything may.
    exposed: bool,
    token: bool,
    holds_lock: bool,
    asleep: bool,
    /// Whether it was woken before it slept.
    awake: bool,
    deadline: Option<u64>,
    over: bool,
    /// How many allocations succeed until one fails.
    memory: Option<usize>,
}

#[derive(Default)]
struct World {
    tasks: Vec<Task>,
    joins: Vec<JoinHandle<()>>,
    lock: Option<Rc<Mutex<()>>>,
    now: u64,
    allocations: usize,
    log: Vec<(Index, String)>,
    /// A task that does what others leave to it, and what that is.
    worker: Option<Index>,
    work: Vec<Box<dyn FnOnce()>>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

loom::thread_local! {
    static INDEX: Cell<Index> = Cell::new(0);
}

fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| f(&mut world.borrow_mut()))
}

fn me<R>(f: impl FnOnce(&mut Task) -> R) -> R {
    let me = index();
    with(|world| f(&mut world.tasks[me]))
}

/// Begins an execution, with the current thread as its first task.
pub fn begin() {
    // What is left of the execution before was made of objects of loom that are gone.
    with(|world| {
        *world = World {
            lock: Some(Rc::new(Mutex::new(()))),
            ..World::default()
        }
    });
    add(0, false);
    me(|task| task.thread = Some(loom::thread::current()));
}

/// Waits for the end of all tasks but the first, which is its own, and has nothing left to do.
pub fn end() {
    if me(|task| task.over) {
        return;
    }
    done();
    for thread in with(|world| std::mem::take(&mut world.joins)) {
        thread.join().unwrap();
    }
}

/// How many allocations there are.
pub fn allocations() -> usize {
    with(|world| world.allocations)
}

fn add(pid: i32, exposed: bool) -> Index {
    with(|world| {
        world.tasks.push(Task {
            id: task_id(pid),
            thread: None,
            events: 0,
            exposed,
            token: false,
            holds_lock: false,
            asleep: false,
            awake: false,
            deadline: None,
            over: false,
            memory: None,
        });
        world.tasks.len() - 1
    })
}

/// The task with a process id.
pub fn task_id(pid: i32) -> TaskId {
    TaskId { pid, started: 1 }
}

/// Starts a task.
pub fn spawn(pid: i32, f: impl FnOnce() + 'static) -> Index {
    start(pid, false, f)
}

/// Starts a task to which something can happen.
pub fn spawn_exposed(pid: i32, f: impl FnOnce() + 'static) -> Index {
    start(pid, true, f)
}

fn start(pid: i32, exposed: bool, f: impl FnOnce() + 'static) -> Index {
    let index = add(pid, exposed);
    let thread = loom::thread::spawn(move || {
        INDEX.with(|it| it.set(index));
        f();
        done();
    });
    with(|world| {
        world.tasks[index].thread = Some(thread.thread().clone());
        world.joins.push(thread);
    });
    index
}

fn done() {
    me(|task| task.over = true);
    pass_time();
}

/// The current task.
pub fn index() -> Index {
    INDEX.with(Cell::get)
}

/// The current task, as the engine knows it.
pub fn current_id() -> TaskId {
    me(|task| task.id)
}

/// The time, in ms.
pub fn now() -> u64 {
    with(|world| world.now)
}

/// Runs something under the lock of completions and events.
///
/// There is one for all completions and events. With a lock for each there would be more to
/// explore, as most uses would take two of them.
pub fn locked<R>(f: impl FnOnce() -> R) -> R {
    let lock = with(|world| world.lock.clone()).expect("an execution");
    let _guard = lock.lock().unwrap();
    f()
}

/// Lets an event happen to a task.
pub fn post(task: Index, event: Event) {
    locked(|| {
        note(format_args!("{event:?} for {task}"));
        with(|world| {
            assert!(world.tasks[task].exposed);
            world.tasks[task].events |= event as u32;
        });
        wake(task);
    });
}

/// Whether one of these has happened to the current task. To be called with the lock.
pub fn has_happened(wanted: &[Event]) -> bool {
    let mask = wanted.iter().fold(0, |mask, it| mask | *it as u32);
    me(|task| task.events & mask != 0)
}

fn has_signal(wanted: &[Event]) -> bool {
    // There is nothing to explore if none ever comes.
    me(|task| task.exposed) && locked(|| has_happened(wanted))
}

/// Whether something has happened to the current task. Not for those who are modelled.
pub fn was_posted(event: Event) -> bool {
    has_happened(&[event])
}

/// What `current!()` is.
pub struct Current;

impl Current {
    pub fn signal_pending(&self) -> bool {
        has_signal(&[Event::Signal, Event::Kill])
    }

    pub fn fatal_signal_pending(&self) -> bool {
        has_signal(&[Event::Kill])
    }
}

/// Wakes a task, or keeps it from its next sleep. Returns whether it slept.
pub fn wake(task: Index) -> bool {
    let sleeper = with(|world| {
        let task = &mut world.tasks[task];
        if !std::mem::take(&mut task.asleep) {
            task.awake = true;
            return None;
        }
        task.thread.clone()
    });
    let slept = sleeper.is_some();
    if let Some(thread) = sleeper {
        // What was done before this happened before whatever the sleeper does now.
        thread.unpark();
    }
    slept
}

/// The same, and if it slept it gets a token.
pub fn wake_with_token(task: Index) -> bool {
    let woken = wake(task);
    with(|world| world.tasks[task].token = woken);
    woken
}

/// Whether the current task was given a token.
pub fn take_token() -> bool {
    me(|task| std::mem::take(&mut task.token))
}

/// The timer of a wait.
pub struct Timer {
    deadline: Option<u64>,
    rang: bool,
}

impl Timer {
    pub fn new(timeout: Jiffies) -> Self {
        Self {
            deadline: (timeout != Jiffies::MAX).then(|| now() + timeout as u64),
            rang: false,
        }
    }

    /// Whether the time was over when the task woke up.
    pub fn is_over(&mut self) -> bool {
        if self.deadline.is_some() && has_happened(&[Event::Timer]) {
            me(|task| task.events &= !(Event::Timer as u32));
            return true;
        }
        self.rang
    }

    /// Sleeps until the task is woken, or the time is over.
    pub fn sleep(&mut self) {
        let deadline = self.deadline;
        self.rang = deadline.is_some_and(|at| at <= now());
        let sleeps = !self.rang
            && me(|task| {
                task.deadline = deadline;
                task.asleep = !std::mem::take(&mut task.awake);
                task.asleep
            });
        if sleeps {
            pass_time();
            while me(|task| task.asleep) {
                loom::thread::park();
            }
            self.rang = deadline.is_some_and(|at| at <= now());
        }
    }
}

/// Sleeps for some time.
pub fn sleep(msecs: Msecs) {
    let mut timer = Timer::new(msecs as Jiffies);
    while !timer.rang {
        timer.sleep();
    }
}

/// Starts a task that does the first things that others leave to be done later.
pub fn spawn_worker(pid: i32) {
    let worker = spawn(pid, || loop {
        let work = locked(|| {
            with(|world| {
                if !world.work.is_empty() {
                    world.worker = None;
                }
                std::mem::take(&mut world.work)
            })
        });
        if !work.is_empty() {
            return work.into_iter().for_each(|it| it());
        }
        Timer::new(Jiffies::MAX).sleep();
    });
    with(|world| world.worker = Some(worker));
}

/// Does something now, or leaves it to the worker, if there is one.
pub fn do_later(work: impl FnOnce() + 'static) {
    if with(|world| world.worker).is_none() {
        return work();
    }
    let Some(work) = locked(|| {
        let Some(worker) = with(|world| world.worker) else {
            return Some(work);
        };
        with(|world| world.work.push(Box::new(work)));
        wake(worker);
        None
    }) else {
        return;
    };
    work();
}

/// Sleeps until all others do. To be used by one task at a time.
pub fn sleep_until_idle() {
    sleep(1);
}

/// If nobody can go on, then it is the turn of those whose timers come next.
fn pass_time() {
    let Some(sleepers) = with(World::all_asleep) else {
        return;
    };
    let deadline = |task: &Index| with(|world| world.tasks[*task].deadline);
    let pids = || {
        let pid = |task: &Index| with(|world| world.tasks[*task].id.pid);
        sleepers.iter().map(pid).collect::<Vec<_>>()
    };
    let Some(next) = sleepers.iter().filter_map(deadline).min() else {
        panic!("nobody can go on: tasks {:?} sleep for ever", pids());
    };
    assert!(
        next <= LIMIT,
        "nobody can go on: tasks {:?} only wake to sleep again",
        pids()
    );
    with(|world| world.now = next);
    for sleeper in sleepers.iter().filter(|it| deadline(it) == Some(next)) {
        wake(*sleeper);
    }
}

impl World {
    /// All tasks that are left, if there are any, and all sleep.
    fn all_asleep(&mut self) -> Option<Vec<Index>> {
        let mut left = (0..self.tasks.len())
            .filter(|it| !self.tasks[*it].over)
            .peekable();
        left.peek()?;
        left.map(|it| self.tasks[it].asleep.then_some(it)).collect()
    }
}

/// Lets an allocation of the current task fail, after so many that do not.
pub fn run_out_of_memory(after: usize) {
    me(|task| task.memory = Some(after));
}

/// Whether an allocation of the current task would fail.
pub fn is_out_of_memory() -> bool {
    me(|task| task.memory) == Some(0)
}

pub(crate) fn allocate() -> bool {
    must_not_hold_a_lock("allocates");
    let failed = me(|task| match &mut task.memory {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    });
    if !failed {
        with(|world| world.allocations += 1);
    }
    !failed
}

pub(crate) fn free() {
    must_not_hold_a_lock("frees");
    with(|world| world.allocations -= 1);
}

/// Nothing that takes long, or needs other locks, is done under a spinlock.
pub fn must_not_hold_a_lock(what: &str) {
    assert!(
        !me(|task| task.holds_lock),
        "somebody {what} under the table lock"
    );
}

/// The opposite, for what is documented to be called that way.
pub fn must_hold_a_lock() {
    assert!(
        me(|task| task.holds_lock),
        "a key is looked at without the table lock"
    );
}

pub(crate) fn set_holds_lock(holds: bool) {
    me(|task| task.holds_lock = holds);
}

/// Remembers what happened, for the case that it goes wrong.
pub fn note(what: impl ToString) {
    let me = index();
    with(|world| world.log.push((me, what.to_string())));
}

/// What happened so far.
pub fn log() -> String {
    WORLD.with(|world| {
        let Ok(world) = world.try_borrow() else {
            return String::new();
        };
        let lines = world.log.iter().map(|(task, what)| {
            let pid = world.tasks.get(*task).map_or(0, |task| task.id.pid);
            format!("  task {pid}: {what}\n")
        });
        lines.collect()
    })
}
