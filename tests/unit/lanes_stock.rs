//! The plan of a stock: the way of a request, the next job, and what happens when both are followed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lanes::config::Backend;
use lanes::lanes::stock::plan::{
    ABANDONED, Asked, Job, MAX_LAID, MAX_TEMPLATES, Room, Rules, Shelved, State, TEMPLATE_KEPT, View, Wanted,
    Way, Why, next, way,
};
use lanes::lanes::stock::shelf::{Outside, Shelf, Source};
use lanes::lanes::stock::surplus::{Extent, surplus};
use lanes::worktree::SpareKind;
use proptest::prelude::*;

fn wanted(base: &str) -> Wanted {
    Wanted { base: base.to_owned(), print: "print".to_owned() }
}

fn pooled(name: &str, base: &str) -> Shelved {
    Shelved {
        name: name.to_owned(),
        kind: SpareKind::Pooled,
        is: wanted(base),
        prepared: None,
        state: State::Verified,
        in_use: 0,
        laid: false,
        stuck: false,
        large: false,
        unused: Duration::ZERO,
    }
}

fn template(name: &str, base: &str) -> Shelved {
    Shelved { kind: SpareKind::Template, ..pooled(name, base) }
}

fn view(spares: Vec<Shelved>) -> View {
    View {
        spares,
        wanted: Some(wanted("a")),
        rules: Rules { backend: Backend::Auto, size: 2, max: 8, prepare: None, only_git: None },
        recent: 1,
        unused: Duration::ZERO,
        under_way: 0,
        room: Room::Plenty,
        pressure: false,
        safe_mode: false,
        template_failed: false,
        refill_failed: false,
        prepare_failed: None,
    }
}

fn asked(base: &str) -> Asked {
    Asked {
        wanted: wanted(base),
        without: BTreeSet::new(),
        by_git: 0,
        template_failed: None,
        waited: false,
        no_overlay: None,
    }
}

#[track_caller]
fn check_way(what: &str, asked: &Asked, view: &View, expected: &Way) {
    assert_eq!(way(asked, view), *expected, "{what}");
}

#[track_caller]
fn check_next(what: &str, view: &View, expected: &Job) {
    assert_eq!(next(view), *expected, "{what}");
}

fn pool(name: &str, verify: bool) -> Way {
    Way::Pool { name: name.to_owned(), verify }
}

fn copy(name: &str) -> Way {
    Way::Copy { name: name.to_owned(), verify: false }
}

fn with(backend: Backend, spares: Vec<Shelved>) -> View {
    let mut view = view(spares);
    view.rules.backend = backend;
    view
}

#[test]
fn a_request_gets_the_fastest_that_is_there() {
    let first = asked("a");
    check_way("nothing is there", &first, &view(vec![]), &Way::Git(None));
    check_way("a ready one", &first, &view(vec![pooled("p", "a")]), &pool("p", false));
    let mut large = pooled("p", "b");
    large.large = true;
    let retarget = Way::RetargetThenClaim { name: "p".to_owned(), verify: false };
    check_way("one that follows", &first, &view(vec![large.clone()]), &retarget);
    check_way("a copy is faster", &first, &view(vec![template("t", "a"), large]), &copy("t"));
    check_way("as is git with a small one", &first, &view(vec![pooled("p", "b")]), &Way::Git(None));
    check_way("a template", &first, &view(vec![template("t", "a")]), &copy("t"));
    check_way("a template of another base", &first, &view(vec![template("t", "b")]), &Way::Git(None));
    let mut suspect = pooled("p", "a");
    suspect.state = State::Unverified;
    check_way("one that somebody may have touched", &first, &view(vec![suspect.clone()]), &pool("p", true));
    check_way("the sure one first", &first, &view(vec![suspect, pooled("q", "a")]), &pool("q", false));
    let mut looking = pooled("p", "a");
    looking.state = State::Looking;
    check_way("one that is looked at", &first, &view(vec![looking, template("t", "a")]), &Way::WaitForLook);
    for state in [State::Touched, State::Busy] {
        let mut not_there = pooled("p", "a");
        not_there.state = state;
        check_way("one that is not to be had", &first, &view(vec![not_there]), &Way::Git(None));
    }
    let mut other = pooled("p", "a");
    other.is.print = "other".to_owned();
    check_way("one of other settings", &first, &view(vec![other]), &Way::Git(None));
    let tried = Asked { without: ["p".to_owned()].into(), ..asked("a") };
    check_way("one that was tried", &tried, &view(vec![pooled("p", "a"), template("t", "a")]), &copy("t"));
}

