//! The stock of one workspace as it is known now: its spares, what is done with them, who asks for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::plan::{Room, Rules, Shelved, State, View, Wanted};
use crate::config::Backend;
use crate::worktree::{Kept, SpareKind};

/// Lanes made within this time count for how many trees the pool keeps.
pub const RECENT: Duration = Duration::from_secs(10 * 60);
/// More requests than the largest pool need not be told apart.
const MAX_RECENT: usize = 64;
/// What could not be made is tried again after so long at first: git may have collected what was just read.
pub const TRIED_SOON: Duration = Duration::from_secs(5);
/// Each time that it fails again it waits four times as long, up to this; another base is tried at once.
pub const TRIED_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Failures that are remembered: bases that nobody asks for any more are forgotten, the oldest first.
const MAX_FAILURES: usize = 16;

/// A spare on the shelf.
#[derive(Clone, Debug)]
struct Item {
    kept: Kept,
    state: State,
    in_use: usize,
    stuck: bool,
    large: bool,
    asked_at: Instant,
}

/// A failure, until when it is not tried again.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    times: u32,
}

impl Failed {
    /// Once more.
    fn again(before: Option<Self>, at: Instant) -> Self {
        Self { at, times: before.map_or(1, |before| before.times.saturating_add(1)) }
    }

    /// True while nobody tries it.
    fn holds(self, now: Instant) -> bool {
        let pause = TRIED_SOON.saturating_mul(4_u32.saturating_pow(self.times - 1)).min(TRIED_AGAIN);
        now.saturating_duration_since(self.at) < pause
    }
}

/// Where the wanted base comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A lane was asked for at this base.
    Request,
    /// The main checkout is at it now.
    Checkout,
    /// What was found after a start was made for it.
    Found,
}

/// A `pool.prepare` that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoilt {
    /// Its fingerprint: another command or other lock files are tried.
    pub fingerprint: String,
    /// What to tell people.
    pub note: String,
}

/// What is known of the machine and the rules at the moment of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The room on the disk.
    pub room: Room,
    /// The machine has more to do than it can.
    pub pressure: bool,
    /// Nothing is done without being asked.
    pub safe_mode: bool,
}

/// The stock of one workspace.
#[derive(Debug)]
pub struct Shelf {
    items: BTreeMap<String, Item>,
    /// Spares that were taken off, and of which nobody knows yet what became of them.
    taken: BTreeSet<String>,
    /// Templates that lanes lie on, and how often one was added: a look at the disk takes a while.
    laid: BTreeSet<String>,
    laid_count: u64,
    /// A template that is being made, and has no name yet.
    making: Option<Wanted>,
    wanted: Option<Wanted>,
    rules: Rules,
    /// Every spare was asked back: what is found at a start is not followed.
    rests: bool,
    requests: VecDeque<Instant>,
    used_at: Instant,
    under_way: usize,
    by_git: BTreeMap<Wanted, usize>,
    failed_templates: VecDeque<(Wanted, Failed, String)>,
    failed_refill: Option<Failed>,
    spoilt: Option<Spoilt>,
}

impl Shelf {
    /// An empty one: nothing is known of the workspace yet.
    pub fn new(now: Instant) -> Self {
        let rules = Rules { backend: Backend::Auto, size: 0, max: 0, prepare: None, only_git: None };
        Self {
            items: BTreeMap::new(),
            taken: BTreeSet::new(),
            laid: BTreeSet::new(),
            laid_count: 0,
            making: None,
            wanted: None,
            rules,
            rests: false,
            requests: VecDeque::new(),
            used_at: now,
            under_way: 0,
            by_git: BTreeMap::new(),
            failed_templates: VecDeque::new(),
            failed_refill: None,
            spoilt: None,
        }
    }

    /// Puts a spare on it; one that is there already is exchanged. A large one takes git longer than a checkout
    /// of what differs.
    pub fn put(&mut self, kept: Kept, state: State, large: bool, now: Instant) {
        let asked_at = self.items.get(&kept.name).map_or(now, |item| item.asked_at);
        let item = Item { state, in_use: 0, stuck: false, large, asked_at, kept };
        self.items.insert(item.kept.name.clone(), item);
    }

    /// True for a spare that is neither on it nor was taken by somebody who is still at it.
    pub fn is_new(&self, name: &str) -> bool {
        !self.items.contains_key(name) && !self.taken.contains(name)
    }

    /// Takes a spare that nothing is being done with off it, until [`Shelf::done`].
    pub fn take(&mut self, name: &str) -> Option<Kept> {
        let free = self.items.get(name).is_some_and(is_unused) && !self.laid.contains(name);
        let kept = if free { self.items.remove(name).map(|item| item.kept) } else { None }?;
        self.taken.insert(name.to_owned());
        Some(kept)
    }

    /// What was taken is a lane's, gone, or may be found on the disk again.
    pub fn done(&mut self, name: &str) {
        self.taken.remove(name);
    }

    /// Takes a spare off, whatever is being done with it: it is gone, or it is a lane's.
    pub fn forget(&mut self, name: &str) {
        self.items.remove(name);
    }

