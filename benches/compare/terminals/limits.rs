//! What the kernel's terminals can do, with nothing between.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::echo::type_keys;
use super::stage::Stage;
use super::throughput::speed;
use super::window::{Window, open_pty};
use super::{Bench, line};
use crate::Line;

pub(super) fn measure(bench: &mut Bench) -> Result<Vec<Line>, String> {
    let (stage, bytes) = (&bench.stage, bench.bytes);
    let mut lines = Vec::new();
    let rounds = bench.rounds.div_ceil(2);
    for (what, style, chunk, buffer) in [
        ("plain, 64 KiB reads", "plain", 0, 64 << 10),
        ("plain, 16 KiB reads", "plain", 0, 16 << 10),
        ("plain, 4 KiB reads", "plain", 0, 4 << 10),
        ("ansi, 16 KiB reads", "ansi", 0, 16 << 10),
        ("plain, 80-byte writes", "plain", 80, 16 << 10),
    ] {
        let speeds = (0..rounds).map(|_| throughput(stage, style, bytes, chunk, buffer));
        let speeds = speeds.collect::<Result<Vec<_>, _>>()?;
        lines.push(Line { more_is_better: true, ..line(format!("raw pty: {what}"), "MB/s", &speeds, &[]) });
    }
    lines.push(line(
        "raw pty: output kept when nobody reads".to_owned(),
        "bytes",
        &[kept(End::Program)?],
        &[],
    ));
    lines.push(line("raw pty: input kept when nobody reads".to_owned(), "bytes", &[kept(End::User)?], &[]));
    Ok(lines)
}

/// MB/s of a program at a terminal that a loop reads.
pub(super) fn throughput(
    stage: &Stage,
    style: &str,
    bytes: u64,
    chunk: usize,
    buffer: usize,
) -> Result<f64, String> {
    let argv = stage.worker("raw", &["write", &bytes.to_string(), style, &chunk.to_string()]);
    let window = Window::open(command(stage, &argv))?;
    let mut worker = stage.expect_one()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut buffer = vec![0; buffer];
            while !done.load(Ordering::Relaxed) {
                match rustix::io::read(&*window.main, &mut buffer) {
                    Ok(1..) | Err(Errno::INTR) => {}
                    Ok(0) | Err(_) => break,
                }
            }
        });
        let measured = speed(&mut worker, bytes);
        done.store(true, Ordering::Relaxed);
        // Ends the read, when it waits for more.
        let _shown = worker.tell("mark end");
        let _panicked = reading.join();
        measured
    })
}

/// Microseconds from each key to its echo by a program at a terminal.
pub(super) fn echo(stage: &Stage, keys: usize) -> Result<Vec<f64>, String> {
    let mut window = Window::open(command(stage, &stage.worker("raw", &["echo"])))?;
    let _worker = stage.expect_one()?;
    type_keys(&mut window, keys)
}

fn command(stage: &Stage, argv: &[String]) -> Command {
    let mut command = stage.command(&argv[0]);
    command.args(&argv[1..]);
    command
}

/// Which end is written to.
enum End {
    Program,
    User,
}

/// How much is taken at one end while nobody reads at the other, which is in raw mode.
fn kept(end: End) -> Result<f64, String> {
    let (main, slave) = open_pty()?;
    let failed = |errno: Errno| errno.to_string();
    let mut settings = rustix::termios::tcgetattr(&slave).map_err(failed)?;
    settings.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings).map_err(failed)?;
    let into = match end {
        End::Program => &slave,
        End::User => &main,
    };
    rustix::io::ioctl_fionbio(into, true).map_err(failed)?;
    let mut taken = 0;
    loop {
        match rustix::io::write(into, &[b'x'; 1024]) {
            Ok(n) => taken += n,
            Err(Errno::AGAIN) => return Ok(taken as f64),
            Err(errno) => return Err(errno.to_string()),
        }
    }
}
