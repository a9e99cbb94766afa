//! The texts of failures, if they can be made without running code of a program.
//!
//! `deferrous/failure.py` has the general functions, which write piece by piece to a file-like
//! object. Most failures hold a plain exception, whose text cannot run any code. Those texts are
//! made here, all at once.

#[cfg(Py_3_11)]
use pyo3::exceptions::PyBaseExceptionGroup;
use pyo3::exceptions::{PyBaseException, PyKeyError, PySyntaxError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self,
    error::{Raised, Result},
    interned::intern,
    stack,
};
use crate::binding::judge::{
    asked::Asked,
    class_names,
    frames::{Detail, REPEATED, Writer, frames_in, frames_of, write_folded, write_frames},
};
use crate::binding::model::{failure::FailureBase, names};

/// Whether formatting an object certainly runs no code of a program.
fn is_simple(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyString>()
        || object.is_none()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
        // Long ones may be refused by `sys.set_int_max_str_digits`.
        || (object.is_exact_instance_of::<PyInt>()
            && capi::ok(object.py(), object.extract::<i64>()).is_some())
}

/// The arguments of an exception, if they are all simple, and its class is CPython's own.
pub(crate) fn plain_args<'py>(exception: &Raised<'py>) -> Result<Option<Bound<'py, PyTuple>>> {
    let py = exception.py();
    let (class, base) = (exception.get_type(), py.get_type::<PyBaseException>());
    let has_of_base = |name| capi::lookup(&class, name) == capi::lookup(&base, name);
    let args = intern!(py, "args");
    if !has_of_base(args) || !has_of_base(intern!(py, "__getattribute__")) {
        return Ok(None);
    }
    // None if the collector has cleared the exception.
    let args = exception.getattr(args)?.cast_into_exact::<PyTuple>().ok();
    Ok(args.filter(|args| args.iter_borrowed().all(|argument| is_simple(&argument))))
}

/// The message of an exception, if it can be made without running code of a program.
fn plain_text_of<'py>(value: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyString>>> {
    let py = value.py();
    let exception = match value.cast::<PyBaseException>() {
        Ok(exception) if !value.is_instance_of::<FailureBase>() => exception,
        _ => return Ok(value.cast_exact::<PyString>().ok().cloned()),
    };
    let text_of = |class: &Bound<'py, PyType>| capi::lookup(class, intern!(py, "__str__"));
    let text = text_of(&value.get_type());
    let shows_key = text == text_of(&py.get_type::<PyKeyError>());
    if !shows_key && text != text_of(&py.get_type::<PyBaseException>()) {
        return Ok(None);
    }
    let Some(args) = plain_args(exception)? else { return Ok(None) };
    if !shows_key
        && let [only] = args.as_slice()
        && let Ok(text) = only.cast_exact::<PyString>()
    {
        return Ok(Some(text.clone()));
    }
    Ok(Some(value.str()?))
}

/// The text of `Failure.getErrorMessage`, if it can be made without running code of a program.
fn plain_message<'py>(failure: &Bound<'py, FailureBase>) -> Result<Option<Bound<'py, PyString>>> {
    plain_text_of(&FailureBase::value(failure)?)
}

/// Whether an exception has no context, notes or group members that are to be shown with it.
/// True also for what is not an exception.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (error, /))]
pub(crate) fn stands_alone(error: &Bound<'_, PyAny>) -> bool {
    let py = error.py();
    let error = match error.cast::<PyBaseException>() {
        Ok(error) if !error.is_instance_of::<FailureBase>() => error,
        _ => return true,
    };
    #[cfg(Py_3_11)]
    if error.is_instance_of::<PyBaseExceptionGroup>() {
        return false;
    }
    if error.is_instance_of::<PySyntaxError>() {
        return false;
    }
    let lacks = |name| capi::ok(py, error.getattr(name)).is_some_and(|it| it.is_none());
    let notes = intern!(py, "__notes__");
    let has_notes = || match capi::ok(py, error.getattr_opt(notes)) {
        Some(notes) => notes.is_some_and(|notes| !notes.is_none()),
        None => true,
    };
    // Few have an instance dict, and a look-up in vain takes long.
    let may_have_notes =
        !capi::has_no_exception_dict(error) || capi::lookup(&error.get_type(), notes) != 0;
    lacks(intern!(py, "__cause__"))
        && lacks(intern!(py, "__context__"))
        && !(may_have_notes && has_notes())
}

/// What the text of a failure says about its exception.
struct Said<'py> {
    kind: Bound<'py, PyType>,
    text: Bound<'py, PyString>,
}

/// What to say about its exception. None if a program can influence that, or if there is more to
/// show than the frames and the exception.
fn said_of<'py>(failure: &Bound<'py, FailureBase>, detail: Detail) -> Result<Option<Said<'py>>> {
    if !Asked::Text.is_plainly_asked(failure) || !stack::has_room_to_report() {
        return Ok(None);
    }
    let (value, kind) = (FailureBase::value(failure)?, FailureBase::kind(failure)?);
    let Ok(kind) = kind.cast_into::<PyType>() else { return Ok(None) };
    if !capi::has_plain_metaclass(&kind) || (detail != Detail::Brief && !stands_alone(&value)) {
        return Ok(None);
    }
    let keeps_variables = FailureBase::capture_vars(failure)?;
    if !keeps_variables.cast_exact::<PyBool>().is_ok_and(|keeps| !keeps.is_true()) {
        return Ok(None);
    }
    Ok(plain_text_of(&value)?.map(|text| Said { kind, text }))
}

