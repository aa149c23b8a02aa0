// SPDX-License-Identifier: GPL-2.0

//! Errors.

use crate::alloc::{AllocError, PushError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(i32);

pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    pub fn to_errno(self) -> i32 {
        -self.0
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl<T> From<PushError<T>> for Error {
    fn from(_: PushError<T>) -> Self {
        code::EINVAL
    }
}

pub mod code {
    use super::Error;

    pub const ENOMEM: Error = Error(12);
    pub const EBUSY: Error = Error(16);
    pub const EINVAL: Error = Error(22);
    pub const EDEADLK: Error = Error(35);
    pub const ETIMEDOUT: Error = Error(110);
    pub const ERESTARTSYS: Error = Error(512);
}
