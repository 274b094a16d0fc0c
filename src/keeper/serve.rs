//! Answers what clients ask.

use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::client::Client;
use super::keep::Keep;
use super::protocol::{
    Frame, Greeting, MAX_LISTED, Member, Refusal, Reply, Report, Request, State, VERSIONS,
};
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
            Some(Request::Resize { cols, rows }) => self.resize(cols, rows),
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
            input_open: self.input.takes(),
            input_queued: self.input.queued() as u64,
            descendant_count: others.len() as u64,
            descendants: others.iter().take(MAX_LISTED).map(member).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn take_input(&mut self, client: &mut Client, bytes: &[u8]) -> Reply {
        match self.input.take(bytes) {
            Err(refusal) => Reply::Refused(refusal, "the command takes no input (any more)".into()),
            Ok(taken) => {
                client.wants_room = taken < bytes.len();
                self.write_input();
                Reply::Accepted(u32::try_from(taken).unwrap_or(u32::MAX))
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

    fn resize(&mut self, cols: u16, rows: u16) -> Reply {
        let Some(terminal) = self.terminal.as_mut() else {
            return Reply::Refused(Refusal::Shape, "a run has no size".into());
        };
        let Some(size) = Size::new(cols, rows) else {
            let text = format!("columns and rows go from 1 to {}", Size::MAX);
            return Reply::Refused(Refusal::Size, text);
        };
        match terminal.resize(size) {
            Ok(()) => {
                self.log.resized(cols, rows, clock::now());
                Reply::Done
            }
            Err(error) => Reply::Refused(Refusal::System, error.to_string()),
        }
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
