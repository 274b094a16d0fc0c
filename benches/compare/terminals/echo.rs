//! From a key to its echo through an attached client.

use std::time::{Duration, Instant};

use super::peers::Side;
use super::stage::Stage;
use super::window::Window;
use super::{Bench, limits, line};
use crate::{Line, median, percentile};

/// Sessions that print meanwhile, and how much each, in bytes a second.
const NOISY: usize = 50;
const NOISE: &str = "50000";
/// Between two keys.
const PAUSE: Duration = Duration::from_millis(2);
/// An echo has so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Keys of one row of the screen; odd, so that the next row has the other key in each place.
const ROW: usize = 61;
/// Rare in what a client draws besides.
const KEYS: [u8; 2] = [b'~', b'|'];

/// p50 and p99 of each round, in microseconds.
#[derive(Default)]
struct Delays {
    middle: Vec<f64>,
    tail: Vec<f64>,
}

impl Delays {
    fn push(&mut self, samples: &[f64]) {
        self.middle.push(median(samples));
        self.tail.push(percentile(samples, 99));
    }
}

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let rounds = bench.rounds.div_ceil(3);
    let mut lines = Vec::new();
    for (noisy, name) in [(0, "idle"), (NOISY, "50 noisy")] {
        let mut raw = Delays::default();
        let mut delays: Vec<Delays> = (0..=bench.peers.len()).map(|_| Delays::default()).collect();
        for round in 0..rounds {
            for turn in 0..delays.len() {
                let at = (round + turn) % delays.len();
                let (stage, keys) = (&bench.stage, bench.keys);
                // The raw one while ours are noisy: the machine is as busy.
                match at {
                    0 => once(&mut bench.ours, stage, noisy, keys, &mut delays[at], Some(&mut raw))?,
                    at => once(&mut bench.peers[at - 1], stage, noisy, keys, &mut delays[at], None)?,
                }
            }
        }
        let ours = &delays[0];
        lines.push(line(format!("echo {name}, p50 | raw pty"), "us", &ours.middle, &raw.middle));
        lines.push(line(format!("echo {name}, p99 | raw pty"), "us", &ours.tail, &raw.tail));
        for (peer, theirs) in bench.peers.iter().zip(&delays[1..]) {
            let peer = peer.name();
            lines.push(line(format!("echo {name}, p50 | {peer}"), "us", &ours.middle, &theirs.middle));
            lines.push(line(format!("echo {name}, p99 | {peer}"), "us", &ours.tail, &theirs.tail));
        }
    }
    Ok(lines)
}

fn once(
    side: &mut dyn Side,
    stage: &Stage,
    noisy: usize,
    keys: usize,
    delays: &mut Delays,
    raw: Option<&mut Delays>,
) -> Result<(), String> {
    side.start(stage, "echo", &stage.worker("echo", &["echo"]))?;
    let echo = stage.expect_one()?;
    for number in 0..noisy {
        let name = format!("noise{number}");
        side.start(stage, &name, &stage.worker(&name, &["noise", NOISE]))?;
    }
    let noise = stage.expect(noisy)?;
    let mut window = Window::open(side.attach(stage, "echo")?)?;
    until_echoed(side.name(), &mut window)?;
    delays.push(&type_keys(&mut window, keys)?);
    drop(window);
    if let Some(raw) = raw {
        raw.push(&limits::echo(stage, keys)?);
    }
    drop((echo, noise));
    side.end(stage)
}

/// The client is there and in raw mode: what is typed before is echoed by the terminal itself.
fn until_echoed(name: &str, window: &mut Window) -> Result<(), String> {
    let begun = Instant::now();
    // Drawn by the client itself, whichever it is, or by the first echo.
    let _quiet_ones_draw_nothing = window.until_drawn(b"\x1b", Duration::from_millis(500))?;
    while begun.elapsed() < PATIENCE * 4 {
        window.type_in(b"=")?;
        if window.until_drawn(b"=", Duration::from_millis(200))? {
            // Whatever is still being drawn.
            while window.until_drawn(b"nothing draws this", Duration::from_millis(100))? {}
            return Ok(());
        }
    }
    Err(format!("the client of {name} echoes nothing"))
}

/// Microseconds from each key to its echo.
pub(super) fn type_keys(window: &mut Window, keys: usize) -> Result<Vec<f64>, String> {
    let mut samples = Vec::with_capacity(keys);
    for number in 0..keys {
        let key = KEYS[number % 2];
        std::thread::sleep(PAUSE);
        if number % ROW == 0 {
            window.type_in(b"\r")?;
            while window.until_drawn(b"nothing draws this", PAUSE * 5)? {}
        }
        let begun = Instant::now();
        window.type_in(&[key])?;
        if !window.until_drawn(&[key], PATIENCE)? {
            return Err("a key was not echoed".to_owned());
        }
        samples.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(samples)
}
