//! One invocation: where it works, how it prints, whom it asks.

use std::ffi::OsStr;
use std::io::{BufRead, IsTerminal, Write};

use super::connect::Daemon;
use super::environment::Environment;
use super::output::Output;
use crate::api::{At, Command, LaneGet, LaneRef, LaneView, Method, Size};
use crate::failure::{Code, Failure};
use crate::raw::Raw;

/// Between two looks whether a runtime is there.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// One invocation.
pub struct Session {
    /// Where it works.
    pub at: Environment,
    /// How it prints.
    pub output: Output,
}

impl Session {
    /// An invocation.
    pub const fn new(at: Environment, output: Output) -> Self {
        Self { at, output }
    }

    /// Connects to the runtime, which is started when needed.
    pub async fn daemon(&self) -> Result<Daemon, Failure> {
        Daemon::open(&self.at).await
    }

    /// Waits until a runtime that went away is there again; it is not started for one who only looks.
    pub async fn back(&self) -> Result<Daemon, Failure> {
        self.output.note("the daemon has gone; waiting for it");
        loop {
            // First: one that is going away still takes connections.
            tokio::time::sleep(LOOK).await;
            if let Some(daemon) = Daemon::running(&self.at).await? {
                return Ok(daemon);
            }
        }
    }

    /// Connects, and asks one thing.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Reply, Failure> {
        self.daemon().await?.call::<M>(params).await
    }

    /// Where the client is, as the protocol says it.
    pub fn cwd(&self) -> Raw {
        Raw::from(self.at.cwd.as_path())
    }

    /// Where the client is, as parameters.
    pub fn here(&self) -> At {
        At { cwd: self.cwd() }
    }

    /// The lane that somebody named.
    pub fn lane(&self, words: &OsStr) -> LaneRef {
        LaneRef { lane: Raw::from(words), cwd: self.cwd() }
    }

    /// Asks for a lane.
    pub async fn get(&self, words: &OsStr) -> Result<LaneView, Failure> {
        Ok(self.call::<LaneGet>(self.lane(words)).await?.lane)
    }

    /// The user's command with the environment of this process and the size of this terminal.
    pub fn command(&self, words: &[std::ffi::OsString]) -> Command {
        Command {
            resume: Vec::new(),
            argv: super::environment::raws(words),
            env: Some(Environment::variables()),
            dir: None,
            size: terminal_size(),
        }
    }

    /// Asks the user, who must be at a terminal.
    ///
    /// # Errors
    /// There is nobody to ask.
    pub fn confirm(&self, question: &str, instead: &str) -> Result<bool, Failure> {
        if !std::io::stdin().is_terminal() || self.output.json {
            return Err(Failure::new(Code::ValidationError, format!("{question} nobody can be asked here"))
                .hint(format!("run it at a terminal, or say {instead}")));
        }
        let mut stderr = std::io::stderr().lock();
        let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        asked.map_err(|error| Failure::io("ask", &error))?;
        let mut answer = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Failure::io("read the answer", &error))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// The size of the terminal we are at, when we are.
pub fn terminal_size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { cols: size.ws_col, rows: size.ws_row })
}