#[test]
fn those_that_come_while_git_makes_the_first_wait_for_a_template() {
    let second = Asked { by_git: 1, ..asked("a") };
    check_way("the second", &second, &view(vec![]), &Way::WaitForTemplate);
    let mut making = template("", "a");
    making.state = State::Busy;
    check_way("the third", &second, &view(vec![making.clone()]), &Way::WaitForTemplate);
    check_way("also when the first is done", &asked("a"), &view(vec![making.clone()]), &Way::WaitForTemplate);
    let waited = Asked { waited: true, ..second.clone() };
    check_way("not for ever", &waited, &view(vec![making.clone()]), &Way::Git(None));
    let failed = Asked { template_failed: Some("no".to_owned()), ..second.clone() };
    check_way("not when it failed", &failed, &view(vec![]), &Way::Git(None));
    making.is.base = "b".to_owned();
    check_way("not while another is made", &second, &view(vec![making]), &Way::Git(None));
    let mut scarce = view(vec![]);
    scarce.room = Room::Scarce;
    check_way("not on a disk that is nearly full", &second, &scarce, &Way::Git(None));
    let mut off = view(vec![]);
    off.rules.size = 0;
    check_way("not without a pool", &second, &off, &Way::Git(None));
    let many = (0..MAX_TEMPLATES).map(|n| template(&n.to_string(), "b")).collect();
    check_way("not beyond the bound", &second, &view(many), &Way::Git(None));
}

#[test]
fn a_pinned_way_is_kept_or_said() {
    let all = || vec![template("t", "a"), pooled("p", "a")];
    check_way("git", &asked("a"), &with(Backend::Git, all()), &Way::Git(None));
    check_way("copy", &asked("a"), &with(Backend::Copy, all()), &copy("t"));
    check_way("pool", &asked("a"), &with(Backend::Pool, all()), &pool("p", false));
    let overlay = Way::Overlay { name: "t".to_owned(), verify: false };
    check_way("overlay", &asked("a"), &with(Backend::Overlay, all()), &overlay);
    check_way("copy waits", &asked("a"), &with(Backend::Copy, vec![]), &Way::WaitForTemplate);
    check_way("overlay waits", &asked("a"), &with(Backend::Overlay, vec![]), &Way::WaitForTemplate);
    let waited = Asked { waited: true, ..asked("a") };
    assert!(matches!(way(&waited, &with(Backend::Copy, vec![])), Way::Git(Some(_said))));
    assert!(matches!(way(&asked("a"), &with(Backend::Pool, vec![])), Way::Git(Some(_said))));
    assert!(matches!(way(&waited, &with(Backend::Overlay, vec![])), Way::Refused(_)));
    let cannot = Asked { no_overlay: Some("not root".to_owned()), ..asked("a") };
    check_way("refused", &cannot, &with(Backend::Overlay, all()), &Way::Refused("not root".to_owned()));
    for backend in [Backend::Auto, Backend::Pool, Backend::Copy] {
        let mut view = with(backend, all());
        view.rules.only_git = Some("submodules");
        assert!(matches!(way(&asked("a"), &view), Way::Git(_)), "{backend:?} with submodules");
    }
}

#[test]
fn what_has_to_have_run_in_a_tree_has_run() {
    let mut spares = vec![pooled("bare", "a"), pooled("old", "a"), pooled("other", "b"), template("t", "a")];
    spares[1].prepared = Some("old".to_owned());
    spares[2].prepared = Some("now".to_owned());
    let mut stock = view(spares);
    stock.rules.prepare = Some("now".to_owned());
    check_way("none of these", &asked("a"), &stock, &copy("t"));
    stock.spares[0].prepared = Some("now".to_owned());
    check_way("the one that ran it", &asked("a"), &stock, &pool("bare", false));
    stock.rules.prepare = None;
    stock.spares.truncate(1);
    check_way("nor one that ran what nobody asks for", &asked("a"), &stock, &Way::Git(None));
}

