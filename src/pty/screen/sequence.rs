//! Reads a control sequence.

/// Parameters beyond this are left to others.
const MAX_PARAMS: usize = 32;

/// A control sequence in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Csi {
    /// `<`, `=`, `>` or `?`; 0 for none.
    pub(super) prefix: u8,
    /// The numbers; what is left out is `None`. Of sub-parameters the first counts.
    pub(super) params: Vec<Option<u16>>,
    /// What stands before the last character; 0 for nothing.
    pub(super) middle: u8,
    /// The last character.
    pub(super) last: u8,
}

impl Csi {
    /// Reads `ESC [ …`; `None` when it is not made as it should be.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&last, rest) = bytes.get(2..)?.split_last()?;
        let (prefix, rest) = match rest.split_first() {
            Some((&first @ b'<'..=b'?', rest)) => (first, rest),
            Some(_) | None => (0, rest),
        };
        let end = rest.iter().position(|b| (0x20..0x30).contains(b)).unwrap_or(rest.len());
        let (numbers, middle) = rest.split_at(end);
        if middle.len() > 1 || !numbers.iter().all(|b| matches!(b, b'0'..=b'9' | b';' | b':')) {
            return None;
        }
        let params = if numbers.is_empty() {
            Vec::new()
        } else {
            numbers.split(|b| *b == b';').take(MAX_PARAMS).map(number).collect()
        };
        Some(Self { prefix, params, middle: middle.first().copied().unwrap_or(0), last })
    }

    /// The parameter at this place, or what it is when it is left out.
    pub(super) fn param(&self, at: usize, default: u16) -> u16 {
        self.params.get(at).copied().flatten().unwrap_or(default)
    }
}

fn number(text: &[u8]) -> Option<u16> {
    let digits = text.split(|b| *b == b':').next()?;
    if digits.is_empty() {
        return None;
    }
    Some(digits.iter().fold(0, |n: u16, d| n.saturating_mul(10).saturating_add(u16::from(d - b'0'))))
}
