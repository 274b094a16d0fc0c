//! Durations, sizes and key presses as people write them.

use std::time::Duration;

/// Parses `500ms`, `2s`, `1h 30m`, `30d`. `None` when it is not a duration with its unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    // `humantime` takes a bare `0`; a number without a unit is always a mistake here.
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// Parses `1024`, `512K`, `256MiB`, `2 GB` into bytes: `K`, `M`, `G`, `T` and `KiB` … count by 1,024,
/// `KB` … by 1,000. `None` when it is not a size or does not fit.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _other => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The longest sequence of key presses: a prefix and a letter.
const MAX_KEYS: usize = 2;

/// Parses key presses separated by spaces, such as `ctrl-\ d`, into the bytes a terminal sends.
/// The first must be a control key, since otherwise it could not be typed any more.
pub fn parse_keys(text: &str) -> Option<Vec<u8>> {
    let keys: Vec<u8> = text.split_ascii_whitespace().map(key).collect::<Option<_>>()?;
    let first = *keys.first()?;
    (keys.len() <= MAX_KEYS && first.is_ascii_control() && !matches!(first, b'\r' | b'\n' | b'\t'))
        .then_some(keys)
}

fn key(word: &str) -> Option<u8> {
    let lower = word.to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("ctrl-") {
        return match rest.as_bytes() {
            [c @ (b'@' | b'a'..=b'z' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(c & 0x1f),
            _other => None,
        };
    }
    match word.as_bytes() {
        [c] if c.is_ascii_graphic() => Some(*c),
        _several => None,
    }
}

/// `512 B`, `3.4 MiB`.
pub fn size_text(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut at = 0;
    while value >= 1024.0 && at + 1 < units.len() {
        value /= 1024.0;
        at += 1;
    }
    format!("{value:.1} {}", units[at])
}
