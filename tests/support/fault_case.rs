//! One request, cut off or refused at one fail point, then a restart and the whole inventory.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::fault::{Ground, Kind, Worked};
use super::stage::until;

/// A request of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Create,
    Exec,
    Cleanup(Kind),
    Restore(Kind),
    Empty(Kind),
}

/// What is done at a fail point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Error(&'static str),
    Exit(i32),
}

/// Steps that cannot fail, only be cut off.
const SURE: [&str; 23] = [
    "create.hooked",
    "create.made",
    "daemon.serving",
    "daemon.stop",
    "daemon.stopped",
    "git.ran",
    "keep.answered",
    "keep.folders",
    "keep.identity",
    "keep.spawned",
    "keeper.spawned",
    "keeper.told",
    "save.freed",
    "save.published",
    "store.committed",
    "task.asked",
    "task.end",
    "task.found",
    "forget.taken",
    "task.started",
    "retire.done",
    "clean.retired",
    "clean.told",
];
/// What is passed again and again; of these every few times are enough for every run of the suite.
const OFTEN: [&str; 9] = [
    "file.replace",
    "git.ran",
    "git.run",
    "lock.entry",
    "lock.workspace",
    "record.write",
    "store.begin",
    "store.commit",
    "store.committed",
];
/// Of those, one in so many; `LANES_FAULT_EVERY=1` tries all.
const EVERY: usize = 6;
const ERRORS: [&str; 4] = ["ENOSPC", "EIO", "EMFILE", "EACCES"];

impl Fault {
    fn rule(self, point: &str, nth: u64) -> String {
        match self {
            Self::Kill => format!("{point}=kill@{nth}"),
            Self::Error(number) => format!("{point}=error:{number}@{nth}"),
            Self::Exit(code) => format!("{point}=exit:{code}@{nth}"),
        }
    }
}

/// Tells which case it was when a test fails in the middle of it.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case was: {}", self.0);
        }
    }
}

/// Injects faults into this request wherever it passes a fail point that is wanted.
///
/// # Panics
/// After all of them, with those that did harm.
pub fn everywhere(ground: &mut Ground, request: Request, wanted: impl Fn(&str) -> bool) {
    let faults = faults(ground, request, wanted);
    let cases: Vec<_> = faults.iter().map(|rule| (request, "", rule.as_str(), "")).collect();
    all_of(ground, &cases);
}

/// What is asked for; faults that lead there and the one of the case; those of the start after it.
pub type Case<'a> = (Request, &'a str, &'a str, &'a str);

