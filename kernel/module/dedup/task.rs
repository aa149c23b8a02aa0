// SPDX-License-Identifier: GPL-2.0

//! Tasks, and the names of things.

use kernel::{
    bindings,
    fmt,
    module_dedup::TaskId,
    prelude::*,
    str::BStr, //
};

pub(crate) fn from_c(task: bindings::module_dedup_task) -> TaskId {
    TaskId {
        pid: task.pid,
        started: task.started,
    }
}

pub(crate) fn to_c(task: TaskId) -> bindings::module_dedup_task {
    bindings::module_dedup_task {
        pid: task.pid,
        started: task.started,
    }
}

/// Names the current task.
pub(crate) fn current() -> TaskId {
    let mut task = bindings::module_dedup_task::default();
    // SAFETY: `task` is valid for writing.
    unsafe { bindings::module_dedup_current(&mut task) };
    from_c(task)
}

/// The current task, if it descends from a helper: then a request, and the load that made it, may
/// wait for it.
pub(crate) fn helped() -> Option<TaskId> {
    // SAFETY: FFI call without requirements.
    unsafe { bindings::module_dedup_is_helped() }.then(current)
}

/// The name of a module, a file or a task, with a final NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name([u8; Name::SIZE]);

impl Name {
    pub(crate) const SIZE: usize = 64;
    pub(crate) const EMPTY: Self = Self([0; Self::SIZE]);

    /// Copies as much of a name as there is room for.
    pub(crate) fn new(name: &CStr) -> Self {
        let mut copy = Self::EMPTY;
        for (to, from) in copy.0.iter_mut().zip(name.to_bytes()).take(Self::SIZE - 1) {
            *to = *from;
        }
        copy
    }

    /// For C.
    pub(crate) fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    /// For C, which may write so many bytes, the last of which is NUL.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.split(|byte| *byte == 0).next();
        fmt::Display::fmt(BStr::from_bytes(text.unwrap_or_default()), f)
    }
}

/// Prints a task as `name[pid]`.
pub(crate) struct Comm(pub(crate) TaskId);

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comm = Name::EMPTY;
        // SAFETY: The task is valid, and the name has room for `TASK_COMM_LEN` bytes.
        unsafe { bindings::module_dedup_get_comm(&to_c(self.0), comm.as_mut_ptr()) };
        f.write_fmt(fmt!("{}[{}]", comm, self.0.pid))
    }
}