#[test]
fn a_full_disk_takes_the_spares_first() {
    let mut stock = view(vec![template("t", "b"), pooled("p", "b"), pooled("q", "a")]);
    stock.room = Room::Low;
    check_way("a pooled tree needs no room", &asked("a"), &stock, &pool("q", false));
    let names = ["t", "p", "q"].map(str::to_owned).to_vec();
    check_way("all go", &asked("c"), &stock, &Way::GiveUp(names));
    check_next("pooled first", &stock, &Job::Drop("p".to_owned(), Why::Disk));
    stock.spares.retain(|spare| spare.kind == SpareKind::Template);
    check_next("then templates", &stock, &Job::Drop("t".to_owned(), Why::Disk));
    stock.spares[0].in_use = 1;
    check_next("not one that is being copied", &stock, &Job::Nothing);
    (stock.spares[0].in_use, stock.spares[0].laid) = (0, true);
    check_next("not one that lanes lie on", &stock, &Job::Nothing);
    check_way("then it is for others to refuse", &asked("a"), &stock, &Way::Git(None));
}

#[test]
fn the_background_makes_what_is_missing_in_order() {
    check_next("a template", &view(vec![]), &Job::MakeTemplate);
    check_next("a tree", &view(vec![template("t", "a")]), &Job::Refill("t".to_owned()));
    let two = || vec![template("t", "a"), pooled("p", "a"), pooled("q", "a")];
    check_next("enough", &view(two()), &Job::Nothing);
    let used = View { recent: 3, ..view(two()) };
    check_next("more when it is used", &used, &Job::Refill("t".to_owned()));
    let mut most = View { recent: 60, ..view(vec![template("t", "a")]) };
    most.spares.extend((0..8).map(|n| pooled(&n.to_string(), "a")));
    check_next("up to the most", &most, &Job::Nothing);
    let idle = View { recent: 0, ..most };
    check_next("fewer when it is not", &idle, &Job::Drop("0".to_owned(), Why::Idle));
    let abandoned = View { unused: ABANDONED, ..view(two()) };
    check_next("none when nobody comes", &abandoned, &Job::Drop("t".to_owned(), Why::Idle));
    let gone = View { unused: ABANDONED, ..view(vec![]) };
    check_next("and none again", &gone, &Job::Nothing);
    for still in [
        View { under_way: 1, ..view(vec![]) },
        View { pressure: true, ..view(vec![]) },
        View { room: Room::Scarce, ..view(vec![]) },
        View { wanted: None, ..view(vec![]) },
        View { template_failed: true, ..view(vec![]) },
        View { safe_mode: true, ..view(vec![]) },
        View { refill_failed: true, ..view(vec![template("t", "a")]) },
        with(Backend::Git, vec![]),
    ] {
        check_next("not now", &still, &Job::Nothing);
    }
    check_next("copies need a template only", &with(Backend::Copy, vec![]), &Job::MakeTemplate);
    check_next("and no pool", &with(Backend::Copy, vec![template("t", "a")]), &Job::Nothing);
}

#[test]
fn the_background_follows_the_base() {
    let moved = vec![template("t", "b"), pooled("p", "b")];
    check_next("pooled trees first", &view(moved), &Job::Retarget("p".to_owned()));
    check_next("then the template", &view(vec![template("t", "b")]), &Job::Retarget("t".to_owned()));
    let mut stuck = template("t", "b");
    stuck.stuck = true;
    check_next("a new one when it cannot", &view(vec![stuck.clone()]), &Job::MakeTemplate);
    stuck.unused = TEMPLATE_KEPT;
    check_next("it stays until then", &view(vec![stuck.clone()]), &Job::MakeTemplate);
    let both = vec![stuck, template("u", "a")];
    check_next("and goes when nobody asks for it", &view(both), &Job::Drop("t".to_owned(), Why::Base));
    let mut held = template("t", "b");
    held.in_use = 2;
    check_next("not one that is being copied", &view(vec![held.clone()]), &Job::MakeTemplate);
    (held.in_use, held.laid, held.unused) = (0, true, TEMPLATE_KEPT);
    check_next("not one that lanes lie on", &view(vec![held.clone()]), &Job::MakeTemplate);
    let laid = |n: usize| -> Vec<Shelved> {
        (0..n).map(|at| Shelved { name: at.to_string(), ..held.clone() }).collect()
    };
    let over = |spares| with(Backend::Overlay, spares);
    check_way("however many these are", &asked("a"), &over(laid(MAX_TEMPLATES)), &Way::WaitForTemplate);
    assert!(matches!(way(&asked("a"), &over(laid(MAX_LAID))), Way::Refused(_)));
    held.state = State::Touched;
    check_next("also when somebody edited it", &with(Backend::Git, vec![held]), &Job::Nothing);
    let mut cannot = pooled("p", "b");
    cannot.stuck = true;
    check_next("a tree that cannot", &view(vec![cannot]), &Job::Drop("p".to_owned(), Why::Base));
    let mut other = pooled("p", "a");
    other.is.print = "other".to_owned();
    check_next("a tree of other settings", &view(vec![other]), &Job::Drop("p".to_owned(), Why::Print));
}

