//! What a lane's tree is made from, and what the background does next: from facts, without doing anything.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Backend;
use crate::worktree::SpareKind;

/// Templates of one workspace that no lane lies on: the base that is asked for now, the one before, and one more.
pub const MAX_TEMPLATES: usize = 3;
/// All of them: each base that lanes lie on has its own, and more than a few dozen would fill a disk.
pub const MAX_LAID: usize = 32;
/// A template of another base than the one wanted goes when nobody has asked for its base for so long.
pub const TEMPLATE_KEPT: Duration = Duration::from_secs(10 * 60);
/// The spares of a workspace that nobody has made a lane in for so long are given up.
pub const ABANDONED: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// What a spare is to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The commit.
    pub base: String,
    /// What else decides how the files look.
    pub print: String,
}

/// What may be done with a spare now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has looked at it since it was found, or since somebody may have touched it.
    Unverified,
    /// As it was made, and watched since before that was looked at.
    Verified,
    /// As it was made when it was looked at; it has more folders than can be watched.
    Unwatched,
    /// Not as it was made: somebody worked in it.
    Touched,
    /// Somebody looks at it just now.
    Looking,
    /// Something is being done with it.
    Busy,
}

/// A spare as the plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: SpareKind,
    /// What it is.
    pub is: Wanted,
    /// The fingerprint of the `pool.prepare` that has run in it.
    pub prepared: Option<String>,
    /// What may be done with it.
    pub state: State,
    /// What is being made from it just now.
    pub in_use: usize,
    /// Lanes lie on it: it is neither changed nor removed.
    pub laid: bool,
    /// It cannot be brought to another base.
    pub stuck: bool,
    /// git takes longer to make such a tree than to bring this one to another base.
    pub large: bool,
    /// How long ago its base was last asked for.
    pub unused: Duration,
}

/// What the configuration says, and the repository allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The way that lanes are made.
    pub backend: Backend,
    /// Pooled trees that are kept.
    pub size: usize,
    /// What that grows to with use.
    pub max: usize,
    /// The fingerprint of the `pool.prepare` that has to have run in a pooled tree.
    pub prepare: Option<String>,
    /// Why each tree must be made by git for itself, when it must: nothing is kept.
    pub only_git: Option<&'static str>,
}

impl Rules {
    /// True when templates have a use.
    fn keeps_templates(&self) -> bool {
        let used = match self.backend {
            Backend::Auto | Backend::Pool => self.size > 0,
            Backend::Copy | Backend::Overlay => true,
            Backend::Git => false,
        };
        used && self.only_git.is_none()
    }

    /// The pooled trees that use asks for: as many as lanes were made lately, within the bounds.
    fn target(&self, recent: usize) -> usize {
        match self.backend {
            Backend::Auto | Backend::Pool if self.size > 0 && self.only_git.is_none() => {
                recent.clamp(self.size, self.size.max(self.max))
            }
            Backend::Auto | Backend::Pool | Backend::Git | Backend::Copy | Backend::Overlay => 0,
        }
    }
}

/// How much room the disk has for spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Plenty,
    /// Too little for one more: none is made.
    Scarce,
    /// They take more than they may: some are given up, in the background.
    OverBudget,
    /// Less is free than has to be: they are given up before a lane is refused.
    Low,
}

/// The facts of one workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its spares, the oldest first.
    pub spares: Vec<Shelved>,
    /// What spares are to be: as the last lane, or as the main checkout is now. None before the first.
    pub wanted: Option<Wanted>,
    /// What holds for it.
    pub rules: Rules,
    /// Lanes made lately.
    pub recent: usize,
    /// How long ago the last one was asked for.
    pub unused: Duration,
    /// Lanes that are being made.
    pub under_way: usize,
    /// The room on its disk.
    pub room: Room,
    /// The machine has more to do than it can.
    pub pressure: bool,
    /// Nothing is done without being asked.
    pub safe_mode: bool,
    /// A template of what is wanted could not be made a short time ago.
    pub template_failed: bool,
    /// A pooled tree could not be made a short time ago.
    pub refill_failed: bool,
    /// The fingerprint of the `pool.prepare` that has failed.
    pub prepare_failed: Option<String>,
}

