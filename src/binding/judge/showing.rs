//! The frames of failures, and their texts where no code of a program has a say in them.
//!
//! `deferrous/failure.py` has the general forms, which write piece by piece to whatever has a
//! `write`. Most failures are of a plain exception, whose text cannot run anything: those texts are
//! made here, in one go.

use std::io::Write;

#[cfg(Py_3_11)]
use pyo3::exceptions::PyBaseExceptionGroup;
use pyo3::exceptions::{PyBaseException, PyKeyError, PySyntaxError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use crate::binding::capi::{
    self,
    error::{Raised, Result},
    interned::intern,
    stack,
};
use crate::binding::judge::{asked::Asked, kinds};
use crate::binding::model::{failure::FailureBase, names};
use crate::core::refusable;

/// So many bytes at a time are made room for, at least.
const STEP: usize = 500;

/// A text that is being put together, in pieces.
struct Writer<'py> {
    py: Python<'py>,
    text: Vec<u8>,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl<'py> Writer<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { py, text: Vec::new(), ends: Vec::new() }
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let is_full = self.text.capacity() - self.text.len() < text.len();
        if is_full && refusable(|| self.text.try_reserve(text.len().max(STEP))).is_err() {
            return Err(capi::no_memory(self.py));
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn add_number(&mut self, number: i64) -> Result<()> {
        // A sign and nineteen digits.
        let mut digits = [0; 20];
        let mut rest = digits.as_mut_slice();
        let written = write!(rest, "{number}");
        let length = if written.is_ok() { 20 - rest.len() } else { 0 };
        self.add(str::from_utf8(&digits[..length]).unwrap_or_default())
    }

    /// A piece is complete.
    fn end(&mut self) -> Result<()> {
        capi::push(self.py, &mut self.ends, self.text.len())
    }

    fn whole(self) -> Result<Bound<'py, PyAny>> {
        Ok(PyString::from_bytes(self.py, &self.text)?.into_any())
    }

    fn pieces(self) -> Result<Bound<'py, PyAny>> {
        let pieces = capi::new_list(self.py)?;
        let mut start = 0;
        for end in self.ends {
            pieces.append(PyString::from_bytes(self.py, &self.text[start..end])?)?;
            start = end;
        }
        Ok(pieces.into_any())
    }
}

/// How much of a traceback is shown.
#[derive(Clone, Copy, PartialEq)]
enum Detail {
    Default,
    Brief,
    /// With the variables, which have not been kept.
    Verbose,
}

impl Detail {
    fn of(detail: &Bound<'_, PyAny>) -> Option<Self> {
        let detail = detail.cast_exact::<PyString>().ok()?;
        match capi::ok(detail.py(), detail.to_str())? {
            "default" => Some(Self::Default),
            "brief" => Some(Self::Brief),
            "verbose" => Some(Self::Verbose),
            _ => None,
        }
    }
}

/// One entry of `Failure.frames`, as far as it is shown.
struct Frame<'py> {
    function: Bound<'py, PyString>,
    file: Bound<'py, PyString>,
    line: i64,
}

impl<'py> Frame<'py> {
    /// None if a program has put something else there.
    fn of(entry: &Bound<'py, PyAny>) -> Option<Self> {
        let entry = entry.cast_exact::<PyTuple>().ok()?;
        let [function, file, line, _, _] = entry.as_slice() else { return None };
        Some(Self {
            function: function.cast_exact::<PyString>().ok()?.clone(),
            file: file.cast_exact::<PyString>().ok()?.clone(),
            line: capi::ok(entry.py(), line.cast_exact::<PyInt>().ok()?.extract())?,
        })
    }

    fn is_as(&self, other: &Self) -> bool {
        let same = |one: &Bound<'py, PyString>, two: &Bound<'py, PyString>| {
            one.is(two) || capi::ok(one.py(), one.as_any().eq(two)) == Some(true)
        };
        self.line == other.line
            && same(&self.function, &other.function)
            && same(&self.file, &other.file)
    }
}

/// All entries of `Failure.frames`. None if a program has put something else there.
fn frames_in<'py>(frames: &Bound<'py, PyAny>) -> Result<Option<Vec<Frame<'py>>>> {
    let Ok(frames) = frames.cast_exact::<PyList>() else { return Ok(None) };
    let mut found = Vec::new();
    for entry in frames.iter() {
        let Some(frame) = Frame::of(&entry) else { return Ok(None) };
        capi::push(frames.py(), &mut found, frame)?;
    }
    Ok(Some(found))
}

/// What `linecache` has read, as long as its functions are its own: programs replace them.
fn lines_read<'py>(py: Python<'py>) -> Result<Option<Bound<'py, PyDict>>> {
    let module = names::LINECACHE.get(py)?;
    let globals = intern!(py, "__globals__");
    for name in [intern!(py, "getline"), intern!(py, "getlines")] {
        let Some(function) = module.get_item(name)? else { return Ok(None) };
        if !capi::ok(py, function.getattr(globals)).is_some_and(|of| of.is(module)) {
            return Ok(None);
        }
    }
    let cache = module.get_item(intern!(py, "cache"))?;
    Ok(cache.and_then(|cache| cache.cast_into_exact::<PyDict>().ok()))
}

