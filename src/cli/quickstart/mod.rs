//! `lanes quickstart`: all of it once, on a scratch repository or a real one, and the proof that nothing is left.
//!
//! ```text
//!   scratch (git, temp folder, a home of its own) -> five lanes at once -> a command in each, shown live
//!   -> isolation looked at -> closed at once -> what is left is looked for -> daemon stopped, scratch removed
//! ```
//!
//! It goes through the same API as everything else; only the repository and the proof are its own.

mod proof;
mod report;
mod scratch;
mod show;
mod tour;

use std::time::Instant;

use super::args::QuickstartArgs;
use super::session::Session;
use crate::failure::Failure;
use proof::Baseline;
use report::Report;
use scratch::Scratch;

/// Shows all of it.
pub async fn quickstart(session: &Session, args: QuickstartArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    let scratch = Scratch::make(&session.at, args.repo.as_deref()).await?;
    let inner = Session::new(scratch.environment(&session.at), session.output);
    let mut report = Report::new(scratch.repo(), args.repo.is_some());
    let before = match Baseline::take(&scratch).await {
        Ok(before) => before,
        Err(failure) => {
            scratch.remove()?;
            return Err(failure);
        }
    };
    let went = tokio::select! {
        went = tour::tour(&inner, &scratch, &before, &mut report) => went.map(|()| None),
        _interrupted = tokio::signal::ctrl_c() => Ok(Some(130)),
    };
    let tidied = tour::tidy(&inner, &scratch, &before, &mut report).await;
    if args.keep {
        session.output.note(&format!("kept: {}", scratch.folder().display()));
    } else {
        scratch.remove()?;
    }
    if let Some(code) = went? {
        return Ok(code);
    }
    tidied?;
    report.total(begun.elapsed());
    session.output.reply(&report, |output, report| output.lines(report.lines()))?;
    Ok(u8::from(!report.ok()))
}
