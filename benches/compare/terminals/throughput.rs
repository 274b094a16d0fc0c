//! How fast a program can print, with nobody and with one client looking.

use std::time::Duration;

use super::peers::Side;
use super::stage::{Stage, Worker};
use super::window::Window;
use super::{Bench, limits, line};
use crate::Line;

/// A client has so long to show what it is given, then it is given another text.
const TRY: Duration = Duration::from_millis(300);
const TRIES: u32 = 40;

/// MB/s as the program sees it, and MB that the client was given.
#[derive(Default)]
struct Speeds {
    detached: Vec<f64>,
    attached: Vec<f64>,
    client: Vec<f64>,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let rounds = bench.rounds.div_ceil(2);
    let mut lines = Vec::new();
    for style in ["plain", "ansi"] {
        let mut raw = Vec::new();
        let mut speeds: Vec<Speeds> = (0..=bench.peers.len()).map(|_| Speeds::default()).collect();
        for round in 0..rounds {
            raw.push(limits::throughput(&bench.stage, style, bench.bytes, 0, 16 << 10)?);
            for turn in 0..speeds.len() {
                let at = (round + turn) % speeds.len();
                let speeds = &mut speeds[at];
                let (stage, bytes) = (&bench.stage, bench.bytes);
                match at {
                    0 => once(&mut bench.ours, stage, style, bytes, speeds)?,
                    at => once(&mut bench.peers[at - 1], stage, style, bytes, speeds)?,
                }
            }
        }
        let ours = &speeds[0];
        let mut push = |what: String, unit, ours: &[f64], theirs: &[f64]| {
            lines.push(Line { more_is_better: true, ..line(what, unit, ours, theirs) });
        };
        push(format!("{style} detached | raw pty"), "MB/s", &ours.detached, &raw);
        for (peer, theirs) in bench.peers.iter().zip(&speeds[1..]) {
            let name = peer.name();
            push(format!("{style} detached | {name}"), "MB/s", &ours.detached, &theirs.detached);
            push(format!("{style} attached | {name}"), "MB/s", &ours.attached, &theirs.attached);
            push(format!("{style} attached, client got | {name}"), "MB", &ours.client, &theirs.client);
        }
        if bench.peers.is_empty() {
            push(format!("{style} attached"), "MB/s", &ours.attached, &[]);
        }
    }
    Ok(lines)
}

fn once(
    side: &mut dyn Side,
    stage: &Stage,
    style: &str,
    bytes: u64,
    speeds: &mut Speeds,
) -> Result<(), String> {
    let argv = stage.worker("writer", &["write", &bytes.to_string(), style]);
    side.start(stage, "writer", &argv)?;
    let mut worker = stage.expect_one()?;
    speeds.detached.push(speed(&mut worker, bytes)?);
    let mut window = Window::open(side.attach(stage, "writer")?)?;
    until_shown(side.name(), &mut window, &mut worker)?;
    window.drain();
    speeds.attached.push(speed(&mut worker, bytes)?);
    speeds.client.push(window.drained() as f64 / 1e6);
    drop((window, worker));
    side.end(stage)
}

/// The client shows what the program prints.
fn until_shown(name: &str, window: &mut Window, worker: &mut Worker) -> Result<(), String> {
    for number in 0..TRIES {
        let mark = format!("--- mark {number} ---");
        worker.tell(&format!("mark {mark}"))?;
        if window.until_drawn(mark.as_bytes(), TRY)? {
            return Ok(());
        }
    }
    Err(format!("the client of {name} shows nothing"))
}

/// MB/s of so many bytes.
pub(super) fn speed(worker: &mut Worker, bytes: u64) -> Result<f64, String> {
    worker.tell("go")?;
    let seconds = worker.hear()?.parse::<f64>().map_err(|error| error.to_string())?;
    Ok(bytes as f64 / 1e6 / seconds)
}
