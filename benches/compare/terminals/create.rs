//! How long it takes to start terminals, and to end them.

use std::time::{Duration, Instant};

use super::control::Control;
use super::ours::Ours;
use super::peers::{Peer, Side, tmux_says};
use super::processes::Ends;
use super::stage::Stage;
use super::{Bench, line};
use crate::Line;
use crate::yard::LANES;

/// A program that does nothing.
const COMMAND: [&str; 2] = ["sleep", "1000"];
/// All programs have to be gone by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds of each round.
#[derive(Default)]
struct Times {
    connection: Vec<f64>,
    ended: Vec<f64>,
    commands: Vec<f64>,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    // Once unmeasured: caches, the daemon's copy of the program.
    ours_once(&mut bench.ours, &bench.stage, 1, &mut Times::default())?;
    for count in bench.counts.clone() {
        let rounds = if count == 1 { bench.rounds } else { bench.rounds.div_ceil(3) };
        let mut ours = Times::default();
        let mut theirs: Vec<(Peer, Times)> =
            bench.peers.iter().map(|peer| (*peer, Times::default())).collect();
        for round in 0..rounds {
            for turn in 0..=theirs.len() {
                match (round + turn) % (theirs.len() + 1) {
                    0 => ours_once(&mut bench.ours, &bench.stage, count, &mut ours)?,
                    at => {
                        let (peer, times) = &mut theirs[at - 1];
                        theirs_once(*peer, &bench.stage, count, times)?;
                    }
                }
            }
        }
        let of = |what: &str| format!("create {count}: {what}");
        if theirs.is_empty() {
            lines.push(line(of("one connection"), "ms", &ours.connection, &[]));
            lines.push(line(of("a command each"), "ms", &ours.commands, &[]));
        }
        for (peer, times) in &theirs {
            let name = peer.name();
            if *peer == Peer::Tmux {
                lines.push(line(of("one connection | tmux -C"), "ms", &ours.connection, &times.connection));
                lines.push(line(format!("end {count}: all gone | tmux -C"), "ms", &ours.ended, &times.ended));
            }
            lines.push(line(of(&format!("a command each | {name}")), "ms", &ours.commands, &times.commands));
        }
    }
    Ok(lines)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

fn ours_once(ours: &mut Ours, stage: &Stage, count: usize, times: &mut Times) -> Result<(), String> {
    let argv = COMMAND.map(str::to_owned);
    ours.lane(stage)?;
    let begun = Instant::now();
    let programs = Ends::of(ours.start_many(stage, &names(count), &argv)?);
    times.connection.push(ms(begun));
    let begun = Instant::now();
    ours.kill_many()?;
    gone(&programs)?;
    times.ended.push(ms(begun));
    ours.end(stage)?;
    // There is no command that starts a terminal without showing it.
    let lane = ours.share(stage)?;
    let begun = Instant::now();
    for _ in 0..count {
        let mut command = stage.command(LANES);
        command.args(["exec", &lane, "--detach", "--"]).args(COMMAND);
        stage.yard.timed(command)?;
    }
    times.commands.push(ms(begun));
    ours.end(stage)
}

fn theirs_once(mut peer: Peer, stage: &Stage, count: usize, times: &mut Times) -> Result<(), String> {
    let argv = COMMAND.map(str::to_owned);
    if peer == Peer::Tmux {
        let mut control = Control::open(stage)?;
        let start = |name: &String| format!("new-session -d -x 80 -y 24 -s {name} {}", COMMAND.join(" "));
        let starts: Vec<String> = names(count).iter().map(start).collect();
        let begun = Instant::now();
        control.ask(&starts)?;
        times.connection.push(ms(begun));
        let pids = tmux_says(stage, &["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"])?;
        let pids = pids.lines().filter(|line| !line.starts_with("control "));
        let programs = Ends::of(pids.filter_map(|line| line.split(' ').nth(1)?.parse().ok()));
        let ends: Vec<String> = names(count).iter().map(|name| format!("kill-session -t {name}")).collect();
        let begun = Instant::now();
        control.ask(&ends)?;
        gone(&programs)?;
        times.ended.push(ms(begun));
        drop(control);
        peer.end(stage)?;
    }
    let begun = Instant::now();
    for name in names(count) {
        stage.yard.timed(peer.starting(stage, &name, &argv))?;
    }
    times.commands.push(ms(begun));
    // Some answer before they have started anything.
    while stage.named(COMMAND[0]).len() < count {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} has not started all programs", peer.name()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    peer.end(stage)
}

fn gone(programs: &Ends) -> Result<(), String> {
    if programs.wait(PATIENCE) { Ok(()) } else { Err("not all programs have ended".to_owned()) }
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
