//! One connection to a keeper: its frames in, its replies and notices out, never waited for.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::index::Stream as Source;
use super::protocol::{Decoder, Frame, FrameError, Reply};
use super::spec::Exit;
use super::stream::{Feed, Stream};
use super::watch::{News, Watch};

/// A client that leaves so many bytes of replies unread is let go: replies are small, and it asked.
const MAX_UNREAD: usize = 256 << 10;

/// One connection.
pub(super) struct Client {
    socket: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    /// True after a hello that fits.
    pub(super) greeted: bool,
    /// True when the connection ends as soon as everything is said.
    pub(super) leaving: bool,
    /// True when input was cut short and room should be told.
    pub(super) wants_room: bool,
    /// True when it asked for the others to leave, until they were told.
    pub(super) detaches: bool,
    /// The stream, when it is attached.
    pub(super) stream: Option<Stream>,
    /// What it watches, when it does.
    pub(super) watch: Option<Watch>,
    told: Option<u64>,
    told_exit: bool,
}

impl Client {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            out: Vec::new(),
            greeted: false,
            leaving: false,
            wants_room: false,
            detaches: false,
            stream: None,
            watch: None,
            told: None,
            told_exit: false,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Reads once; false when the client is gone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> bool {
        match rustix::io::read(&self.socket, &mut *buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.decoder.feed(&buffer[..n]);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => true,
            Err(_gone) => false,
        }
    }

    /// The next whole frame that was read.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.frame()
    }

    /// Says something as soon as the socket takes it.
    pub(super) fn say(&mut self, id: u32, reply: &Reply) {
        reply.encode(id, &mut self.out);
    }

    /// Notices from now on.
    pub(super) fn subscribe(&mut self, from: u64) {
        self.told = Some(from);
        self.told_exit = false;
    }

    /// Asks it to leave, when it is attached or gets notices.
    pub(super) fn ask_to_leave(&mut self) {
        if self.told.is_some() || self.stream.is_some() {
            self.say(0, &Reply::Leave);
        }
    }

    /// Tells what is new, unless earlier words are still unread: then the newest is told afterwards.
    pub(super) fn notify(&mut self, end: u64, exit: Option<&Exit>) {
        let Some(told) = self.told else { return };
        if !self.out.is_empty() {
            return;
        }
        if end > told {
            self.told = Some(end);
            self.say(0, &Reply::Offset(end));
        }
        if let (Some(exit), false) = (exit, self.told_exit) {
            self.told_exit = true;
            self.say(0, &Reply::Exited(exit.clone()));
        }
    }

    /// Output as it is read: for who is attached and was sent everything before.
    pub(super) fn output(&mut self, offset: u64, source: Source, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream {
            stream.output(offset, source, bytes, &mut self.out);
        }
    }

    /// Says what is to be said, and what comes next in the stream, until the socket takes no more; false
    /// when the client is gone. Nothing but the socket may hold it up: nobody wakes us for the rest.
    pub(super) fn tell(&mut self, from: &Feed<'_>) -> bool {
        loop {
            if let Some(stream) = &mut self.stream {
                stream.feed(from, &mut self.out);
            }
            let said_all = self.out.is_empty();
            if !self.flush() {
                return false;
            }
            if said_all || !self.out.is_empty() {
                return true;
            }
        }
    }

    /// What is new for a watcher.
    pub(super) fn watch(&mut self, news: &News<'_>) {
        if let Some(watch) = &mut self.watch {
            watch.tell(news, &mut self.out);
        }
    }

    /// True when nothing is left to be said to one who is attached.
    pub(super) fn has_all(&self) -> bool {
        self.out.is_empty() && self.stream.as_ref().is_none_or(Stream::is_done)
    }

    /// Writes what the socket takes; false when the client is gone or does not listen.
    pub(super) fn flush(&mut self) -> bool {
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        while !self.out.is_empty() {
            match rustix::net::send(&self.socket, &self.out, flags) {
                Ok(n) => {
                    self.out.drain(..n);
                }
                Err(rustix::io::Errno::AGAIN) => return self.out.len() <= MAX_UNREAD,
                Err(rustix::io::Errno::INTR) => {}
                Err(_gone) => return false,
            }
        }
        !self.leaving
    }
}
