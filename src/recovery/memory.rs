//! What the watchdog remembers from cycle to cycle, and what it tells: a function of both and the time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::orphan::Orphan;
use crate::clock::Timestamp;

/// The version of the record; one of another version is dropped.
const VERSION: u32 = 1;
/// More things than this are not remembered; those that were seen first stay.
const MOST: usize = 10_000;

/// What was suggested and is not seen is remembered so long: it may only have been out of sight, as while its
/// lane is being ended, and is not suggested a second time then.
const OUT_OF_SIGHT: Duration = Duration::from_secs(60 * 60);

/// What is remembered; lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    version: u32,
    /// How many cycles there were.
    pub cycles: u64,
    /// When the last one was.
    pub at: Timestamp,
    /// Things by their ids.
    pub things: BTreeMap<String, Remembered>,
}

/// What is remembered of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// When it was first seen.
    pub first: Timestamp,
    /// True once it was suggested.
    pub told: bool,
    /// Not suggested again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declined_until: Option<Timestamp>,
    /// When it was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// Since when it is not seen any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_since: Option<Timestamp>,
}

/// The numbers that the watchdog goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For how long a declined thing is not suggested again.
    pub cooldown: Duration,
    /// A thing is suggested when it is seen a second time, at least so long after the first.
    pub settle: Duration,
}

/// What a look leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What is to be remembered.
    pub memory: Memory,
    /// Places in what was seen: to be suggested now.
    pub tell: Vec<usize>,
    /// Suggestions whose thing is gone.
    pub gone: Vec<String>,
    /// True when something was seen for the first time, or too short a time ago.
    pub unsettled: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { version: VERSION, cycles: 0, at: Timestamp(0), things: BTreeMap::new() }
    }
}

impl Memory {
    /// Reads the record; `None` for one that is damaged or of another version.
    pub fn read(body: serde_json::Value) -> Option<Self> {
        serde_json::from_value(body).ok().filter(|memory: &Self| memory.version == VERSION)
    }

    /// True when a thing is a suggestion now.
    pub fn suggests(&self, id: &str, now: Timestamp) -> bool {
        let thing = self.things.get(id).filter(|thing| thing.unseen_since.is_none());
        thing.is_some_and(|thing| thing.told && !thing.is_declined(now))
    }

    /// Takes in what a look has seen.
    pub fn look(&self, seen: &[Orphan], now: Timestamp, rules: Rules) -> Told {
        let mut told = Told {
            memory: Self { at: now, ..self.clone() },
            tell: Vec::new(),
            gone: Vec::new(),
            unsettled: false,
        };
        let ids: Vec<String> = seen.iter().map(Orphan::id).collect();
        told.memory.forget(&ids, now, rules, &mut told.gone);
        for (at, id) in ids.iter().enumerate() {
            if !told.memory.things.contains_key(id) && told.memory.things.len() >= MOST {
                continue;
            }
            let before = told.memory.things.get(id).cloned();
            let is_new = before.is_none();
            let mut thing = before.unwrap_or_else(|| Remembered::at(now));
            // A clock that was set back does not put off what was seen.
            thing.first = thing.first.min(now);
            if thing.declined_until.is_some() && !thing.is_declined(now) {
                thing.declined_until = None;
                thing.told = false;
            }
            // It was dealt with, and is there all the same.
            thing.confirmed = None;
            thing.unseen_since = None;
            if is_new || thing.first.age(now) < rules.settle {
                told.unsettled |= !thing.told && !thing.is_declined(now);
            } else if !thing.told && !thing.is_declined(now) {
                thing.told = true;
                told.tell.push(at);
            }
            told.memory.things.insert(id.clone(), thing);
        }
        told
    }

    /// Forgets what is not there any more, but for what was decided about it lately.
    fn forget(&mut self, there: &[String], now: Timestamp, rules: Rules, gone: &mut Vec<String>) {
        let there: std::collections::BTreeSet<&String> = there.iter().collect();
        self.things.retain(|id, thing| {
            if there.contains(id) {
                return true;
            }
            let is_new = thing.unseen_since.is_none();
            let since = *thing.unseen_since.get_or_insert(now);
            if is_new && thing.told && thing.confirmed.is_none() {
                gone.push(id.clone());
            }
            let dealt_with = thing.confirmed.is_some_and(|at| at.age(now) < rules.cooldown);
            dealt_with || thing.is_declined(now) || (thing.told && since.age(now) < OUT_OF_SIGHT)
        });
    }

    /// Puts a thing off.
    pub fn decline(&mut self, id: &str, until: Timestamp) {
        if let Some(thing) = self.things.get_mut(id) {
            thing.declined_until = Some(until);
        }
    }

    /// Notes that a thing was dealt with; a cycle may have seen meanwhile that it is gone.
    pub fn confirm(&mut self, id: &str, now: Timestamp) {
        let thing = self.things.entry(id.to_owned()).or_insert_with(|| Remembered::at(now));
        thing.confirmed = Some(now);
        thing.declined_until = None;
    }

    /// The ids that begin like this.
    pub fn matching(&self, start: &str) -> Vec<&str> {
        let known = self.things.range(start.to_owned()..);
        known.map(|(id, _thing)| id.as_str()).take_while(|id| id.starts_with(start)).collect()
    }
}

impl Remembered {
    const fn at(now: Timestamp) -> Self {
        Self { first: now, told: false, declined_until: None, confirmed: None, unseen_since: None }
    }

    /// True while it is put off.
    pub fn is_declined(&self, now: Timestamp) -> bool {
        self.declined_until.is_some_and(|until| until > now)
    }
}
