//! The ground that faults are injected on: a user's own things beside lanes full of work, and the look at all of it
//! afterwards. Nothing may be lost, nothing left, nothing of the user's touched.
#![allow(dead_code, reason = "each suite uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use serde_json::Value;

use super::e2e::{Made, Ran, Scene};
use super::git::write;
use super::stage::{PATIENCE, until};
use super::task::kill_and_wait;
use super::work::{Picture, picture};

/// A repository with a user's branches, worktree and process, and room for lanes.
pub struct Ground {
    pub scene: Scene,
    theirs: Theirs,
    bare: BTreeSet<String>,
    bystander: Child,
    trace: PathBuf,
    cases: Cell<u64>,
    seen: RefCell<BTreeSet<String>>,
    codes: RefCell<BTreeMap<String, u64>>,
}

/// What is the user's, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Theirs {
    checkout: Picture,
    worktree: Picture,
    admin: Picture,
    files: BTreeMap<&'static str, Vec<u8>>,
    refs: String,
}

/// A lane as it was before something happened to it.
#[derive(Clone, Debug)]
pub struct Worked {
    pub made: Made,
    pub commits: Vec<String>,
    tree: Picture,
    index: Vec<String>,
}

/// What asks for the state of a lane that is not in its files.
const INDEX: [&[&str]; 5] = [
    &["status", "--porcelain=v2", "--branch", "--untracked-files=all"],
    &["ls-files", "--stage"],
    &["diff", "--cached", "--binary"],
    &["diff", "--binary"],
    &["reflog", "show", "--format=%H %gs", "HEAD"],
];

/// What a request that was hit by a fault may answer.
const CODES: [&str; 9] = [
    "IO",
    "DISK_LOW",
    "GIT_FAILED",
    "DAEMON_DOWN",
    "BUSY",
    "INVALID_TRANSITION",
    "HANDLER_ERROR",
    "TIMEOUT",
    "LANE_NOT_FOUND",
];

impl Ground {
    pub fn new() -> Self {
        let scene = Scene::new().without_spares();
        // What the background does is the business of the tests of the stock.
        scene.may_crash();
        scene.write(".gitignore", ".env\nbuilt/\n");
        scene.write(".worktreeinclude", ".env\n");
        scene.write("many/one", "1\n");
        scene.commit("second");
        scene.write(".env", "KEY=1\n");
        scene.git(&["tag", "v1"]);
        scene.git(&["branch", "mine"]);
        scene.git(&["branch", "lanes/of-the-user"]);
        scene.git(&["worktree", "add", "-q", "-b", "theirs", "../theirs"]);
        let theirs = scene.path().join("work/theirs");
        write(&theirs.join("a.txt"), "changed by the user\n");
        write(&theirs.join("staged"), "staged by the user\n");
        scene.git_in(&theirs, &["add", "staged"]);
        write(&theirs.join("new"), "not tracked\n");
        write(&scene.repo().join("loose"), "not tracked either\n");
        let mut sleep = Command::new("sleep");
        let bystander = sleep.arg("100000").env_clear().current_dir(&theirs).stdin(Stdio::null()).spawn();
        let trace = scene.path().join("tmp/trace");
        let mut ground = Self {
            theirs: Theirs::look(&scene),
            scene,
            bare: BTreeSet::new(),
            bystander: bystander.expect("sleeps"),
            trace,
            cases: Cell::new(0),
            seen: RefCell::default(),
            codes: RefCell::default(),
        };
        // What the first lane leaves for good: folders of the home, the copy of the keeper.
        let first = ground.work("first", Kind::Full);
        ground.end(&first);
        ground.bare = ground.listing();
        ground
    }

