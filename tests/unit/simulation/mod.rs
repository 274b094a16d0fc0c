//! The simulation: the real machine, owners, bus, plan and repairs over a model of git and of processes, with a
//! sudden end of the runtime at any step. Everything follows from a seed.
//!
//! `LANES_SEED=n` replays one seed and prints what happened, `LANES_SEEDS=n` runs so many.

mod check;
mod git;
mod journal;
mod lives;
mod machine;
mod making;
mod meanwhile;
mod outside;
mod requests;
mod restoring;
mod retiring;
mod rng;
mod sim;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::lives::{Outcome, run};
use self::sim::{Counts, Planted};

/// How many seeds the suite runs when nobody says otherwise.
const SEEDS: u64 = 10_000;
/// So many that fail are enough to tell what is wrong.
const FAILURES: u64 = 20;
/// A planted fault is to be found within so many.
const PLANTED_SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn explain(seed: u64, outcome: &Outcome) -> String {
    let what = outcome.broken.as_deref().unwrap_or("all is well");
    format!(
        "{}\nseed {seed}: {what}\nreplay it: LANES_SEED={seed} cargo test --test unit simulation",
        outcome.trace.join("\n")
    )
}

/// Seeds that failed, the shortest story first, and what was done in all.
struct Found {
    failed: Vec<(u64, Outcome)>,
    counts: Counts,
}

/// Runs seeds on every processor until so many have failed.
fn search(seeds: u64, planted: Option<Planted>, enough: u64) -> Found {
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        let (mut counts, mut failed) = (Counts::default(), Vec::new());
        while failures.load(Ordering::Relaxed) < enough {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let outcome = run(seed, planted, false);
            counts.add(&outcome.counts);
            if outcome.broken.is_some() {
                failures.fetch_add(1, Ordering::Relaxed);
                failed.push((seed, outcome));
            }
        }
        Found { failed, counts }
    };
    let mut all = Found { failed: Vec::new(), counts: Counts::default() };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let found = worker.join().expect("no worker panics");
            all.counts.add(&found.counts);
            all.failed.extend(found.failed);
        }
    });
    all.failed.sort_by_key(|(seed, outcome)| (outcome.counts.steps, *seed));
    all
}

#[test]
fn nothing_is_lost_and_nothing_left_whatever_happens_when() {
    if let Some(seed) = number("LANES_SEED") {
        let outcome = run(seed, None, true);
        println!("{}", explain(seed, &outcome));
        assert!(outcome.broken.is_none(), "seed {seed} fails");
        return;
    }
    let seeds = number("LANES_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let found = search(seeds, None, FAILURES);
    println!("{seeds} seeds in {:?}: {:?}", began.elapsed(), found.counts);
    if let Some((seed, _shortest)) = found.failed.first() {
        for (seed, outcome) in &found.failed {
            println!("seed {seed}: {}", outcome.broken.as_deref().unwrap_or_default());
        }
        panic!("{}", explain(*seed, &run(*seed, None, true)));
    }
}

/// Ids are made from the clock; all else of a trace follows from its seed.
fn without_ids(trace: &[String]) -> Vec<String> {
    let strip = |line: &String| {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| !(word.len() == 29 && word.as_bytes()[2] == b'_')).collect::<Vec<_>>().join(" ")
    };
    trace.iter().map(strip).collect()
}

#[test]
fn a_seed_is_the_same_each_time() {
    for seed in 0..50 {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        for (at, (left, right)) in without_ids(&one.trace).iter().zip(without_ids(&other.trace)).enumerate() {
            assert_eq!(*left, right, "seed {seed}, line {at}");
        }
        assert_eq!(one.trace.len(), other.trace.len(), "seed {seed}");
    }
}

/// Plants a fault, and expects that it is found.
#[track_caller]
fn finds(planted: Planted) {
    let found = search(PLANTED_SEEDS, Some(planted), 1);
    let first = found.failed.iter().min_by_key(|(seed, _outcome)| *seed);
    let Some((seed, outcome)) = first else { panic!("{planted:?} is not found in {PLANTED_SEEDS} seeds") };
    println!("{planted:?}: seed {seed}: {}", outcome.broken.as_deref().unwrap_or_default());
}

#[test]
fn planted_faults_are_found() {
    finds(Planted::UnknownIsOurs);
    finds(Planted::FreeBeforeRecord);
    finds(Planted::AckBeforeJournal);
    finds(Planted::SkipPin);
    finds(Planted::AdoptTwice);
    finds(Planted::EndByPid);
    finds(Planted::CleaningIsOpen);
    finds(Planted::NoWaitForKeeper);
    finds(Planted::UndoWork);
}
