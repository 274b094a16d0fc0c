//! What the command line takes, and what it refuses.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use lanes::cli::args::{Cli, Command, DaemonCommand, TrashCommand, Until};

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"lanes").chain(line))
}

fn check_refused(line: &[&str], expected: ErrorKind) {
    let error = parse(line).expect_err("this must be refused");
    assert_eq!(error.kind(), expected, "{line:?}");
    assert_eq!(error.exit_code(), 2, "{line:?}");
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn what_follows_two_dashes_is_the_command_and_nothing_else() {
    let cli = parse(&["exec", "a", "--timeout", "2s", "--", "sh", "-c", "x", "--json", "--home"]).unwrap();
    assert!(!cli.globals.json);
    let Command::Exec(args) = cli.command else { panic!("not exec") };
    assert_eq!(args.command, ["sh", "-c", "x", "--json", "--home"]);
    assert_eq!(args.timeout.map(|span| span.as_millis()), Some(2000));
}

#[test]
fn global_options_may_stand_before_and_after_the_command() {
    for line in [&["--json", "-C", "x", "ls"][..], &["ls", "--json", "-C", "x"][..]] {
        let cli = parse(line).unwrap();
        assert!(cli.globals.json);
        assert_eq!(cli.globals.dir.as_deref(), Some(std::path::Path::new("x")));
    }
}

#[test]
fn what_does_not_make_sense_is_refused() {
    check_refused(&["exec", "a"], ErrorKind::MissingRequiredArgument);
    check_refused(&["exec", "a", "sh"], ErrorKind::UnknownArgument);
    check_refused(&["exec", "a", "--timeout", "2", "--", "x"], ErrorKind::ValueValidation);
    check_refused(&["cleanup"], ErrorKind::MissingRequiredArgument);
    check_refused(&["cleanup", "a", "--all"], ErrorKind::ArgumentConflict);
    check_refused(&["cleanup", "--all", "--merged"], ErrorKind::ArgumentConflict);
    check_refused(&["attach", "a", "--", "sh"], ErrorKind::MissingRequiredArgument);
    check_refused(&["attach", "a", "--new", "--terminal", "t"], ErrorKind::ArgumentConflict);
    check_refused(&["create", "--ensure"], ErrorKind::MissingRequiredArgument);
    check_refused(&["create", "a", "--grant", "some"], ErrorKind::InvalidValue);
    check_refused(&["wait", "a", "--until", "done"], ErrorKind::InvalidValue);
    check_refused(&["wait", "a"], ErrorKind::MissingRequiredArgument);
    check_refused(&["trust", "--yes", "--revoke"], ErrorKind::ArgumentConflict);
    check_refused(&["nonsense"], ErrorKind::InvalidSubcommand);
}

#[test]
fn a_hostile_base_is_a_value_and_not_an_option() {
    let Command::Create(args) = parse(&["create", "a", "--base", "--upload-pack=x"]).unwrap().command else {
        panic!("not create")
    };
    assert_eq!(args.base.as_deref(), Some("--upload-pack=x"));
}

#[test]
fn every_command_of_this_version_is_there() {
    let lines: &[&[&str]] = &[
        &["create"],
        &["ls", "--all", "--everywhere"],
        &["show", "a"],
        &["path"],
        &["diff", "a"],
        &["open", "a"],
        &["attach", "a", "--read-only"],
        &["detach", "a"],
        &["send", "a", "--no-enter", "--", "-x"],
        &["logs", "a", "-f", "--since", "7", "--raw"],
        &["share", "a"],
        &["unshare", "a"],
        &["join", "a", "--agent", "x"],
        &["leave", "a", "--agent", "x"],
        &["block", "a", "--reason", "-y"],
        &["unblock", "a"],
        &["restore", "a"],
        &["events", "--since", "0", "--follow", "--topic", "lane.*", "--format", "cloudevents"],
        &["reconcile", "--dry-run"],
        &["trust"],
        &["completions", "fish"],
        &["shell-init", "zsh"],
        &["api", "schema"],
        &["api", "stdio"],
        &["quickstart", "--repo", "x", "--keep"],
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line:?}");
    }
    assert!(matches!(parse(&["daemon", "stop"]).unwrap().command, Command::Daemon(DaemonCommand::Stop)));
    let Command::Trash(TrashCommand::Empty(args)) =
        parse(&["trash", "empty", "a", "--yes", "--older-than", "7d"]).unwrap().command
    else {
        panic!("not trash")
    };
    assert!(args.yes && args.lanes == ["a"]);
    assert_eq!(args.older_than, Some(std::time::Duration::from_secs(7 * 86_400)));
    let Command::Wait(args) = parse(&["wait", "a", "--until", "exit"]).unwrap().command else {
        panic!("not wait")
    };
    assert_eq!(args.until, Until::Exit);
}
