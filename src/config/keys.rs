//! The known keys: what each may hold, where it goes, which need approval.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::model::{Backend, Config, Hook};
use super::units;

/// Every key, in the order of the documentation.
pub const KEYS: [&str; 36] = [
    "lanes.capacity",
    "lanes.branch_prefix",
    "worktree.root",
    "worktree.backend",
    "worktree.submodules",
    "pool.size",
    "pool.max",
    "pool.prepare",
    "pool.prepare_files",
    "copy",
    "link",
    "hooks.post_create",
    "hooks.pre_cleanup",
    "agents",
    "verify",
    "stop.terminal_grace",
    "stop.run_grace",
    "task.stale_after",
    "task.log_limit",
    "limits.memory",
    "limits.processes",
    "limits.cpu_weight",
    "limits.open_files",
    "disk.min_free",
    "disk.min_inodes",
    "disk.budget",
    "trash.keep",
    "trash.max",
    "events.keep",
    "daemon.idle_exit",
    "daemon.crash_limit",
    "watchdog.every",
    "watchdog.cooldown",
    "attach.detach_key",
    "git.timeout",
    "git.checkout_timeout",
];

/// Says whether a key that a file of the repository sets needs the user's approval, because it runs or
/// opens up something, or shortens how long things are kept.
pub fn needs_approval(key: &str) -> bool {
    matches!(
        key,
        "hooks.post_create"
            | "hooks.pre_cleanup"
            | "pool.prepare"
            | "pool.prepare_files"
            | "worktree.root"
            | "copy"
            | "link"
            | "agents"
            | "verify"
            | "trash.keep"
            | "trash.max"
            | "events.keep"
    )
}

/// What a key may hold, in words, when its value is not that.
pub(super) type Wanted = String;

type Set = Result<(), Wanted>;

/// Puts `value` at `key` of `config`; `None` when there is no such key.
pub(super) fn set(config: &mut Config, key: &str, value: &Value) -> Option<Set> {
    Some(match key {
        "lanes.capacity" => count(value, 1, 10_000, |n| config.lanes.capacity = n as usize),
        "lanes.branch_prefix" => branch_prefix(value, |text| config.lanes.branch_prefix = text),
        "worktree.root" => path(value, |path| config.worktree.root = Some(path)),
        "worktree.backend" => backend(value, |backend| config.worktree.backend = backend),
        "worktree.submodules" => flag(value, |on| config.worktree.submodules = on),
        "pool.size" => count(value, 0, 64, |n| config.pool.size = n as usize),
        "pool.max" => count(value, 0, 64, |n| config.pool.max = n as usize),
        "pool.prepare" => hook(value, |hook| config.pool.prepare = Some(hook)),
        "pool.prepare_files" => texts(value, |list| config.pool.prepare_files = list),
        "copy" => texts(value, |list| config.copy = list),
        "link" => texts(value, |list| config.link = list),
        "hooks.post_create" => hook(value, |hook| config.hooks.post_create = Some(hook)),
        "hooks.pre_cleanup" => hook(value, |hook| config.hooks.pre_cleanup = Some(hook)),
        "agents" => agents(config, value),
        "verify" => hook(value, |hook| config.verify = Some(hook)),
        "stop.terminal_grace" => span(value, MS, HOUR, |d| config.stop.terminal_grace = d),
        "stop.run_grace" => span(value, MS, HOUR, |d| config.stop.run_grace = d),
        "task.stale_after" => span(value, SECOND, DAY, |d| config.task.stale_after = d),
        "task.log_limit" => size(value, 1 << 20, 1 << 40, |n| config.task.log_limit = n),
        "limits.memory" => size(value, 16 << 20, 1 << 50, |n| config.limits.memory = Some(n)),
        "limits.processes" => count(value, 8, 4_194_304, |n| config.limits.processes = Some(n)),
        "limits.cpu_weight" => count(value, 1, 10_000, |n| config.limits.cpu_weight = Some(n)),
        "limits.open_files" => count(value, 64, 1 << 30, |n| config.limits.open_files = Some(n)),
        "disk.min_free" => size(value, 0, 1 << 50, |n| config.disk.min_free = n),
        "disk.min_inodes" => count(value, 0, 1 << 40, |n| config.disk.min_inodes = n),
        "disk.budget" => size(value, 0, 1 << 50, |n| config.disk.budget = Some(n)),
        "trash.keep" => span(value, Duration::ZERO, YEARS, |d| config.trash.keep = d),
        "trash.max" => size(value, 0, 1 << 50, |n| config.trash.max = Some(n)),
        "events.keep" => span(value, HOUR, YEARS, |d| config.events.keep = d),
        "daemon.idle_exit" => span(value, SECOND, YEARS, |d| config.daemon.idle_exit = Some(d)),
        "daemon.crash_limit" => count(value, 0, 30, |n| config.daemon.crash_limit = n),
        "watchdog.every" => span(value, MIN_CYCLE, YEARS, |d| config.watchdog.every = d),
        "watchdog.cooldown" => span(value, SECOND, YEARS, |d| config.watchdog.cooldown = d),
        "attach.detach_key" => detach_key(value, |text| config.attach.detach_key = text),
        "git.timeout" => span(value, SECOND, HOUR, |d| config.git.timeout = d),
        "git.checkout_timeout" => span(value, SECOND, DAY, |d| config.git.checkout_timeout = d),
        _other => return None,
    })
}