/// Goes through a table of cases.
///
/// # Panics
/// After all of them, with those that did harm.
pub fn all_of(ground: &mut Ground, cases: &[Case<'_>]) {
    let mut harmed = Vec::new();
    for (request, first, rule, then) in cases {
        let whole = AssertUnwindSafe(|| case(ground, *request, first, rule, then));
        if catch_unwind(whole).is_err() {
            harmed.push((request, first, rule, then));
            ground.again();
        }
    }
    assert!(harmed.is_empty(), "harmed by {harmed:#?}");
}

/// The rules for every fail point that a request passes. Every one is met by `kill -9`; of what is passed again
/// and again, and of errors, a part is enough for every run of the suite.
fn faults(ground: &Ground, request: Request, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let all = std::env::var("LANES_FAULT_EVERY").is_ok_and(|every| every == "1");
    let mut rules = Vec::new();
    let mut number = 0;
    for (point, times) in dry_run(ground, request) {
        if !wanted(&point) {
            continue;
        }
        let (often, sure) = (OFTEN.contains(&point.as_str()), SURE.contains(&point.as_str()));
        let step = if often && !all { EVERY } else { 1 };
        for nth in times.into_iter().step_by(step) {
            number += 1;
            let refused = !sure && (all || number % 2 == 0);
            if all || !often || !refused {
                rules.push(Fault::Kill.rule(&point, nth));
            }
            if refused {
                let error = Fault::Error(ERRORS[number / 2 % ERRORS.len()]);
                let fault = if point == "git.run" && number % 3 > 0 { Fault::Exit(128) } else { error };
                rules.push(fault.rule(&point, nth));
            }
        }
    }
    rules
}

/// The fail points that a request passes, and which time that is in a daemon just started.
fn dry_run(ground: &Ground, request: Request) -> BTreeMap<String, Vec<u64>> {
    let _named = Named(format!("dry run of {request:?}"));
    let worked = prepare(ground, request, "dry");
    ground.start("");
    let before = ground.passed().len();
    ask(ground, request, "dry");
    if matches!(request, Request::Cleanup(_)) {
        until("the tree is archived and freed", || ground.has_passed("save.freed=kill"));
    }
    let mut passed: BTreeMap<String, u64> = BTreeMap::new();
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (at, name) in ground.passed().into_iter().enumerate() {
        let name = name.split('(').next().unwrap_or_default().to_owned();
        let nth = passed.entry(name.clone()).or_default();
        *nth += 1;
        if at >= before {
            found.entry(name).or_default().push(*nth);
        }
    }
    settle(ground, request, "dry", worked.as_ref());
    found
}

/// A request with faults (`first` for more than the one of the case), a start with others, then one without.
pub fn case(ground: &Ground, request: Request, first: &str, rule: &str, then: &str) {
    let _named = Named(format!("{request:?} with {first} {rule}, then {then}"));
    let name = format!("n{}", ground.number());
    let worked = prepare(ground, request, &name);
    let began = ground.start(&format!("{first} {rule}"));
    ground.is_answered(&began);
    let ran = ask(ground, request, &name);
    ground.is_answered(&ran);
    let kills = rule.contains("=kill");
    if matches!(request, Request::Cleanup(_)) {
        // Saving goes on behind the answer.
        until("the tree is saved, or that met the fault", || {
            let done = ground.is_saved(&name) && !rule.starts_with("save.");
            ground.has_passed(rule) || ground.daemon().is_none() || done
        });
    }
    if kills && ground.has_passed(rule) && !rule.starts_with("keep.") {
        until("the daemon has met its end", || ground.daemon().is_none());
    }
    ground.counted();
    ground.stop();
    if !then.is_empty() {
        let ran = ground.start(then);
        ground.is_answered(&ran);
        // Repairs go on behind it.
        until("the start has met the fault", || ground.has_passed(then));
        if then.contains("=kill") {
            until("the next daemon has met its end too", || ground.daemon().is_none());
        }
        ground.counted_again();
        ground.stop();
    }
    ground.recover();
    settle(ground, request, &name, worked.as_ref());
}

/// What has to be there before the request; no daemon runs afterwards.
fn prepare(ground: &Ground, request: Request, name: &str) -> Option<Worked> {
    let worked = match request {
        Request::Create => None,
        Request::Exec => Some(ground.work(name, Kind::Merged)),
        Request::Cleanup(kind) => Some(ground.work(name, kind)),
        Request::Restore(kind) | Request::Empty(kind) => {
            let worked = ground.work(name, kind);
            ground.closes(name);
            ground.saved(name);
            Some(worked)
        }
    };
    ground.stop();
    worked
}

fn ask(ground: &Ground, request: Request, name: &str) -> super::e2e::Ran {
    match request {
        Request::Create => ground.run(&["create", name], ""),
        Request::Exec => ground.run(&["exec", name, "--detach", "--", "sleep", "100000"], ""),
        Request::Cleanup(_) => ground.run(&["cleanup", name], ""),
        Request::Restore(_) => ground.run(&["restore", name], ""),
        Request::Empty(_) => ground.run(&["trash", "empty", "--yes"], ""),
    }
}

/// Repeats the request, which must do what was asked by now, and ends the lane.
fn settle(ground: &Ground, request: Request, name: &str, worked: Option<&Worked>) {
    let open = || ground.open_path(name);
    match (request, worked) {
        (Request::Create, _) => {
            if open().is_none() {
                let branch = format!("lanes/{name}");
                assert!(!ground.scene.inventory().branches.contains(&branch), "its branch is left");
                ground.scene.create(name);
            }
            let path: PathBuf = open().expect("it is open");
            let text = std::fs::read_to_string(path.join(".env")).expect("a copied file");
            assert_eq!((text.as_str(), path.join("a.txt").exists()), ("KEY=1\n", true));
            assert_eq!(ground.scene.git_in(&path, &["status", "--porcelain"]), "");
            ground.closes(name);
            ground.forget(name);
        }
        (Request::Exec, Some(worked)) => {
            // The first one may have come through.
            if ground.scene.json(&["show", name])["lane"]["state"] == "ready" {
                ground.scene.ok(&["exec", name, "--detach", "--", "sleep", "100000"]);
            }
            ground.end(worked);
        }
        (Request::Cleanup(_), Some(worked)) => ground.end(worked),
        (Request::Restore(_), Some(worked)) => {
            ground.nothing_lost(&[worked], open().is_none());
            let path = open().unwrap_or_else(|| ground.scene.restore(&[name]).path);
            ground.is_whole(worked, &path);
            ground.end(worked);
        }
        (Request::Empty(_), Some(_)) => {
            ground.scene.ok(&["trash", "empty", "--yes"]);
            assert!(ground.scene.inventory().trash.is_empty());
            ground.forget(name);
        }
        (_, None) => unreachable!("only a lane that is to be made has no work in it"),
    }
}