    /// Begins something with a spare, Looking or Busy: nobody else may have it until [`Shelf::settle`] or
    /// [`Shelf::put`]. One that is in use may be looked at, and nothing else.
    pub fn begin(&mut self, name: &str, what: State) -> Option<Kept> {
        let may = what == State::Looking || !self.laid.contains(name);
        let fits = |item: &&mut Item| may && is_idle(item) && (what == State::Looking || item.in_use == 0);
        let item = self.items.get_mut(name).filter(fits)?;
        item.state = what;
        Some(item.kept.clone())
    }

    /// Ends what was begun.
    pub fn settle(&mut self, name: &str, state: State) {
        if let Some(item) = self.items.get_mut(name) {
            item.state = state;
        }
    }

    /// Somebody may have touched these spares; all, when it cannot be told which.
    pub fn suspect(&mut self, of: Option<&str>) {
        let all = self.items.iter_mut();
        let meant = all.filter(|(name, _item)| of.is_none_or(|of| of == name.as_str()));
        for (_name, item) in meant.filter(|(_name, item)| item.state == State::Verified) {
            item.state = State::Unverified;
        }
    }

    /// It cannot be brought to another base.
    pub fn stick(&mut self, name: &str) {
        if let Some(item) = self.items.get_mut(name) {
            item.stuck = true;
        }
    }

    /// Uses a template: it is neither changed nor removed until [`Shelf::leave`].
    pub fn hold(&mut self, name: &str) -> Option<Kept> {
        let item = self.items.get_mut(name).filter(|item| is_idle(item))?;
        item.in_use += 1;
        Some(item.kept.clone())
    }

    /// Ends the use of a template.
    pub fn leave(&mut self, name: &str) {
        if let Some(item) = self.items.get_mut(name) {
            item.in_use = item.in_use.saturating_sub(1);
        }
    }

    /// A lane lies on this template now.
    pub fn lay(&mut self, name: &str) {
        self.laid.insert(name.to_owned());
        self.laid_count += 1;
    }

    /// What [`Shelf::set_laid`] has to be told.
    pub fn laid_count(&self) -> u64 {
        self.laid_count
    }

    /// The templates that lanes lie on, as the disk said; out of date when one was added since `count`.
    pub fn set_laid(&mut self, laid: BTreeSet<String>, count: u64) {
        if count == self.laid_count {
            self.laid = laid;
        }
    }

    /// The state of a spare.
    pub fn state(&self, name: &str) -> Option<State> {
        self.items.get(name).map(|item| item.state)
    }

    /// The spares, by name.
    pub fn names(&self) -> Vec<String> {
        self.items.keys().cloned().collect()
    }

    /// True when there is none on it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Every spare that is on it.
    pub fn all(&self) -> Vec<Kept> {
        self.items.values().map(|item| item.kept.clone()).collect()
    }

    /// Begins to make a template; false while another one is being made.
    pub fn begin_template(&mut self, wanted: &Wanted) -> bool {
        let free = self.making.is_none();
        if free {
            self.making = Some(wanted.clone());
        }
        free
    }

    /// Ends it, with what was made, which nobody has looked at yet, or with why there is none.
    pub fn end_template(&mut self, made: Result<(Kept, bool), String>, now: Instant) {
        let Some(wanted) = self.making.take() else { return };
        let before =
            self.failed_templates.iter().find(|(of, ..)| *of == wanted).map(|(_of, failed, _why)| *failed);
        self.failed_templates.retain(|(of, ..)| *of != wanted);
        match made {
            Ok((kept, large)) => self.put(kept, State::Unverified, large, now),
            Err(why) => {
                self.failed_templates.push_back((wanted, Failed::again(before, now), why));
                while self.failed_templates.len() > MAX_FAILURES {
                    self.failed_templates.pop_front();
                }
            }
        }
    }

    /// What is being made.
    pub fn making(&self) -> Option<&Wanted> {
        self.making.as_ref()
    }

    /// A pooled tree could not be made.
    pub fn refill_failed(&mut self, now: Instant) {
        self.failed_refill = Some(Failed::again(self.failed_refill, now));
    }

    /// One could be made.
    pub fn refilled(&mut self) {
        self.failed_refill = None;
    }

    /// `pool.prepare` has failed, or has not.
    pub fn spoil(&mut self, spoilt: Option<Spoilt>) {
        self.spoilt = spoilt;
    }

    /// The failure of `pool.prepare`, when what failed is what would run now.
    pub fn spoilt(&self) -> Option<&Spoilt> {
        self.spoilt.as_ref().filter(|spoilt| Some(&spoilt.fingerprint) == self.rules.prepare.as_ref())
    }

    /// A lane is asked for.
    pub fn asked(&mut self, wanted: &Wanted, now: Instant) {
        self.requests.push_back(now);
        while self.requests.len() > MAX_RECENT {
            self.requests.pop_front();
        }
        self.used_at = now;
        self.under_way += 1;
        for item in self.items.values_mut().filter(|item| item.kept.spare.base == wanted.base) {
            item.asked_at = now;
        }
    }

