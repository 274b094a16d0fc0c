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
//! | 0x03 | input; from one who is attached it claims the size too | bytes | accepted |
//! | 0x04 | close input (end of file, after what is queued) | | done |
//! | 0x05 | resize: one's own window when attached, else the terminal | cols `u16`, rows `u16` | done |
//! | 0x06 | signal (terminal: foreground group; run: the command's group) | number `i32` | done |
//! | 0x07 | kill tree: ask all, after the grace SIGKILL | grace in ms `u64` | done (begun) |
//! | 0x08 | subscribe: offsets and the end, for one who reads the log | offset known so far `u64` | done, then notices |
//! | 0x09 | detach clients: the others who are attached, or subscribe, are told to leave | | done (told) |
//! | 0x0a | attach: the stream | cols `u16`, rows `u16`, flags `u8`, from `u64`, window `u32` | done, then the stream |
//! | 0x0b | acknowledge: output up to here was taken | offset `u64` | none |
//! | 0x0c | refresh: a fresh screen instead of what is on its way | | done, then the stream anew |
//! | 0x0d | claim: one's own window is the terminal's size | | done |
//! | 0x0e | answer to a query, taken once | offset of the query `u64`, bytes | done |
//! | 0x0f | watch: marks, queries, phases, sizes, the end; one offset | marks after `u64`, output at `u64` | done, then notices |
//!
//! | kind | reply or notice | payload |
//! |---|---|---|
//! | 0x81 | hello | min `u16`, max `u16`, keeper pid `u32`, its start `u64`, task id (text) |
//! | 0x82 | status | JSON object ([`Report`]) |
//! | 0x83 | accepted | bytes taken `u32`; fewer than sent: room is told when there is some |
//! | 0x84 | done | |
//! | 0x85 | refused | reason `u8`, text |
//! | 0x90 | notice: output recorded up to | offset `u64` |
//! | 0x91 | notice: the command ended (in a stream: after all its output) | JSON object ([`Exit`]) |
//! | 0x92 | notice: there is room for input again | |
//! | 0x93 | notice: whoever is attached should leave | |
//! | 0x94 | stream: a screen begins | offset it is of `u64`, cols `u16`, rows `u16` |
//! | 0x95 | stream: drawing of that screen, for a terminal that was reset | bytes |
//! | 0x96 | stream: output | offset `u64`, stream `u8` (0 terminal, 1 stdout, 2 stderr), bytes |
//! | 0x97 | stream: output that is not there | from `u64`, to `u64` |
//! | 0x98 | stream: that was all so far, the rest comes as it is made | offset `u64` |
//! | 0x99 | notice: the terminal's size, and whether it is this client's | cols `u16`, rows `u16`, owner `u8` |
//! | 0x9a | notice: the program asked where the cursor is | offset after the query `u64`, private `u8` |
//! | 0x9b | notice: the program told something | JSON object ([`Mark`]) |
//! | 0x9c | notice: output is (1) or is no more (0) above the rate that is called throttled | offset `u64`, `u8` |
//!
//! **The stream.** After *attach* come frames 0x94 to 0x98: output from `from` on, or, with `from` =
//! [`FRESH`], a screen, its drawing, and the output since. A reader takes them in order and acknowledges
//! offsets; the keeper sends at most `window` bytes of output beyond the last one, and never waits: who is
//! far behind is sent a fresh screen (or a gap, when there is none) instead of what it missed. Flag 1 is
//! read-only: such a client types nothing, answers nothing and owns no size.
//!
//! **The size.** The last writer who attached, typed or claimed owns the size; when it leaves, the one
//! before it. The others are told and show what fits.
//!
//! **Queries.** Device attributes, the terminal's version and its status are answered by the keeper, and a
//! client must not hand them to a terminal that answers as well. Where the cursor is knows the size's
//! owner, whose own terminal answers; while nobody is attached, whoever watches is asked (0x9a).
//!
//! Garbage, a length outside the bounds or a first frame that is not hello end that connection and
//! nothing else. A kind that is not known is refused.

mod frame;
mod report;

use serde::Serialize;

pub use self::frame::{Decoder, Frame, FrameError, MAX_FRAME};
use self::frame::{Fields, put};
pub use self::report::{Greeting, MAX_LISTED, Mark, Member, Refusal, Report, Said, State};
use super::index::Stream;
use super::spec::Exit;