/// A line of a source file without the space around it, as `linecache.getline` finds it.
fn source_line<'py>(
    read: Option<&Bound<'py, PyDict>>,
    frame: &Frame<'py>,
) -> Result<Option<Bound<'py, PyString>>> {
    let py = frame.file.py();
    let line = match read.and_then(|read| line_in(read, frame)) {
        Some(line) => line,
        None => names::LINECACHE
            .get(py)?
            .get_item(intern!(py, "getline"))?
            .unwrap_or_else(|| py.None().into_bound(py))
            .call1((&frame.file, frame.line))?,
    };
    let Ok(line) = line.cast_exact::<PyString>() else { return Ok(None) };
    Ok(line.call_method0(intern!(py, "strip"))?.cast_into_exact().ok())
}

/// The line, if the file has been read.
fn line_in<'py>(read: &Bound<'py, PyDict>, frame: &Frame<'py>) -> Option<Bound<'py, PyAny>> {
    let py = read.py();
    let entry = capi::ok(py, read.get_item(&frame.file))??;
    // Of what is still to be read, there is a function.
    let [_, _, lines, _] = entry.cast_exact::<PyTuple>().ok()?.as_slice() else { return None };
    let place = usize::try_from(frame.line).ok()?.checked_sub(1)?;
    capi::ok(py, lines.cast_exact::<PyList>().ok()?.get_item(place))
}

/// Write frames as `format_frames` does. False if that is not for us to say.
fn write_frames<'py>(
    writer: &mut Writer<'py>,
    frames: &[Frame<'py>],
    detail: Detail,
) -> Result<bool> {
    let read = if detail == Detail::Default { lines_read(writer.py)? } else { None };
    for frame in frames {
        if !write_frame(writer, frame, detail, read.as_ref())? {
            return Ok(false);
        }
    }
    if detail == Detail::Verbose && !frames.is_empty() {
        writer.add(" [Capture of Locals and Globals disabled (use captureVars=True)]\n")?;
        writer.end()?;
    }
    Ok(true)
}

/// Write one frame. False if that is not for us to say.
fn write_frame<'py>(
    writer: &mut Writer<'py>,
    frame: &Frame<'py>,
    detail: Detail,
    read: Option<&Bound<'py, PyDict>>,
) -> Result<bool> {
    let py = writer.py;
    // What is no text for others, such as a half of a surrogate pair, is for Python.
    let (Some(file), Some(function)) =
        (capi::ok(py, frame.file.to_str()), capi::ok(py, frame.function.to_str()))
    else {
        return Ok(false);
    };
    if detail == Detail::Default {
        writer.add("  File \"")?;
        writer.add(file)?;
        writer.add("\", line ")?;
        writer.add_number(frame.line)?;
        writer.add(", in ")?;
        writer.add(function)?;
        writer.add("\n")?;
        writer.end()?;
        let Some(line) = source_line(read, frame)? else { return Ok(false) };
        let Some(line) = capi::ok(py, line.to_str()) else { return Ok(false) };
        writer.add("    ")?;
        writer.add(line)?;
        writer.add("\n")?;
    } else {
        let verbose = detail == Detail::Verbose;
        writer.add(file)?;
        writer.add(":")?;
        writer.add_number(frame.line)?;
        writer.add(if verbose { ": " } else { ":" })?;
        writer.add(function)?;
        writer.add(if verbose { "(...)\n" } else { "\n" })?;
    }
    writer.end()?;
    Ok(true)
}

/// So many frames that are the same are shown, one after the other; of the others, the number.
const REPEATED: usize = 3;

/// Write frames, but those that are repeated as the module traceback. False if that is not for us
/// to say.
fn write_folded<'py>(writer: &mut Writer<'py>, frames: &[Frame<'py>]) -> Result<bool> {
    let read = lines_read(writer.py)?;
    for same in frames.chunk_by(Frame::is_as) {
        for frame in same.iter().take(REPEATED) {
            if !write_frame(writer, frame, Detail::Default, read.as_ref())? {
                return Ok(false);
            }
        }
        if let more @ 1.. = same.len().saturating_sub(REPEATED) {
            writer.add("  [Previous line repeated ")?;
            writer.add_number(more as i64)?;
            writer.add(if more > 1 { " more times]\n" } else { " more time]\n" })?;
            writer.end()?;
        }
    }
    Ok(true)
}

/// Whether the text of an object is certainly made without code of a program.
fn is_simple(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyString>()
        || object.is_none()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
        // Those of any length may be refused.
        || (object.is_exact_instance_of::<PyInt>()
            && capi::ok(object.py(), object.extract::<i64>()).is_some())
}

/// The arguments of an exception, if they are all simple, and are CPython's own to say.
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

/// The text of an exception, if no code of a program has a say in it.
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

/// The text of `Failure.getErrorMessage`, if no code of a program has a say in it.
fn plain_message<'py>(failure: &Bound<'py, FailureBase>) -> Result<Option<Bound<'py, PyString>>> {
    plain_text_of(&FailureBase::value(failure)?)
}

