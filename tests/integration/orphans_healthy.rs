//! Nothing that is somebody's is ever suggested, however much goes on; and what a look costs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

/// Cycles over healthy lanes: spec 015 asks for so many.
const CYCLES: u64 = 500;

/// A home, with what is written down of its watchdog.
struct Home<'a> {
    scene: &'a Scene,
    path: PathBuf,
}

impl Home<'_> {
    fn lanes(&self, args: &[&str]) -> crate::support::e2e::Ran {
        let mut all = vec!["--home", self.path.to_str().expect("text")];
        all.extend(args);
        self.scene.lanes(&all)
    }

    fn ok(&self, args: &[&str]) -> String {
        let ran = self.lanes(args);
        assert_eq!(ran.code, Some(0), "lanes {args:?}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Cycles so far and things remembered, without asking the watchdog, which would make it look.
    fn memory(&self) -> (u64, Vec<String>) {
        let body: Value = serde_json::from_str(&memory(&self.path)).expect("JSON");
        let things = body["things"].as_object().map(|things| things.keys().cloned().collect());
        (body["cycles"].as_u64().unwrap_or(0), things.unwrap_or_default())
    }

    fn suggested(&self) -> String {
        self.ok(&["events", "--since", "0", "--topic", "orphan.suggested"])
    }
}

fn memory(home: &Path) -> String {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = rusqlite::Connection::open_with_flags(home.join("lanes.db"), flags).expect("opens");
    store.busy_timeout(std::time::Duration::from_secs(10)).expect("waits");
    store
        .query_row("SELECT body FROM meta WHERE key = 'watchdog'", [], |row| row.get(0))
        .unwrap_or_else(|_none_yet| "{}".into())
}

/// Lanes come, work, go and come back, until told to stop; gives how many.
fn busy(home: &Home<'_>, tag: &str, stop: &AtomicBool, rounds: &AtomicUsize) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("{tag}-{round}");
        home.ok(&["create", &name, "--", "cat"]);
        // What outlives its command lives on under its keeper.
        let script = "nohup sleep 60 >/dev/null 2>&1 & (setsid sleep 60 &) ; echo x > new; exit 0";
        home.ok(&["exec", &name, "--", "sh", "-c", script]);
        home.ok(&["exec", &name, "--detach", "--", "sleep", "60"]);
        home.ok(&["cleanup", &name]);
        if round % 2 == 0 {
            home.ok(&["restore", &name]);
            home.ok(&["cleanup", &name]);
        }
        if round % 3 == 2 {
            home.ok(&["trash", "empty", "--yes"]);
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        round += 1;
    }
}

#[test]
fn five_hundred_cycles_beside_work_of_two_homes_suggest_nothing() {
    let scene = Scene::new();
    scene.configure("[watchdog]\nevery = \"20ms\"\n");
    let ours = Home { scene: &scene, path: scene.home() };
    let theirs = Home { scene: &scene, path: scene.path().join("home-b") };
    // What stays all the time: a lane with a nohup'd child of each home, and the user's own trees.
    for (home, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        home.ok(&["create", name, "--", "sh", "-c", "nohup setsid sleep 600 & exec cat"]);
        home.ok(&["exec", name, "--", "sh", "-c", "nohup sleep 600 >/dev/null 2>&1 & echo dirty >> a.txt"]);
    }
    for own in [scene.root().join("users-own"), scene.path().join("elsewhere")] {
        let branch = own.file_name().expect("a name").to_str().expect("text").to_owned();
        scene.git(&["worktree", "add", "-q", "-b", &branch, own.to_str().expect("text")]);
    }
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        let work = [
            threads.spawn(|| busy(&ours, "a", &stop, &rounds)),
            threads.spawn(|| busy(&theirs, "b", &stop, &rounds)),
        ];
        let began = Instant::now();
        let enough = || ours.memory().0 >= CYCLES && theirs.memory().0 >= CYCLES;
        while !enough() && began.elapsed().as_secs() < 240 && work.iter().all(|one| !one.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    for home in [&ours, &theirs] {
        let (cycles, things) = home.memory();
        assert!(cycles >= CYCLES, "{cycles} cycles");
        assert_eq!(home.suggested(), "", "after {cycles} cycles; remembered {things:?}");
    }
    println!("{} and {} cycles, {} rounds", ours.memory().0, theirs.memory().0, rounds.into_inner());
    theirs.ok(&["cleanup", "--all", "--force"]);
    theirs.ok(&["daemon", "stop"]);
    until("the user's own are there", || scene.root().join("users-own/a.txt").is_file());
}

/// Processor time of a process so far, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    lanes::proc::process(pid).expect("it lives").ticks
}

/// What a look costs with 100 lanes, each with a running task. `cargo test --release --test integration --
/// --ignored --nocapture what_a_look_costs`
#[test]
#[ignore = "takes a minute; figures, not behaviour"]
fn what_a_look_costs() {
    let scene = Scene::new();
    scene.configure("[lanes]\ncapacity = 200\n");
    for n in 0..100 {
        scene.create_with(&["create", &format!("lane-{n}"), "--", "cat"]);
    }
    let home = Home { scene: &scene, path: scene.home() };
    let mut took: Vec<u64> =
        (0..50).map(|_| scene.json(&["orphans", "ls"])["ms"].as_u64().expect("a number")).collect();
    took.sort_unstable();
    println!("a look at 100 lanes: median {} ms, slowest {} ms", took[25], took[49]);
    assert!(took[49] < 200, "{took:?}");
    let pid = u32::try_from(scene.daemon().as_raw_nonzero().get()).expect("a pid");
    let looks = 200;
    let before = ticks(pid);
    for _look in 0..looks {
        scene.json(&["orphans", "ls"]);
    }
    let cpu_ms = (ticks(pid) - before) as f64 * 10.0 / f64::from(looks);
    println!("processor time of a look: {cpu_ms:.1} ms, {:.3} % of a minute", cpu_ms / 600.0);
    assert!(cpu_ms < 600.0, "more than 1 % at the default interval");
    assert_eq!(home.suggested(), "");
}
