// SPDX-License-Identifier: GPL-2.0

//! What the flight table needs of the `kernel` crate, on [`loom`].
//!
//! The engine is compiled as it is, from `rust/kernel/module_dedup.rs`. Loom runs its threads one
//! at a time and switches between them only where they use one of its objects: so these decide
//! what is explored, and all else may be kept in plain memory. See [`world`].

extern crate self as kernel;

pub mod shim;
pub mod world;

pub use shim::{alloc, error, init, list, prelude, sync, time, workqueue};

// A file that is named by `path` would look for its own modules in the wrong place.
#[path = "../../rust/kernel"]
mod engine {
    pub mod module_dedup;
}

pub use engine::module_dedup;
