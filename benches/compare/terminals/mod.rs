//! Terminals beside tmux, and beside others that are installed, in one run.

mod control;
mod create;
mod echo;
mod limits;
mod memory;
mod ours;
mod peers;
mod processes;
mod reattach;
mod stage;
mod throughput;
mod window;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::Duration;

use self::ours::Ours;
use self::peers::{Peer, Side as _};
use self::stage::Stage;
use super::{Comparison, Line, flag};

/// A scenario.
type Measure = fn(&mut Bench) -> Result<Vec<Line>, String>;

const SCENARIOS: [(&str, Measure); 6] = [
    ("create", create::measure),
    ("throughput", throughput::measure),
    ("echo", echo::measure),
    ("reattach", reattach::measure),
    ("memory", memory::measure),
    ("limits", limits::measure),
];

/// What all scenarios work with. Fields are dropped from the first to the last: the stage looks last
/// whether anybody is left.
struct Bench {
    ours: Ours,
    peers: Vec<Peer>,
    stage: Stage,
    rounds: usize,
    counts: Vec<usize>,
    /// What a program prints to be timed, in bytes.
    bytes: u64,
    /// Keys of a round.
    keys: usize,
    /// How long wake-ups are counted.
    watch: Duration,
}

impl Drop for Bench {
    fn drop(&mut self) {
        ours::end_anyway(&mut self.ours, &self.stage);
        for peer in &self.peers {
            peer.stop(&self.stage);
        }
    }
}

pub(super) fn run(rounds: usize, mut rest: Vec<String>) -> Result<Comparison, String> {
    let quick = switch(&mut rest, "--quick");
    let within = flag(&mut rest, "--in")?.map(PathBuf::from);
    let only = flag(&mut rest, "--only")?;
    let counts = flag(&mut rest, "--terminals")?.unwrap_or_else(|| "1,50,200".to_owned());
    let counts: Result<Vec<usize>, _> = counts.split(',').map(str::parse).collect();
    let counts = counts.map_err(|_error| "--terminals needs numbers such as 1,50,200")?;
    if let Some(unknown) = rest.first() {
        return Err(format!("terminals does not know {unknown:?}"));
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only.split(',').any(|one| one == name));
    if !SCENARIOS.iter().any(|(name, _measure)| wanted(name)) {
        let names = SCENARIOS.map(|(name, _measure)| name);
        return Err(format!("--only needs one of {}", names.join(", ")));
    }
    let stage = Stage::new(within.as_deref())?;
    let peers = Peer::installed();
    for peer in &peers {
        peer.prepare(&stage)?;
    }
    let mut bench = Bench {
        ours: Ours::new(&stage)?,
        peers,
        stage,
        rounds: if quick { rounds.min(2) } else { rounds },
        counts,
        bytes: if quick { 10_000_000 } else { 50_000_000 },
        keys: if quick { 150 } else { 500 },
        watch: Duration::from_secs(if quick { 10 } else { 60 }),
    };
    let (mut lines, mut remarks) = (Vec::new(), remarks());
    for (name, measure) in SCENARIOS.iter().filter(|(name, _measure)| wanted(name)) {
        eprintln!("{name} …");
        match measure(&mut bench) {
            Ok(found) => lines.extend(found),
            // What the others have found is worth keeping.
            Err(error) => {
                eprintln!("{name}: {error}");
                remarks.push(format!("{name} was not measured: {error}"));
                ours::end_anyway(&mut bench.ours, &bench.stage);
                for peer in &bench.peers {
                    peer.stop(&bench.stage);
                    peer.prepare(&bench.stage)?;
                }
            }
        }
    }
    let names: Vec<&str> = bench.peers.iter().map(|peer| peer.name()).collect();
    Ok(Comparison {
        subject: "terminals",
        ours: "lanes: a daemon, one lane, a keeper for each terminal".to_owned(),
        theirs: match names.is_empty() {
            true => "nobody: tmux is not installed".to_owned(),
            false => format!("as each line says, of: {} (and the kernel's raw terminal)", names.join(", ")),
        },
        lines,
        not_comparable: remarks,
        file_system: None,
    })
}

/// A line in which less is better.
fn line(what: String, unit: &'static str, ours: &[f64], theirs: &[f64]) -> Line {
    Line { what, unit, ours: ours.to_vec(), theirs: theirs.to_vec(), more_is_better: false }
}

/// Takes an option without a value.
fn switch(rest: &mut Vec<String>, name: &str) -> bool {
    let before = rest.len();
    rest.retain(|word| word != name);
    rest.len() < before
}

fn remarks() -> Vec<String> {
    [
        "a terminal of A is recorded on disk byte by byte and outlives its server; of the others none does either",
        "create, one connection: A answers when the command has been executed and all of it is written down; \
         tmux -C when it has forked. At most 48 requests of A are on the way at once",
        "create, a command each: A has no command that starts a terminal without showing it, so it is \
         `lanes exec --detach` (a run with pipes) in a shared lane",
        "throughput is what the program sees. tmux and screen leave out what a client is too slow for, and draw \
         the screen instead: `client got` says how much; dtach and abduco keep no screen at all",
        "tmux runs without its status line and keeps 10,000 lines (2,000 is its default); screen keeps 10,000",
        "echo of 50 noisy: the raw terminal is measured while our noisy ones are there",
        "memory of A is of its daemon and keepers; what was printed is in files, that is in the page cache, \
         which is not counted; of the others it is of their servers. The programs themselves are never counted",
    ]
    .map(str::to_owned)
    .to_vec()
}