/// The versions spoken here.
pub const VERSIONS: (u16, u16) = (1, 1);
/// The most bytes of input in one frame.
pub const MAX_INPUT: usize = 64 << 10;
/// The most bytes of output or drawing in one frame.
pub const MAX_OUTPUT: usize = 32 << 10;
/// Where a stream begins that begins with a screen.
pub const FRESH: u64 = u64::MAX;

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
    /// Another size: of the client's window when it is attached, else of the terminal.
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
    /// Notices of output and the end from now on.
    Subscribe {
        /// No notice for output up to here.
        from: u64,
    },
    /// The other clients that are attached or get notices are told to leave.
    DetachClients,
    /// The stream.
    Attach(Attach),
    /// Output up to here was taken. Has no reply.
    Acknowledge(u64),
    /// A fresh screen instead of what is on its way.
    Refresh,
    /// The client's window is the terminal's size from now on.
    Claim,
    /// Bytes for the command, in answer to a query.
    Answer {
        /// The query, by the offset after it.
        offset: u64,
        /// What a terminal would say.
        bytes: Vec<u8>,
    },
    /// Notices of everything but output; one of output when it reaches an offset.
    Watch {
        /// No mark up to here.
        marks_after: u64,
        /// One notice when output is recorded up to here.
        output_at: u64,
    },
}

