//! How large a value is as JSON, found without writing it where a bound will do.

use std::io;

use serde_json::Value;

/// The most bytes of JSON in one payload, of a request or an event: what is larger belongs in a file, and
/// a thousand of them must still fit in memory.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// True when `value` is at most `limit` bytes of JSON.
pub fn fits(value: &Value, limit: usize) -> bool {
    if upper_bound(value) <= limit {
        return true;
    }
    let mut room = Room { left: limit };
    serde_json::to_writer(&mut room, value).is_ok()
}

/// A number of bytes that `value` is certainly not larger than as JSON.
pub fn upper_bound(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 32,
        Value::String(text) => text_bound(text),
        Value::Array(items) => items.iter().map(|item| upper_bound(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(name, item)| text_bound(name) + upper_bound(item) + 2).sum::<usize>() + 2
        }
    }
}

/// A byte becomes at most six: `\u001f`.
const fn text_bound(text: &str) -> usize {
    text.len() * 6 + 2
}

/// Counts down, and fails when nothing is left.
struct Room {
    left: usize,
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::WriteZero)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
