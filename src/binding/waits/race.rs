//! Who wins a race, and the cancelling of the others.

use pyo3::prelude::*;

use crate::binding::capi::{self, Held, Hold, error::Result};
use crate::binding::judge::failure;
use crate::binding::model::{
    names,
    outcome::{self, Outcome, into_object},
    race::Race,
};
use crate::binding::waits::{
    firing,
    ring::{cancel_one, waits_for_itself},
    work::{Answer, Later, Next, Stack, Waits, Work, make_room},
};
use crate::core::{NoMemory, refusable};

/// The one at this place among those that take part in a race.
pub(crate) fn one_of<'py>(race: &Bound<'py, Race>, place: usize) -> Option<Bound<'py, PyAny>> {
    let py = race.py();
    race.get().with(py, |state| state.deferreds.get(place).map(|it| it.bind(py).clone()))
}

impl Waits for Race {
    fn deliver<'py>(race: Bound<'py, Self>, place: u32, outcome: Outcome) -> Result<Answer<'py>> {
        Ok(Answer::After(Work::Race(race, place as usize, outcome), Outcome::Taken))
    }
}

/// One of those that take part in a race has come to something.
pub(crate) fn arrive<'py>(
    race: Bound<'py, Race>,
    place: usize,
    outcome: Outcome,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    if let Outcome::Failure(failure) = outcome {
        let kept = race.get().with(py, |state| {
            if refusable(|| state.failures.try_reserve(1)).is_err() {
                return Err(NoMemory(failure));
            }
            state.failures.push((place, failure));
            let all = state.failures.len() >= state.deferreds.len();
            if all {
                state.failures.sort_unstable_by_key(|(place, _)| *place);
            }
            Ok(all)
        });
        if !outcome::or_no_memory(py, kept)? {
            return Ok(Next::Done);
        }
        let failures = capi::new_list(py)?;
        while let Some(failure) = race.get().with(py, |state| {
            state.failures.get(failures.len()).map(|(_, failure)| failure.bind(py).clone())
        }) {
            failures.append(failure)?;
        }
        let group = names::FAILURE_GROUP.get(py)?.call1((failures,))?;
        let reason = failure::from_exception(group)?;
        return fire(&race, Outcome::Failure(reason.hold()));
    }
    let output = into_object(py, outcome).hold();
    let late = race.get().with(py, |state| match state.winner {
        Some(_) => Some(output),
        None => {
            state.winner = Some((place, output));
            None
        }
    });
    match late {
        Some(output) => {
            drop(output);
            Ok(Next::Done)
        }
        None => cancel_losers(race, 0, stack),
    }
}

fn fire<'py>(race: &Bound<'py, Race>, outcome: Outcome) -> Result<Next<'py>> {
    let py = race.py();
    match race.get().with(py, |state| state.result.as_ref().map(|it| it.bind(py).clone())) {
        Some(result) if firing::begin_fire(&result, outcome)? => Ok(Next::Do(Work::Run(result))),
        _ => Ok(Next::Done),
    }
}

/// Cancel those that lost a race, from a place on; then tell who won.
pub(crate) fn cancel_losers<'py>(
    race: Bound<'py, Race>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    let (loser, winner) = race.get().with(py, |state| {
        let Some((won, output)) = &state.winner else { return (None, None) };
        // Whoever calls a race by hand can have a place win that is nobody's.
        let winner = state.deferreds.get(*won).map(Held::as_ptr);
        let mut others = state.deferreds.iter().enumerate().skip(place);
        let loser = others
            .find(|(_, deferred)| Some(deferred.as_ptr()) != winner)
            .map(|(i, deferred)| (i, deferred.bind(py).clone()));
        (loser, Some((*won, output.bind(py).clone())))
    });
    // Where there is no memory to come back, they are not cancelled.
    let loser = loser.filter(|_| make_room(py, stack).is_ok());
    match (loser, winner) {
        (Some((i, deferred)), _) => {
            stack.push(Later::CancelLosers(race, i + 1));
            cancel_one(deferred)
        }
        (None, Some(winner)) => {
            let (place, output) = winner;
            let pair = capi::new_tuple(py, [capi::new_int(py, place as u64)?, output])?;
            fire(&race, Outcome::Value(pair.into_any().hold()))
        }
        (None, None) => Ok(Next::Done),
    }
}

/// A canceller of one that takes part in a race has raised, which ends the cancelling.
pub(crate) fn stop_cancelling(race: &Bound<'_, Race>) {
    race.get().with(race.py(), |state| state.cancels.end());
}

/// Cancel all that take part in a race, from a place on.
pub(crate) fn cancel_race<'py>(
    race: Bound<'py, Race>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    make_room(py, stack)?;
    if place == 0 && !race.get().with(py, |state| state.cancels.begin()) {
        return Err(waits_for_itself(py));
    }
    let Some(deferred) = one_of(&race, place) else {
        race.get().with(py, |state| state.cancels.end());
        return Ok(Next::Done);
    };
    stack.push(Later::CancelRace(race, place + 1));
    cancel_one(deferred)
}