/// What a request needs to know besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the lane's tree is to be.
    pub wanted: Wanted,
    /// Spares that were tried for it and could not be used.
    pub without: BTreeSet<String>,
    /// Other lanes of this base that git is making just now.
    pub by_git: usize,
    /// Why a template of this base could not be made a short time ago.
    pub template_failed: Option<String>,
    /// It has waited for a template as long as anybody does.
    pub waited: bool,
    /// Why no tree can lie over a template on this machine.
    pub no_overlay: Option<String>,
}

/// What a lane's tree is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// This pooled tree, after it was looked at when `verify` is set.
    Pool {
        /// The spare.
        name: String,
        /// Somebody may have touched it.
        verify: bool,
    },
    /// This pooled tree, when it is at the base.
    RetargetThenClaim {
        /// The spare.
        name: String,
        /// Somebody may have touched it.
        verify: bool,
    },
    /// A template that is being made, or is to be begun now.
    WaitForTemplate,
    /// A tree that would do, and that somebody is looking at: that takes less time than making one.
    WaitForLook,
    /// A copy of this template.
    Copy {
        /// The spare.
        name: String,
        /// Somebody may have touched it.
        verify: bool,
    },
    /// git, and what the user is told about it when another way was asked for.
    Git(Option<&'static str>),
    /// A mount over this template.
    Overlay {
        /// The spare.
        name: String,
        /// Somebody may have touched it.
        verify: bool,
    },
    /// None: these spares are given up first, as the disk is full.
    GiveUp(Vec<String>),
    /// None, for this reason.
    Refused(String),
}

/// Why a spare is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The disk is short.
    Disk,
    /// The configuration keeps none.
    Off,
    /// Settings that decide how files look are others now.
    Print,
    /// Its base cannot become the one that is wanted.
    Base,
    /// More than use asks for.
    Idle,
    /// It was prepared in another way, or that failed.
    Prepared,
    /// The user asked for every spare.
    Asked,
}

impl Why {
    /// For events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Off => "off",
            Self::Print => "settings",
            Self::Base => "base",
            Self::Idle => "idle",
            Self::Prepared => "prepare",
            Self::Asked => "asked",
        }
    }

    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Disk => "the disk is short",
            Self::Off => "the configuration keeps none",
            Self::Print => "settings that decide how files look are others now",
            Self::Base => "new lanes are not made at its commit",
            Self::Idle => "there are more than use asks for",
            Self::Prepared => "it was prepared in another way, or that failed",
            Self::Asked => "every spare was asked for",
        }
    }
}

/// What the background does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Nothing is to be done.
    Nothing,
    /// A template of what is wanted is made by git.
    MakeTemplate,
    /// A pooled tree is made from this template.
    Refill(String),
    /// This spare is brought to the base that is wanted.
    Retarget(String),
    /// This spare is removed, when nobody has touched it.
    Drop(String, Why),
    /// This spare is watched and looked at.
    Verify(String),
    /// `pool.prepare` runs in this spare.
    Prepare(String),
    /// This spare goes into the trash, for whoever worked in it.
    SetAside(String),
}

impl Shelved {
    /// True when it may be given to somebody who has it verified where that is needed.
    fn is_there(&self) -> bool {
        match self.state {
            State::Verified | State::Unwatched | State::Unverified => true,
            State::Touched | State::Looking | State::Busy => false,
        }
    }

    fn needs_a_look(&self) -> bool {
        self.state != State::Verified
    }

    /// True when it may be changed or removed by the background.
    fn is_free(&self) -> bool {
        matches!(self.state, State::Verified | State::Unwatched) && self.in_use == 0 && !self.laid
    }
}

