//! Spans of time as people write them.

use std::time::Duration;

use crate::config;

/// A span with its unit, as in the configuration.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "a duration has a unit, such as 500ms, 2s or 1h".into())
}
