//! Which spares nobody needs now: from facts, without doing anything.

use std::time::Duration;

use super::plan::{self, Shelved, State, View, Why};
use crate::worktree::SpareKind;

/// Which spares are freed when the user asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those that the background would give up in time.
    Unneeded,
    /// All of them.
    Every,
}

/// The spares that may go, in the order in which they are given up, and why. Never one that something is made
/// from, that is being changed, or that somebody worked in; no template when lanes may lie on one.
pub fn surplus(view: &View, extent: Extent, lain_on: bool) -> Vec<(String, Why)> {
    let mut view = view.clone();
    let may_go = |spare: &Shelved| {
        let known = match spare.state {
            State::Unverified | State::Verified | State::Unwatched | State::Looking => true,
            State::Touched | State::Busy => false,
        };
        known && spare.in_use == 0 && !spare.laid && !(lain_on && spare.kind == SpareKind::Template)
    };
    // It is looked at before it goes; and nobody waits until its base is asked for again.
    for spare in view.spares.iter_mut().filter(|spare| may_go(spare)) {
        (spare.state, spare.unused) = (State::Verified, Duration::MAX);
    }
    let mut found = Vec::new();
    while let Some((at, why)) = next(&view, extent, may_go) {
        found.push((view.spares.remove(at).name, why));
    }
    found
}

/// The first that goes: what the others are for changes with it.
fn next(view: &View, extent: Extent, may_go: impl Fn(&Shelved) -> bool) -> Option<(usize, Why)> {
    let why = |spare: &Shelved| match plan::unwanted(spare, view) {
        None if extent == Extent::Every => Some(Why::Asked),
        why => why,
    };
    let all = view.spares.iter().enumerate().filter(|(_at, spare)| may_go(spare));
    all.filter_map(|(at, spare)| Some((at, why(spare)?))).next()
}
