//! The `lanes` program: a keeper when it is asked to be one, else the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a keeper is small because nothing else was begun before it.
    lanes::keeper::main_if_invoked();
    lanes::cli::main()
}
