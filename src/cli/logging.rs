//! Logs: to standard error, which is its file for a daemon in the background; `LANES_LOG` filters them.

use tracing_subscriber::EnvFilter;

use crate::failure::{Code, Failure};

fn filter(text: Option<&str>, default: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(text.unwrap_or(default)).map_err(|error| {
        Failure::new(Code::ValidationError, format!("LANES_LOG is not a filter: {error}"))
            .hint("write a level, or targets with levels: LANES_LOG=debug, LANES_LOG=lanes::worktree=trace")
    })
}

/// Logs of a command. Nothing is set up unless the user asks.
///
/// # Errors
/// The filter cannot be read.
pub fn to_stderr(text: Option<&str>) -> Result<(), Failure> {
    let Some(text) = text else { return Ok(()) };
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter(Some(text), "off")?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Saying that would panic in whoever logs: a full disk takes neither.
        .log_internal_errors(false)
        .try_init();
    Ok(())
}
