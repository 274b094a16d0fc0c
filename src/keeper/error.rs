//! Why a keeper could not start its task.

use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// Why a keeper could not start its task.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The description did not arrive.
    #[error("could not read the task's description: {0}")]
    ReadSpec(#[source] std::io::Error),
    /// The description is not one.
    #[error("could not understand the task's description: {0}")]
    ParseSpec(#[source] serde_json::Error),
    /// The description is for another task than the command line says.
    #[error("the description is for another task")]
    WrongTask,
    /// There is no program in the description.
    #[error("the command is empty")]
    NoCommand,
    /// An argument or a variable has a NUL byte in it.
    #[error("an argument or an environment variable has a NUL byte in it")]
    NulByte,
    /// The size is not one a terminal can have.
    #[error("a terminal of {cols} columns and {rows} rows cannot be")]
    Size {
        /// What was asked for.
        cols: u16,
        /// What was asked for.
        rows: u16,
    },
    /// The keeper's own process could not be set up.
    #[error("could not {attempt}: {source}")]
    SetUp {
        /// What was attempted.
        attempt: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The run folder or the log folder cannot be made.
    #[error("could not make the folder {}: {source}", path.display())]
    MakeFolder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The socket cannot be bound.
    #[error("could not listen on {}: {source}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No pseudo-terminal.
    #[error("could not open a terminal: {0}")]
    OpenTerminal(#[source] std::io::Error),
    /// The folder that the command should start in is gone, or no folder.
    #[error("could not enter {}: {source}", path.display())]
    Enter {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No such program.
    #[error("command not found: {program}")]
    CommandNotFound {
        /// What was looked for.
        program: String,
    },
    /// There is a file, but it cannot be executed.
    #[error("not executable: {program}")]
    NotExecutable {
        /// What was found.
        program: String,
    },
    /// The program could not be started for another reason.
    #[error("could not start {program}: {source}")]
    Spawn {
        /// What was started.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Who the task is could not be written down, or there is no room for how it ends.
    #[error("could not write into {}: {source}", path.display())]
    WriteRun {
        /// The run folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<KeeperError> for Failure {
    fn from(error: KeeperError) -> Self {
        let message = error.to_string();
        match error {
            KeeperError::CommandNotFound { .. } => Self::new(Code::CommandNotFound, message)
                .hint("check the spelling and the PATH of the environment the task is given"),
            KeeperError::NotExecutable { .. } => Self::new(Code::CommandNotFound, message)
                .hint("make it executable (chmod +x), or name the program that runs it"),
            KeeperError::NoCommand | KeeperError::NulByte | KeeperError::Size { .. } => {
                Self::new(Code::ValidationError, message)
            }
            KeeperError::Enter { .. } => Self::new(Code::Io, message)
                .hint("the lane's folder is gone: bring it back, or close the lane with `lanes cleanup`"),
            KeeperError::Spawn { source, .. } => spawn(message, &source),
            KeeperError::ParseSpec(_) | KeeperError::WrongTask => {
                Self::new(Code::Io, message).hint("the daemon is of another version: lanes daemon restart")
            }
            KeeperError::ReadSpec(source)
            | KeeperError::SetUp { source, .. }
            | KeeperError::MakeFolder { source, .. }
            | KeeperError::Listen { source, .. }
            | KeeperError::OpenTerminal(source)
            | KeeperError::WriteRun { source, .. } => Self::system(message, &source),
        }
    }
}

/// A program that is there and executable, and that the system would not start all the same.
fn spawn(message: String, source: &std::io::Error) -> Failure {
    match source.raw_os_error() {
        Some(libc::ENOENT) => Failure::new(Code::CommandNotFound, message)
            .hint("the file is there, but the interpreter that its first line names is not"),
        Some(libc::ENOEXEC) => Failure::new(Code::CommandNotFound, message)
            .hint("a script begins with a line such as #!/bin/sh; a program must be made for this machine"),
        Some(libc::E2BIG) => Failure::new(Code::ValidationError, message)
            .hint("put what is large in its arguments or environment into a file"),
        Some(_) | None => Failure::system(message, source),
    }
}
