//! Side by side with what others offer: `cargo bench --bench compare -- SUBJECT [--json FILE]`.
//!
//! Each subject runs A and B alternately in one process and prints the raw medians, their ratio, and
//! what is not comparable about them.

mod bus;
mod cli;
mod generate;
mod machine;
mod provision;
mod report;
mod terminals;
mod yard;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use report::{Comparison, Line, median, percentile};

const USAGE: &str = "usage: cargo bench --bench compare -- SUBJECT [--rounds N] [--json FILE]

  bus                the bus on its memory journal beside tokio's channels
  provision          a lane from create to cleanup, by every way, beside git worktree add and remove
    --repo PATH      on a clone of this repository that borrows its objects (default: a generated one)
    --generate N     files of the generated repository (default 3000)
    --lanes N,N      how many at once (default 1,50)
    --in DIR         where the scratch folder is made (default: the temporary folder)
    --ways WAY,WAY   git, copy, pool, overlay, auto (default: the first three, for root the first four)
    --claims N       also: so many requests one by one that find a ready tree
    --beside         also: a job beside the freeing of closed trees
  cli                commands from a shell, and the memory of the daemon, with many lanes open
    --generate N     files of the generated repository (default 200)
    --lanes N        how many (default 50)
    --in DIR         as above
  terminals          terminals beside tmux (and dtach, abduco, screen when installed)
    --only NAME,NAME create, throughput, echo, reattach, memory, limits (default: all)
    --terminals N,N  how many are created (default 1,50,200)
    --quick          few rounds of little, to see that it works
    --in DIR         as above";

/// What the command line asks for.
struct Wanted {
    subject: String,
    rounds: usize,
    json: Option<PathBuf>,
    /// What only the subject understands.
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((terminals::worker::ARGUMENT, rest)) = arguments.split_first().map(|(a, r)| (a.as_str(), r)) {
        return terminals::worker::main(rest);
    }
    let wanted = match parse(arguments.into_iter()) {
        Ok(Some(wanted)) => wanted,
        // `cargo bench` without a subject runs every bench; this one has nothing to say then.
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => return usage(&message),
    };
    let comparison = match wanted.subject.as_str() {
        "bus" => bus::run(wanted.rounds, &wanted.rest),
        "cli" => cli::run(wanted.rounds, wanted.rest),
        "provision" => provision::run(wanted.rounds, wanted.rest),
        "terminals" => terminals::run(wanted.rounds, wanted.rest),
        other => Err(format!("there is no subject {other:?}")),
    };
    let comparison = match comparison {
        Ok(comparison) => comparison,
        Err(message) => return usage(&message),
    };
    let machine = machine::facts(comparison.file_system.as_deref());
    report::print(&comparison, &machine);
    let Some(file) = wanted.json else { return ExitCode::SUCCESS };
    match std::fs::write(&file, format!("{:#}\n", report::to_json(&comparison, &machine))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => usage(&format!("could not write {}: {error}", file.display())),
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("{message}\n{USAGE}");
    ExitCode::from(2)
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>, String> {
    // `cargo bench` adds this one.
    let mut arguments = arguments.filter(|argument| argument != "--bench");
    let Some(subject) = arguments.next() else { return Ok(None) };
    let mut wanted = Wanted { subject, rounds: 11, json: None, rest: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => wanted.json = Some(arguments.next().ok_or("--json needs a file")?.into()),
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                wanted.rounds = number.filter(|number| *number > 0).ok_or("--rounds needs a number")?;
            }
            _other => wanted.rest.push(argument),
        }
    }
    Ok(Some(wanted))
}

/// Takes an option with its value out of what only the subject understands.
fn flag(rest: &mut Vec<String>, name: &str) -> Result<Option<String>, String> {
    let Some(at) = rest.iter().position(|word| word == name) else { return Ok(None) };
    if at + 1 >= rest.len() {
        return Err(format!("{name} needs a value"));
    }
    let mut taken = rest.drain(at..at + 2);
    Ok(taken.nth(1))
}

/// How many a second.
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