/// The text of a failure. None if Python has to make it.
fn show<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Writer<'py>>> {
    let py = failure.py();
    let Some(detail) = Detail::of(detail) else { return Ok(None) };
    let Some(Said { kind, text }) = said_of(failure, detail)? else { return Ok(None) };
    let Some(frames) = frames_in(&frames_of(failure)?)? else { return Ok(None) };
    let Some(text) = capi::ok(py, text.to_str()) else { return Ok(None) };
    let mut writer = Writer::new(py);
    if detail == Detail::Brief {
        let kind = kind.str()?;
        let Some(kind) = capi::ok(py, kind.to_str()) else { return Ok(None) };
        let title =
            if frames.is_empty() { "Traceback (failure with no frames): " } else { "Traceback: " };
        for part in [title, kind, ": ", text, "\n"] {
            writer.add(part)?;
        }
        writer.end()?;
        return Ok(write_frames(&mut writer, &frames, detail)?.then_some(writer));
    }
    let kind = class_names::qualified_name(&kind)?;
    let Ok(kind) = kind.cast_exact::<PyString>() else { return Ok(None) };
    let Some(kind) = capi::ok(py, kind.to_str()) else { return Ok(None) };
    let Some(number) = write_title(&mut writer, failure, detail)? else { return Ok(None) };
    // Unless Twisted is in use, repeated frames are folded.
    let folds = detail == Detail::Default
        && frames.len() > REPEATED
        && stack::truth(&names::TWISTED_IN_USE.get(py)?.call0()?).is_ok_and(|in_use| !in_use);
    let written = if folds {
        write_folded(&mut writer, &frames)?
    } else {
        write_frames(&mut writer, &frames, detail)?
    };
    if !written {
        return Ok(None);
    }
    for part in [if frames.is_empty() { "Failure: " } else { "" }, kind, ": ", text, "\n"] {
        writer.add(part)?;
    }
    writer.end()?;
    if detail == Detail::Verbose {
        writer.add("*--- End of Failure #")?;
        writer.add_number(number)?;
        writer.add(" ---\n")?;
        writer.end()?;
    }
    Ok(Some(writer))
}

/// Write the first line. Returns the number of the failure if that is shown, or 0. None if Python
/// has to make the text.
fn write_title(
    writer: &mut Writer<'_>,
    failure: &Bound<'_, FailureBase>,
    detail: Detail,
) -> Result<Option<i64>> {
    let py = failure.py();
    let mut number = 0;
    if detail == Detail::Verbose {
        let count = FailureBase::count(failure)?;
        let Some(count) = capi::ok(py, count.extract()) else { return Ok(None) };
        number = count;
        let pickled = failure.getattr(intern!(py, "pickled"))?;
        if !is_simple(&pickled) {
            return Ok(None);
        }
        writer.add("*--- Failure #")?;
        writer.add_number(number)?;
        writer.add(if pickled.is_truthy()? { " (pickled) ---\n" } else { " ---\n" })?;
    } else {
        writer.add("Traceback (most recent call last):\n")?;
    }
    writer.end()?;
    Ok(Some(number))
}

/// The text of `Failure.getTraceback`, or None if Python has to make it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, detail, /))]
pub(crate) fn plain_traceback<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    show(failure, detail)?.map(Writer::whole).transpose()
}

/// The pieces that `Failure.printTraceback` writes, or None if Python has to do it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, detail, /))]
pub(crate) fn plain_pieces<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    show(failure, detail)?.map(Writer::pieces).transpose()
}

/// The text of `Failure.__repr__`, or None if Python has to make it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, /))]
pub(crate) fn plain_repr<'py>(
    failure: &Bound<'py, FailureBase>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let py = failure.py();
    let kind = FailureBase::kind(failure)?;
    let Ok(kind) = kind.cast::<PyType>() else { return Ok(None) };
    if !Asked::Text.is_plainly_asked(failure) || !capi::has_plain_metaclass(kind) {
        return Ok(None);
    }
    let Some(text) = plain_message(failure)? else { return Ok(None) };
    let names =
        [class_names::qualified_name(&failure.get_type())?, class_names::qualified_name(kind)?];
    let mut writer = Writer::new(py);
    for (before, name) in ["<", " "].into_iter().zip(&names) {
        let Ok(name) = name.cast_exact::<PyString>() else { return Ok(None) };
        let Some(name) = capi::ok(py, name.to_str()) else { return Ok(None) };
        writer.add(before)?;
        writer.add(name)?;
    }
    let Some(text) = capi::ok(py, text.to_str()) else { return Ok(None) };
    for part in [": ", text, ">"] {
        writer.add(part)?;
    }
    writer.whole().map(Some)
}

/// `Failure.getErrorMessage()`
pub(crate) fn error_message<'py>(failure: &Bound<'py, FailureBase>) -> Result<Bound<'py, PyAny>> {
    let py = failure.py();
    if Asked::Text.is_plainly_asked(failure)
        && let Some(text) = plain_message(failure)?
    {
        return Ok(text.into_any());
    }
    Ok(names::ERROR_MESSAGE.get(py)?.call1((failure,))?)
}
