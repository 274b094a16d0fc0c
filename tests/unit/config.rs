//! What configuration means, and what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use lanes::config::{
    Ask, Backend, Config, ConfigError, Hook, KEYS, Layer, Loaded, Origin, merge, parse_duration, parse_keys,
    parse_size,
};
use lanes::failure::{Code, Failure};

fn layer(path: &str, origin: Origin, text: &str) -> Layer {
    Layer { path: PathBuf::from(path), origin, text: text.into() }
}

fn repository(text: &str) -> Result<Loaded, ConfigError> {
    merge(&[layer("lanes.toml", Origin::Repository, text)])
}

fn check_error(text: &str, expected: &str) {
    let error = repository(text).expect_err("this must be refused");
    assert_eq!(error.to_string(), expected);
    assert_eq!(Failure::from(error).code, Code::ConfigInvalid);
}

#[test]
fn nothing_said_is_the_documented_default() {
    let config = merge(&[]).unwrap().config;
    assert_eq!(config, Config::default());
    assert_eq!(config.lanes.capacity, 50);
    assert_eq!(config.lanes.branch_prefix, "lanes/");
    assert_eq!(config.stop.terminal_grace, Duration::from_secs(5));
    assert_eq!(config.stop.run_grace, Duration::from_secs(10));
    assert_eq!(config.task.stale_after, Duration::from_secs(30));
    assert_eq!(config.task.log_limit, 256 << 20);
    assert_eq!(config.trash.keep, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.git.timeout, Duration::from_secs(30));
    assert_eq!(config.git.checkout_timeout, Duration::from_secs(900));
    assert!(config.worktree.submodules);
    assert_eq!(parse_keys(&config.attach.detach_key), Some(vec![0x1c, b'd']));
}

#[test]
fn a_later_file_wins_key_by_key() {
    let loaded = merge(&[
        layer("config.toml", Origin::User, "[lanes]\ncapacity = 7\n[pool]\nsize = 1\n"),
        layer("lanes.toml", Origin::Repository, "lanes.capacity = 8\n[worktree]\nbackend = \"git\"\n"),
        layer(".lanes.local.toml", Origin::Repository, "lanes.capacity = 9\n"),
    ])
    .unwrap();
    assert_eq!(loaded.config.lanes.capacity, 9);
    assert_eq!(loaded.config.pool.size, 1);
    assert_eq!(loaded.config.worktree.backend, Backend::Git);
    assert_eq!(loaded.asks, []);
}

#[test]
fn an_unknown_key_names_file_line_key_and_the_nearest() {
    check_error(
        "\n[lanes]\ncapcity = 3\n",
        "lanes.toml:3: unknown key `lanes.capcity`, did you mean `lanes.capacity`?",
    );
    check_error("capacity = 3\n", "lanes.toml:1: unknown key `capacity`, did you mean `lanes.capacity`?");
    check_error("hooks = 'x'\n", "lanes.toml:1: unknown key `hooks`, did you mean `hooks.post_create`?");
    check_error("zzqq = 1\n", "lanes.toml:1: unknown key `zzqq`");
    check_error("[zzqq]\na = 1\n", "lanes.toml:1: unknown key `zzqq`");
}

#[test]
fn a_wrong_value_says_what_it_may_be() {
    check_error(
        "lanes.capacity = 0",
        "lanes.toml:1: `lanes.capacity` must be a whole number from 1 to 10000",
    );
    check_error(
        "lanes.capacity = '5'",
        "lanes.toml:1: `lanes.capacity` must be a whole number from 1 to 10000",
    );
    check_error(
        "lanes.capacity = 99999999999999999999",
        "lanes.toml:1: `lanes.capacity` must be a whole number from 1 to 10000",
    );
    check_error(
        "\n\nstop.run_grace = 5",
        "lanes.toml:3: `stop.run_grace` must be a duration such as \"500ms\", \"5s\" or \"30d\", from 1ms to 1h",
    );
    check_error(
        "worktree.backend = 'fast'",
        "lanes.toml:1: `worktree.backend` must be one of \"auto\", \"git\", \"copy\", \"pool\", \"overlay\"",
    );
    check_error("worktree.submodules = 1", "lanes.toml:1: `worktree.submodules` must be true or false");
    check_error("copy = ['a', '']", "lanes.toml:1: `copy` must be a list of texts, none of them empty");
    check_error(
        "hooks.post_create = []",
        "lanes.toml:1: `hooks.post_create` must be a command: a text for the shell, or a list of program and arguments",
    );
    for prefix in ["-x", "a..b", "/a", "a b", "a/.b", "a~", "x\\u0007", "a.lock/"] {
        let text = format!("lanes.branch_prefix = \"{prefix}\"");
        check_error(
            &text,
            "lanes.toml:1: `lanes.branch_prefix` must be the start of a branch name, such as \"lanes/\"",
        );
    }
}

