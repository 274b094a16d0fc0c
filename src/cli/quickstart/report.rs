//! The summary of the quickstart: what was done, measured and found.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::super::sanitise::{clean, clean_bytes};
use crate::raw::Raw;

/// The summary.
#[derive(Debug, Serialize)]
pub struct Report {
    quickstart: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    ok: bool,
    repo: Raw,
    real: bool,
    steps: Vec<Step>,
    checks: Vec<Check>,
    notes: Vec<String>,
    total_ms: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    what: String,
    ms: u64,
}

#[derive(Debug, Serialize)]
struct Check {
    what: String,
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found: Vec<String>,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    /// An empty one.
    pub fn new(repo: &Path, real: bool) -> Self {
        let repo = Raw::from(repo);
        let (steps, checks, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { quickstart: Body { ok: true, repo, real, steps, checks, notes, total_ms: 0 } }
    }

    /// Something that took time.
    pub fn step(&mut self, what: impl Into<String>, took: Duration) {
        self.quickstart.steps.push(Step { what: what.into(), ms: ms(took) });
    }

    /// Something that was looked at; what was found is what should not be there.
    pub fn check(&mut self, what: impl Into<String>, found: Vec<String>) {
        let ok = found.is_empty();
        self.quickstart.ok &= ok;
        self.quickstart.checks.push(Check { what: what.into(), ok, found });
    }

    /// Something to know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.quickstart.notes.push(note.into());
    }

    /// How long all of it took.
    pub fn total(&mut self, took: Duration) {
        self.quickstart.total_ms = ms(took);
    }

    /// True when every check was good.
    pub const fn ok(&self) -> bool {
        self.quickstart.ok
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let body = &self.quickstart;
        let mut lines = vec![String::new()];
        lines.extend(body.steps.iter().map(|step| format!("{:>7} ms  {}", step.ms, clean(&step.what))));
        lines.push(format!("{:>7} ms  in all, on {}", body.total_ms, clean_bytes(body.repo.as_bytes())));
        lines.push(String::new());
        for check in &body.checks {
            lines.push(format!("{}  {}", if check.ok { "ok    " } else { "FAILED" }, clean(&check.what)));
            lines.extend(check.found.iter().map(|found| format!("        {}", clean(found))));
        }
        lines.extend(body.notes.iter().map(|note| format!("note    {}", clean(note))));
        lines.push(String::new());
        lines.push(if body.ok {
            "All good. Next, in a repository of yours: lanes create NAME, lanes attach NAME, lanes cleanup NAME".into()
        } else {
            "Something is not as it should be: see FAILED above.".into()
        });
        lines
    }
}
