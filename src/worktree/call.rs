//! One call of git as a value: what it is told besides its arguments, and how its words are read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::error::{WorktreeError, quoted, tail};
use super::model::Repository;

/// Variables that choose which configuration is the user's own, kept although they begin with `GIT_`.
const KEPT: [&str; 3] = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];

/// What a call may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads: no locks, no network, nothing of the repository runs. Calls that look at file contents also
    /// need [`Git::filters_off`](super::git::Git::filters_off).
    Look,
    /// Writes references and admin files: nothing of the repository runs.
    Write,
    /// Writes a tree: its filters run and what is missing is fetched, as plain git does. Hooks are off
    /// unless [`GitCommand::with_hooks`] is called.
    Checkout,
}

/// Which repository and tree a call is about. Always said, never discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The git directory: the common one, or the admin directory of a tree.
    pub git_dir: Option<PathBuf>,
    /// The tree, for calls that need one.
    pub work_tree: Option<PathBuf>,
}

impl Place {
    /// No repository at all.
    pub const fn nowhere() -> Self {
        Self { git_dir: None, work_tree: None }
    }

    /// The repository, without a tree.
    pub fn repository(repo: &Repository) -> Self {
        Self { git_dir: Some(repo.common_dir.clone()), work_tree: None }
    }

    /// A git directory without a tree.
    pub fn git_dir(git_dir: &Path) -> Self {
        Self { git_dir: Some(git_dir.to_path_buf()), work_tree: None }
    }

    /// A linked worktree: its admin directory and its folder.
    pub fn tree(admin_dir: &Path, path: &Path) -> Self {
        Self { git_dir: Some(admin_dir.to_path_buf()), work_tree: Some(path.to_path_buf()) }
    }
}

/// One call of git as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCommand {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The whole environment; nothing is inherited besides.
    pub env: BTreeMap<OsString, OsString>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// What it reads; nothing when empty.
    pub stdin: Vec<u8>,
    /// The subcommand and its first words, for messages.
    pub label: String,
}

impl GitCommand {
    /// Adds a setting that wins over every configuration file.
    #[must_use]
    pub fn config(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.push_config(key.into(), value.into());
        self
    }

    /// Adds settings that win over every configuration file.
    #[must_use]
    pub fn configs(mut self, settings: &[(OsString, OsString)]) -> Self {
        for (key, value) in settings {
            self.push_config(key.clone(), value.clone());
        }
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let _replaced = self.env.insert(name.into(), value.into());
        self
    }

    /// What it reads from its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// Lets hooks run from where git itself would look for them.
    #[must_use]
    pub fn with_hooks(mut self) -> Self {
        let hooks = OsStr::new("core.hooksPath");
        let count = self.config_count();
        let kept: Vec<_> = (0..count)
            .filter_map(|at| {
                let key = self.env.remove(OsStr::new(&format!("GIT_CONFIG_KEY_{at}")))?;
                let value = self.env.remove(OsStr::new(&format!("GIT_CONFIG_VALUE_{at}")))?;
                (key != hooks).then_some((key, value))
            })
            .collect();
        let _old = self.env.remove(OsStr::new("GIT_CONFIG_COUNT"));
        self.configs(&kept)
    }

    fn config_count(&self) -> usize {
        let count = self.env.get(OsStr::new("GIT_CONFIG_COUNT")).and_then(|n| n.to_str());
        count.and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    fn push_config(&mut self, key: OsString, value: OsString) {
        let at = self.config_count();
        for (name, value) in [
            (format!("GIT_CONFIG_KEY_{at}"), key),
            (format!("GIT_CONFIG_VALUE_{at}"), value),
            ("GIT_CONFIG_COUNT".to_owned(), (at + 1).to_string().into()),
        ] {
            let _replaced = self.env.insert(name.into(), value);
        }
    }
}

/// What git said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl GitOutput {
    /// True for exit code 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text without the newline at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// The output of a question that git answers with code 1 when there is no such thing. Every other code is
    /// an error: git that could not look has not said that there is nothing.
    ///
    /// # Errors
    /// `RunGit` with the end of standard error.
    pub fn found(self, label: &str) -> Result<Option<Self>, WorktreeError> {
        if self.code == Some(1) { Ok(None) } else { self.success(label).map(Some) }
    }

    /// The same output when the code is 0, else the error that says what git said.
    ///
    /// # Errors
    /// `RunGit` with the end of standard error.
    pub fn success(self, label: &str) -> Result<Self, WorktreeError> {
        if self.ok() {
            return Ok(self);
        }
        let status = match (self.code, self.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        Err(WorktreeError::RunGit { command: label.to_owned(), status, stderr: tail(&self.stderr) })
    }
}

/// The version and its first two numbers from what `git version` prints.
pub fn parse_version(text: &str) -> Option<(String, (u32, u32))> {
    let word = text.strip_prefix("git version ")?.split_whitespace().next()?;
    let mut parts = word.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let kept: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || ".-+".contains(*c)).collect();
    Some((kept, (major, minor)))
}