#[test]
fn text_that_is_not_toml_is_told_with_its_line() {
    let error = repository("a = 1\n[lanes\n").expect_err("this must be refused");
    assert!(matches!(error, ConfigError::Syntax { line: 2, .. }), "{error}");
}

#[test]
fn what_a_repository_would_run_or_open_up_is_asked() {
    let text = "copy = ['.env']\nworktree.root = '/tmp/x'\ntrash.keep = '1d'\npool.size = 3\n[hooks]\npost_create = 'make deps'\n";
    let loaded = repository(text).unwrap();
    let asks: Vec<String> = loaded.asks.iter().map(Ask::to_string).collect();
    assert_eq!(
        asks,
        [
            "copy = [\".env\"]",
            "hooks.post_create = \"make deps\"",
            "trash.keep = \"1d\"",
            "worktree.root = \"/tmp/x\""
        ]
    );
    assert_eq!(loaded.config.hooks.post_create, Some(Hook::Shell("make deps".into())));
    assert_eq!(loaded.unapproved.hooks.post_create, None);
    assert_eq!(loaded.unapproved.worktree.root, None);
    assert_eq!(loaded.unapproved.pool.size, 3);
}

#[test]
fn what_the_user_wrote_needs_no_approval() {
    let loaded =
        merge(&[layer("config.toml", Origin::User, "hooks.post_create = ['make', 'deps']")]).unwrap();
    assert_eq!(loaded.asks, []);
    assert_eq!(loaded.unapproved.hooks.post_create, Some(Hook::Argv(vec!["make".into(), "deps".into()])));
}

#[test]
fn the_fingerprint_follows_the_asks_and_nothing_else() {
    let print = |text: &str| repository(text).unwrap().fingerprint;
    let first = print("copy = ['a']\npool.size = 1");
    assert_eq!(first, print("# another comment\npool.size = 4\ncopy = [ 'a' ]"));
    assert_ne!(first, print("copy = ['a', 'b']"));
    assert_ne!(first, print("link = ['a']"));
    assert_ne!(print("hooks.post_create = 'a b'"), print("hooks.post_create = ['a', 'b']"));
}

#[test]
fn a_definition_of_an_agent_is_an_ask_and_files_add_up() {
    let loaded = merge(&[
        layer("lanes.toml", Origin::Repository, "[agents.b]\nargv = ['b']\n[agents.a]\nargv = ['a']\n"),
        layer(".lanes.local.toml", Origin::Repository, "[agents.b]\nargv = ['c']\n"),
    ])
    .unwrap();
    assert_eq!(loaded.config.agents.len(), 2);
    assert_eq!(loaded.asks.len(), 1);
    assert!(loaded.asks[0].value_toml.contains("\"c\""), "{}", loaded.asks[0]);
    assert!(!loaded.asks[0].value_toml.contains('\n'));
}

#[test]
fn a_line_break_in_a_value_stays_inside_its_ask() {
    let loaded = repository("hooks.post_create = \"\"\"\na\nlink = 'x'\n\"\"\"").unwrap();
    assert_eq!(loaded.asks.len(), 1);
    assert!(!loaded.asks[0].value_toml.contains('\n'), "{:?}", loaded.asks[0].value_toml);
}

#[test]
fn durations_and_sizes_need_their_unit_and_fit() {
    assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
    assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5400)));
    for bad in ["", "5", "0", "s", "-1s", "5 parsecs", "999999999999999999999s"] {
        assert_eq!(parse_duration(bad), None, "{bad:?}");
    }
    assert_eq!(parse_size("256MiB"), Some(256 << 20));
    assert_eq!(parse_size("2 GB"), Some(2_000_000_000));
    assert_eq!(parse_size("17"), Some(17));
    for bad in ["", "MiB", "-1", "1.5G", "1X", "99999999999T"] {
        assert_eq!(parse_size(bad), None, "{bad:?}");
    }
}

#[test]
fn a_detach_key_starts_with_a_control_key() {
    assert_eq!(parse_keys("ctrl-a ctrl-d"), Some(vec![1, 4]));
    assert_eq!(parse_keys("ctrl-] ."), Some(vec![0x1d, b'.']));
    for bad in ["", "d", "ctrl-", "ctrl-m d", "ctrl-\u{e9}", "d ctrl-a", "ctrl-a dd", "ctrl-a b c"] {
        assert_eq!(parse_keys(bad), None, "{bad:?}");
    }
}

#[test]
fn every_documented_key_is_known_with_some_value() {
    for key in KEYS {
        let values =
            ["1", "100", "true", "'1h'", "'5s'", "'64MiB'", "['x']", "'git'", "'ctrl-a'", "{x = {}}"];
        let known = values.iter().any(|value| repository(&format!("{key} = {value}")).is_ok());
        assert!(known, "{key}");
    }
}