const MS: Duration = Duration::from_millis(1);
/// Tests look this often; nobody else has a reason to.
const MIN_CYCLE: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEARS: Duration = Duration::from_secs(100 * 366 * 86_400);

fn count(value: &Value, min: u64, max: u64, put: impl FnOnce(u64)) -> Set {
    match value.as_integer().and_then(|n| u64::try_from(n).ok()) {
        Some(n) if (min..=max).contains(&n) => {
            put(n);
            Ok(())
        }
        Some(_) | None => Err(format!("a whole number from {min} to {max}")),
    }
}

fn flag(value: &Value, put: impl FnOnce(bool)) -> Set {
    value.as_bool().map(put).ok_or_else(|| "true or false".into())
}

fn span(value: &Value, min: Duration, max: Duration, put: impl FnOnce(Duration)) -> Set {
    match value.as_str().and_then(units::parse_duration) {
        Some(span) if (min..=max).contains(&span) => {
            put(span);
            Ok(())
        }
        Some(_) | None => Err(format!(
            "a duration such as \"500ms\", \"5s\" or \"30d\", from {} to {}",
            humantime::format_duration(min),
            humantime::format_duration(max)
        )),
    }
}

fn size(value: &Value, min: u64, max: u64, put: impl FnOnce(u64)) -> Set {
    let bytes = match value {
        Value::String(text) => units::parse_size(text),
        Value::Integer(n) => u64::try_from(*n).ok(),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    match bytes {
        Some(n) if (min..=max).contains(&n) => {
            put(n);
            Ok(())
        }
        Some(_) | None => Err(format!("a size such as \"256MiB\" or \"2GB\", from {min} to {max} bytes")),
    }
}

/// A text without NUL; no name, path or argument can hold one.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.contains('\0'))
}

fn path(value: &Value, put: impl FnOnce(PathBuf)) -> Set {
    match text(value) {
        Some(text) if !text.is_empty() => {
            put(PathBuf::from(text));
            Ok(())
        }
        Some(_) | None => Err("a path".into()),
    }
}

fn texts(value: &Value, put: impl FnOnce(Vec<String>)) -> Set {
    strings(value).map(put).ok_or_else(|| "a list of texts, none of them empty".into())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    list.iter().map(|item| text(item).filter(|text| !text.is_empty()).map(str::to_owned)).collect()
}

fn hook(value: &Value, put: impl FnOnce(Hook)) -> Set {
    let hook = match (text(value), value.as_array()) {
        (Some(text), _) if !text.trim().is_empty() => Some(Hook::Shell(text.to_owned())),
        (None, Some(words)) if words.first().and_then(text).is_some_and(|program| !program.is_empty()) => {
            words.iter().map(|word| text(word).map(str::to_owned)).collect::<Option<_>>().map(Hook::Argv)
        }
        (Some(_) | None, _) => None,
    };
    hook.map(put).ok_or_else(|| "a command: a text for the shell, or a list of program and arguments".into())
}

fn backend(value: &Value, put: impl FnOnce(Backend)) -> Set {
    let found = Backend::ALL.iter().find(|(name, _)| value.as_str() == Some(name));
    found
        .map(|(_, backend)| put(*backend))
        .ok_or_else(|| format!("one of {}", Backend::ALL.map(|(name, _)| format!("\"{name}\"")).join(", ")))
}

fn agents(config: &mut Config, value: &Value) -> Set {
    let Some(table) = value.as_table().filter(|table| table.values().all(Value::is_table)) else {
        return Err("a table with one table for each agent".into());
    };
    for (name, definition) in table {
        config.agents.insert(name.clone(), definition.clone());
    }
    Ok(())
}

/// Checked by git's rules, so that a prefix that is taken makes every name good that is good by itself.
fn branch_prefix(value: &Value, put: impl FnOnce(String)) -> Set {
    let good = |prefix: &str| {
        prefix.len() <= 64
            && !prefix.starts_with(['-', '/'])
            && !prefix.contains("..")
            && !prefix.contains("//")
            && !prefix.contains("@{")
            && prefix.split('/').all(|part| !part.starts_with('.') && !part.ends_with(".lock"))
            && !prefix.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
            && !prefix.contains("/.")
            && !prefix.ends_with('.')
    };
    match value.as_str() {
        Some(prefix) if good(prefix) => {
            put(prefix.to_owned());
            Ok(())
        }
        Some(_) | None => Err("the start of a branch name, such as \"lanes/\"".into()),
    }
}

fn detach_key(value: &Value, put: impl FnOnce(String)) -> Set {
    match value.as_str() {
        Some(text) if units::parse_keys(text).is_some() => {
            put(text.to_owned());
            Ok(())
        }
        Some(_) | None => {
            Err("keys separated by spaces of which the first is a control key, such as \"ctrl-\\\\ d\""
                .into())
        }
    }
}