#[test]
fn nothing_is_removed_before_it_was_looked_at() {
    let mut spare = pooled("p", "a");
    spare.is.print = "other".to_owned();
    for (state, job) in [
        (State::Unverified, Job::Verify("p".to_owned())),
        (State::Touched, Job::SetAside("p".to_owned())),
        (State::Verified, Job::Drop("p".to_owned(), Why::Print)),
        (State::Unwatched, Job::Drop("p".to_owned(), Why::Print)),
        (State::Looking, Job::MakeTemplate),
        (State::Busy, Job::MakeTemplate),
    ] {
        spare.state = state;
        check_next("of other settings", &view(vec![spare.clone()]), &job);
    }
}

#[test]
fn what_failed_to_prepare_is_not_tried_again_until_something_changed() {
    let mut stock = view(vec![template("t", "a"), pooled("p", "a")]);
    stock.rules.prepare = Some("now".to_owned());
    check_next("runs", &stock, &Job::Prepare("p".to_owned()));
    stock.prepare_failed = Some("now".to_owned());
    check_next("failed", &stock, &Job::Drop("p".to_owned(), Why::Prepared));
    stock.spares.pop();
    check_next("not again", &stock, &Job::Nothing);
    stock.rules.prepare = Some("next".to_owned());
    check_next("other lock files", &stock, &Job::Refill("t".to_owned()));
}

/// A workspace in which everything may happen; jobs end at once, or stay under way.
#[derive(Debug, Default)]
struct World {
    spares: BTreeMap<usize, Shelved>,
    /// What is true of the trees, whether the stock knows it or not.
    edited: BTreeSet<usize>,
    handed_out: BTreeSet<usize>,
    next: usize,
}

#[derive(Clone, Debug)]
enum Happening {
    Request {
        base: u8,
        print: u8,
    },
    /// Somebody works in a tree; the watch tells.
    Edit(usize),
    /// The daemon is killed and starts again.
    Restart,
    Background,
    Recent(usize),
    Room(Room),
    Prepare(Option<u8>),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0..3_u8, 0..2_u8).prop_map(|(base, print)| Happening::Request { base, print }),
        2 => (0..12_usize).prop_map(Happening::Edit),
        1 => Just(Happening::Restart),
        8 => Just(Happening::Background),
        1 => (0..12_usize).prop_map(Happening::Recent),
        1 => prop_oneof![Just(Room::Plenty), Just(Room::Scarce), Just(Room::OverBudget), Just(Room::Low)]
            .prop_map(Happening::Room),
        1 => proptest::option::of(0..2_u8).prop_map(Happening::Prepare),
    ];
    proptest::collection::vec(one, 0..120)
}

fn thing(base: u8, print: u8) -> Wanted {
    Wanted { base: format!("base {base}"), print: format!("print {print}") }
}

impl World {
    fn fill(&self, view: &mut View) {
        view.spares = self.spares.values().cloned().collect();
    }

    fn number(name: &str) -> usize {
        name.parse().expect("a number")
    }

    fn add(&mut self, kind: SpareKind, is: Wanted) {
        let spare = Shelved { kind, is, state: State::Unverified, ..pooled(&self.next.to_string(), "") };
        self.spares.insert(self.next, spare);
        self.next += 1;
    }

    /// What verification finds; true when it is as it was made.
    fn verify(&mut self, of: usize) -> bool {
        let fine = !self.edited.contains(&of);
        let spare = self.spares.get_mut(&of).expect("is there");
        spare.state = if fine { State::Verified } else { State::Touched };
        fine
    }

