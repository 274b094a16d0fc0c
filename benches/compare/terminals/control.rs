//! One connection to tmux: its control mode.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::peers::tmux;
use super::stage::Stage;

/// A client in control mode, with a session of its own; ended when dropped.
pub(super) struct Control {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Control {
    /// Connects.
    pub(super) fn open(stage: &Stage) -> Result<Self, String> {
        let mut command = tmux(stage);
        command.args(["-C", "new-session", "-s", "control", "sleep", "1000"]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("tmux: {error}"))?;
        let (to, from) = (child.stdin.take(), child.stdout.take().ok_or("tmux has no output")?);
        let mut control = Self { child, to, from: BufReader::new(from) };
        control.replies(1)?;
        Ok(control)
    }

    /// Says all of these at once, and waits until each is answered.
    pub(super) fn ask(&mut self, commands: &[String]) -> Result<(), String> {
        let text: String = commands.iter().map(|command| format!("{command}\n")).collect();
        let to = self.to.as_mut().ok_or("the connection is closed")?;
        // Far less than a pipe holds at once for each read of tmux, which goes on reading meanwhile.
        to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|error| format!("tmux: {error}"))?;
        self.replies(commands.len())
    }

    fn replies(&mut self, count: usize) -> Result<(), String> {
        let mut left = count;
        let mut line = Vec::new();
        while left > 0 {
            line.clear();
            if self.from.read_until(b'\n', &mut line).map_err(|error| error.to_string())? == 0 {
                return Err("tmux has closed the connection".to_owned());
            }
            if line.starts_with(b"%error") {
                return Err("tmux refused a command".to_owned());
            }
            left -= usize::from(line.starts_with(b"%end"));
        }
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // It ends with its input.
        self.to = None;
        let (_killed, _reaped) = (self.child.kill(), self.child.wait());
    }
}
