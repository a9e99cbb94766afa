//! What a result is: a value, a failure or a Deferred; and what is said of failures.
//!
//! Uses `model` and what is below.

pub(crate) mod classify;
pub(crate) mod debug;
pub(crate) mod failure;
pub(crate) mod foreign;
pub(crate) mod kinds;
pub(crate) mod letting_go;
pub(crate) mod ordinary;
pub(crate) mod report;
