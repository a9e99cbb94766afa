//! Classifies results as value, failure or Deferred; makes, inspects and reports failures.
//!
//! May use `model` and the rooms below. `waits` and all rooms above use it.

pub(crate) mod asked;
pub(crate) mod attributes;
pub(crate) mod class_names;
pub(crate) mod classify;
pub(crate) mod copying;
pub(crate) mod creating;
pub(crate) mod debug;
pub(crate) mod deprecation;
pub(crate) mod failure;
pub(crate) mod finding;
pub(crate) mod foreign;
pub(crate) mod frames;
pub(crate) mod letting_go;
pub(crate) mod loggers;
pub(crate) mod notes;
pub(crate) mod ordinary;
pub(crate) mod report;
pub(crate) mod showing;
