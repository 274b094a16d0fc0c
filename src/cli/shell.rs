//! `lanes completions` and `lanes shell-init`.

use clap::CommandFactory as _;

use super::args::{CdShell, Cli};
use super::output::Output;
use crate::failure::Failure;

/// Prints a completion script.
pub fn completions(output: Output, shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lanes", &mut script);
    output.bytes(&script).map(|()| 0)
}

/// Prints the function `lcd`.
pub fn init(output: Output, shell: CdShell) -> Result<u8, Failure> {
    output.bytes(function(shell).as_bytes()).map(|()| 0)
}

/// The function: `lcd LANE` goes into a lane, `lcd` to the main checkout's lanes' list. Paths may hold
/// anything: what `lanes path` prints is never split, and a line break at its end is kept.
pub const fn function(shell: CdShell) -> &'static str {
    match shell {
        CdShell::Bash | CdShell::Zsh | CdShell::Sh => {
            "lcd() {\n    \
                 if [ \"$#\" -ne 1 ]; then\n        \
                     echo 'usage: lcd LANE' >&2\n        \
                     return 2\n    \
                 fi\n    \
                 _lanes_path=$(lanes path -- \"$1\" && echo x) || return\n    \
                 _lanes_path=${_lanes_path%?x}\n    \
                 cd -- \"$_lanes_path\" || return\n\
             }\n"
        }
        CdShell::Fish => {
            "function lcd --description 'Go into a lane' --argument-names lane\n    \
                 if test (count $argv) -ne 1\n        \
                     echo 'usage: lcd LANE' >&2\n        \
                     return 2\n    \
                 end\n    \
                 set -l lanes_path (lanes path -- $lane | string collect)\n    \
                 or return\n    \
                 cd -- $lanes_path\n\
             end\n"
        }
    }
}
