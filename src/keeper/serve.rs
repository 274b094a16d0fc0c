//! Answers what clients ask.

use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::client::Client;
use super::keep::Keep;
use super::protocol::{
    Attach, FRESH, Frame, Greeting, MAX_LISTED, Member, Refusal, Reply, Report, Request, State, VERSIONS,
};
use super::stream::{NEAR, Stream};
use super::watch::Watch;
use crate::clock;
use crate::pty::Size;

impl Keep {
    /// Reads from the clients that have something, and answers.
    pub(super) fn serve(&mut self, ready: impl Iterator<Item = (usize, PollFlags)>, buffer: &mut [u8]) {
        // Out of `self`, so that answering may change everything else.
        let mut clients = std::mem::take(&mut self.clients);
        let mut gone = Vec::new();
        for (at, flags) in ready {
            let Some(client) = clients.get_mut(at) else { continue };
            let readable = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            if (readable && !self.serve_one(client, buffer)) || !client.flush() {
                gone.push(at);
            }
        }
        // Before those who left are forgotten: one may have asked and gone.
        if clients.iter().any(|client| client.detaches) {
            for client in &mut clients {
                if !std::mem::take(&mut client.detaches) {
                    client.ask_to_leave();
                }
            }
        }
        for at in gone.into_iter().rev() {
            clients.remove(at);
        }
        // Those that were accepted meanwhile come last.
        clients.append(&mut self.clients);
        self.clients = clients;
        self.attached = self.clients.iter().filter(|client| client.stream.is_some()).count() as u64;
        self.settle_size();
        self.tell_room_if_any();
    }

    /// Reads once and answers every whole frame; false when the connection is over.
    fn serve_one(&mut self, client: &mut Client, buffer: &mut [u8]) -> bool {
        if !client.read(buffer) {
            return false;
        }
        loop {
            match client.frame() {
                Ok(Some(frame)) if !client.leaving => {
                    if !self.answer(client, frame) {
                        return false;
                    }
                }
                Ok(_whole) => return true,
                Err(_garbage) => return false,
            }
        }
    }