/// What the tree of a request is made from. Asked again after each step that changed something.
pub fn way(asked: &Asked, view: &View) -> Way {
    if view.room == Room::Low {
        // One that takes a pooled tree needs no room.
        if let Some(Way::Pool { name, verify }) = of_pool(asked, view) {
            return Way::Pool { name, verify };
        }
        let given_up: Vec<String> =
            view.spares.iter().filter(|spare| spare.is_free()).map(|spare| spare.name.clone()).collect();
        if !given_up.is_empty() {
            return Way::GiveUp(given_up);
        }
    }
    match view.rules.backend {
        Backend::Git => Way::Git(None),
        Backend::Auto => pooled(asked, view).unwrap_or_else(|| copied(asked, view, None)),
        Backend::Pool => {
            let note = Some("the pool had no tree for it");
            pooled(asked, view).unwrap_or_else(|| copied(asked, view, note))
        }
        Backend::Copy => copied(asked, view, Some("there was no template to copy")),
        Backend::Overlay => overlaid(asked, view),
    }
}

/// One that is there, the ones that need nothing else first.
fn best<'a>(asked: &Asked, view: &'a View, fits: impl Fn(&Shelved) -> bool) -> Option<&'a Shelved> {
    let may = |spare: &&Shelved| {
        spare.is_there()
            && spare.is.print == asked.wanted.print
            && !asked.without.contains(&spare.name)
            && fits(spare)
    };
    view.spares.iter().filter(may).min_by_key(|spare| spare.needs_a_look())
}

/// A pooled tree that has run what has to have run in it.
fn is_prepared(spare: &Shelved, view: &View) -> bool {
    spare.kind == SpareKind::Pooled && spare.prepared == view.rules.prepare && spare.in_use == 0
}

/// A pooled tree as it is, where the pool is used.
fn of_pool(asked: &Asked, view: &View) -> Option<Way> {
    let uses_pool = match view.rules.backend {
        Backend::Auto | Backend::Pool => view.rules.only_git.is_none(),
        Backend::Git | Backend::Copy | Backend::Overlay => false,
    };
    let fits = |spare: &Shelved| is_prepared(spare, view) && spare.is.base == asked.wanted.base;
    let spare = best(asked, view, fits).filter(|_| uses_pool)?;
    Some(Way::Pool { name: spare.name.clone(), verify: spare.needs_a_look() })
}

fn pooled(asked: &Asked, view: &View) -> Option<Way> {
    if let Some(way) = of_pool(asked, view) {
        return Some(way);
    }
    if is_looked_at(asked, view, |spare| is_prepared(spare, view)) {
        return Some(Way::WaitForLook);
    }
    // What has run for other lock files is not what has to run for these.
    let follows = |spare: &Shelved| {
        is_prepared(spare, view) && view.rules.prepare.is_none() && !spare.stuck && spare.large
    };
    let may = view.rules.only_git.is_none() && view.room != Room::Low && template(asked, view).is_none();
    let spare = best(asked, view, follows).filter(|_| may)?;
    Some(Way::RetargetThenClaim { name: spare.name.clone(), verify: spare.needs_a_look() })
}

/// True when one that would do is looked at just now.
fn is_looked_at(asked: &Asked, view: &View, fits: impl Fn(&Shelved) -> bool) -> bool {
    let would_do = |spare: &Shelved| {
        spare.state == State::Looking
            && spare.is == asked.wanted
            && !asked.without.contains(&spare.name)
            && fits(spare)
    };
    !asked.waited && view.spares.iter().any(would_do)
}

fn template<'a>(asked: &Asked, view: &'a View) -> Option<&'a Shelved> {
    best(asked, view, |spare| spare.kind == SpareKind::Template && spare.is.base == asked.wanted.base)
}

/// True when a template of the base is on its way: waiting for it is worth while.
pub(super) fn is_coming(wanted: &Wanted, view: &View) -> bool {
    view.spares
        .iter()
        .any(|spare| spare.kind == SpareKind::Template && spare.state == State::Busy && spare.is == *wanted)
}

/// True when there may be one more template.
fn has_place(view: &View) -> bool {
    let templates = || view.spares.iter().filter(|spare| spare.kind == SpareKind::Template);
    templates().count() < MAX_LAID && templates().filter(|spare| !spare.laid).count() < MAX_TEMPLATES
}

