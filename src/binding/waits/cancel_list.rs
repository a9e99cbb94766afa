//! Cancels the Deferreds of a `DeferredList`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::binding::capi::{
    depth,
    error::{Error, Result},
};
use crate::binding::judge::{classify::as_deferred, creating};
use crate::binding::model::{list::DeferredList, names};
use crate::binding::waits::{
    cancelling,
    ring::{cancel_one, is_of_ring, waits_for_itself},
    work::{Later, Next, Stack, make_room},
};

/// Cancel the Deferreds of a list, from an index on.
pub(crate) fn cancel_list<'py>(
    list: Bound<'py, DeferredList>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = list.py();
    make_room(py, stack)?;
    if place == 0 {
        if list.as_super().get().chain(py, |chain| chain.called()) {
            // A fired list passes the cancellation on, like any Deferred. Twisted's list does not.
            return cancelling::cancel_waited_for(list.as_super());
        }
        // If each of them were refused, that would be reported, and nothing would be cancelled.
        depth::check_ahead(py)?;
        if !list.get().with(py, |state| state.cancels.begin()) {
            return Err(waits_for_itself(py));
        }
    }
    let deferreds = list.get().deferreds(py)?;
    let (in_ring, outermost) =
        list.get().with(py, |state| (state.cancels.in_ring, state.cancels.depth <= 1));
    let mut place = place;
    if in_ring {
        // Items that do not lead back here are still cancelled, once.
        place = if outermost { next_unfired(&deferreds, place) } else { deferreds.len() };
    }
    if place >= deferreds.len() {
        list.get().with(py, |state| state.cancels.end());
        return Ok(Next::Done);
    }
    let deferred = deferreds.get_item(place)?;
    stack.push(Later::CancelList(list, place + 1));
    cancel_one(deferred)
}

/// The next index of an item that does not wait for another Deferred.
#[cold]
fn next_unfired(deferreds: &Bound<'_, PyList>, place: usize) -> usize {
    let py = deferreds.py();
    let is_unfired = |place: &usize| match deferreds.get_item(*place) {
        Ok(it) => as_deferred(&it).is_none_or(|it| !it.get().chain(py, |chain| chain.called())),
        Err(_) => true,
    };
    (place..deferreds.len()).find(is_unfired).unwrap_or(deferreds.len())
}

/// Report that cancelling an item has raised an exception. The others are cancelled all the same,
/// and a timeout then fails the item.
#[cold]
pub(crate) fn canceller_raised<'py>(
    list: &Bound<'py, DeferredList>,
    place: usize,
    error: Error,
) -> Result<()> {
    let py = list.py();
    if is_of_ring(py, &error) {
        list.get().with(py, |state| state.cancels.in_ring = true);
    }
    let reason = creating::from_raised(error.into_raised(py), false)?;
    let raised = match list.get().deferreds(py)?.get_item(place) {
        Ok(deferred) => deferred,
        // A program has shortened the list meanwhile.
        Err(_) => py.None().into_bound(py),
    };
    names::CANCELLER_RAISED.get(py)?.call1((reason, raised))?;
    Ok(())
}

/// Reporting has failed, too. Stop cancelling.
pub(crate) fn stop_cancelling_list(list: &Bound<'_, DeferredList>) {
    list.get().with(list.py(), |state| state.cancels.end());
}