    /// Answers one frame; false when it cannot be one of ours.
    fn answer(&mut self, client: &mut Client, frame: Frame) -> bool {
        let id = frame.id;
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(_garbage) => return false,
        };
        if !client.greeted && !matches!(request, Some(Request::Hello { .. })) {
            return false;
        }
        let reply = match request {
            None => Reply::Refused(Refusal::Unknown, "this keeper does not know that request".into()),
            Some(Request::Hello { min, max }) => self.greet(client, min, max),
            Some(Request::Status) => Reply::Status(Box::new(self.report())),
            Some(Request::Input(bytes)) => self.take_input(client, &bytes),
            Some(Request::CloseInput) => self.close_input(),
            Some(Request::Resize { cols, rows }) => self.resize(client, cols, rows),
            Some(Request::Signal(number)) => self.signal(number),
            Some(Request::KillTree { grace_ms }) => {
                self.end_tree(Duration::from_millis(grace_ms));
                Reply::Done
            }
            Some(Request::Subscribe { from }) => {
                client.subscribe(from);
                Reply::Done
            }
            Some(Request::DetachClients) => {
                client.detaches = true;
                Reply::Done
            }
            Some(Request::Attach(asked)) => self.attach(client, &asked),
            Some(Request::Acknowledge(offset)) => {
                if let Some(stream) = &mut client.stream {
                    stream.acknowledge(offset);
                }
                return true;
            }
            Some(Request::Refresh) => match &mut client.stream {
                Some(stream) => {
                    stream.refresh();
                    Reply::Done
                }
                None => not_attached(),
            },
            Some(Request::Claim) => match &mut client.stream {
                Some(stream) if stream.read_only => read_only(),
                Some(stream) => {
                    stream.claimed = self.next_claim();
                    Reply::Done
                }
                None => not_attached(),
            },
            Some(Request::Answer { offset, bytes }) => self.take_answer(client, offset, &bytes),
            Some(Request::Watch { marks_after, output_at }) => {
                match &mut client.watch {
                    Some(watch) => watch.again(output_at),
                    None => client.watch = Some(Watch::new(self.ears.first_after(marks_after), output_at)),
                }
                Reply::Done
            }
        };
        client.say(id, &reply);
        true
    }

    fn greet(&self, client: &mut Client, min: u16, max: u16) -> Reply {
        if min > VERSIONS.1 || max < VERSIONS.0 {
            client.leaving = true;
            let text = format!("this keeper speaks versions {} to {}", VERSIONS.0, VERSIONS.1);
            return Reply::Refused(Refusal::Version, text);
        }
        client.greeted = true;
        Reply::Hello(Greeting {
            min: VERSIONS.0,
            max: VERSIONS.1,
            pid: self.identity.keeper_pid,
            start: self.identity.keeper_start,
            task: self.identity.id,
        })
    }

    fn report(&self) -> Report {
        let mut others = self.tree.living();
        others.retain(|p| p.pid != self.identity.pid || p.start != self.identity.pid_start);
        let member = |p: &crate::proc::Process| Member {
            pid: p.pid,
            start: p.start,
            name: String::from_utf8_lossy(&p.name).into_owned(),
        };
        let size = self.terminal.as_ref().map(crate::pty::Terminal::size);
        let state = match (&self.ending, &self.exit) {
            (Some(_), _) => State::Ending,
            (None, None) => State::Running,
            (None, Some(_)) => State::Lingering,
        };
        Report {
            state,
            pid: self.identity.pid,
            pid_start: self.identity.pid_start,
            started_at: self.identity.started_at,
            end: self.log.end(),
            exit: self.exit.clone().filter(|_| self.told),
            cols: size.map(Size::cols),
            rows: size.map(Size::rows),
            title: self.ears.title().cloned(),
            cwd: self.ears.cwd().cloned(),
            throttled: self.rate.is_on(),
            attached: self.attached,
            input_open: self.input.takes(),
            input_queued: self.input.queued() as u64,
            descendant_count: others.len() as u64,
            descendants: others.iter().take(MAX_LISTED).map(member).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn attach(&mut self, client: &mut Client, asked: &Attach) -> Reply {
        if self.terminal.is_none() && asked.from == FRESH {
            return Reply::Refused(Refusal::Shape, "a run has no screen; attach from an offset".into());
        }
        let has_window = asked.cols > 0 || asked.rows > 0;
        if has_window && Size::new(asked.cols, asked.rows).is_none() {
            return wrong_size();
        }
        let mut stream = Stream::new(asked, self.spec.log_dir.as_path());
        let size = self.terminal.as_ref().map(crate::pty::Terminal::size);
        if let Some(size) = size.filter(|_| has_window && !asked.read_only) {
            stream.claimed = self.next_claim();
            // The kernel tells nobody of a size that was set already, and what is drawn from the middle of a
            // long log may miss something. One that has just begun is drawn from its first byte, and what
            // it says first must stay.
            let from_the_middle = stream.claimed > 1 || self.log.end() > NEAR;
            if from_the_middle && (size.cols(), size.rows()) == stream.window {
                let _nobody_there = self.signal(Signal::WINCH.as_raw());
            }
        }
        client.stream = Some(stream);
        Reply::Done
    }

    /// A claim that is newer than any other.
    const fn next_claim(&mut self) -> u64 {
        self.claims += 1;
        self.claims
    }

    /// Gives the terminal the size of its owner, and tells who is attached.
    pub(super) fn settle_size(&mut self) {
        let Some(terminal) = self.terminal.as_mut() else { return };
        let streams = || self.clients.iter().filter_map(|client| client.stream.as_ref());
        let owner =
            streams().map(|stream| (stream.claimed, stream.window)).max().filter(|(claim, _)| *claim > 0);
        let wanted = match owner {
            // What was set by hand holds until the owner changes its window, or somebody else claims.
            Some((claim, window)) if self.settled != Some((claim, window)) => {
                self.settled = Some((claim, window));
                Some(window)
            }
            Some(_) => self.asked_size.take(),
            None => {
                self.settled = None;
                self.asked_size.take()
            }
        };
        if let Some(size) = wanted.and_then(|(cols, rows)| Size::new(cols, rows))
            && size != terminal.size()
            && terminal.resize(size).is_ok()
        {
            self.log.resized(size.cols(), size.rows(), clock::now());
        }
        let size = terminal.size();
        let owner = owner.map(|(claim, _)| claim);
        for client in &mut self.clients {
            let Some(stream) = client.stream.as_mut() else { continue };
            let told = (size.cols(), size.rows(), owner.is_some_and(|claim| claim == stream.claimed));
            if stream.told_size != Some(told) {
                stream.told_size = Some(told);
                let (cols, rows, owner) = told;
                client.say(0, &Reply::Size { cols, rows, owner });
            }
        }
    }

    fn take_input(&mut self, client: &mut Client, bytes: &[u8]) -> Reply {
        if let Some(stream) = &mut client.stream {
            if stream.read_only {
                return read_only();
            }
            if stream.claimed > 0 && stream.claimed != self.claims {
                stream.claimed = self.next_claim();
            }
        }
        match self.input.take(bytes) {
            Err(refusal) => Reply::Refused(refusal, "the command takes no input (any more)".into()),
            Ok(taken) => {
                client.wants_room = taken < bytes.len();
                self.write_input();
                Reply::Accepted(u32::try_from(taken).unwrap_or(u32::MAX))
            }
        }
    }

    fn take_answer(&mut self, client: &Client, offset: u64, bytes: &[u8]) -> Reply {
        if client.stream.as_ref().is_some_and(|stream| stream.read_only) {
            return read_only();
        }
        if !self.ears.answered(offset) {
            return Reply::Refused(Refusal::Answered, "that was answered, or not asked".into());
        }
        match self.input.take(bytes) {
            Err(refusal) => Reply::Refused(refusal, "the command takes no input (any more)".into()),
            Ok(_all_or_the_program_does_not_read) => {
                self.write_input();
                Reply::Done
            }
        }
    }

    fn close_input(&mut self) -> Reply {
        if self.terminal.is_some() {
            let text = "a terminal's input is not closed; type its end-of-file key".into();
            return Reply::Refused(Refusal::Shape, text);
        }
        self.input.close_after();
        self.write_input();
        Reply::Done
    }

    /// Of one's own window, or of the terminal; applied once, after all that came with it.
    fn resize(&mut self, client: &mut Client, cols: u16, rows: u16) -> Reply {
        if self.terminal.is_none() {
            return Reply::Refused(Refusal::Shape, "a run has no size".into());
        }
        if Size::new(cols, rows).is_none() {
            return wrong_size();
        }
        match &mut client.stream {
            Some(stream) => stream.window = (cols, rows),
            None => self.asked_size = Some((cols, rows)),
        }
        Reply::Done
    }

    fn signal(&self, number: i32) -> Reply {
        let Some(signal) = Signal::from_named_raw(number) else {
            return Reply::Refused(Refusal::Signal, format!("{number} is no signal that can be sent"));
        };
        let foreground = self.terminal.as_ref().and_then(crate::pty::Terminal::foreground);
        let group = foreground.filter(|group| *group > 1).unwrap_or(self.identity.pid);
        // The command's number may be somebody else's once it was waited for.
        if self.exit.is_some() && !self.tree.living().iter().any(|p| p.group == group) {
            return Reply::Refused(Refusal::Ended, "the command has ended".into());
        }
        let target = i32::try_from(group).ok().and_then(Pid::from_raw);
        match target.map(|group| kill_process_group(group, signal)) {
            Some(Ok(())) => Reply::Done,
            Some(Err(error)) => Reply::Refused(Refusal::System, error.to_string()),
            None => Reply::Refused(Refusal::Ended, "the command has ended".into()),
        }
    }

    fn tell_room_if_any(&mut self) {
        if self.input.queued() <= super::input::QUEUE_BYTES / 2 {
            self.tell_room();
        }
    }

    /// Tells clients whose input was cut short that there is room.
    pub(super) fn tell_room(&mut self) {
        for client in self.clients.iter_mut().filter(|c| c.wants_room) {
            client.wants_room = false;
            client.say(0, &Reply::Room);
        }
    }
}

fn wrong_size() -> Reply {
    Reply::Refused(Refusal::Size, format!("columns and rows go from 1 to {}", Size::MAX))
}

fn read_only() -> Reply {
    Reply::Refused(Refusal::ReadOnly, "attached read-only".into())
}

fn not_attached() -> Reply {
    Reply::Refused(Refusal::Shape, "not attached".into())
}
