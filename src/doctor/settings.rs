//! The configuration that all worktrees of a repository share: what other tools write into it and what
//! that breaks.

use std::path::{Path, PathBuf};

use super::check::{Check, Mend};

/// The configuration that all worktrees of a repository share.
pub const SHARED: &str = "shared";

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// [`SHARED`], or where else it stands.
    pub scope: String,
    /// Its name, as git prints it: section and last part in small letters.
    pub key: String,
    /// Its value; none when only the name stands there, which means true.
    pub value: Option<String>,
}

/// Reads what `git config --list -z` prints, of the configuration called `scope`.
pub fn parse_settings(output: &[u8], scope: &str) -> Vec<Setting> {
    let settings = output.split(|byte| *byte == 0).filter(|setting| !setting.is_empty());
    settings
        .map(|setting| {
            let text = String::from_utf8_lossy(setting);
            let (key, value) = match text.split_once('\n') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text.as_ref(), None),
            };
            Setting { scope: scope.to_owned(), key: key.to_owned(), value }
        })
        .collect()
}

/// The settings of a repository, and what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsFacts {
    /// The common git directory.
    pub common_dir: PathBuf,
    /// The folder that holds it, when it provably is a checkout: the repository has an index, and a file
    /// of that index lies there.
    pub checkout: Option<PathBuf>,
    /// All of them, the last one of a name counts.
    pub settings: Vec<Setting>,
}

impl SettingsFacts {
    fn shared(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|one| one.key == key && one.scope == SHARED)
    }

    fn any(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|one| one.key == key)
    }
}

fn is_true(setting: &Setting) -> bool {
    match setting.value.as_deref() {
        None => true,
        Some(text) => matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1"),
    }
}

/// Says what of the settings harms.
pub fn judge_settings(facts: &SettingsFacts) -> Vec<Check> {
    let mut checks: Vec<Check> =
        [bare(facts), work_tree(facts), hooks(facts), per_worktree(facts)].into_iter().flatten().collect();
    checks.extend(collecting(facts));
    if checks.is_empty() {
        checks.push(Check::ok("repository.config", "its configuration has nothing that breaks worktrees"));
    }
    checks
}

/// A bare repository has no main checkout; where there is one, git refuses to work in it.
fn bare(facts: &SettingsFacts) -> Option<Check> {
    let setting = facts.shared("core.bare").filter(|setting| is_true(setting))?;
    let checkout = facts.checkout.as_ref()?;
    let value = setting.value.clone().unwrap_or_else(|| "true".to_owned());
    let message = format!(
        "core.bare is {value} in the configuration that all worktrees share, although {} is a checkout: git refuses to work there",
        checkout.display()
    );
    Some(
        Check::fail("repository.bare", message)
            .hint("a tool has written it; git config --unset core.bare")
            .mend(Mend::Setting { common_dir: facts.common_dir.clone(), key: "core.bare", value }),
    )
}

/// `core.worktree` moves the checkout of the main repository elsewhere.
fn work_tree(facts: &SettingsFacts) -> Option<Check> {
    let value = facts.shared("core.worktree")?.value.clone()?;
    let checkout = facts.checkout.as_ref()?;
    if facts.common_dir.join(&value) == *checkout || Path::new(&value) == checkout {
        return None;
    }
    let message = format!(
        "core.worktree is {value} in the configuration that all worktrees share, although {} is the checkout: git works on other files there",
        checkout.display()
    );
    Some(
        Check::fail("repository.worktree", message)
            .hint("a tool has written it; git config --unset core.worktree")
            .mend(Mend::Setting { common_dir: facts.common_dir.clone(), key: "core.worktree", value }),
    )
}

/// Hooks elsewhere run in every worktree; whether that is meant only the user knows.
fn hooks(facts: &SettingsFacts) -> Option<Check> {
    let value = facts.shared("core.hookspath")?.value.clone()?;
    let path = Path::new(&value);
    let message = format!("core.hooksPath is {value} in the configuration that all worktrees share");
    let hint = "if a tool has written it: git config --unset core.hooksPath";
    Some(match path.is_absolute() && !path.is_dir() {
        true => {
            Check::warn("repository.hooks", format!("{message}, and there is no such folder: no hook runs"))
                .hint(hint)
        }
        false => {
            Check::note("repository.hooks", format!("{message}: its hooks run in each of them")).hint(hint)
        }
    })
}

fn per_worktree(facts: &SettingsFacts) -> Option<Check> {
    let _on = facts.shared("extensions.worktreeconfig").filter(|setting| is_true(setting))?;
    let shared = ["core.bare", "core.worktree"].iter().filter(|key| facts.shared(key).is_some_and(is_true));
    let left: Vec<&str> = shared.copied().collect();
    let message = "worktrees have settings of their own (extensions.worktreeConfig)";
    Some(match left.is_empty() {
        true => Check::note("repository.worktree_config", message),
        false => Check::warn(
            "repository.worktree_config",
            format!(
                "{message}, and {} still stands in what they share: it holds for all of them",
                left.join(" and ")
            ),
        )
        .hint("move it into config.worktree of the main checkout (git help worktree)"),
    })
}

/// What makes git forget objects and admin entries at once.
fn collecting(facts: &SettingsFacts) -> Vec<Check> {
    let now = |key: &str| {
        let value = facts.any(key)?.value.clone()?;
        matches!(value.to_ascii_lowercase().as_str(), "now" | "all" | "immediate").then_some(value)
    };
    let mut checks = Vec::new();
    if let Some(value) = now("gc.pruneexpire") {
        checks.push(
            Check::warn(
                "repository.gc",
                format!(
                    "gc.pruneExpire is {value}: a collection removes objects that somebody is just writing"
                ),
            )
            .hint("git config --unset gc.pruneExpire; lanes keeps what it holds reachable all the same"),
        );
    }
    if let Some(value) = now("gc.worktreepruneexpire") {
        checks.push(
            Check::warn("repository.gc", format!("gc.worktreePruneExpire is {value}: a worktree on a disk that is away is forgotten by the next collection"))
                .hint("git config --unset gc.worktreePruneExpire; trees of lanes are locked and stay"),
        );
    }
    checks
}