/// Whether there is nothing to be shown around an exception, nor within it, or it is none.
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
    // Few have a dict, and to look there in vain takes long.
    let may_have_notes =
        !capi::has_no_exception_dict(error) || capi::lookup(&error.get_type(), notes) != 0;
    lacks(intern!(py, "__cause__"))
        && lacks(intern!(py, "__context__"))
        && !(may_have_notes && has_notes())
}

/// The text of a failure. None if a program has a say in it, or if there is more to be shown than
/// its frames and its exception.
fn show<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Writer<'py>>> {
    let py = failure.py();
    let Some(detail) = Detail::of(detail) else { return Ok(None) };
    if !Asked::Text.is_plainly_asked(failure) || !stack::has_room_to_report() {
        return Ok(None);
    }
    let (value, kind) = (FailureBase::value(failure)?, FailureBase::kind(failure)?);
    let Ok(kind) = kind.cast::<PyType>() else { return Ok(None) };
    if !capi::has_plain_metaclass(kind) || (detail != Detail::Brief && !stands_alone(&value)) {
        return Ok(None);
    }
    let keeps_variables = FailureBase::capture_vars(failure)?;
    if !keeps_variables.cast_exact::<PyBool>().is_ok_and(|keeps| !keeps.is_true()) {
        return Ok(None);
    }
    let (Some(text), Some(frames)) = (plain_text_of(&value)?, frames_in(&frames_of(failure)?)?)
    else {
        return Ok(None);
    };
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
    let kind = kinds::qualified_name(kind)?;
    let Ok(kind) = kind.cast_exact::<PyString>() else { return Ok(None) };
    let Some(kind) = capi::ok(py, kind.to_str()) else { return Ok(None) };
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
    // Of those that are repeated, not all are shown where Twisted is not in use.
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

/// The text of `Failure.getTraceback`, or None if Python has to make it.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, detail, /))]
pub(crate) fn plain_traceback<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    show(failure, detail)?.map(Writer::whole).transpose()
}

/// What `Failure.printTraceback` writes, piece by piece, or None if Python has to find out.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (failure, detail, /))]
pub(crate) fn plain_pieces<'py>(
    failure: &Bound<'py, FailureBase>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    show(failure, detail)?.map(Writer::pieces).transpose()
}

/// What `format_frames` writes, piece by piece, or None if Python has to find out.
#[pyfunction(crate = "crate::binding::capi::guarded")]
#[pyo3(signature = (frames, detail, /))]
pub(crate) fn pieces_of_frames<'py>(
    frames: &Bound<'py, PyAny>,
    detail: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let detail = match Detail::of(detail) {
        Some(detail) if detail != Detail::Verbose => detail,
        _ => return Ok(None),
    };
    let py = frames.py();
    let Some(frames) = frames_in(frames)? else { return Ok(None) };
    let mut writer = Writer::new(py);
    if write_frames(&mut writer, &frames, detail)? { Ok(Some(writer.pieces()?)) } else { Ok(None) }
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
    let names = [kinds::qualified_name(&failure.get_type())?, kinds::qualified_name(kind)?];
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

/// `Failure.frames`
pub(crate) fn frames_of<'py>(failure: &Bound<'py, FailureBase>) -> Result<Bound<'py, PyAny>> {
    let py = failure.py();
    let name = intern!(py, "_frames");
    let is_plain = Asked::Text.is_plainly_asked(failure);
    let kept = if !is_plain {
        failure.getattr_opt(name)?
    } else if capi::has_no_exception_dict(failure.as_super()) {
        None
    } else {
        capi::exception_dict(failure)?.get_item(name)?
    };
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let frames = capi::new_list(py)?;
    let (tb, keeps_variables) = if is_plain {
        capi::exception_dict(failure)?.set_item(name, &frames)?;
        (FailureBase::tb(failure)?, FailureBase::capture_vars(failure)?)
    } else {
        failure.setattr(name, &frames)?;
        (failure.getattr(intern!(py, "tb"))?, failure.getattr(intern!(py, "captureVars"))?)
    };
    if stack::truth(&keeps_variables)? {
        names::ADD_FRAMES_WITH_VARIABLES.get(py)?.call1((&frames, tb))?;
    } else {
        add_frames(&frames, tb)?;
    }
    Ok(frames.into_any())
}

/// Add the frames of a traceback, without their variables.
fn add_frames<'py>(frames: &Bound<'py, PyList>, mut tb: Bound<'py, PyAny>) -> Result<()> {
    let py = frames.py();
    let nothing = PyTuple::empty(py).into_any();
    while !tb.is_none() {
        let code = tb.getattr(intern!(py, "tb_frame"))?.getattr(intern!(py, "f_code"))?;
        let frame = capi::new_tuple(
            py,
            [
                code.getattr(intern!(py, "co_name"))?,
                code.getattr(intern!(py, "co_filename"))?,
                tb.getattr(intern!(py, "tb_lineno"))?,
                nothing.clone(),
                nothing.clone(),
            ],
        )?;
        frames.append(frame)?;
        tb = tb.getattr(intern!(py, "tb_next"))?;
    }
    Ok(())
}
