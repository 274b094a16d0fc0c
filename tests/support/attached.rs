//! A client of a task's stream, as another user interface would be one: the protocol and nothing else.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use lanes::keeper::protocol::{Attach, Decoder, FRESH, Reply, Request};
use lanes::keeper::{Exit, SocketPath};

use super::task::PATIENCE;

/// One connection; what was read is kept until it is asked for.
pub struct Attached {
    stream: UnixStream,
    decoder: Decoder,
    last_id: u32,
    /// Output in order, as it was sent.
    pub output: Vec<u8>,
    /// Where the next output must begin.
    pub next: u64,
    /// Drawing of the last screen.
    pub drawing: Vec<u8>,
    pub gaps: Vec<(u64, u64)>,
    pub size: Option<(u16, u16, bool)>,
    pub live: bool,
    pub exit: Option<Exit>,
    /// What was told besides.
    pub news: Vec<Reply>,
    pub acknowledges: bool,
}

impl Attached {
    pub fn connect(run_dir: &Path) -> Self {
        let path = SocketPath::new(run_dir).expect("its path");
        let stream = UnixStream::connect(path.as_path()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let mut attached = Self {
            stream,
            decoder: Decoder::default(),
            last_id: 0,
            output: Vec::new(),
            next: 0,
            drawing: Vec::new(),
            gaps: Vec::new(),
            size: None,
            live: false,
            exit: None,
            news: Vec::new(),
            acknowledges: true,
        };
        let hello = attached.ask(&Request::Hello { min: 1, max: 1 });
        assert!(matches!(hello, Reply::Hello(_)), "{hello:?}");
        attached
    }

    /// Attached with a fresh screen to a window of this size.
    pub fn fresh(run_dir: &Path, cols: u16, rows: u16) -> Self {
        let mut attached = Self::connect(run_dir);
        let asked = Attach { cols, rows, read_only: false, from: FRESH, window: 1 << 20 };
        assert_eq!(attached.ask(&Request::Attach(asked)), Reply::Done);
        attached
    }

    /// Sends without waiting for an answer; says its number.
    pub fn send(&mut self, request: &Request) -> u32 {
        self.last_id += 1;
        let mut bytes = Vec::new();
        request.encode(self.last_id, &mut bytes);
        // What the keeper said before it left is still to be read.
        let _it_may_have_left = self.stream.write_all(&bytes);
        self.last_id
    }

    /// Asks and waits for the answer; what else comes is taken.
    pub fn ask(&mut self, request: &Request) -> Reply {
        let id = self.send(request);
        loop {
            let (from, reply) = self.receive().expect("an answer");
            if from == id {
                return reply;
            }
            self.take(reply);
        }
    }

    /// Reads until this is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            let Some((_, reply)) = self.receive() else {
                panic!("the connection ended before {what}: {:?}", String::from_utf8_lossy(&self.output))
            };
            self.take(reply);
        }
    }

    /// Reads until this text was drawn or put out.
    pub fn until_text(&mut self, text: &str) {
        self.until(text, |seen| {
            let all = [seen.drawing.as_slice(), &seen.output].concat();
            String::from_utf8_lossy(&all).contains(text)
        });
    }

    /// Types.
    pub fn type_in(&mut self, bytes: &[u8]) {
        let taken = self.ask(&Request::Input(bytes.to_vec()));
        assert_eq!(taken, Reply::Accepted(u32::try_from(bytes.len()).expect("small")));
    }

    /// The next frame; `None` when the keeper has left.
    pub fn receive(&mut self) -> Option<(u32, Reply)> {
        loop {
            if let Some(frame) = self.decoder.frame().expect("frames") {
                let reply = Reply::decode(&frame).expect("a payload").expect("a kind of this version");
                return Some((frame.id, reply));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.decoder.feed(&buffer[..n]),
                // It left with an acknowledgement of ours unread; all it said was read before.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("reads in time: {error}"),
            }
        }
    }

    /// Takes one frame of the stream, or keeps it as news.
    pub fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Screen { offset, .. } => {
                self.drawing.clear();
                self.output.clear();
                self.live = false;
                self.next = offset;
            }
            Reply::Draw(bytes) => self.drawing.extend_from_slice(&bytes),
            Reply::Output { offset, bytes, .. } => {
                assert_eq!(offset, self.next, "output in order, without a hole");
                self.next += bytes.len() as u64;
                self.output.extend_from_slice(&bytes);
                if self.acknowledges {
                    self.send(&Request::Acknowledge(self.next));
                }
            }
            Reply::Gap { from, to } => {
                assert_eq!(from, self.next, "a gap where output ended");
                self.gaps.push((from, to));
                self.next = to;
            }
            Reply::Live(offset) => {
                assert_eq!(offset, self.next);
                self.live = true;
            }
            Reply::Size { cols, rows, owner } => self.size = Some((cols, rows, owner)),
            Reply::Exited(exit) => {
                self.exit = Some(exit);
            }
            other => self.news.push(other),
        }
    }
}