/// True when a template of the base may be begun for somebody who waits.
fn may_begin(asked: &Asked, view: &View) -> bool {
    let is_other = |spare: &Shelved| spare.state == State::Busy && spare.is != asked.wanted;
    let of_others = view.spares.iter().any(|spare| spare.kind == SpareKind::Template && is_other(spare));
    view.rules.keeps_templates()
        && view.room == Room::Plenty
        && !view.safe_mode
        && asked.template_failed.is_none()
        && !of_others
        && has_place(view)
}

fn copied(asked: &Asked, view: &View, note: Option<&'static str>) -> Way {
    if !view.rules.keeps_templates() {
        return Way::Git(note);
    }
    if let Some(spare) = template(asked, view) {
        return Way::Copy { name: spare.name.clone(), verify: spare.needs_a_look() };
    }
    if is_looked_at(asked, view, |spare| spare.kind == SpareKind::Template) {
        return Way::WaitForLook;
    }
    // The first of a base is made by git at once; those that come meanwhile have a template made.
    let begins = asked.by_git > 0 || view.rules.backend == Backend::Copy;
    let waits = is_coming(&asked.wanted, view) || (begins && may_begin(asked, view));
    if waits && !asked.waited { Way::WaitForTemplate } else { Way::Git(note) }
}

fn overlaid(asked: &Asked, view: &View) -> Way {
    let refused = |reason: &str| Way::Refused(reason.to_owned());
    if let Some(reason) = &asked.no_overlay {
        return refused(reason);
    }
    if let Some(reason) = view.rules.only_git {
        return refused(reason);
    }
    if let Some(spare) = template(asked, view) {
        return Way::Overlay { name: spare.name.clone(), verify: spare.needs_a_look() };
    }
    if asked.waited {
        return refused("there was no template in time");
    }
    if is_looked_at(asked, view, |spare| spare.kind == SpareKind::Template) {
        return Way::WaitForLook;
    }
    if is_coming(&asked.wanted, view) || may_begin(asked, view) {
        return Way::WaitForTemplate;
    }
    if let Some(reason) = &asked.template_failed {
        return refused(reason);
    }
    refused(match () {
        () if view.room != Room::Plenty => "the disk has no room for a template",
        () => "there are as many templates as may be",
    })
}

/// What the background does next. Nothing is removed that was not seen to be as it was made.
pub fn next(view: &View) -> Job {
    if view.safe_mode {
        return Job::Nothing;
    }
    let in_state = |state: State| view.spares.iter().find(|spare| spare.state == state);
    let touched = view.spares.iter().find(|spare| spare.state == State::Touched && !spare.laid);
    if let Some(spare) = touched {
        return Job::SetAside(spare.name.clone());
    }
    if let Some((spare, why)) = view.spares.iter().find_map(|spare| Some((spare, unwanted(spare, view)?))) {
        return Job::Drop(spare.name.clone(), why);
    }
    if let Some(spare) = in_state(State::Unverified) {
        return Job::Verify(spare.name.clone());
    }
    let Some(wanted) = &view.wanted else { return Job::Nothing };
    let waits = view.pressure || view.under_way > 0 || view.room != Room::Plenty;
    if waits || view.unused >= ABANDONED {
        return Job::Nothing;
    }
    follow(wanted, view).or_else(|| supply(wanted, view)).unwrap_or(Job::Nothing)
}

