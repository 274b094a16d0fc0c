//! What is used while terminals do nothing, and after they have printed.

use std::time::{Duration, Instant};

use super::peers::Side;
use super::processes::{Memory, sleeps, sleeps_between};
use super::{Bench, line};
use crate::Line;

/// Terminals, where there are many.
const MANY: usize = 50;
/// Lines that each has printed.
const LINES: &str = "10000";
/// After the last start nothing is counted for so long: what follows it in the background ends.
const SETTLE: Duration = Duration::from_secs(3);

/// What one side used in one state.
struct Seen {
    memory: Memory,
    sleeps: f64,
    /// Of the daemon and the keepers, for ours.
    daemon: Memory,
    keepers: Vec<Memory>,
    keeper_sleeps: f64,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let idle: &[&str] = &["hold"];
    let printed: &[&str] = &["lines", LINES, "done"];
    for (count, words, what) in
        [(1, idle, "1 idle"), (MANY, idle, "50 idle"), (MANY, printed, "50 after 10,000 lines each")]
    {
        let span = if what == "50 idle" { bench.watch } else { Duration::ZERO };
        let ours = look(bench, None, count, words, span)?;
        let mut theirs = Vec::new();
        for at in 0..bench.peers.len() {
            theirs.push((bench.peers[at].name(), look(bench, Some(at), count, words, span)?));
        }
        let mut push =
            |what: String, unit, ours: &[f64], theirs: &[f64]| lines.push(line(what, unit, ours, theirs));
        for (name, theirs) in &theirs {
            let (a, b) = (ours.memory, theirs.memory);
            push(format!("{what}, PSS | {name}"), "kB", &[a.pss], &[b.pss]);
            push(format!("{what}, private | {name}"), "kB", &[a.private], &[b.private]);
            push(format!("{what}, RSS | {name}"), "kB", &[a.rss], &[b.rss]);
        }
        if theirs.is_empty() {
            push(format!("{what}, PSS"), "kB", &[ours.memory.pss], &[]);
        }
        let keepers = |field: fn(&Memory) -> f64| ours.keepers.iter().map(field).collect::<Vec<_>>();
        push(format!("{what}, a keeper, anonymous"), "kB", &keepers(|memory| memory.anonymous), &[]);
        push(format!("{what}, a keeper, private"), "kB", &keepers(|memory| memory.private), &[]);
        push(format!("{what}, a keeper, PSS"), "kB", &keepers(|memory| memory.pss), &[]);
        push(format!("{what}, keepers, PSS"), "kB", &[keepers(|memory| memory.pss).iter().sum()], &[]);
        push(format!("{what}, the daemon, PSS"), "kB", &[ours.daemon.pss], &[]);
        push(format!("{what}, the daemon, anonymous"), "kB", &[ours.daemon.anonymous], &[]);
        if !span.is_zero() {
            let seconds = span.as_secs();
            push(format!("{what}, wake-ups of all keepers in {seconds} s"), "", &[ours.keeper_sleeps], &[]);
            for (name, theirs) in &theirs {
                push(
                    format!("{what}, wake-ups in {seconds} s | {name}"),
                    "",
                    &[ours.sleeps],
                    &[theirs.sleeps],
                );
            }
        }
    }
    Ok(lines)
}

/// Starts so many, and looks at what keeps them.
fn look(
    bench: &mut Bench,
    peer: Option<usize>,
    count: usize,
    words: &[&str],
    span: Duration,
) -> Result<Seen, String> {
    let stage = &bench.stage;
    // What a server has used before stays with it.
    let side: &mut dyn Side = match peer {
        None => {
            bench.ours.stop_daemon(stage)?;
            bench.ours.start_daemon(stage)?;
            &mut bench.ours
        }
        Some(at) => {
            bench.peers[at].stop(stage);
            bench.peers[at].prepare(stage)?;
            &mut bench.peers[at]
        }
    };
    let mut workers = Vec::new();
    for number in 0..count {
        let name = format!("m{number}");
        side.start(stage, &name, &stage.worker(&name, words))?;
        workers.push(stage.expect_one()?);
    }
    let programs: Vec<u32> = workers.iter().map(|worker| worker.pid).collect();
    let processes = side.processes(&programs)?;
    let begun = Instant::now();
    let mut memory = Memory::sum(&processes)?;
    // Until it has stopped changing, for a while at least.
    loop {
        std::thread::sleep(SETTLE / 3);
        let now = Memory::sum(&processes)?;
        let same = (now.private - memory.private).abs() < 64.0;
        memory = now;
        if (same && begun.elapsed() >= SETTLE) || begun.elapsed() > SETTLE * 10 {
            break;
        }
    }
    let keepers = if peer.is_none() { bench.ours.keepers() } else { Vec::new() };
    let daemon = if peer.is_none() { Memory::of(bench.ours.daemon_pid()?)? } else { Memory::default() };
    let before = (sleeps(&processes), sleeps(&keepers));
    std::thread::sleep(span);
    let after = (sleeps(&processes), sleeps(&keepers));
    let seen = Seen {
        memory,
        daemon,
        sleeps: sleeps_between(&before.0, &after.0),
        keepers: keepers.iter().map(|pid| Memory::of(*pid)).collect::<Result<_, _>>()?,
        keeper_sleeps: sleeps_between(&before.1, &after.1),
    };
    drop(workers);
    match peer {
        None => bench.ours.end(stage)?,
        Some(at) => bench.peers[at].end(stage)?,
    }
    Ok(seen)
}
