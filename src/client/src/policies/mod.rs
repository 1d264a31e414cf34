//! When a call is tried again, and after which pause.

mod backoff;
mod budget;
mod retry;

pub(crate) use backoff::Backoff;
pub(crate) use budget::Budget;
pub use retry::RetryPolicy;
pub(crate) use retry::{is_not_executed, operation};
