//! The loop that keeps one task: waits, reads, records, tells, reaps, ends.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::client::Client;
use super::ending::Ending;
use super::files;
use super::group;
use super::hear::Ears;
use super::index::Stream;
use super::input::{Input, QUEUE_BYTES};
use super::log::LogWriter;
use super::paste;
use super::protocol::{Mark, Said};
use super::rate::Rate;
use super::reap::{Ended, Reaper};
use super::socket::is_ours;
use super::spec::{Exit, ExitStatus, Identity, Shape, Spec};
use super::stream::Feed;
use super::tree::Tree;
use super::watch::News;
use crate::clock;
use crate::pty::Terminal;

/// One read of output: what a terminal gives at once, and no more.
pub(super) const READ_BYTES: usize = 16 << 10;
/// So many clients at once; more are turned away. Every attached window and follower is one.
const MAX_CLIENTS: usize = 64;
/// How long a keeper that would leave waits for attached clients to take the end of the output; a tenth of
/// it when its tree was ended, and somebody waits for that.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a pipe or terminal can hold when its command ends: read on until here without waiting, no
/// further, because descendants may write for ever.
const MAX_LEFT: usize = 1 << 20;

/// One task, kept.
pub(super) struct Keep {
    pub(super) spec: Spec,
    pub(super) identity: Identity,
    pub(super) tree: Tree,
    pub(super) reaper: Reaper,
    pub(super) run_dir: OwnedFd,
    pub(super) listener: UnixListener,
    pub(super) log: LogWriter,
    pub(super) terminal: Option<Terminal>,
    pub(super) outputs: Vec<(OwnedFd, Stream)>,
    pub(super) input_pipe: Option<OwnedFd>,
    pub(super) input: Input,
    pub(super) clients: Vec<Client>,
    pub(super) started: Instant,
    pub(super) timeout_at: Option<Instant>,
    pub(super) timed_out: bool,
    pub(super) ending: Option<Ending>,
    pub(super) exit: Option<Exit>,
    pub(super) told: bool,
    /// The terminal gives output; after a hang-up, the offset at which it was taken up again.
    pub(super) terminal_open: bool,
    pub(super) reopened_at: Option<u64>,
    pub(super) ears: Ears,
    pub(super) rate: Rate,
    /// The last claim of the size.
    pub(super) claims: u64,
    /// The claim and window that the size was last set for.
    pub(super) settled: Option<(u64, (u16, u16))>,
    /// A size that was asked for by one who is not attached.
    pub(super) asked_size: Option<(u16, u16)>,
    /// How many clients are attached.
    pub(super) attached: u64,
    /// True when somebody asked for the end of the tree.
    pub(super) hurried: bool,
}

#[derive(Clone, Copy)]
enum Token {
    Reaper,
    Output(usize),
    Terminal,
    Input,
    Listener,
    Client(usize),
}

