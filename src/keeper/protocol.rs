//! What is said on a task's socket: a pure codec of frames.
//!
//! **Version 1, frozen.** Keepers outlive upgrades, so nothing here changes its meaning; a later version
//! may add kinds, and fields at the end of a payload (a reader ignores what it does not know).
//!
//! A frame is `length: u32` (of what follows, 5 to [`MAX_FRAME`]), `kind: u8`, `id: u32`, payload; numbers
//! are little-endian. A reply has the id of its request; ids are chosen by the client and are not 0.
//! Notices have id 0. Replies may come in another order than requests.
//!
//! | kind | request | payload | reply |
//! |---|---|---|---|
//! | 0x01 | hello, the first frame of a client | min `u16`, max `u16` | hello, or refused and the end |
//! | 0x02 | status | | status |
//! | 0x03 | input | bytes | accepted |
//! | 0x04 | close input (end of file, after what is queued) | | done |
//! | 0x05 | resize | cols `u16`, rows `u16` | done |
//! | 0x06 | signal (terminal: foreground group; run: the command's group) | number `i32` | done |
//! | 0x07 | kill tree: ask all, after the grace SIGKILL | grace in ms `u64` | done (begun) |
//! | 0x08 | subscribe | offset known so far `u64` | done, then notices |
//! | 0x09 | detach clients: the other subscribers are told to leave | | done (told) |
//!
//! | kind | reply or notice | payload |
//! |---|---|---|
//! | 0x81 | hello | min `u16`, max `u16`, keeper pid `u32`, its start `u64`, task id (text) |
//! | 0x82 | status | JSON object ([`Report`]) |
//! | 0x83 | accepted | bytes taken `u32`; fewer than sent: room is told when there is some |
//! | 0x84 | done | |
//! | 0x85 | refused | reason `u8`, text |
//! | 0x90 | notice: output recorded up to | offset `u64` |
//! | 0x91 | notice: the command ended | JSON object ([`Exit`]) |
//! | 0x92 | notice: there is room for input again | |
//! | 0x93 | notice: whoever is attached should leave | |
//!
//! Garbage, a length outside the bounds or a first frame that is not hello end that connection and
//! nothing else. A kind that is not known is refused.

use serde::{Deserialize, Serialize};

use super::spec::Exit;
use crate::clock::Timestamp;
use crate::ids::TaskId;

/// The versions spoken here.
pub const VERSIONS: (u16, u16) = (1, 1);
/// The longest frame after its length: a full input of 64 KiB fits, a flood does not.
pub const MAX_FRAME: usize = (64 << 10) + 64;
/// The most bytes of input in one frame.
pub const MAX_INPUT: usize = 64 << 10;
/// A keeper lists at most so many descendants; [`Report::descendant_count`] has the true number.
pub const MAX_LISTED: usize = 64;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The versions the client speaks.
    Hello {
        /// From.
        min: u16,
        /// To.
        max: u16,
    },
    /// How it is going.
    Status,
    /// Bytes for the command.
    Input(Vec<u8>),
    /// No more bytes for the command.
    CloseInput,
    /// Another size.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// A signal.
    Signal(i32),
    /// The end of everybody in the task.
    KillTree {
        /// Between the first signal and SIGKILL, in milliseconds.
        grace_ms: u64,
    },
    /// Notices from now on.
    Subscribe {
        /// No notice for output up to here.
        from: u64,
    },
    /// The other clients that get notices are told to leave. Those attached do; a follower need not.
    DetachClients,
}

/// What a keeper answers or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Who it is.
    Hello(Greeting),
    /// How it is going.
    Status(Box<Report>),
    /// So many bytes of input were taken.
    Accepted(u32),
    /// As asked.
    Done,
    /// Not done.
    Refused(Refusal, String),
    /// Output is recorded up to this offset.
    Offset(u64),
    /// The command ended.
    Exited(Exit),
    /// There is room for input again.
    Room,
    /// Whoever is attached should leave.
    Leave,
}

