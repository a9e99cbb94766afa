//! Runs a race: fires with the first result, and cancels the other competitors.

use pyo3::prelude::*;

use crate::binding::capi::{self, Held, Hold, again::insist, error::Result};
use crate::binding::judge::creating;
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

/// The competitor at this index.
pub(crate) fn one_of<'py>(race: &Bound<'py, Race>, place: usize) -> Option<Bound<'py, PyAny>> {
    let py = race.py();
    race.get().with(py, |state| state.deferreds.get(place).map(|it| it.bind(py).clone()))
}

impl Waits for Race {
    fn deliver<'py>(race: Bound<'py, Self>, place: u32, outcome: Outcome) -> Result<Answer<'py>> {
        Ok(Answer::After(Work::Race(race, place as usize, outcome), Outcome::Taken))
    }
}

/// Handle the outcome of one competitor.
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
        let reason = creating::from_exception(group)?;
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
        Some(result) if firing::begin_fire_unless_fired(&result, outcome)? => {
            Ok(Next::Do(Work::Run(result)))
        }
        _ => Ok(Next::Done),
    }
}

/// Cancel the losers, from an index on, then fire the race's Deferred.
pub(crate) fn cancel_losers<'py>(
    race: Bound<'py, Race>,
    place: usize,
    stack: &mut Stack<'py>,
) -> Result<Next<'py>> {
    let py = race.py();
    let (loser, winner) = race.get().with(py, |state| {
        let Some((won, output)) = &state.winner else { return (None, None) };
        // A program that calls the race itself can pass any index.
        let winner = state.deferreds.get(*won).map(Held::as_ptr);
        let mut others = state.deferreds.iter().enumerate().skip(place);
        let loser = others
            .find(|(_, deferred)| Some(deferred.as_ptr()) != winner)
            .map(|(i, deferred)| (i, deferred.bind(py).clone()));
        (loser, Some((*won, output.bind(py).clone())))
    });
    // Without memory for the entry on the stack, the losers are not cancelled.
    let loser = loser.filter(|_| make_room(py, stack).is_ok());
    match (loser, winner) {
        (Some((i, deferred)), _) => {
            stack.push(Later::CancelLosers(race, i + 1));
            cancel_one(deferred)
        }
        (None, Some(winner)) => {
            let (place, output) = winner;
            let pair = insist(py, || {
                capi::new_tuple(py, [capi::new_int(py, place as u64)?.into_any(), output.clone()])
            });
            let outcome = match pair {
                Ok(pair) => Outcome::Value(pair.into_any().hold()),
                // There is no memory for it: it would never fire otherwise.
                Err(error) => {
                    let reason = creating::from_raised(error.into_raised(py), false)?;
                    Outcome::Failure(reason.hold())
                }
            };
            fire(&race, outcome)
        }
        (None, None) => Ok(Next::Done),
    }
}

/// A competitor's canceller has raised an exception. Stop cancelling.
pub(crate) fn stop_cancelling(race: &Bound<'_, Race>) {
    race.get().with(race.py(), |state| state.cancels.end());
}

/// Cancel all competitors, from an index on.
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
