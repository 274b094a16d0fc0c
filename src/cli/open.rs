//! `lanes open`.

use std::process::Command;

use super::args::LaneArg;
use super::session::Session;
use crate::failure::{Code, Failure};

/// Opens the tree of a lane in the user's editor and waits for it.
pub async fn open(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    let Some(editor) = session.at.editor.clone() else {
        return Err(Failure::new(Code::CommandNotFound, "no editor is set")
            .hint("set LANES_EDITOR, for example to `code` or `vim`"));
    };
    let lane = session.get(&args.lane).await?;
    // The user's own variable may hold arguments; it is given to the shell as git does, the path as `$1`.
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg([editor.as_os_str(), std::ffi::OsStr::new(" \"$@\"")].concat_words())
        .arg("lanes")
        .arg(lane.worktree.as_path())
        .current_dir(lane.worktree.as_path())
        .status()
        .map_err(|error| Failure::io("start the editor", &error))?;
    if session.output.json {
        session.output.object(&serde_json::json!({ "path": lane.worktree }))?;
    }
    Ok(super::exec::shell_code(status))
}

trait ConcatWords {
    fn concat_words(&self) -> std::ffi::OsString;
}

impl ConcatWords for [&std::ffi::OsStr; 2] {
    fn concat_words(&self) -> std::ffi::OsString {
        let mut whole = self[0].to_os_string();
        whole.push(self[1]);
        whole
    }
}