/// Who a keeper is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The oldest version it speaks.
    pub min: u16,
    /// The newest.
    pub max: u16,
    /// Its process.
    pub pid: u32,
    /// When that started, in clock ticks since boot.
    pub start: u64,
    /// Its task.
    pub task: TaskId,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No common version.
    Version,
    /// The keeper does not know this kind.
    Unknown,
    /// There is no input, or it is closed.
    NoInput,
    /// Not a size.
    Size,
    /// Only a terminal can do that, or only a run.
    Shape,
    /// Not a signal that can be sent.
    Signal,
    /// Nobody is there any more.
    Ended,
    /// The system said no.
    System,
    /// A reason of a later version.
    Other,
}

const REFUSALS: [(Refusal, u8); 8] = [
    (Refusal::Version, 1),
    (Refusal::Unknown, 2),
    (Refusal::NoInput, 3),
    (Refusal::Size, 4),
    (Refusal::Shape, 5),
    (Refusal::Signal, 6),
    (Refusal::Ended, 7),
    (Refusal::System, 8),
];

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The command runs.
    Running,
    /// The command ended, descendants live.
    Lingering,
    /// The tree is being ended.
    Ending,
}

/// One process of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its short name.
    pub name: String,
}

/// How a task is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where it is.
    pub state: State,
    /// The command.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub pid_start: u64,
    /// When it started, by the clock.
    pub started_at: Timestamp,
    /// Output is recorded up to here.
    pub end: u64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Columns of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// Rows of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    /// True while input is taken.
    pub input_open: bool,
    /// Bytes of input the command has not read yet.
    pub input_queued: u64,
    /// Living processes but the command, at most [`MAX_LISTED`] of them.
    pub descendants: Vec<Member>,
    /// How many there are.
    pub descendant_count: u64,
    /// The keeper's version of the crate.
    pub version: String,
}

/// Why bytes are not a frame. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is outside the bounds.
    #[error("a frame of {0} bytes cannot be")]
    Length(u32),
    /// The payload is too short or not what the kind says.
    #[error("the payload of kind {0:#04x} cannot be read")]
    Payload(u8),
}

/// One frame: kind, id, payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Which request it is, or is the answer to; 0 for a notice.
    pub id: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Takes what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// A length that cannot be.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b)) else { return Ok(None) };
        let len = length as usize;
        if !(5..=MAX_FRAME).contains(&len) {
            return Err(FrameError::Length(length));
        }
        let Some(body) = rest.get(4..4 + len) else { return Ok(None) };
        let id = u32::from_le_bytes([body[1], body[2], body[3], body[4]]);
        let frame = Frame { kind: body[0], id, payload: body[5..].to_vec() };
        self.at += 4 + len;
        Ok(Some(frame))
    }
}

fn put(out: &mut Vec<u8>, kind: u8, id: u32, parts: &[&[u8]]) {
    let len = 5 + parts.iter().map(|p| p.len()).sum::<usize>();
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

impl Request {
    /// Appends the frame to `out`. Input longer than [`MAX_INPUT`] must be cut before.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) {
        match self {
            Self::Hello { min, max } => put(out, 0x01, id, &[&min.to_le_bytes(), &max.to_le_bytes()]),
            Self::Status => put(out, 0x02, id, &[]),
            Self::Input(bytes) => put(out, 0x03, id, &[bytes]),
            Self::CloseInput => put(out, 0x04, id, &[]),
            Self::Resize { cols, rows } => put(out, 0x05, id, &[&cols.to_le_bytes(), &rows.to_le_bytes()]),
            Self::Signal(n) => put(out, 0x06, id, &[&n.to_le_bytes()]),
            Self::KillTree { grace_ms } => put(out, 0x07, id, &[&grace_ms.to_le_bytes()]),
            Self::Subscribe { from } => put(out, 0x08, id, &[&from.to_le_bytes()]),
            Self::DetachClients => put(out, 0x09, id, &[]),
        }
    }

    /// Reads a frame; `None` for a kind that is not known here.
    ///
    /// # Errors
    /// A payload that cannot be.
    pub fn decode(frame: Frame) -> Result<Option<Self>, FrameError> {
        let mut fields = Fields { kind: frame.kind, bytes: &frame.payload };
        Ok(Some(match frame.kind {
            0x01 => Self::Hello { min: fields.u16()?, max: fields.u16()? },
            0x02 => Self::Status,
            0x03 => Self::Input(frame.payload),
            0x04 => Self::CloseInput,
            0x05 => Self::Resize { cols: fields.u16()?, rows: fields.u16()? },
            0x06 => Self::Signal(i32::from_le_bytes(fields.take()?)),
            0x07 => Self::KillTree { grace_ms: fields.u64()? },
            0x08 => Self::Subscribe { from: fields.u64()? },
            0x09 => Self::DetachClients,
            _unknown => return Ok(None),
        }))
    }
}

