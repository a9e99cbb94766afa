//! The frames of failures, and their text if it can be made without running code of a program.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyString, PyTuple};

use crate::binding::capi::{self, error::Result, interned::intern, stack};
use crate::binding::judge::asked::Asked;
use crate::binding::model::{failure::FailureBase, names};
use crate::core::refusable;

/// The least amount by which the buffer grows.
const STEP: usize = 1_000;

/// Builds a text in pieces.
pub(crate) struct Writer<'py> {
    py: Python<'py>,
    text: Vec<u8>,
    /// The end of each piece.
    ends: Vec<usize>,
}

impl<'py> Writer<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self { py, text: Vec::new(), ends: Vec::new() }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        self.add_bytes(text.as_bytes())
    }

    /// Add bytes that are valid UTF-8.
    #[inline(always)]
    fn add_bytes(&mut self, text: &[u8]) -> Result<()> {
        if self.text.capacity() - self.text.len() < text.len() {
            self.make_room(text.len())?;
        }
        self.text.extend_from_slice(text);
        Ok(())
    }

    #[inline(never)]
    fn make_room(&mut self, length: usize) -> Result<()> {
        match refusable(|| self.text.try_reserve(length.max(STEP))) {
            Ok(()) => Ok(()),
            Err(_) => Err(capi::no_memory(self.py)),
        }
    }

    pub(crate) fn add_number(&mut self, number: i64) -> Result<()> {
        // A sign and nineteen digits. Rust's own formatting takes four times as long.
        let mut digits = [0; 20];
        let (mut begin, mut rest) = (digits.len(), number.unsigned_abs());
        loop {
            begin -= 1;
            digits[begin] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            begin -= 1;
            digits[begin] = b'-';
        }
        self.add_bytes(&digits[begin..])
    }

    /// End the current piece.
    pub(crate) fn end(&mut self) -> Result<()> {
        capi::push(self.py, &mut self.ends, self.text.len())
    }

    pub(crate) fn whole(self) -> Result<Bound<'py, PyAny>> {
        Ok(PyString::from_bytes(self.py, &self.text)?.into_any())
    }

    pub(crate) fn pieces(self) -> Result<Bound<'py, PyAny>> {
        let pieces = capi::new_list(self.py)?;
        let mut start = 0;
        for end in self.ends {
            pieces.append(PyString::from_bytes(self.py, &self.text[start..end])?)?;
            start = end;
        }
        Ok(pieces.into_any())
    }
}

/// How detailed a traceback is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Detail {
    Default,
    Brief,
    /// With variables; but none were kept.
    Verbose,
}

impl Detail {
    pub(crate) fn of(detail: &Bound<'_, PyAny>) -> Option<Self> {
        let detail = detail.cast_exact::<PyString>().ok()?;
        match capi::ok(detail.py(), detail.to_str())? {
            "default" => Some(Self::Default),
            "brief" => Some(Self::Brief),
            "verbose" => Some(Self::Verbose),
            _ => None,
        }
    }
}

/// The parts of an entry of `Failure.frames` that are shown.
pub(crate) struct Frame<'py> {
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
pub(crate) fn frames_in<'py>(frames: &Bound<'py, PyAny>) -> Result<Option<Vec<Frame<'py>>>> {
    let Ok(frames) = frames.cast_exact::<PyList>() else { return Ok(None) };
    let mut found = Vec::new();
    for entry in frames.iter() {
        let Some(frame) = Frame::of(&entry) else { return Ok(None) };
        capi::push(frames.py(), &mut found, frame)?;
    }
    Ok(Some(found))
}

/// The lines that `linecache` has read. None if its functions have been replaced, as programs do.
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

/// A stripped line of a source file, as `linecache.getline` finds it.
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
    // A file that is still to be read is represented by a function.
    let [_, _, lines, _] = entry.cast_exact::<PyTuple>().ok()?.as_slice() else { return None };
    let place = usize::try_from(frame.line).ok()?.checked_sub(1)?;
    capi::ok(py, lines.cast_exact::<PyList>().ok()?.get_item(place))
}

/// Write frames as `format_frames` does. False if Python has to do it.
pub(crate) fn write_frames<'py>(
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

/// Write one frame. False if Python has to do it.
fn write_frame<'py>(
    writer: &mut Writer<'py>,
    frame: &Frame<'py>,
    detail: Detail,
    read: Option<&Bound<'py, PyDict>>,
) -> Result<bool> {
    let py = writer.py;
    // Strings that are not valid text, such as half of a surrogate pair, are left to Python.
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

/// How often a repeated frame is shown. Then only the number of the others is.
pub(crate) const REPEATED: usize = 3;

/// Write frames, with repeated ones folded as by the module `traceback`. False if Python has to do
/// it.
pub(crate) fn write_folded<'py>(writer: &mut Writer<'py>, frames: &[Frame<'py>]) -> Result<bool> {
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

/// The pieces that `format_frames` writes, or None if Python has to do it.
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

/// Append the frames of a traceback, without their variables.
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