/// True for failures that go by themselves: another git held a lock file, or had not finished its own admin
/// entry (every call that lists worktrees dies of that).
pub fn is_transient(said: &str) -> bool {
    let names = [".lock", "could not lock", "packed-refs.new"];
    let held = said.contains("File exists") && names.iter().any(|name| said.contains(name));
    let half_made = said.contains("worktrees/") && said.contains("failed to read");
    held || half_made || said.contains("could not lock config file")
}

/// What every call is told by the environment.
pub(super) fn fixed_environment(mode: Mode) -> impl Iterator<Item = (&'static str, &'static str)> {
    // Filters and hooks of a checkout may handle text; git speaks English in both.
    let language = if mode == Mode::Checkout { "C.UTF-8" } else { "C" };
    let always =
        [("GIT_TERMINAL_PROMPT", "0"), ("GIT_EDITOR", ":"), ("GIT_PAGER", "cat"), ("LC_ALL", language)];
    // An empty list of allowed protocols is what stops lazy fetches of git versions before GIT_NO_LAZY_FETCH.
    let offline =
        [("GIT_NO_LAZY_FETCH", "1"), ("GIT_ALLOW_PROTOCOL", ""), ("GIT_ASKPASS", ""), ("SSH_ASKPASS", "")];
    let look = [("GIT_OPTIONAL_LOCKS", "0")];
    always
        .into_iter()
        .chain(offline.into_iter().filter(move |_| mode != Mode::Checkout))
        .chain(look.into_iter().filter(move |_| mode == Mode::Look))
}

/// What every call is told by settings that win over every configuration file.
pub(super) fn fixed_settings(mode: Mode) -> impl Iterator<Item = (&'static str, &'static str)> {
    let always = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.pager", "cat"),
        ("core.editor", ":"),
        ("color.ui", "false"),
        ("advice.detachedHead", "false"),
        ("commit.gpgSign", "false"),
        ("tag.gpgSign", "false"),
        ("log.showSignature", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("safe.bareRepository", "explicit"),
        ("protocol.ext.allow", "never"),
        ("submodule.recurse", "false"),
    ];
    let offline = [
        ("diff.external", ""),
        ("diff.ignoreSubmodules", "dirty"),
        ("status.submoduleSummary", "false"),
        ("credential.helper", ""),
        ("core.askPass", ""),
        ("core.quotePath", "false"),
    ];
    always.into_iter().chain(offline.into_iter().filter(move |_| mode != Mode::Checkout))
}

/// The environment without what another git call, a hook or an editor left in it.
pub(super) fn clean_environment(all: Vec<(OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    let kept = |name: &OsStr| KEPT.iter().any(|kept| name == OsStr::new(kept));
    let ours = |name: &OsStr| !name.as_bytes().starts_with(b"GIT_") || kept(name);
    let language = ["LANGUAGE", "LANG", "LC_MESSAGES"];
    all.into_iter()
        .filter(|(name, _value)| ours(name) && !language.iter().any(|l| name == OsStr::new(l)))
        .collect()
}

pub(super) fn joined(option: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(option);
    text.push(value);
    text
}

pub(super) fn label(args: &[OsString]) -> String {
    let is_word = |arg: &&OsString| {
        arg.to_str().is_some_and(|a| a.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    };
    let words: Vec<_> = args.iter().take(2).take_while(is_word).filter_map(|a| a.to_str()).collect();
    match words.is_empty() {
        true => quoted("git"),
        false => format!("git {}", words.join(" ")),
    }
}

/// The names of drivers in a NUL-separated list of configuration keys.
pub(super) fn driver_names(keys: &[u8]) -> BTreeSet<(bool, OsString)> {
    let mut names = BTreeSet::new();
    for key in keys.split(|b| *b == 0).filter(|key| !key.is_empty()) {
        let is_filter = key.starts_with(b"filter.");
        let start = if is_filter { b"filter.".len() } else { b"diff.".len() };
        let Some(end) = key.iter().rposition(|b| *b == b'.') else { continue };
        if end > start {
            let _known = names.insert((is_filter, OsString::from_vec(key[start..end].to_vec())));
        }
    }
    names
}

/// The settings that make one driver do nothing.
pub(super) fn driver_off((is_filter, name): &(bool, OsString)) -> Vec<(OsString, OsString)> {
    let section = if *is_filter { "filter." } else { "diff." };
    let settings: &[(&str, &str)] = match is_filter {
        true => &[(".clean", ""), (".smudge", ""), (".process", ""), (".required", "false")],
        false => &[(".command", ""), (".textconv", "")],
    };
    let key = |last: &str| {
        let mut key = joined(section, name);
        key.push(last);
        key
    };
    settings.iter().map(|(last, value)| (key(last), OsString::from(*value))).collect()
}