/// Why a spare that may be removed is to be.
pub(super) fn unwanted(spare: &Shelved, view: &View) -> Option<Why> {
    if !spare.is_free() {
        return None;
    }
    let is_pooled = spare.kind == SpareKind::Pooled;
    let target = view.rules.target(view.recent);
    let others = view.spares.iter().filter(|other| other.kind == SpareKind::Pooled);
    let kept = others.filter(|other| other.state != State::Touched).count();
    match () {
        // Pooled trees first: from a template, they are made again.
        () if is_too_much(view) && (is_pooled || kept == 0) => Some(Why::Disk),
        () if view.unused >= ABANDONED && view.under_way == 0 => Some(Why::Idle),
        // After a start nobody knows what is kept before a lane is asked for.
        () if view.wanted.is_none() => None,
        () if is_pooled && target == 0 => Some(Why::Off),
        () if !is_pooled && !view.rules.keeps_templates() => Some(Why::Off),
        () if is_pooled && kept > target && !is_better(spare, view) => Some(Why::Idle),
        () => {
            let wanted = view.wanted.as_ref()?;
            let followed = || has_template(wanted, view);
            match () {
                () if spare.is.print != wanted.print => Some(Why::Print),
                () if is_pooled && spare.is.base != wanted.base && spare.stuck => Some(Why::Base),
                () if is_pooled && view.rules.prepare.is_none() && spare.prepared.is_some() => {
                    Some(Why::Prepared)
                }
                () if is_pooled && is_spoilt(spare, view) => Some(Why::Prepared),
                () if !is_pooled && spare.is != *wanted && followed() && spare.unused >= TEMPLATE_KEPT => {
                    Some(Why::Base)
                }
                () => None,
            }
        }
    }
}

fn is_too_much(view: &View) -> bool {
    matches!(view.room, Room::OverBudget | Room::Low)
}

/// True when there is one that is given up before this one: at another base, or older.
fn is_better(spare: &Shelved, view: &View) -> bool {
    let fits = |spare: &Shelved| view.wanted.as_ref().is_none_or(|wanted| spare.is == *wanted);
    let free = view.spares.iter().filter(|other| other.kind == SpareKind::Pooled && other.is_free());
    let first = free.min_by_key(|other| fits(other));
    first.is_none_or(|first| first.name != spare.name)
}

/// True when the command that has to run in it has failed, so that it will not be used.
fn is_spoilt(spare: &Shelved, view: &View) -> bool {
    view.prepare_failed.is_some()
        && view.prepare_failed == view.rules.prepare
        && spare.prepared != view.rules.prepare
}

fn has_template(wanted: &Wanted, view: &View) -> bool {
    view.spares.iter().any(|spare| spare.kind == SpareKind::Template && spare.is == *wanted)
}

/// Brings what there is to where it is wanted: trees that the next lane gets first.
fn follow(wanted: &Wanted, view: &View) -> Option<Job> {
    let away = |kind: SpareKind| {
        view.spares.iter().find(|spare| {
            spare.kind == kind
                && spare.is_free()
                && !spare.stuck
                && spare.is.print == wanted.print
                && spare.is.base != wanted.base
        })
    };
    if let Some(spare) = away(SpareKind::Pooled) {
        return Some(Job::Retarget(spare.name.clone()));
    }
    if view.rules.keeps_templates() && !has_template(wanted, view) {
        if let Some(spare) = away(SpareKind::Template) {
            return Some(Job::Retarget(spare.name.clone()));
        }
        return make_template(view);
    }
    None
}

fn make_template(view: &View) -> Option<Job> {
    let templates = view.spares.iter().filter(|spare| spare.kind == SpareKind::Template);
    if !view.template_failed && has_place(view) {
        return Some(Job::MakeTemplate);
    }
    let oldest = templates.filter(|spare| spare.is_free()).max_by_key(|spare| spare.unused)?;
    (!view.template_failed).then(|| Job::Drop(oldest.name.clone(), Why::Base))
}

/// Makes what is missing.
fn supply(wanted: &Wanted, view: &View) -> Option<Job> {
    let pooled = || view.spares.iter().filter(|spare| spare.kind == SpareKind::Pooled);
    let failed = view.prepare_failed.is_some() && view.prepare_failed == view.rules.prepare;
    if view.rules.prepare.is_some() && !failed {
        let bare = pooled()
            .find(|spare| spare.is_free() && spare.is == *wanted && spare.prepared != view.rules.prepare);
        if let Some(spare) = bare {
            return Some(Job::Prepare(spare.name.clone()));
        }
    }
    if failed || view.refill_failed || pooled().count() >= view.rules.target(view.recent) {
        return None;
    }
    let from = view.spares.iter().find(|spare| {
        spare.kind == SpareKind::Template
            && spare.is == *wanted
            && matches!(spare.state, State::Verified | State::Unwatched)
    })?;
    Some(Job::Refill(from.name.clone()))
}
