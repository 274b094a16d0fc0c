//! The scratch folder of a run, and the line to the programs inside the terminals.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::processes::{Ends, marked};
use super::worker;
use crate::yard::Yard;

/// A program inside a terminal has so long to say that it is there, or what it measured.
const PATIENCE: Duration = Duration::from_secs(120);
/// The repository is not what is measured here.
const FILES: u64 = 20;

/// Where everything of a run is. What still lives in it is ended when dropped.
pub(super) struct Stage {
    pub yard: Yard,
    listener: UnixListener,
    socket: String,
    program: String,
    mark: String,
}

impl Stage {
    /// A new one.
    pub(super) fn new(within: Option<&Path>) -> Result<Self, String> {
        let yard = Yard::new(within, None, FILES)?;
        let path = yard.path("bench.sock");
        let listener = UnixListener::bind(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mark = format!("LANES_COMPARE={}", yard.repo.display());
        Ok(Self {
            listener,
            socket: path.to_string_lossy().into_owned(),
            program: program.to_string_lossy().into_owned(),
            mark,
            yard,
        })
    }

    /// A program in an environment of its own, that says that it is of this run.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.yard.command(program, &self.yard.repo);
        command.envs(self.environment());
        command
    }

    /// What is added to the environment.
    pub(super) fn environment(&self) -> Vec<(&str, String)> {
        let path = |name: &str| self.yard.path(name).to_string_lossy().into_owned();
        let (name, value) = self.mark.split_once('=').unwrap_or((&self.mark, ""));
        vec![
            (name, value.to_owned()),
            ("TERM", "xterm-256color".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TMUX_TMPDIR", path("tmux")),
            ("SCREENDIR", path("screen")),
            ("ABDUCO_SOCKET_DIR", path("abduco")),
        ]
    }

    /// The command line of one of our programs.
    pub(super) fn worker(&self, name: &str, words: &[&str]) -> Vec<String> {
        let ours = [self.program.as_str(), worker::ARGUMENT, &self.socket, name];
        ours.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// Waits for so many of them, in the order of their names.
    pub(super) fn expect(&self, count: usize) -> Result<Vec<Worker>, String> {
        let begun = Instant::now();
        let mut workers = Vec::with_capacity(count);
        while workers.len() < count {
            match self.listener.accept() {
                Ok((stream, _unnamed)) => workers.push(Worker::greet(stream)?),
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error.to_string()),
                Err(_nobody) if begun.elapsed() > PATIENCE => {
                    return Err(format!("{} of {count} programs came up", workers.len()));
                }
                Err(_nobody) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        workers.sort_by(|one: &Worker, other| one.name.cmp(&other.name));
        Ok(workers)
    }

    /// Waits for one.
    pub(super) fn expect_one(&self) -> Result<Worker, String> {
        self.expect(1)?.pop().ok_or_else(|| "no program came up".to_owned())
    }

    /// The programs inside the terminals: `sleep`, and ours.
    pub(super) fn programs(&self) -> Ends {
        let ours = self.program.rsplit('/').next().unwrap_or_default();
        // The kernel keeps 15 bytes of a name.
        let ours = ours.get(..15).unwrap_or(ours);
        Ends::of(self.named(ours).into_iter().chain(self.named("sleep")))
    }

    /// Processes of this run with this name, whoever started them.
    pub(super) fn named(&self, name: &str) -> Vec<u32> {
        let has =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == name);
        marked(&self.mark).into_iter().filter(has).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let left = Ends::of(marked(&self.mark));
        // A client or server may be on its way out.
        if left.wait(Duration::from_secs(1)) {
            return;
        }
        eprintln!("processes of this run were still there and are ended");
        left.signal(Signal::KILL);
        left.wait(Duration::from_secs(5));
    }
}

/// A program inside a terminal. It ends when this is dropped, at the latest with its terminal.
pub(super) struct Worker {
    stream: BufReader<UnixStream>,
    name: String,
    pub pid: u32,
}

impl Worker {
    fn greet(stream: UnixStream) -> Result<Self, String> {
        let set = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| error.to_string())?;
        let mut worker = Self { stream: BufReader::new(stream), name: String::new(), pid: 0 };
        let line = worker.hear()?;
        let (name, pid) = line.split_once(' ').unwrap_or((&line, ""));
        worker.pid = pid.parse().map_err(|_error| format!("not a greeting: {line}"))?;
        worker.name = name.to_owned();
        Ok(worker)
    }

    /// Tells it something.
    pub(super) fn tell(&mut self, words: &str) -> Result<(), String> {
        writeln!(self.stream.get_mut(), "{words}").map_err(|error| format!("{}: {error}", self.name))
    }

    /// Waits for what it says.
    pub(super) fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(format!("the program {:?} has gone", self.name)),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(format!("the program {:?}: {error}", self.name)),
        }
    }
}
