//! Raises what this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: a thousand tasks take some thousand descriptors.
///
/// Gives what the soft limit was, for the commands that are started, when it was raised. To be called by
/// programs only: a library changes nothing of its process.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current?;
    let raised = maximum.is_none_or(|hard| before < hard)
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    raised.then_some(before)
}
