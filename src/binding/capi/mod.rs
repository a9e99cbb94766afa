//! CPython's C interface, made safe. It knows nothing of Deferreds.
//!
//! The only room with `unsafe` blocks. It wraps calls for which PyO3 has no safe form, or a much
//! slower one, and fills type slots that PyO3's macros do not. It uses no other room; all rooms
//! above use it.

pub(crate) mod again;
mod alive;
mod allocating;
mod answers;
mod arguments;
mod beside;
mod bounds;
#[cfg(Py_GIL_DISABLED)]
mod byte_lock;
mod calls;
pub(crate) mod cell;
pub(crate) mod classes;
pub(crate) mod code_places;
mod collecting;
pub(crate) mod constructing;
mod conversions;
#[cfg(all(
    Py_GIL_DISABLED,
    Py_3_14,
    not(py_sys_config = "Py_REF_DEBUG"),
    target_os = "linux",
    target_arch = "x86_64",
    target_pointer_width = "64"
))]
mod counts;
pub(crate) mod depth;
mod dying;
pub(crate) mod error;
mod exceptions;
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(Py_3_14)
))]
mod exit;
pub(crate) mod finalizing;
mod freeing;
pub(crate) mod getters;
pub(crate) mod guarded;
mod held;
#[cfg(Py_GIL_DISABLED)]
mod here;
#[cfg(Py_GIL_DISABLED)]
mod immortal;
mod in_flight;
mod inspect;
pub(crate) mod interned;
pub(crate) mod iterating;
mod kinds;
pub(crate) mod lives;
mod making;
pub(crate) mod methods;
pub(crate) mod overrides;
pub(crate) mod owed;
mod panics;
mod passing;
mod pools;
#[cfg(Py_GIL_DISABLED)]
mod pools_of_threads;
mod raised;
mod reserve;
mod safe;
pub(crate) mod shown;
mod slots;
pub(crate) mod stack;
mod stock;
pub(crate) mod ticks;
mod told;
pub(crate) mod trace_ring;
pub(crate) mod versions;
pub(crate) mod watching;
#[cfg(Py_3_12)]
pub(crate) mod wrapper;

pub(crate) use allocating::{ZeroIsEmpty, new_exact, new_exact_derived, new_exception_of};
pub(crate) use beside::{
    dict_lacks, exception_dict, has_instance_dict, has_no_exception_dict, make_dict,
    set_exception_dict,
};
pub(crate) use calls::{
    Sent, call_first, call_many, call_method_one, call_one, call_spread, call_with_dict, send,
};
pub(crate) use classes::{Class, Native, as_exact, into_exact, is_exact};
pub(crate) use collecting::{keep_dicts, rely_on_base};
pub(crate) use dying::know_classes;
#[cfg(Py_GIL_DISABLED)]
pub(crate) use dying::{at_end_of_threads, is_told_of_end};
#[cfg(Py_3_11)]
pub(crate) use exceptions::refill_group;
pub(crate) use exceptions::{
    begin_handling, end_handling, handled, raise, set_cause, set_context, set_traceback,
    stopped_with, while_handling,
};
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(Py_3_14)
))]
pub(crate) use exit::keep_threads;
pub(crate) use freeing::{bury, dropping, recycle};
pub(crate) use getters::no_deleter;
pub(crate) use held::{Held, Hold, keep};
#[cfg(Py_GIL_DISABLED)]
pub(crate) use immortal::{keep_all_of, keep_class};
#[cfg(not(Py_3_12))]
pub(crate) use in_flight::spare_one;
pub(crate) use in_flight::{into_raised, ok, traceback_of, with_error_saved};
#[cfg(Py_3_13)]
pub(crate) use inspect::BareNames;
pub(crate) use inspect::{
    attribute_of, base_named, compares_specially, has_generic_getattr, has_plain_metaclass,
    holds_or_lacks, in_main_interpreter, is_coroutine, is_exception_class, is_generator, is_key_of,
    is_leaf, is_of_heap_type, is_plain, is_plain_class, is_subtype, lookup,
};
pub(crate) use making::{
    Text, dict_of, joined, list_of_same, new_bool, new_str, new_tuple, no_memory, none, push,
    slice_from, tuple_of, tuple_of_list, yes,
};
pub(crate) use methods::is_of_python;
pub(crate) use panics::catching;
pub(crate) use pools::{Pool, Pooled, Recycled};
#[cfg(Py_3_13)]
pub(crate) use safe::dict_of as instance_dict;
pub(crate) use safe::{
    call_any_way, copy_context, enter_context, exit_context, keys_of, list_of, new_dict, new_int,
    new_list, new_signed_int, new_weak_reference, this_thread,
};
#[cfg(not(any(Py_3_14, Py_GIL_DISABLED)))]
pub(crate) use safe::{next_value, referent};
#[cfg(Py_GIL_DISABLED)]
pub(crate) use safe::{set_usual_attribute, usual_attribute};
