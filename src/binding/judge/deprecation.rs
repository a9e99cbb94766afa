//! Warnings about attributes that Twisted has deprecated.

use pyo3::exceptions::PyDeprecationWarning;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::binding::capi::{self, Held, Hold, Text, cell::Shared, error::Result, interned::intern};
use crate::binding::model::names;

/// A deprecated attribute.
pub(crate) struct Deprecated {
    name: &'static str,
    /// The version of Twisted that deprecated it.
    since: &'static str,
    said: Shared<Option<Said>>,
}

/// The last warning, and the names of the class that it was about.
struct Said {
    module: Held<PyAny>,
    class: Held<PyAny>,
    text: Held<PyString>,
}

impl Deprecated {
    pub(crate) const fn new(name: &'static str, since: &'static str) -> Self {
        Self { name, since, said: Shared::new(None) }
    }

    /// Warn, at the line of the Python code that called us.
    ///
    /// # Errors
    ///
    /// The warning, if warnings are turned into errors.
    pub(crate) fn warn(&self, class: &Bound<'_, PyType>) -> Result<()> {
        let py = class.py();
        let text = self.text(class)?;
        let Some(warn) = names::WARNINGS.get(py)?.get_item(intern!(py, "warn"))? else {
            return Ok(());
        };
        let level = capi::new_int(py, 1)?;
        capi::call_many(
            &warn,
            &[text.into_any(), py.get_type::<PyDeprecationWarning>().into_any(), level],
            None,
        )?;
        Ok(())
    }

    /// The message. If our module replaces Twisted's, classes have the names that they have there.
    fn text<'py>(&self, class: &Bound<'py, PyType>) -> Result<Bound<'py, PyString>> {
        let py = class.py();
        let module = class.getattr(intern!(py, "__module__"))?;
        let of = class.getattr(intern!(py, "__qualname__"))?;
        let known = self.said.with(py, |said| {
            said.as_ref()
                .filter(|said| said.module.bind(py).is(&module) && said.class.bind(py).is(&of))
                .map(|said| said.text.bind(py).clone())
        });
        if let Some(text) = known {
            return Ok(text);
        }
        let text = capi::joined(
            py,
            [
                Text::Python(module.str()?),
                Text::Ours("."),
                Text::Python(of.str()?),
                Text::Ours("."),
                Text::Ours(self.name),
                Text::Ours(" was deprecated in Twisted "),
                Text::Ours(self.since),
            ],
        )?;
        let said = Said { module: module.hold(), class: of.hold(), text: text.clone().hold() };
        let before = self.said.with(py, |current| current.replace(said));
        drop(before);
        Ok(text)
    }
}
