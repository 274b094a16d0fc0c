//! Finds the detach key in what is typed.

/// Why a text is not a detach key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a detach key: write keys such as `ctrl-\\ d` or `ctrl-a d`, one or two")]
pub struct DetachKeyError(String);

/// The keys that end an attachment: one, or one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKey {
    bytes: Vec<u8>,
}

impl Default for DetachKey {
    /// `ctrl-\ d`.
    fn default() -> Self {
        Self { bytes: vec![0x1c, b'd'] }
    }
}

impl std::str::FromStr for DetachKey {
    type Err = DetachKeyError;

    fn from_str(text: &str) -> Result<Self, DetachKeyError> {
        let bytes: Option<Vec<u8>> = text.split_ascii_whitespace().map(key).collect();
        match bytes {
            // The first key must be a control key, or ordinary typing would be held back.
            Some(bytes) if (1..=2).contains(&bytes.len()) && bytes[0] < 0x20 => Ok(Self { bytes }),
            Some(_) | None => Err(DetachKeyError(text.to_owned())),
        }
    }
}

fn key(text: &str) -> Option<u8> {
    if let Some(rest) = text.strip_prefix("ctrl-") {
        let [byte] = rest.as_bytes() else { return None };
        return matches!(byte.to_ascii_uppercase(), b'@'..=b'_').then_some(byte.to_ascii_uppercase() & 0x1f);
    }
    match text.as_bytes() {
        [byte] if byte.is_ascii_graphic() => Some(*byte),
        _other => None,
    }
}

/// What came of some typed bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// What goes to the task.
    pub send: Vec<u8>,
    /// True when the detach key was typed; what followed it is dropped.
    pub detach: bool,
}

/// Looks for the detach key in a stream of typed bytes, however it is cut.
///
/// The first key twice sends it once.
#[derive(Clone, Debug)]
pub struct DetachMatcher {
    key: DetachKey,
    held: bool,
}

impl DetachMatcher {
    /// Looks for this key.
    pub const fn new(key: DetachKey) -> Self {
        Self { key, held: false }
    }

    /// Takes typed bytes.
    pub fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut out = Typed::default();
        for &byte in bytes {
            let first = self.key.bytes[0];
            if !self.held {
                if byte != first {
                    out.send.push(byte);
                } else if self.key.bytes.len() == 1 {
                    out.detach = true;
                    return out;
                } else {
                    self.held = true;
                }
                continue;
            }
            self.held = false;
            if self.key.bytes.get(1) == Some(&byte) {
                out.detach = true;
                return out;
            }
            out.send.push(first);
            if byte != first {
                out.send.push(byte);
            }
        }
        out
    }

    /// True while the first key waits for the second.
    pub const fn is_holding(&self) -> bool {
        self.held
    }
}