    /// It is there, or could not be made.
    pub fn answered(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// git makes one of a base.
    pub fn begin_git(&mut self, wanted: &Wanted) {
        *self.by_git.entry(wanted.clone()).or_default() += 1;
    }

    /// git has made it, or not.
    pub fn end_git(&mut self, wanted: &Wanted) {
        if let Some(count) = self.by_git.get_mut(wanted) {
            *count -= 1;
            if *count == 0 {
                self.by_git.remove(wanted);
            }
        }
    }

    /// From now on spares are to be this, by these rules.
    pub fn want(&mut self, wanted: Wanted, rules: Rules, source: Source) {
        match source {
            Source::Request => self.rests = false,
            Source::Checkout | Source::Found if self.rests => return,
            Source::Checkout | Source::Found => {}
        }
        let is_meant = match source {
            Source::Request => true,
            Source::Checkout => self.wanted.is_some(),
            // Who asked meanwhile knows better.
            Source::Found if self.wanted.is_some() => return,
            Source::Found => true,
        };
        if is_meant {
            self.wanted = Some(wanted);
        }
        self.rules = rules;
    }

    /// What the latest spare on it is.
    pub fn latest(&self) -> Option<Wanted> {
        let latest = self.items.values().max_by_key(|item| item.kept.spare.at)?;
        let spare = &latest.kept.spare;
        Some(Wanted { base: spare.base.clone(), print: spare.print.clone() })
    }

    /// From now on no spares are made, until a lane is asked for.
    pub fn rest(&mut self) {
        (self.wanted, self.rests) = (None, true);
    }

    /// True when nothing is made, and nothing is being done with any spare.
    pub fn is_calm(&self) -> bool {
        self.making.is_none() && self.items.values().all(|item| is_idle(item) && item.in_use == 0)
    }

    /// The rules that hold.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What spares are to be.
    pub fn wanted(&self) -> Option<&Wanted> {
        self.wanted.as_ref()
    }

    /// How long ago a lane was last asked for.
    pub fn unused(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.used_at)
    }

    /// The facts for the plan.
    pub fn view(&self, outside: &Outside, now: Instant) -> View {
        let mut spares: Vec<Shelved> = self.items.values().map(|item| self.shelved(item, now)).collect();
        spares.sort_by(|one, other| one.name.cmp(&other.name));
        spares.sort_by_key(|spare| self.items.get(&spare.name).map(|item| item.kept.spare.at));
        if let Some(wanted) = &self.making {
            spares.push(Shelved {
                name: String::new(),
                kind: SpareKind::Template,
                is: wanted.clone(),
                prepared: None,
                state: State::Busy,
                in_use: 0,
                laid: false,
                stuck: false,
                large: false,
                unused: Duration::ZERO,
            });
        }
        let lately = |at: &&Instant| now.saturating_duration_since(**at) < RECENT;
        View {
            spares,
            template_failed: self
                .wanted
                .as_ref()
                .is_some_and(|wanted| self.template_failed(wanted, now).is_some()),
            wanted: self.wanted.clone(),
            rules: self.rules.clone(),
            recent: self.requests.iter().filter(lately).count(),
            unused: self.unused(now),
            under_way: self.under_way,
            room: outside.room,
            pressure: outside.pressure,
            safe_mode: outside.safe_mode,
            refill_failed: self.failed_refill.is_some_and(|failed| failed.holds(now)),
            prepare_failed: self.spoilt.as_ref().map(|spoilt| spoilt.fingerprint.clone()),
        }
    }

    fn shelved(&self, item: &Item, now: Instant) -> Shelved {
        let spare = &item.kept.spare;
        Shelved {
            name: item.kept.name.clone(),
            kind: spare.kind,
            is: Wanted { base: spare.base.clone(), print: spare.print.clone() },
            prepared: spare.prepared.clone(),
            state: item.state,
            in_use: item.in_use,
            laid: self.laid.contains(&item.kept.name),
            stuck: item.stuck,
            large: item.large,
            unused: now.saturating_duration_since(item.asked_at),
        }
    }

    fn template_failed(&self, wanted: &Wanted, now: Instant) -> Option<&str> {
        let of = |(of, failed, _why): &&(Wanted, Failed, String)| of == wanted && failed.holds(now);
        self.failed_templates.iter().find(of).map(|(_of, _failed, why)| why.as_str())
    }

    /// How many lanes of this git is making, and why there is no template of it, when one failed just now.
    pub fn said_of(&self, wanted: &Wanted, now: Instant) -> (usize, Option<String>) {
        let by_git = self.by_git.get(wanted).copied().unwrap_or(0);
        (by_git, self.template_failed(wanted, now).map(str::to_owned))
    }
}

/// True when nothing is being done with it.
fn is_idle(item: &Item) -> bool {
    match item.state {
        State::Looking | State::Busy => false,
        State::Unverified | State::Verified | State::Unwatched | State::Touched => true,
    }
}

fn is_unused(item: &Item) -> bool {
    is_idle(item) && item.in_use == 0
}