    /// A new ground in the place of one that was harmed; what was counted stays.
    pub fn again(&mut self) {
        let fresh = Self::new();
        fresh.cases.set(self.cases.get());
        fresh.seen.replace(self.seen.take());
        fresh.codes.replace(self.codes.take());
        let harmed = std::mem::replace(self, fresh);
        let _said_already = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(harmed)));
    }

    /// Makes a lane with work in it; the daemon runs afterwards.
    pub fn work(&self, name: &str, kind: Kind) -> Worked {
        self.scene.create(name);
        self.fill(name, kind)
    }

    /// Works in a lane that was made.
    pub fn fill(&self, name: &str, kind: Kind) -> Worked {
        let made = self.scene.made(name);
        let git = |args: &[&str]| self.scene.git_in(&made.path, args);
        let mut commits = Vec::new();
        let mut commit = |text: &str| {
            write(&made.path.join("work.txt"), &format!("{name} {text}\n"));
            git(&["add", "work.txt"]);
            git(&["commit", "-q", "-m", text]);
            commits.push(git(&["rev-parse", "HEAD"]));
        };
        if kind != Kind::Merged {
            commit("on the branch");
            git(&["checkout", "-q", "--detach"]);
            commit("on no branch");
            git(&["checkout", "-q", &made.branch]);
            self.scene.ok(&["exec", name, "--detach", "--", "sleep", "100000"]);
        }
        write(&made.path.join("a.txt"), &format!("{name} staged\n"));
        git(&["add", "a.txt"]);
        write(&made.path.join("a.txt"), &format!("{name} staged, then changed\n"));
        write(&made.path.join("sub/b.txt"), &format!("{name} changed\n"));
        write(&made.path.join("deep/er/new"), &format!("{name} not tracked\n"));
        write(&made.path.join("built/out"), "ignored\n");
        write(&made.path.join("run.sh"), "#!/bin/sh\n");
        for (file, mode) in [("run.sh", 0o750), ("built/out", 0o400)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(made.path.join(file), mode).expect("sets the mode");
        }
        std::os::unix::fs::symlink("nowhere/at all", made.path.join("link")).expect("links");
        std::fs::remove_file(made.path.join("many/one")).expect("removes");
        if kind == Kind::Nested {
            let inner = made.path.join("inner");
            self.scene.git(&["init", "-q", inner.to_str().expect("text")]);
            write(&inner.join("file"), "of another repository\n");
        }
        let (tree, index) = self.state(&made.path);
        Worked { made, commits, tree, index }
    }

    /// Takes the lane as it is now for how it has to be.
    pub fn look_again(&self, worked: &mut Worked) {
        (worked.tree, worked.index) = self.state(&worked.made.path);
    }

    fn state(&self, path: &Path) -> (Picture, Vec<String>) {
        let ask = |args: &&[&str]| {
            let mut all = vec!["--no-optional-locks"];
            all.extend(*args);
            self.scene.git_in(path, &all)
        };
        (picture(path), INDEX.iter().map(ask).collect())
    }

    /// The lane's tree at `path` is as it was left, to the last byte, time stamp and index entry.
    #[track_caller]
    pub fn is_whole(&self, worked: &Worked, path: &Path) {
        let (tree, index) = self.state(path);
        assert_eq!(shown(&tree), shown(&worked.tree), "files of {}", worked.made.name);
        assert_eq!(tree, worked.tree, "files of {}", worked.made.name);
        assert_eq!(index, worked.index, "index or history of {}", worked.made.name);
    }

    /// No commit of these lanes is lost. `closed`: reflogs of their trees do not count any more.
    #[track_caller]
    pub fn nothing_lost(&self, lanes: &[&Worked], closed: bool) {
        let reflogs = if closed { "--no-reflogs" } else { "--reflogs" };
        let found = self.scene.git(&["fsck", "--unreachable", reflogs, "--no-progress"]);
        let lost: Vec<&str> =
            found.lines().filter_map(|line| line.strip_prefix("unreachable commit ")).collect();
        for commit in lanes.iter().flat_map(|lane| &lane.commits) {
            assert!(!lost.contains(&commit.as_str()), "{commit} is lost");
        }
    }

    /// Starts a daemon with these faults; it may die of them.
    pub fn start(&self, faults: &str) -> Ran {
        let _none_yet = std::fs::remove_file(&self.trace);
        self.run(&["daemon", "start"], faults)
    }

    /// Runs `lanes --json` with faults, if it has to start a daemon.
    pub fn run(&self, args: &[&str], faults: &str) -> Ran {
        let mut all = vec!["--json"];
        all.extend(args);
        let mut command = self.scene.command(&self.scene.repo(), &all);
        command.env("LANES_FAULTS", faults).env("LANES_FAULTS_TRACE", &self.trace);
        let output = command.output().expect("starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a daemon without faults, which must succeed, and waits until it has repaired everything.
    #[track_caller]
    pub fn recover(&self) {
        let ran = self.scene.lanes(&["--json", "daemon", "start"]);
        assert_eq!(ran.code, Some(0), "it does not start again: {}{}", ran.stdout, ran.stderr);
        let begun = std::time::Instant::now();
        loop {
            let lanes = self.scene.json(&["ls"])["lanes"].clone();
            let on_its_way = |lane: &Value| {
                ["new", "provisioning", "cleaning"].iter().any(|state| lane["state"] == *state)
            };
            if !lanes.as_array().expect("a list").iter().any(on_its_way) {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.scene.home().join("daemon.log")).unwrap_or_default();
                panic!("a lane is still on its way: {lanes:#} {:#?} {log}", self.scene.inventory());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Repeats the cleanup of lanes whose git was killed: such a failure is told, and waits for who asked.
    #[track_caller]
    pub fn ask_again(&self) {
        let lanes = self.scene.json(&["ls"])["lanes"].clone();
        for lane in lanes.as_array().expect("a list").iter().filter(|lane| lane["state"] == "cleaning") {
            self.closes(lane["name"].as_str().expect("a name"));
        }
    }

    /// Stops the daemon, if it is there.
    pub fn stop(&self) {
        let ran = self.scene.lanes(&["daemon", "stop"]);
        // It may meet its end meanwhile.
        let stopped = ran.code == Some(0) || self.daemon().is_none();
        assert!(stopped, "it does not stop: {}{}", ran.stdout, ran.stderr);
    }

    /// The fail points passed since the last start, in order.
    pub fn passed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.trace).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The process that last owned the home, if it lives.
    pub fn daemon(&self) -> Option<Pid> {
        let pid = lanes::store::last_holder(&self.scene.home())?.pid;
        let there = lanes::proc::process(pid).is_some_and(|process| !process.is_dead());
        there.then(|| Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid"))
    }

    /// Ends the daemon by force and waits until it has gone.
    pub fn kill(&self) {
        let _gone_before = self.daemon().is_some_and(kill_and_wait);
    }

    /// A request that met a fault either succeeded or says what is the matter and what to do.
    #[track_caller]
    pub fn is_answered(&self, ran: &Ran) {
        let code = if ran.code == Some(0) {
            "done".to_owned()
        } else {
            let said: Value = serde_json::from_str(&ran.stderr)
                .or_else(|_| serde_json::from_str(&ran.stdout))
                .unwrap_or(Value::Null);
            let error = if said["error"].is_object() { &said["error"] } else { &said["results"][0]["error"] };
            let code =
                error["code"].as_str().unwrap_or_else(|| panic!("no code: {}{}", ran.stdout, ran.stderr));
            assert!(CODES.contains(&code), "{error}");
            assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no hint: {error}");
            code.to_owned()
        };
        *self.codes.borrow_mut().entry(code).or_default() += 1;
    }

    /// Ends a lane for good: closed, whole when brought back, then emptied. Then nothing of it is left.
    #[track_caller]
    pub fn end(&self, worked: &Worked) {
        let name = worked.made.name.as_str();
        self.closes(name);
        self.saved(name);
        self.nothing_lost(&[worked], true);
        // What nobody holds any more is gone now, staged content too.
        self.scene.git(&["prune", "--expire", "now"]);
        let back = self.scene.restore(&[name]);
        self.is_whole(worked, &back.path);
        self.closes(name);
        self.forget(name);
    }

    /// Ends a lane that was adopted because its record is lost: it comes back as it was.
    #[track_caller]
    pub fn end_adopted(&self, worked: &Worked) {
        let name = worked.made.name.as_str();
        self.closes(name);
        self.saved(name);
        self.nothing_lost(&[worked], true);
        let back = self.scene.restore(&[name]);
        self.is_whole(worked, &back.path);
        self.closes(name);
        self.scene.ok(&["trash", "empty", "--yes"]);
    }

    /// Closes a lane that may be closed already.
    #[track_caller]
    pub fn closes(&self, name: &str) {
        self.scene.ok(&["cleanup", name]);
    }

    /// True when a lane of this name can be brought back.
    pub fn is_in_trash(&self, name: &str) -> bool {
        let trash = self.scene.json(&["trash", "ls"])["trash"].clone();
        trash.as_array().expect("a list").iter().any(|entry| entry["name"] == name)
    }

    /// Deletes the branch of a lane, if it is there.
    pub fn drop_branch(&self, name: &str) {
        let branch = format!("lanes/{name}");
        let there = self.scene.try_git(&self.scene.repo(), &["rev-parse", "-q", "--verify", &branch]);
        if there.code == Some(0) {
            self.scene.git(&["branch", "-q", "-D", &branch]);
        }
    }

    /// True for a keeper of this ground.
    pub fn is_keeper(&self, pid: u32) -> bool {
        let line = lanes::proc::command_line(pid);
        let ours = |word: &Vec<u8>| word.starts_with(self.scene.path().as_os_str().as_encoded_bytes());
        line.first().is_some_and(ours) && line.get(1).is_some_and(|word| word == b"keeper")
    }

    /// Empties the trash and drops the lane's branch, and looks whether anything is left of any lane.
    #[track_caller]
    pub fn forget(&self, name: &str) {
        self.scene.ok(&["trash", "empty", "--yes"]);
        self.drop_branch(name);
        self.stop();
        if !self.bare.is_empty() {
            let now = self.listing();
            let left: Vec<_> = now.difference(&self.bare).collect();
            let gone: Vec<_> = self.bare.difference(&now).collect();
            assert!(left.is_empty() && gone.is_empty(), "left: {left:#?} gone: {gone:#?}");
            let now = self.scene.inventory();
            assert!(now.processes.is_empty() && now.sockets.is_empty(), "left: {now:#?}");
            assert_eq!(Theirs::look(&self.scene), self.theirs, "something of the user's was touched");
            let bystander = lanes::proc::process(self.bystander.id());
            assert!(bystander.is_some_and(|one| !one.is_dead()), "a process of the user's was ended");
        }
    }

    /// Every path of the home, of the folder of trees and of the repository, but for objects, the store and the log.
    fn listing(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for part in ["home", "work/repo.lanes", "work/repo/.git"] {
            walk(&self.scene.path().join(part), part, &mut found);
        }
        let variable = |path: &String| {
            path.starts_with("home/lanes.db")
                || path.starts_with("home/daemon.")
                || path.starts_with("work/repo/.git/objects")
        };
        found.retain(|path| !variable(path));
        found
    }

    /// A number for the next lane.
    pub fn number(&self) -> u64 {
        self.cases.get()
    }

    /// True when the place of a rule was passed often enough for it.
    pub fn has_passed(&self, rule: &str) -> bool {
        let (place, action) = rule.split_once('=').expect("a rule");
        let nth = action.rsplit_once('@').map_or(1, |(_, nth)| nth.parse().expect("a number"));
        let fits = |name: &&String| **name == place || name.split('(').next() == Some(place);
        self.passed().iter().filter(fits).count() >= nth
    }

    /// Waits for the saving of a closed lane.
    pub fn saved(&self, name: &str) {
        until("the files of the lane are saved", || self.is_saved(name));
    }

    /// True when the saving of a closed lane has come to its end, as far as its own files say.
    pub fn is_saved(&self, name: &str) -> bool {
        let trash = self.scene.root().join(".trash");
        let entries = std::fs::read_dir(trash).into_iter().flatten().flatten();
        let entry = |folder: std::fs::DirEntry| -> Option<Value> {
            serde_json::from_slice(&std::fs::read(folder.path().join("entry.json")).ok()?).ok()
        };
        let ours = entries.filter_map(entry).find(|entry| entry["order"]["name"] == name);
        ours.is_some_and(|entry| entry["saved"]["state"] != "pending" && !self.is_being_saved(&entry))
    }

    fn is_being_saved(&self, entry: &Value) -> bool {
        let id = entry["order"]["lane_id"].as_str().expect("an id");
        let archived = entry["saved"]["state"] == "archived";
        archived && self.scene.root().join(".trash").join(id).join("tree").exists()
    }

    /// Where an open lane is.
    pub fn open_path(&self, name: &str) -> Option<PathBuf> {
        let lanes = self.scene.json(&["ls"])["lanes"].clone();
        let lanes = lanes.as_array().expect("a list");
        let lane = lanes.iter().find(|lane| lane["name"] == name && lane["state"] != "closed")?;
        Some(lane["worktree"].as_str().expect("a path").into())
    }

    /// Notes a case, and what it has reached.
    pub fn counted(&self) {
        self.cases.set(self.cases.get() + 1);
        self.counted_again();
    }

    /// Notes what one more start has reached.
    pub fn counted_again(&self) {
        let names = self.passed().into_iter().map(|name| name.split('(').next().unwrap_or("").to_owned());
        self.seen.borrow_mut().extend(names);
    }

    /// Says how many cases there were; every fail point with one of these beginnings must have been reached.
    #[track_caller]
    pub fn tell(&self, what: &str, points: &[&str]) {
        let seen = self.seen.borrow();
        let ours =
            lanes::fault::POINTS.iter().filter(|name| points.iter().any(|start| name.starts_with(start)));
        let missed: Vec<_> = ours.filter(|name| !seen.contains(**name)).collect();
        assert!(missed.is_empty(), "{what} never reaches {missed:?}");
        println!(
            "{what}: fail points: {}, cases: {}, lost 0, left 0, foreign touched 0; answers: {:?}",
            seen.len(),
            self.cases.get(),
            self.codes.borrow()
        );
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ended = self.bystander.kill().and_then(|()| self.bystander.wait());
    }
}

/// What is in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Commits, files of every kind, a live task.
    Full,
    /// No commit of its own and no task: its branch goes with it.
    Merged,
    /// As full, with a repository inside: kept whole when it is retired.
    Nested,
}

impl Theirs {
    fn look(scene: &Scene) -> Self {
        let git = scene.repo().join(".git");
        let file = |name: &'static str| (name, std::fs::read(git.join(name)).unwrap_or_default());
        let refs = scene.git(&["for-each-ref", "--format=%(refname) %(objectname)"]);
        let of_lanes = |line: &&str| {
            line.starts_with("refs/heads/lanes/") && !line.starts_with("refs/heads/lanes/of-the-user ")
        };
        Self {
            checkout: picture(&scene.repo())
                .into_iter()
                .filter(|(path, _)| !path.starts_with(b".git/"))
                .collect(),
            worktree: picture(&scene.path().join("work/theirs")),
            admin: picture(&git.join("worktrees/theirs")),
            files: ["config", "HEAD", "index", "info/exclude", "logs/HEAD", "packed-refs"].map(file).into(),
            refs: refs.lines().filter(|line| !of_lanes(line)).collect::<Vec<_>>().join("\n"),
        }
    }
}

fn shown(tree: &Picture) -> BTreeMap<String, (char, u32)> {
    tree.iter()
        .map(|(path, (kind, mode, _))| (String::from_utf8_lossy(path).into_owned(), (*kind, *mode)))
        .collect()
}

fn walk(folder: &Path, name: &str, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            // git leaves folders of refs behind, and takes them again.
            let of_refs = inner.contains("/.git/refs/") || inner.contains("/.git/logs/");
            walk(&entry.path(), &inner, found);
            if !of_refs {
                found.insert(inner + "/");
            }
        } else {
            let mark = if kind.is_socket() { "=" } else { "" };
            found.insert(inner + mark);
        }
    }
}
