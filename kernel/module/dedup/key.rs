// SPDX-License-Identifier: GPL-2.0

//! What makes two calls the same.

use super::{
    death::Death,
    request::Asked,
    task::{
        self,
        Name, //
    },
};
use kernel::{
    bindings,
    module_dedup::{
        graph::Waits,
        line::File as InLine,
        Key,
        TaskId, //
    },
    prelude::*,
    sync::SetOnce, //
};

/// A call of the loader, or of `request_module()`.
pub(crate) struct Call {
    pub(crate) what: What,
    /// The name of the module, once it is in the list of modules.
    pub(crate) module: SetOnce<Name>,
    pub(crate) death: Death,
}

/// What a call is about.
pub(crate) enum What {
    /// `finit_module(2)`, of a file that can be compared with others, or `init_module(2)`, of an
    /// image that can be.
    File(File),
    /// A load by this task that cannot be compared with others.
    Alone(TaskId),
    /// A request for a module by name.
    Request(Asked),
}

impl Call {
    pub(crate) fn new(what: What) -> Self {
        Self {
            what,
            module: SetOnce::new(),
            death: Death::new(),
        }
    }

    /// The name of what is loaded or requested, as far as that is known.
    pub(crate) fn name(&self) -> &Name {
        match &self.what {
            What::File(file) => &file.name,
            What::Alone(_) => self.module.as_ref().unwrap_or(&Name::EMPTY),
            What::Request(asked) => &asked.name,
        }
    }

    /// Whether other calls can join this one.
    pub(crate) fn is_joinable(&self) -> bool {
        match &self.what {
            What::File(_) => true,
            What::Alone(_) => false,
            What::Request(asked) => asked.limit().is_some(),
        }
    }

    pub(crate) fn is_request(&self) -> bool {
        matches!(self.what, What::Request(_))
    }
}

impl Key for Call {
    fn hash(&self) -> usize {
        // Fibonacci hashing: the high half of the product depends on all bits of the number.
        const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;
        match &self.what {
            What::File(File { id, .. }) => {
                let number = id.ino ^ (u64::from(id.dev) << 32);
                (number.wrapping_mul(GOLDEN_RATIO) >> 32) as usize
            }
            What::Alone(task) => task.pid as usize,
            What::Request(asked) => asked.hash,
        }
    }

    fn same_call(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::File(a), What::File(b)) => a.same_call(b),
            (What::Request(a), What::Request(b)) => a.is_for(b),
            _ => false,
        }
    }

    fn limit(&self) -> Option<usize> {
        match &self.what {
            What::Request(asked) => asked.limit(),
            _ => None,
        }
    }
}

impl InLine for Call {
    fn same_file(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            // The loader makes loads of one name wait for each other.
            (What::File(a), What::File(b)) => !a.is_copy() && a.same_file(b),
            _ => false,
        }
    }
}

impl Waits for Call {
    fn stands_in(helper: TaskId) -> Option<TaskId> {
        let mut thread = bindings::module_dedup_task::default();
        // SAFETY: Both are valid.
        let found = unsafe { bindings::module_dedup_stands_in(&task::to_c(helper), &mut thread) };
        found.then_some(task::from_c(thread))
    }
}

/// A file that is to be loaded with certain arguments, or an image in user memory.
pub(crate) struct File {
    pub(crate) id: bindings::module_dedup_id,
    args_hash: u32,
    /// With the final NUL; nothing if that is all there is.
    args: Option<KVec<u8>>,
    /// The name of the file, once the call has a ticket. Of an image, the name of its module, as
    /// far as could be seen.
    name: Name,
    /// On whose behalf it is loaded, once the call has a ticket.
    context: Option<Context>,
}

// SAFETY: `id.inode` is compared and never dereferenced. All else can be sent to any task.
unsafe impl Send for File {}

// SAFETY: A `File` that is shared is never written, and `id.inode` is never dereferenced.
unsafe impl Sync for File {}