/// A request for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Columns of the client's window; 0 when it has none.
    pub cols: u16,
    /// Rows of the client's window; 0 when it has none.
    pub rows: u16,
    /// Types nothing and owns no size.
    pub read_only: bool,
    /// The first offset wanted, or [`FRESH`].
    pub from: u64,
    /// Bytes of output that may be on their way beyond what was acknowledged.
    pub window: u32,
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
    /// A screen begins.
    Screen {
        /// What it is of: all output before this offset.
        offset: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Drawing of that screen.
    Draw(Vec<u8>),
    /// Output.
    Output {
        /// Where it begins.
        offset: u64,
        /// Where it came from.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Output that is not there.
    Gap {
        /// The first offset that is missing.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// All output up to here was sent.
    Live(u64),
    /// The terminal's size.
    Size {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// True when it is the size of this client's window, by right.
        owner: bool,
    },
    /// The program asked where the cursor is.
    Query {
        /// The offset after the query.
        offset: u64,
        /// The private form (`CSI ? 6 n`), whose answer has a question mark too.
        private: bool,
    },
    /// The program told something.
    Mark(Mark),
    /// Output is above the rate that is called throttled, or is no more.
    Throttled {
        /// Where that was seen.
        offset: u64,
        /// True when it is.
        on: bool,
    },
}

const READ_ONLY: u8 = 1;

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
            Self::Attach(asked) => {
                let Attach { cols, rows, read_only, from, window } = asked;
                let flags = if *read_only { READ_ONLY } else { 0 };
                let (cols, rows, window) = (cols.to_le_bytes(), rows.to_le_bytes(), window.to_le_bytes());
                put(out, 0x0a, id, &[&cols, &rows, &[flags], &from.to_le_bytes(), &window]);
            }
            Self::Acknowledge(offset) => put(out, 0x0b, id, &[&offset.to_le_bytes()]),
            Self::Refresh => put(out, 0x0c, id, &[]),
            Self::Claim => put(out, 0x0d, id, &[]),
            Self::Answer { offset, bytes } => put(out, 0x0e, id, &[&offset.to_le_bytes(), bytes]),
            Self::Watch { marks_after, output_at } => {
                put(out, 0x0f, id, &[&marks_after.to_le_bytes(), &output_at.to_le_bytes()]);
            }
        }
    }

    /// Reads a frame; `None` for a kind that is not known here.
    ///
    /// # Errors
    /// A payload that cannot be.
    pub fn decode(frame: Frame) -> Result<Option<Self>, FrameError> {
        let mut fields = Fields::of(&frame);
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
            0x0a => {
                let (cols, rows, flags) = (fields.u16()?, fields.u16()?, fields.u8()?);
                let read_only = flags & READ_ONLY != 0;
                Self::Attach(Attach { cols, rows, read_only, from: fields.u64()?, window: fields.u32()? })
            }
            0x0b => Self::Acknowledge(fields.u64()?),
            0x0c => Self::Refresh,
            0x0d => Self::Claim,
            0x0e => Self::Answer { offset: fields.u64()?, bytes: fields.rest() },
            0x0f => Self::Watch { marks_after: fields.u64()?, output_at: fields.u64()? },
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
            Self::Refused(why, text) => put(out, 0x85, id, &[&[why.number()], text.as_bytes()]),
            Self::Offset(offset) => put(out, 0x90, id, &[&offset.to_le_bytes()]),
            Self::Exited(exit) => put(out, 0x91, id, &[&json(exit)]),
            Self::Room => put(out, 0x92, id, &[]),
            Self::Leave => put(out, 0x93, id, &[]),
            Self::Screen { offset, cols, rows } => {
                put(out, 0x94, id, &[&offset.to_le_bytes(), &cols.to_le_bytes(), &rows.to_le_bytes()]);
            }
            Self::Draw(bytes) => put(out, 0x95, id, &[bytes]),
            Self::Output { offset, stream, bytes } => encode_output(*offset, *stream, bytes, out),
            Self::Gap { from, to } => put(out, 0x97, id, &[&from.to_le_bytes(), &to.to_le_bytes()]),
            Self::Live(offset) => put(out, 0x98, id, &[&offset.to_le_bytes()]),
            Self::Size { cols, rows, owner } => {
                put(out, 0x99, id, &[&cols.to_le_bytes(), &rows.to_le_bytes(), &[u8::from(*owner)]]);
            }
            Self::Query { offset, private } => {
                put(out, 0x9a, id, &[&offset.to_le_bytes(), &[u8::from(*private)]]);
            }
            Self::Mark(mark) => put(out, 0x9b, id, &[&json(mark)]),
            Self::Throttled { offset, on } => {
                put(out, 0x9c, id, &[&offset.to_le_bytes(), &[u8::from(*on)]]);
            }
        }
    }

    /// Reads a frame; `None` for a kind that is not known here.
    ///
    /// # Errors
    /// A payload that cannot be.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, FrameError> {
        let bad = |_| FrameError::Payload(frame.kind);
        let mut fields = Fields::of(frame);
        Ok(Some(match frame.kind {
            0x81 => Self::Hello(fields.greeting()?),
            0x82 => Self::Status(serde_json::from_slice(&frame.payload).map_err(bad)?),
            0x83 => Self::Accepted(fields.u32()?),
            0x84 => Self::Done,
            0x85 => {
                let why = Refusal::from_number(fields.u8()?);
                Self::Refused(why, String::from_utf8_lossy(&fields.rest()).into_owned())
            }
            0x90 => Self::Offset(fields.u64()?),
            0x91 => Self::Exited(serde_json::from_slice(&frame.payload).map_err(bad)?),
            0x92 => Self::Room,
            0x93 => Self::Leave,
            0x94 => Self::Screen { offset: fields.u64()?, cols: fields.u16()?, rows: fields.u16()? },
            0x95 => Self::Draw(fields.rest()),
            0x96 => {
                let (offset, number) = (fields.u64()?, fields.u8()?);
                let stream = match number {
                    0 => Stream::Terminal,
                    1 => Stream::Stdout,
                    2 => Stream::Stderr,
                    _later_version => return Err(FrameError::Payload(frame.kind)),
                };
                Self::Output { offset, stream, bytes: fields.rest() }
            }
            0x97 => Self::Gap { from: fields.u64()?, to: fields.u64()? },
            0x98 => Self::Live(fields.u64()?),
            0x99 => Self::Size { cols: fields.u16()?, rows: fields.u16()?, owner: fields.u8()? != 0 },
            0x9a => Self::Query { offset: fields.u64()?, private: fields.u8()? != 0 },
            0x9b => Self::Mark(serde_json::from_slice(&frame.payload).map_err(bad)?),
            0x9c => Self::Throttled { offset: fields.u64()?, on: fields.u8()? != 0 },
            _unknown => return Ok(None),
        }))
    }
}

/// Appends a frame of output without a copy of the bytes in between: what every attached window gets.
pub fn encode_output(offset: u64, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
    let stream = match stream {
        Stream::Terminal => 0,
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    put(out, 0x96, 0, &[&offset.to_le_bytes(), &[stream], bytes]);
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: our own values are JSON")
}
