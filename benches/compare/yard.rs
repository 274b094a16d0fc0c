//! What the subjects run on: a scratch folder with a repository of a realistic shape and a daemon.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lanes::api::{Client, DaemonStatus, Nothing};

use super::generate;

/// The program of the same build.
pub(super) const LANES: &str = env!("CARGO_BIN_EXE_lanes");
/// Where a daemon has to answer by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// A scratch folder with a repository in it; gone when dropped.
pub(super) struct Yard {
    dir: tempfile::TempDir,
    /// The main checkout.
    pub repo: PathBuf,
}

impl Yard {
    /// Makes a repository of so many files, the same for the same number; or borrows the objects of one.
    pub(super) fn new(within: Option<&Path>, borrow: Option<&Path>, files: u64) -> Result<Self, String> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let dir = tempfile::Builder::new().prefix("lanes-compare-").tempdir_in(&within);
        let dir = dir.map_err(|error| format!("no scratch folder in {}: {error}", within.display()))?;
        let root = fs::canonicalize(dir.path()).map_err(|error| error.to_string())?;
        let yard = Self { dir, repo: root.join("repo") };
        fs::create_dir(root.join("user")).map_err(|error| error.to_string())?;
        let config = "[user]\n\tname = bench\n\temail = bench@example.org\n[init]\n\tdefaultBranch = main\n\
                      [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";
        fs::write(root.join("user/.gitconfig"), config).map_err(|error| error.to_string())?;
        match borrow {
            Some(from) => {
                let from = fs::canonicalize(from).map_err(|error| format!("{}: {error}", from.display()))?;
                // Nothing of the repository itself is written to.
                yard.git(
                    &root,
                    [
                        OsStr::new("clone"),
                        "-q".as_ref(),
                        "--shared".as_ref(),
                        "--".as_ref(),
                        from.as_ref(),
                        yard.repo.as_ref(),
                    ],
                )?;
            }
            None => yard.generate(files)?,
        }
        Ok(yard)
    }

    fn generate(&self, files: u64) -> Result<(), String> {
        fs::create_dir(&self.repo).map_err(|error| error.to_string())?;
        self.git(&self.repo, ["init", "-q"])?;
        let planned = generate::plan(files);
        generate::write(&self.repo, &planned).map_err(|error| format!("could not write a file: {error}"))?;
        self.git(&self.repo, ["add", "-A"])?;
        self.git(&self.repo, ["commit", "-q", "-m", "first"]).map(drop)
    }

    /// Where lanes and its home, and the trees of plain git, are.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.repo.parent().unwrap_or(self.dir.path()).join(name)
    }

    /// A program in an environment of its own.
    pub(super) fn command(&self, program: &str, at: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("user"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .env("LANES_HOME", self.path("home"))
            .current_dir(at)
            .stdin(Stdio::null());
        command
    }

    /// Runs a program to its end, which must be a good one; the time from its start to its end.
    pub(super) fn timed(&self, mut command: Command) -> Result<f64, String> {
        let begun = Instant::now();
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        if output.status.success() {
            return Ok(took);
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Runs git.
    pub(super) fn git<S: AsRef<OsStr>>(
        &self,
        at: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<f64, String> {
        let mut command = self.command("git", at);
        command.args(arguments);
        self.timed(command)
    }

    /// The commit that lanes and trees start from.
    pub(super) fn head(&self) -> Result<String, String> {
        let output = self.command("git", &self.repo).args(["rev-parse", "HEAD"]).output();
        let output = output.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What the repository is like, for the report.
    pub(super) fn shape(&self) -> Result<String, String> {
        let output = self.command("git", &self.repo).args(["ls-tree", "-r", "-l", "HEAD"]).output();
        let text = String::from_utf8_lossy(&output.map_err(|error| error.to_string())?.stdout).into_owned();
        let sizes = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
        let (files, bytes) = sizes.fold((0_u64, 0), |(files, bytes), size| (files + 1, bytes + size));
        let output = self.command("git", &self.repo).args(["ls-tree", "-r", "-d", "HEAD"]).output();
        let folders = output.map_err(|error| error.to_string())?.stdout;
        let folders = folders.iter().filter(|byte| **byte == b'\n').count();
        Ok(format!("{files} files, {folders} folders, {:.1} MB", bytes as f64 / 1e6))
    }
}

/// A running daemon with a home in the yard; stopped when dropped.
pub(super) struct Daemon {
    child: Child,
    /// A connection to it.
    pub client: Client,
    /// Its process.
    pub pid: u32,
}

impl Daemon {
    /// Starts one and waits until it answers.
    pub(super) async fn start(yard: &Yard) -> Result<Self, String> {
        Self::start_in(yard, &yard.path("home"), "").await
    }

    /// The same with a home and a configuration of its own.
    pub(super) async fn start_in(yard: &Yard, home: &Path, config: &str) -> Result<Self, String> {
        let file = home.with_extension("toml");
        fs::write(&file, config).map_err(|error| error.to_string())?;
        let log = fs::File::create(home.with_extension("log")).map_err(|error| error.to_string())?;
        let mut command = yard.command(LANES, &yard.repo);
        command
            .env("LANES_HOME", home)
            .env("LANES_CONFIG", file)
            .args(["daemon", "run"])
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().map_err(|error| format!("{LANES}: {error}"))?;
        let begun = Instant::now();
        let connected = loop {
            match Client::connect(home, "lanes-compare").await {
                Ok(client) => break Ok(client),
                Err(failure) if begun.elapsed() > PATIENCE => break Err(failure.to_string()),
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        match connected {
            Ok(client) => {
                let pid = child.id();
                let daemon = Self { child, client, pid };
                let status = daemon.client.call::<DaemonStatus>(Nothing {}).await;
                status.map(|_it_answers| daemon).map_err(|failure| failure.to_string())
            }
            Err(why) => {
                let (_killed, _reaped) = (child.kill(), child.wait());
                Err(format!("the daemon did not start: {why}"))
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid.cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let (_killed, _reaped) = (self.child.kill(), self.child.wait());
    }
}
