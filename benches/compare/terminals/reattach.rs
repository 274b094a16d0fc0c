//! From the start of a client until the last line of the screen is drawn.

use std::time::{Duration, Instant};

use super::peers::{Peer, Side};
use super::stage::Stage;
use super::window::Window;
use super::{Bench, line};
use crate::Line;

/// Lines printed before.
const LINES: &str = "10000";
/// The last one; not in the client's command line, and without blanks, which a client may jump over.
const LAST: &str = "<<the-last-line>>";
/// It has to be drawn by then.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let stage = &bench.stage;
    // The others keep no screen: they would never draw it.
    let mut peers: Vec<Peer> =
        bench.peers.iter().copied().filter(|peer| matches!(peer, Peer::Tmux | Peer::Screen)).collect();
    let argv = stage.worker("lines", &["lines", LINES, LAST]);
    let mut workers = Vec::new();
    for side in
        std::iter::once(&mut bench.ours as &mut dyn Side).chain(peers.iter_mut().map(|p| p as &mut dyn Side))
    {
        side.start(stage, "lines", &argv)?;
        workers.push(stage.expect_one()?);
    }
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); peers.len() + 1];
    let mut down = Vec::new();
    // Once unmeasured.
    once(&bench.ours, stage)?;
    for round in 0..bench.rounds * 2 {
        for turn in 0..times.len() {
            let at = (round + turn) % times.len();
            let took = match at {
                0 => once(&bench.ours, stage)?,
                at => once(&peers[at - 1], stage)?,
            };
            times[at].push(took);
        }
    }
    for _ in 0..bench.rounds {
        bench.ours.stop_daemon(stage)?;
        down.push(once(&bench.ours, stage)?);
    }
    bench.ours.stop_daemon(stage)?;
    bench.ours.start_daemon(stage)?;
    drop(workers);
    bench.ours.end(stage)?;
    for peer in &mut peers {
        peer.end(stage)?;
    }
    let mut lines = Vec::new();
    if peers.is_empty() {
        lines.push(line("reattach".to_owned(), "ms", &times[0], &[]));
    }
    for (peer, theirs) in peers.iter().zip(&times[1..]) {
        lines.push(line(format!("reattach | {}", peer.name()), "ms", &times[0], theirs));
    }
    lines.push(line("reattach, daemon down".to_owned(), "ms", &down, &[]));
    Ok(lines)
}

/// Milliseconds of one client.
fn once(side: &dyn Side, stage: &Stage) -> Result<f64, String> {
    let command = side.attach(stage, "lines")?;
    let begun = Instant::now();
    let mut window = Window::open(command)?;
    if !window.until_drawn(LAST.as_bytes(), PATIENCE)? {
        return Err(format!("{} did not draw the screen", side.name()));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