impl File {
    /// Takes what `module_dedup_describe()` or `module_dedup_peek()` has found; of an image with
    /// the name of its module.
    ///
    /// # Safety
    ///
    /// `key` must come from there, and is not to be used again.
    pub(crate) unsafe fn new(key: &bindings::module_dedup_key, name: Name) -> Self {
        let (start, size) = (key.args.cast::<u8>(), key.args_size);
        let args = (!start.is_null()).then(|| {
            // SAFETY: By the safety requirements these bytes are initialised, come from the
            // allocator of `KVec`, and nobody else owns them. An allocation is at least as large
            // as what was asked for.
            unsafe { KVec::from_raw_parts(start, size, size) }
        });
        Self {
            id: key.id,
            args_hash: key.args_hash,
            args,
            name,
            context: None,
        }
    }

    /// Notes the name of the file, and on whose behalf it is loaded, for a ticket.
    ///
    /// # Safety
    ///
    /// `file` must be the file of the call, to which the caller has a reference.
    pub(crate) unsafe fn set_leader(&mut self, file: *mut bindings::file) {
        self.context = Some(Context::current());
        // SAFETY: By the safety requirements, and the name has so much room.
        unsafe { bindings::module_dedup_get_name(file, self.name.as_mut_ptr(), Name::SIZE) };
    }

    /// Whether this is an image in user memory.
    pub(crate) fn is_copy(&self) -> bool {
        self.id.inode.is_null()
    }

    /// The name of the module, if that must be true of any module that is loaded from this.
    pub(crate) fn module(&self) -> Option<&Name> {
        self.is_copy().then_some(&self.name)
    }

    /// The arguments, with the final NUL, unless they are still in user memory.
    pub(crate) fn args(&self) -> Option<&[u8]> {
        (!self.is_copy()).then(|| self.args.as_deref().unwrap_or(b"\0"))
    }

    /// Whether a result of the leader holds for the current task.
    pub(crate) fn is_for_me(&self, result: c_int) -> bool {
        self.context.as_ref().is_none_or(|it| it.is_for_me(result))
    }

    /// An inode is told by its address, too. The leader has a reference to it, so no other one
    /// comes to that address while the flight is up; but for the moment in which a task that has
    /// died lets go of its files, before it ends the flight. The numbers tell them apart then.
    fn same_file(&self, other: &Self) -> bool {
        self.id.inode == other.id.inode
            && self.id.ino == other.id.ino
            && self.id.dev == other.id.dev
            && self.id.generation == other.id.generation
    }

    /// A file whose identity does not count has to be read.
    fn same_call(&self, other: &Self) -> bool {
        self.id.counts
            && other.id.counts
            && self.same_file(other)
            && self.id.size == other.id.size
            && self.id.ctime_sec == other.id.ctime_sec
            && self.id.ctime_nsec == other.id.ctime_nsec
            && self.id.change_cookie == other.id.change_cookie
            && self.id.flags == other.id.flags
            && self.module() == other.module()
            && self.args_hash == other.args_hash
            && self.args.as_deref() == other.args.as_deref()
    }
}

/// On whose behalf a task loads.
///
/// # Invariants
///
/// The context was filled in by `module_dedup_get_context()`, and owns the reference to the
/// credentials.
struct Context(bindings::module_dedup_context);

impl Context {
    /// That of the current task.
    fn current() -> Self {
        let mut context = bindings::module_dedup_context::default();
        // SAFETY: `context` is valid for writing.
        unsafe { bindings::module_dedup_get_context(&mut context) };
        // INVARIANT: It was just filled in, and the reference is passed on.
        Self(context)
    }

    /// Whether a result of a load on behalf of this context holds for the current task.
    fn is_for_me(&self, result: c_int) -> bool {
        // SAFETY: By the type invariant, the context is valid.
        unsafe { bindings::module_dedup_is_for_me(&self.0, result) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this is the one owner of the reference.
        unsafe { bindings::module_dedup_put_context(&mut self.0) };
    }
}