    /// Follows a request to its tree.
    fn request(&mut self, view: &mut View, wanted: Wanted) {
        let mut asked = Asked { wanted: wanted.clone(), ..asked("") };
        view.wanted = Some(wanted.clone());
        for _step in 0..100 {
            self.fill(view);
            match way(&asked, view) {
                Way::Pool { name, verify } => {
                    let of = Self::number(&name);
                    assert_eq!(self.spares[&of].is, wanted, "of what was asked for");
                    assert_eq!(self.spares[&of].prepared, view.rules.prepare, "prepared");
                    assert_eq!(self.spares[&of].kind, SpareKind::Pooled);
                    if verify && !self.verify(of) {
                        asked.without.insert(name);
                        continue;
                    }
                    assert!(!self.edited.contains(&of), "one that somebody worked in was handed out");
                    assert!(self.handed_out.insert(of), "one was handed out twice");
                    self.spares.remove(&of);
                    return;
                }
                Way::RetargetThenClaim { name, verify } => {
                    let of = Self::number(&name);
                    if verify && !self.verify(of) {
                        asked.without.insert(name);
                        continue;
                    }
                    assert!(!self.edited.contains(&of), "one that somebody worked in was changed");
                    let spare = self.spares.get_mut(&of).expect("is there");
                    assert_eq!(spare.is.print, wanted.print);
                    spare.is = wanted.clone();
                }
                Way::Copy { name, verify } => {
                    let of = Self::number(&name);
                    assert_eq!(self.spares[&of].is, wanted, "of what was asked for");
                    if verify && !self.verify(of) {
                        asked.without.insert(name);
                        continue;
                    }
                    assert!(!self.edited.contains(&of), "one that somebody worked in was copied");
                    return;
                }
                Way::GiveUp(names) => {
                    for name in names {
                        let of = Self::number(&name);
                        assert!(!self.edited.contains(&of), "one that somebody worked in was removed");
                        self.spares.remove(&of);
                    }
                }
                Way::WaitForLook => panic!("nobody looks"),
                Way::WaitForTemplate => self.add(SpareKind::Template, wanted.clone()),
                Way::Git(_) => return,
                Way::Overlay { .. } | Way::Refused(_) => panic!("nobody asked for that"),
            }
        }
        panic!("a request has no end");
    }

    /// One job; false when there is none.
    fn work(&mut self, view: &mut View) -> bool {
        self.fill(view);
        let wanted = view.wanted.clone();
        match next(view) {
            Job::Nothing => return false,
            Job::MakeTemplate => self.add(SpareKind::Template, wanted.expect("is wanted")),
            Job::Refill(from) => {
                let from = &self.spares[&Self::number(&from)];
                assert!(from.kind == SpareKind::Template && from.state == State::Verified);
                let is = from.is.clone();
                self.add(SpareKind::Pooled, is);
            }
            Job::Retarget(name) => {
                let of = Self::number(&name);
                assert!(!self.edited.contains(&of), "one that somebody worked in was changed");
                let spare = self.spares.get_mut(&of).expect("is there");
                spare.is = wanted.expect("is wanted");
                spare.state = State::Unverified;
            }
            Job::Drop(name, _why) => {
                let of = Self::number(&name);
                assert!(!self.edited.contains(&of), "one that somebody worked in was removed");
                self.spares.remove(&of);
            }
            Job::Verify(name) => {
                self.verify(Self::number(&name));
            }
            Job::Prepare(name) => {
                let spare = self.spares.get_mut(&Self::number(&name)).expect("is there");
                spare.prepared = view.rules.prepare.clone();
                spare.state = State::Unverified;
            }
            Job::SetAside(name) => {
                let of = Self::number(&name);
                assert!(self.edited.contains(&of));
                self.spares.remove(&of);
            }
        }
        true
    }

