//! Standard output and standard error: the one place of the command line that writes to them.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::render;
use super::sanitise::clean_lines;
use super::table::Table;
use crate::failure::{Code, Failure};

/// The version of what `--json` prints.
pub const SCHEMA: u32 = 1;
/// What a shell reports of a program that SIGPIPE ended: 128 + 13.
pub const BROKEN_PIPE: u8 = 141;

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    /// One JSON object instead of text.
    pub json: bool,
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal, when there is one.
    pub width: Option<usize>,
}

impl Output {
    /// For this process's standard output. `plain` says that the environment asks for no colours.
    pub fn detect(json: bool, plain: bool) -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self { json, colour: false, width: None };
        }
        let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self { json, colour: !plain, width: width.filter(|columns| *columns >= 20) }
    }

    /// Prints one line of text of ours.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Prints lines of text of ours.
    pub fn lines<S: AsRef<str>>(&self, lines: impl IntoIterator<Item = S>) -> Result<(), Failure> {
        let mut text = String::new();
        for line in lines {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Prints a table.
    pub fn table(&self, table: &Table) -> Result<(), Failure> {
        let mut lines = table.lines(self.width);
        if let (true, Some(header)) = (self.colour, lines.first_mut()) {
            *header = format!("\x1b[2m{header}\x1b[0m");
        }
        self.lines(lines)
    }

    /// Prints bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| broken(&error))
    }

    /// Prints `{"schema": 1, …}` on one line.
    pub fn object(&self, reply: &impl Serialize) -> Result<(), Failure> {
        self.line(&enveloped(reply).to_string())
    }

    /// Prints the object, or what people see of it.
    pub fn reply<R: Serialize>(
        &self,
        reply: &R,
        people: impl FnOnce(&Self, &R) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.json { self.object(reply) } else { people(self, reply) }
    }

    /// Tells people something beside the result: on standard error, and not with `--json`.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.aside(&clean_lines(text));
        }
    }

    /// Tells notes.
    pub fn notes(&self, notes: &[String]) {
        for note in notes {
            self.note(note);
        }
    }

    /// Prints a failure on standard error.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.aside(&json!({ "schema": SCHEMA, "error": failure }).to_string());
        } else {
            self.aside(&render::failure(failure).join("\n"));
        }
    }

    fn aside(&self, text: &str) {
        let _nobody_reads_it = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// The reply with the version of its shape.
pub fn enveloped(reply: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(reply).expect("invariant: our replies are JSON");
    if let Value::Object(fields) = &mut value {
        fields.insert("schema".into(), SCHEMA.into());
    }
    value
}

/// A reader that has left is told apart from a full disk by `details`.
fn broken(error: &std::io::Error) -> Failure {
    // Never DISK_LOW: where it goes is not where lanes are.
    let failure = Failure::new(Code::Io, format!("could not write to standard output: {error}"))
        .hint("look where it goes: a full disk, a closed pipe");
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => failure.details(json!({ "broken_pipe": true })),
        _other => failure,
    }
}

/// True when nobody reads our output any more.
pub fn is_broken_pipe(failure: &Failure) -> bool {
    failure.code == Code::Io && failure.details.as_ref().is_some_and(|details| details["broken_pipe"] == true)
}
