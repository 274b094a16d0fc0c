//! The others: how each starts, shows and ends sessions.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::processes::{Ends, parent_of};
use super::stage::Stage;

/// How long a peer has to end all it has.
const PATIENCE: Duration = Duration::from_secs(20);
/// What tmux is told before anything else: it lives without sessions, keeps as many lines as are printed
/// here, and draws no status line, which would be drawn again and again.
const TMUX_CONFIG: &str = "set -s exit-empty off\nset -g history-limit 10000\nset -g status off\n\
                           set -g default-size 80x24\n";

/// Somebody who keeps sessions.
pub(super) trait Side {
    fn name(&self) -> &'static str;
    /// Starts a program in a detached session of 80 x 24.
    fn start(&mut self, stage: &Stage, session: &str, argv: &[String]) -> Result<(), String>;
    /// What shows a session, to be run at a terminal.
    fn attach(&self, stage: &Stage, session: &str) -> Result<Command, String>;
    /// Ends all sessions, and waits until their programs have gone.
    fn end(&mut self, stage: &Stage) -> Result<(), String>;
    /// The processes that it needs itself, when these are its programs.
    fn processes(&self, programs: &[u32]) -> Result<Vec<u32>, String>;
}

/// One of the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Tmux,
    Dtach,
    Abduco,
    Screen,
}

impl Peer {
    /// Those that are installed.
    pub(super) fn installed() -> Vec<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
        [Self::Tmux, Self::Dtach, Self::Abduco, Self::Screen]
            .into_iter()
            .filter(|peer| there(peer.name()))
            .collect()
    }

    /// Starts what has to be there before the first session.
    pub(super) fn prepare(self, stage: &Stage) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = stage.yard.path(self.name());
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)));
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        if self == Self::Tmux {
            std::fs::write(folder.join("conf"), TMUX_CONFIG).map_err(|error| error.to_string())?;
            let mut command = tmux(stage);
            command.arg("start-server");
            stage.yard.timed(command)?;
        }
        Ok(())
    }

    /// Ends what [`Peer::prepare`] started.
    pub(super) fn stop(self, stage: &Stage) {
        if self == Self::Tmux {
            let server = Ends::of(tmux_server(stage));
            let mut command = tmux(stage);
            command.arg("kill-server");
            let _not_there = stage.yard.timed(command);
            server.wait(PATIENCE);
        }
    }

    /// What starts a detached session.
    pub(super) fn starting(self, stage: &Stage, session: &str, argv: &[String]) -> Command {
        let socket = stage.yard.path("dtach").join(session);
        let mut command = match self {
            Self::Tmux => tmux(stage),
            Self::Dtach | Self::Abduco | Self::Screen => stage.command(self.name()),
        };
        match self {
            Self::Tmux => command.args(["new-session", "-d", "-x", "80", "-y", "24", "-s", session]),
            Self::Dtach => command.arg("-n").arg(socket).arg("-Ez"),
            Self::Abduco => command.args(["-n", session]),
            Self::Screen => command.args(["-h", "10000", "-dmS", session]),
        };
        command.args(argv);
        command
    }
}

/// `tmux` with a socket and configuration of this run.
pub(super) fn tmux(stage: &Stage) -> Command {
    let mut command = stage.command("tmux");
    command.args(["-L", "compare", "-f"]).arg(stage.yard.path("tmux").join("conf"));
    command
}

fn tmux_server(stage: &Stage) -> Option<u32> {
    tmux_says(stage, &["display-message", "-p", "#{pid}"]).ok()?.trim().parse().ok()
}

/// What tmux prints.
pub(super) fn tmux_says(stage: &Stage, words: &[&str]) -> Result<String, String> {
    let output = tmux(stage).args(words).output().map_err(|error| format!("tmux: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Side for Peer {
    fn name(&self) -> &'static str {
        match self {
            Self::Tmux => "tmux",
            Self::Dtach => "dtach",
            Self::Abduco => "abduco",
            Self::Screen => "screen",
        }
    }

    fn start(&mut self, stage: &Stage, session: &str, argv: &[String]) -> Result<(), String> {
        stage.yard.timed(self.starting(stage, session, argv)).map(drop)
    }

    fn attach(&self, stage: &Stage, session: &str) -> Result<Command, String> {
        let mut command = match self {
            Self::Tmux => tmux(stage),
            Self::Dtach | Self::Abduco | Self::Screen => stage.command(self.name()),
        };
        match self {
            Self::Tmux => command.args(["attach-session", "-t", session]),
            Self::Dtach => command.arg("-a").arg(stage.yard.path("dtach").join(session)).arg("-Ez"),
            Self::Abduco => command.args(["-a", session]),
            Self::Screen => command.args(["-r", session]),
        };
        Ok(command)
    }

    fn end(&mut self, stage: &Stage) -> Result<(), String> {
        // Those that a session's program has: all of this run that is not a peer, a daemon or a client.
        let programs = stage.programs();
        if *self == Self::Tmux {
            for session in tmux_says(stage, &["list-sessions", "-F", "#{session_name}"])?.lines() {
                let _gone_meanwhile = tmux_says(stage, &["kill-session", "-t", session])?;
            }
        } else {
            programs.signal(Signal::HUP);
            programs.signal(Signal::TERM);
        }
        if programs.wait(PATIENCE) {
            Ok(())
        } else {
            Err(format!("{} did not end its programs", self.name()))
        }
    }

    fn processes(&self, programs: &[u32]) -> Result<Vec<u32>, String> {
        let mut parents = programs.iter().map(|pid| parent_of(*pid)).collect::<Result<Vec<_>, _>>()?;
        parents.sort_unstable();
        parents.dedup();
        Ok(parents)
    }
}