    fn happens(&mut self, what: Happening, view: &mut View) {
        match what {
            Happening::Request { base, print } => self.request(view, thing(base, print)),
            Happening::Edit(of) => {
                if let Some(spare) = self.spares.get_mut(&of) {
                    self.edited.insert(of);
                    spare.state = State::Unverified;
                }
            }
            Happening::Restart => {
                view.wanted = None;
                for spare in self.spares.values_mut() {
                    spare.state = State::Unverified;
                }
            }
            Happening::Background => {
                self.work(view);
            }
            Happening::Recent(recent) => view.recent = recent,
            Happening::Room(room) => view.room = room,
            Happening::Prepare(prepare) => view.rules.prepare = prepare.map(|print| print.to_string()),
        }
        let pooled = self.spares.values().filter(|spare| spare.kind == SpareKind::Pooled).count();
        assert!(pooled <= view.rules.max, "{pooled} pooled trees");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_gets_a_wrong_tree_and_the_background_comes_to_rest(all in happenings()) {
        let (mut world, mut stock) = (World::default(), view(vec![]));
        stock.wanted = None;
        for what in all {
            world.happens(what, &mut stock);
        }
        stock.room = Room::Plenty;
        let mut jobs = 0;
        while world.work(&mut stock) {
            jobs += 1;
            assert!(jobs < 200, "the background has no end: {stock:#?}");
        }
        if let Some(wanted) = &stock.wanted {
            let ready = world.spares.values().filter(|spare| {
                spare.kind == SpareKind::Pooled && spare.is == *wanted && spare.prepared == stock.rules.prepare
            });
            prop_assert_eq!(ready.count(), stock.recent.clamp(2, 8));
        }
    }
}

fn check_surplus(what: &str, view: &View, extent: Extent, lain_on: bool, expected: &[(&str, Why)]) {
    let found = surplus(view, extent, lain_on);
    let found: Vec<_> = found.iter().map(|(name, why)| (name.as_str(), *why)).collect();
    assert_eq!(found, expected, "{what}");
}

#[test]
fn what_nobody_needs_is_what_the_background_would_give_up_in_time() {
    let unneeded = Extent::Unneeded;
    let mut all = view(vec![template("old", "b"), template("t", "a"), pooled("p", "a"), pooled("q", "a")]);
    check_surplus("the template of before", &all, unneeded, false, &[("old", Why::Base)]);
    check_surplus("lanes may lie on it", &all, unneeded, true, &[]);
    all.spares.extend([pooled("r", "b"), pooled("s", "a")]);
    let expected = [("old", Why::Base), ("r", Why::Idle), ("p", Why::Idle)];
    check_surplus("more than are kept", &all, unneeded, false, &expected);
    all.recent = 4;
    check_surplus("that are used", &all, unneeded, false, &[("old", Why::Base)]);
    let mut other = pooled("p", "a");
    other.is.print = "other".to_owned();
    other.state = State::Unverified;
    check_surplus("other settings", &view(vec![other]), unneeded, false, &[("p", Why::Print)]);
}

#[test]
fn every_spare_goes_when_asked_but_those_that_somebody_uses() {
    let (mut used, mut busy, mut touched) =
        (template("used", "a"), pooled("busy", "a"), pooled("touched", "a"));
    (used.in_use, busy.state, touched.state) = (1, State::Busy, State::Touched);
    let all = view(vec![used, busy, touched, template("t", "a"), pooled("p", "a")]);
    let both = [("t", Why::Asked), ("p", Why::Asked)];
    check_surplus("all", &all, Extent::Every, false, &both);
    check_surplus("lanes may lie on templates", &all, Extent::Every, true, &both[1..]);
}

#[test]
fn after_a_start_nothing_is_given_up_before_a_lane_is_asked_for() {
    let mut fresh = view(vec![template("t", "a"), pooled("p", "a")]);
    fresh.wanted = None;
    (fresh.rules.size, fresh.rules.max, fresh.recent) = (0, 0, 0);
    check_next("kept", &fresh, &Job::Nothing);
    fresh.unused = ABANDONED;
    check_next("but not for ever", &fresh, &Job::Drop("t".to_owned(), Why::Idle));
    (fresh.unused, fresh.room) = (Duration::ZERO, Room::Low);
    check_next("nor on a full disk", &fresh, &Job::Drop("p".to_owned(), Why::Disk));
}

#[test]
fn what_failed_is_tried_again_soon_then_ever_later_and_another_base_at_once() {
    let start = Instant::now();
    let outside = Outside { room: Room::Plenty, pressure: false, safe_mode: false };
    let rules = || Rules { backend: Backend::Auto, size: 2, max: 8, prepare: None, only_git: None };
    let mut shelf = Shelf::new(start);
    shelf.want(wanted("a"), rules(), Source::Request);
    let mut at = start;
    for pause in [5, 20, 80, 300, 300] {
        shelf.refill_failed(at);
        assert!(shelf.begin_template(&wanted("a")));
        shelf.end_template(Err("no".to_owned()), at);
        let view_at = |shelf: &Shelf, ms: u64| {
            let view = shelf.view(&outside, at + Duration::from_millis(ms));
            (view.refill_failed, view.template_failed)
        };
        assert_eq!(view_at(&shelf, pause * 1_000 - 1), (true, true));
        assert_eq!(view_at(&shelf, pause * 1_000), (false, false));
        shelf.want(wanted("b"), rules(), Source::Request);
        assert_eq!(view_at(&shelf, 0), (true, false), "a template of another base");
        shelf.want(wanted("a"), rules(), Source::Request);
        at += Duration::from_secs(pause);
    }
    shelf.refilled();
    shelf.refill_failed(at);
    assert!(!shelf.view(&outside, at + Duration::from_secs(5)).refill_failed, "a success forgets them");
}