impl Keep {
    /// Keeps the task until its command has ended and nobody of it lives.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES.max(64 << 10)];
        let mut events = vec![(Token::Reaper, PollFlags::IN)];
        loop {
            let somebody_ended = self.handle(&events, &mut buffer);
            self.on_time(Instant::now(), somebody_ended);
            self.tell();
            if self.told && self.reaper.is_alone() {
                break;
            }
            events = self.wait();
        }
        self.drain(&mut buffer);
        self.log.retry_last();
        self.say_the_rest(&mut buffer);
        files::remove_socket(&self.run_dir);
        if let Some(kill) = &self.identity.groups.kill {
            group::remove(kill.as_path());
        }
    }

    /// Sends those who are attached what they have not got yet, as long as they take it.
    fn say_the_rest(&mut self, buffer: &mut [u8]) {
        let patience = if self.hurried { LAST_WORDS / 10 } else { LAST_WORDS };
        let deadline = Instant::now() + patience;
        // Only these: nobody is let in any more, and nothing is read but what they acknowledge.
        loop {
            self.tell();
            let waiting = self.clients.iter().any(|client| !client.has_all());
            let left = deadline.saturating_duration_since(Instant::now());
            if !waiting || left.is_zero() || self.clients.is_empty() {
                return;
            }
            let mut fds: Vec<PollFd<'_>> = self
                .clients
                .iter()
                .map(|client| PollFd::from_borrowed_fd(client.fd(), client.interest()))
                .collect();
            let Ok(1..) = poll(&mut fds, Some(&timespec_until(deadline))) else { return };
            let ready: Vec<_> = fds.iter().map(PollFd::revents).enumerate().collect();
            self.serve(ready.into_iter().filter(|(_, flags)| !flags.is_empty()), buffer);
        }
    }

    /// Waits for anything to happen, for ever when no deadline is near.
    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens = Vec::new();
        let mut fds = Vec::new();
        for fd in self.reaper.fds() {
            tokens.push(Token::Reaper);
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        for (at, (fd, _stream)) in self.outputs.iter().enumerate() {
            tokens.push(Token::Output(at));
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let wants_write = self.input.queued() > 0;
        let terminal = self.terminal.as_ref().map(Terminal::io);
        if let Some(io) = terminal.filter(|_| self.terminal_open) {
            tokens.push(Token::Terminal);
            let write = if wants_write { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(io, PollFlags::IN | write));
        }
        if let Some(pipe) = self.input_pipe.as_ref().filter(|_| wants_write) {
            tokens.push(Token::Input);
            fds.push(PollFd::new(pipe, PollFlags::OUT));
        }
        tokens.push(Token::Listener);
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        for (at, client) in self.clients.iter().enumerate() {
            tokens.push(Token::Client(at));
            fds.push(PollFd::from_borrowed_fd(client.fd(), client.interest()));
        }
        let timeout = self.next_deadline().map(timespec_until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_ready) => {}
            Err(rustix::io::Errno::INTR) => return Vec::new(),
            // No memory for the list of descriptors: nothing to do but try again, not at full speed.
            Err(_no_memory) => {
                std::thread::sleep(Duration::from_millis(100));
                return Vec::new();
            }
        }
        let ready = fds.iter().map(PollFd::revents);
        tokens.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.timeout_at.filter(|_| self.exit.is_none());
        let round = self.ending.as_ref().map(Ending::wake_at).filter(|_| !self.reaper.is_alone());
        [timeout, round, self.log.retry_at(), self.rate.wake_at(), self.ears.title_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Handles what happened; true when a process of the task ended.
    fn handle(&mut self, events: &[(Token, PollFlags)], buffer: &mut [u8]) -> bool {
        let mut reap = false;
        let mut closed = Vec::new();
        for (token, flags) in events {
            match *token {
                Token::Reaper => reap = true,
                Token::Output(at) => {
                    if !self.read_output(at, buffer) {
                        closed.push(at);
                    }
                }
                Token::Terminal => {
                    if flags.contains(PollFlags::OUT) {
                        self.write_input();
                    }
                    if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                        self.read_terminal(buffer);
                    }
                }
                Token::Input => self.write_input(),
                Token::Listener => self.accept(),
                Token::Client(_at) => {}
            }
        }
        for at in closed.into_iter().rev() {
            self.outputs.remove(at);
        }
        let clients = events.iter().filter_map(|(token, flags)| match token {
            Token::Client(at) => Some((*at, *flags)),
            Token::Reaper | Token::Output(_) | Token::Terminal | Token::Input | Token::Listener => None,
        });
        self.serve(clients, buffer);
        reap && self.reap(buffer)
    }

    /// Reads once from a pipe; false at its end.
    fn read_output(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let (fd, stream) = &self.outputs[at];
        let stream = *stream;
        match rustix::io::read(fd, &mut buffer[..READ_BYTES]) {
            Ok(0) => false,
            Ok(n) => {
                self.take_output(stream, &buffer[..n]);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => true,
            Err(_broken) => false,
        }
    }

    /// Reads once from the terminal; false when it has nothing (more).
    fn read_terminal(&mut self, buffer: &mut [u8]) -> bool {
        let Some(terminal) = self.terminal.as_mut() else { return false };
        match rustix::io::read(terminal.io(), &mut buffer[..READ_BYTES]) {
            Ok(n) if n > 0 => {
                self.take_output(Stream::Terminal, &buffer[..n]);
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            // Hung up. While the command lives it may open its terminal again, so we hold it open, but
            // do not turn in circles over it.
            Ok(_) | Err(_) => {
                let again = self.exit.is_none() && self.reopened_at != Some(self.log.end());
                self.reopened_at = Some(self.log.end());
                self.terminal_open = again && terminal.reopen();
                false
            }
        }
    }

    /// Records first, then tells: who is attached, and whoever listens for what the program says.
    fn take_output(&mut self, stream: Stream, bytes: &[u8]) {
        let (offset, now) = (self.log.end(), Instant::now());
        self.log.append(stream, bytes, clock::now(), now);
        for client in &mut self.clients {
            client.output(offset, stream, bytes);
        }
        if stream == Stream::Terminal {
            self.rate.output(bytes.len(), now);
            let heard = self.ears.hear(offset, bytes, now);
            if !heard.answers.is_empty() && self.exit.is_none() {
                // What does not fit is not read either.
                let _ended_or_full = self.input.take(&heard.answers);
                self.write_input();
            }
        }
    }

    pub(super) fn write_input(&mut self) {
        match (&self.terminal, &self.input_pipe) {
            (Some(terminal), _) if self.input.queued() > 0 => {
                self.input.write(terminal.io(), paste::gathers(terminal.io()));
            }
            (Some(_), _) => {}
            (None, Some(pipe)) => self.input.write(pipe.as_fd(), None),
            (None, None) => self.input.close(),
        }
        if self.input.is_over() {
            self.input_pipe = None;
        }
        if self.input.queued() <= QUEUE_BYTES / 2 {
            self.tell_room();
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _unnamed)) = self.listener.accept() {
            let welcome = self.clients.len() < MAX_CLIENTS && is_ours(&socket);
            if welcome && socket.set_nonblocking(true).is_ok() {
                self.clients.push(Client::new(socket));
            }
        }
    }

    /// Waits for whoever ended; true when somebody did.
    fn reap(&mut self, buffer: &mut [u8]) -> bool {
        let Ended { command, somebody } = self.reaper.reap(&self.tree);
        let Some((status, usage)) = command else { return somebody };
        self.drain(buffer);
        // What is told to be the end should be in the log.
        self.log.retry_last();
        self.input.close();
        self.input_pipe = None;
        self.tell_room();
        if let Some(terminal) = self.terminal.as_mut() {
            terminal.release();
        }
        let ran = self.started.elapsed();
        self.exit = Some(Exit {
            status: status.map_or(ExitStatus::Lost(true), exit_status),
            timed_out: self.timed_out,
            at: clock::now(),
            ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            max_rss_kb: usage.max_rss_kb,
            cpu_ms: usage.cpu_ms,
            end: self.log.end(),
        });
        if self.leaves_nobody() && !self.reaper.is_alone() {
            self.end_tree(Duration::from_millis(self.spec.grace_ms));
        }
        true
    }

    /// A run with a timeout leaves nobody behind, also when it ends in time.
    const fn leaves_nobody(&self) -> bool {
        matches!(self.spec.shape, Shape::Run { .. }) && self.spec.timeout_ms.is_some()
    }

    /// Reads what is left, without waiting.
    fn drain(&mut self, buffer: &mut [u8]) {
        for at in (0..self.outputs.len()).rev() {
            if !self.drain_output(at, buffer) {
                self.outputs.remove(at);
            }
        }
        let before = self.log.end();
        while self.terminal_open && self.log.end() - before < MAX_LEFT as u64 && self.read_terminal(buffer) {}
    }

    /// Reads what is left in one pipe; false at its end.
    fn drain_output(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let before = self.log.end();
        loop {
            let end = self.log.end();
            if !self.read_output(at, buffer) {
                return false;
            }
            if self.log.end() == end || end - before >= MAX_LEFT as u64 {
                return true;
            }
        }
    }

    fn on_time(&mut self, now: Instant, somebody_ended: bool) {
        if self.exit.is_none() && self.timeout_at.is_some_and(|at| now >= at) {
            self.timeout_at = None;
            self.timed_out = true;
            self.end_tree(Duration::from_millis(self.spec.grace_ms));
        }
        self.log.retry(now);
        self.rate.on_time(now);
        self.ears.on_time(self.log.end(), now);
        if let Some((from, to)) = self.log.take_dropped() {
            self.ears.keep(Mark { offset: self.log.end(), said: Said::Dropped { from, to } });
        }
        let Some(ending) = self.ending.as_mut() else { return };
        if self.reaper.is_alone() {
            self.ending = None;
        } else if ending.round_is_due(now, somebody_ended) {
            if let Some(kill) = &self.identity.groups.kill {
                // All at once where the kernel can: nobody is born between two looks.
                group::kill(kill);
            }
            self.tree.signal(&[Signal::KILL]);
            self.reaper.refresh(&self.tree);
        }
    }

    /// Begins to end the tree, or hastens it.
    pub(super) fn end_tree(&mut self, grace: Duration) {
        self.hurried = true;
        let now = Instant::now();
        match self.ending.as_mut() {
            Some(ending) => ending.hasten(now, grace),
            None => {
                // CONT last for runs, so that a stopped one sees its TERM; HUP first for terminals, as
                // when a window is closed.
                let hang_up = [Signal::HUP, Signal::CONT, Signal::TERM];
                let ask = if self.terminal.is_some() { &hang_up[..] } else { &[Signal::TERM, Signal::CONT] };
                self.tree.signal(ask);
                self.ending = Some(Ending::begin(now, grace));
            }
        }
    }

    /// Writes the end down once it may be told, and tells everybody what is new.
    fn tell(&mut self) {
        let held = self.leaves_nobody()
            && !self.reaper.is_alone()
            && !self.ending.as_ref().is_some_and(|e| e.gives_up_telling(Instant::now()));
        if let (Some(exit), false, false) = (&self.exit, self.told, held) {
            let _folder_may_be_gone = files::put(&self.run_dir, files::EXIT, exit);
            self.told = true;
        }
        let exit = self.exit.as_ref().filter(|_| self.told);
        let (recorded, end) = (self.log.recorded(), self.log.end());
        let size = self.terminal.as_ref().map(|terminal| (terminal.size().cols(), terminal.size().rows()));
        let feed = Feed { log_dir: self.spec.log_dir.as_path(), end, size: size.unwrap_or_default(), exit };
        // Who owns the size has a terminal that answers.
        let owned = self.settled.is_some();
        let query = self.ears.open_query(Instant::now()).filter(|_| !owned);
        let news = News { ears: &self.ears, end: recorded, query, throttled: self.rate.is_on(), size, exit };
        self.clients.retain_mut(|client| {
            client.notify(recorded, exit);
            client.watch(&news);
            client.tell(&feed)
        });
    }
}

fn timespec_until(at: Instant) -> Timespec {
    // Rounded up: waking a little late beats turning in circles until it is time.
    let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// What the status of `wait` says.
fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}
