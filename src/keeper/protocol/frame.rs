//! Frames: bytes cut into pieces, and numbers taken off them.

use super::report::Greeting;

/// The longest frame after its length: a full input of 64 KiB fits, a flood does not.
pub const MAX_FRAME: usize = (64 << 10) + 64;

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

pub(super) fn put(out: &mut Vec<u8>, kind: u8, id: u32, parts: &[&[u8]]) {
    let len = 5 + parts.iter().map(|p| p.len()).sum::<usize>();
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Takes fields off the front of a payload.
pub(super) struct Fields<'a> {
    kind: u8,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(frame: &'a Frame) -> Self {
        Self { kind: frame.kind, bytes: &frame.payload }
    }

    pub(super) fn rest(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(FrameError::Payload(self.kind))?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.take().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn greeting(&mut self) -> Result<Greeting, FrameError> {
        let (min, max, pid, start) = (self.u16()?, self.u16()?, self.u32()?, self.u64()?);
        // The id is 29 bytes; what a later version puts behind it is not ours to read.
        let text = self.bytes.get(..29).and_then(|b| std::str::from_utf8(b).ok());
        let task = text.and_then(|t| t.parse().ok()).ok_or(FrameError::Payload(self.kind))?;
        Ok(Greeting { min, max, pid, start, task })
    }
}