impl Reply {
    /// Appends the frame to `out`.
    pub fn encode(&self, id: u32, out: &mut Vec<u8>) {
        match self {
            Self::Hello(g) => {
                let task = g.task.text();
                let (min, max) = (g.min.to_le_bytes(), g.max.to_le_bytes());
                let (pid, start) = (g.pid.to_le_bytes(), g.start.to_le_bytes());
                put(out, 0x81, id, &[&min, &max, &pid, &start, task.as_str().as_bytes()]);
            }
            Self::Status(report) => put(out, 0x82, id, &[&json(report)]),
            Self::Accepted(n) => put(out, 0x83, id, &[&n.to_le_bytes()]),
            Self::Done => put(out, 0x84, id, &[]),
            Self::Refused(why, text) => {
                let code = REFUSALS.iter().find(|(r, _)| r == why).map_or(u8::MAX, |(_, code)| *code);
                put(out, 0x85, id, &[&[code], text.as_bytes()]);
            }
            Self::Offset(offset) => put(out, 0x90, id, &[&offset.to_le_bytes()]),
            Self::Exited(exit) => put(out, 0x91, id, &[&json(exit)]),
            Self::Room => put(out, 0x92, id, &[]),
            Self::Leave => put(out, 0x93, id, &[]),
        }
    }

    /// Reads a frame; `None` for a kind that is not known here.
    ///
    /// # Errors
    /// A payload that cannot be.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, FrameError> {
        let bad = |_| FrameError::Payload(frame.kind);
        let mut fields = Fields { kind: frame.kind, bytes: &frame.payload };
        Ok(Some(match frame.kind {
            0x81 => Self::Hello(fields.greeting()?),
            0x82 => Self::Status(serde_json::from_slice(&frame.payload).map_err(bad)?),
            0x83 => Self::Accepted(fields.u32()?),
            0x84 => Self::Done,
            0x85 => {
                let [code] = fields.take()?;
                let why = REFUSALS.iter().find(|(_, c)| *c == code).map_or(Refusal::Other, |(r, _)| *r);
                Self::Refused(why, String::from_utf8_lossy(fields.bytes).into_owned())
            }
            0x90 => Self::Offset(fields.u64()?),
            0x91 => Self::Exited(serde_json::from_slice(&frame.payload).map_err(bad)?),
            0x92 => Self::Room,
            0x93 => Self::Leave,
            _unknown => return Ok(None),
        }))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: our own values are JSON")
}

/// Takes fields off the front of a payload.
struct Fields<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(FrameError::Payload(self.kind))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(u64::from_le_bytes)
    }

    fn greeting(&mut self) -> Result<Greeting, FrameError> {
        let (min, max, pid, start) = (self.u16()?, self.u16()?, self.u32()?, self.u64()?);
        // The id is 29 bytes; what a later version puts behind it is not ours to read.
        let text = self.bytes.get(..29).and_then(|b| std::str::from_utf8(b).ok());
        let task = text.and_then(|t| t.parse().ok()).ok_or(FrameError::Payload(self.kind))?;
        Ok(Greeting { min, max, pid, start, task })
    }
}
