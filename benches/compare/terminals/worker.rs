//! The programs that run inside the terminals; all end with the bench, whose socket they hold.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The first argument of this program when it is one of them.
pub(crate) const ARGUMENT: &str = "terminal-worker";
/// One write of a throughput run, in bytes.
const WRITE_BYTES: usize = 8 << 10;
/// What is written over and over, in bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// A noisy one writes so often.
const NOISE_TICK: Duration = Duration::from_millis(100);

/// `terminal-worker SOCKET NAME KIND [ARGUMENT…]`.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let [socket, name, kind, rest @ ..] = arguments else { return ExitCode::from(2) };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match work(socket, name, kind, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        // The bench sees the end of the connection.
        Err(_io) => ExitCode::FAILURE,
    }
}

fn work(socket: &str, name: &str, kind: &str, rest: &[&str]) -> std::io::Result<()> {
    let bench = UnixStream::connect(socket)?;
    let number = |at: usize| rest.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    match kind {
        "echo" => make_raw()?,
        "lines" => lines(number(0), rest.get(1).unwrap_or(&""))?,
        _silent => {}
    }
    writeln!(&bench, "{name} {}", std::process::id())?;
    match kind {
        "write" => write_when_told(bench, number(0), rest.get(1).copied() == Some("ansi"), number(2)),
        "echo" => echo(),
        "noise" => noise(&bench, number(0)),
        _waiting => until_told(&mut BufReader::new(bench)).map(drop),
    }
}

/// Waits for a line of the bench; `None` when it has gone.
fn until_told(bench: &mut BufReader<UnixStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = bench.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

/// `mark TEXT` prints a text; `go` writes so many bytes and reports the seconds that took.
fn write_when_told(bench: UnixStream, bytes: u64, ansi: bool, chunk: u64) -> std::io::Result<()> {
    let mut bench = BufReader::new(bench);
    let block = block(ansi);
    let chunk = if chunk == 0 { WRITE_BYTES } else { usize::try_from(chunk).unwrap_or(WRITE_BYTES) };
    let pieces: Vec<&[u8]> = block.chunks(chunk).collect();
    let out = rustix::stdio::stdout();
    while let Some(told) = until_told(&mut bench)? {
        if let Some(text) = told.strip_prefix("mark ") {
            write_all(&out, format!("\r\n{text}\r\n").as_bytes())?;
            continue;
        }
        let begun = Instant::now();
        let mut left = bytes;
        for piece in pieces.iter().cycle() {
            write_all(&out, piece)?;
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                break;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        writeln!(bench.get_mut(), "{took}")?;
    }
    Ok(())
}

/// Without the line buffer of `Stdout`.
fn write_all(out: &std::os::fd::BorrowedFd<'static>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(*out, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Lines as programs print them: words, or coloured ones.
fn block(ansi: bool) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES + 256);
    let mut number = 0_u32;
    while block.len() < BLOCK_BYTES {
        number += 1;
        let line = match ansi {
            false => {
                format!(
                    "{number:06} the quick brown fox jumps over the lazy dog and does it again {number:06}\n"
                )
            }
            true => format!(
                "\x1b[1;32m{number:06}\x1b[0m \x1b[38;5;{}mcompiling\x1b[0m \x1b[2mcrate\x1b[22m \
                 \x1b[4msrc/part_{}.rs\x1b[24m \x1b[48;2;30;60;{}m ok \x1b[m\x1b[K\n",
                number % 256,
                number % 40,
                number % 256,
            ),
        };
        block.extend_from_slice(line.as_bytes());
    }
    block
}

fn make_raw() -> std::io::Result<()> {
    let mut settings = tcgetattr(rustix::stdio::stdin())?;
    settings.make_raw();
    Ok(tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &settings)?)
}

/// Gives every byte back until the terminal is gone.
fn echo() -> std::io::Result<()> {
    let out = rustix::stdio::stdout();
    let mut buffer = [0; 256];
    loop {
        match std::io::stdin().read(&mut buffer)? {
            0 => return Ok(()),
            n => write_all(&out, &buffer[..n])?,
        }
    }
}

/// Writes so many bytes a second, in lines, until the bench is gone.
fn noise(bench: &UnixStream, bytes_a_second: u64) -> std::io::Result<()> {
    let per_tick = usize::try_from(bytes_a_second).unwrap_or_default() / 10;
    let block = block(true);
    let out = rustix::stdio::stdout();
    bench.set_read_timeout(Some(NOISE_TICK))?;
    let mut bench = bench;
    let mut byte = [0];
    loop {
        write_all(&out, &block[..per_tick.min(block.len())])?;
        match bench.read(&mut byte) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Prints so many numbered lines of 80 columns and a text as the last one.
fn lines(count: u64, last: &str) -> std::io::Result<()> {
    let mut text = String::new();
    for number in 1..=count {
        text.push_str(&format!("{number:08} {}\n", "some output of a program that works ".repeat(2)));
    }
    text.push_str(last);
    write_all(&rustix::stdio::stdout(), text.as_bytes())
}
