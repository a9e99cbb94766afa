//! The only folder that speaks CPython's C API directly.
//!
//! Everything here is small: a call PyO3 has no (or a much slower) safe form of, or a slot of a
//! type that its macros do not fill.

mod calls;
mod dying;
mod exceptions;
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(Py_3_14)
))]
mod exit;
mod getters;
mod held;
mod inspect;
mod making;
mod memory;
mod methods;
mod objects;
mod panics;
mod reserve;
pub(super) mod stack;

pub(super) use calls::{
    Sent, call_any_way, call_first, call_many, call_method_one, call_one, call_spread,
    call_with_dict, copy_context, in_context, send, tuple_of,
};
#[cfg(Py_3_11)]
pub(super) use exceptions::refill_group;
pub(super) use exceptions::{
    as_pyo3_has_it, begin_handling, end_handling, exception_dict, exception_of, handled,
    has_no_exception_dict, has_plain_traceback, into_raised, new_raised, new_raised_with, ok,
    raise, set_cause, set_context, set_exception_dict, set_traceback, stopped_with, traceback_of,
    while_handling, with_error_saved,
};
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(Py_3_14)
))]
pub(super) use exit::keep_threads;
pub(super) use held::{Held, Hold, keep, new_interned};
#[cfg(Py_3_13)]
pub(super) use inspect::BareNames;
pub(super) use inspect::{
    base_named, compares_specially, debugging, debugging_by_default, has_gil, has_instance_dict,
    has_plain_metaclass, holds_or_lacks, in_main_interpreter, is_coroutine, is_exception_class,
    is_generator, is_key_of, is_known_ordinary, is_leaf, is_of_heap_type, is_ordinary, is_plain,
    is_plain_class, is_subtype, lookup, version,
};
pub(super) use making::{
    Text, address, joined, list_of, list_of_same, new_dict, new_int, new_list, new_str, new_tuple,
    no_memory, push, slice_from, tuple_from, with_items,
};
pub(super) use memory::{Pool, Recycled, as_exact, dropping, into_exact, is_exact};
pub(super) use methods::{Method, is_of_python, method_of_ours};
pub(super) use objects::{
    fill_slots, inherit_finalizer, makes_failures_plainly, new_awaiting, new_deferred, new_failure,
    new_task, quicken_failures,
};
