//! What people and programs see: tables, lanes, failures, exit codes.

use lanes::api::{Guarantees, LaneReply, LaneResult, LaneView, TaskView};
use lanes::cli::output::enveloped;
use lanes::cli::table::{Align, Table, cut, width};
use lanes::cli::{default_hint, exit_code, render};
use lanes::clock::Timestamp;
use lanes::failure::{Code, Failure};
use lanes::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::keeper::{Exit, ExitStatus};
use lanes::raw::Raw;
use lanes::worktree::{Base, Changes};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn lane(name: &str) -> LaneView {
    LaneView {
        id: LaneId::from_u128(7),
        name: name.into(),
        workspace_id: WorkspaceId::from_u128(1),
        repo: Raw::from("/src/demo"),
        state: "running".into(),
        branch: format!("lanes/{name}"),
        base: Base { rev: "main".into(), sha: "0123456789abcdef0123".into(), target: None },
        head: None,
        worktree: Raw::from("/src/demo.lanes/x"),
        shared: false,
        agents: Vec::new(),
        tasks: Vec::new(),
        guarantees: Guarantees {
            tree_kill: "subreaper".into(),
            limits: "rlimits".into(),
            in_force: Vec::new(),
        },
        changes: Some(Changes { ahead: 2, behind: 1, files: 3, insertions: 20, deletions: 4 }),
        blocked: None,
        last_output_at: Some(Timestamp(NOW.0 - 125_000)),
        cleanup_pending: false,
        close_reason: None,
        restored_from: None,
        created_at: Timestamp(NOW.0 - 3_600_000),
        updated_at: NOW,
    }
}

#[test]
fn a_table_is_as_wide_as_its_cells_and_leaves_empty_columns_out() {
    let mut second = lane("b");
    second.state = "ready".into();
    second.changes = None;
    second.last_output_at = None;
    let lines = render::lanes(&[lane("long-name"), second], false, NOW).lines(None);
    assert_eq!(
        lines,
        [
            "NAME       STATE    BRANCH           COMMITS  CHANGES         OUTPUT",
            "long-name  running  lanes/long-name  +2 -1    3 files +20 -4      2m",
            "b          ready    lanes/b",
        ]
    );
}

#[test]
fn a_table_is_cut_to_the_terminal_and_wide_characters_count_twice() {
    let mut table = Table::new(&[("A", Align::Left), ("B", Align::Right)]);
    table.row(["日本", "1"]);
    table.row(["x", "22"]);
    assert_eq!(table.lines(None), ["A      B", "日本   1", "x     22"]);
    assert_eq!(width("日本e\u{301}"), 5);
    assert_eq!(cut("日本語", Some(5)), "日本…");
    assert_eq!(cut("abc", Some(3)), "abc");
    assert!(table.lines(Some(4)).iter().all(|line| width(line) <= 4));
}

#[test]
fn a_hostile_name_stays_in_its_cell() {
    let mut hostile = lane("a");
    hostile.branch = "x\u{1b}]0;y\u{7}\u{202e}\n".into();
    let text = render::lanes(std::slice::from_ref(&hostile), true, NOW).lines(None).join("\n");
    assert!(text.contains("x\\u{1b}]0;y\\u{7}\\u{202e}\\n"), "{text}");
    let shown = render::lane(&hostile, NOW).join("\n");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn one_lane_is_shown_line_by_line() {
    let mut one = lane("a");
    one.tasks.push(TaskView {
        lost: None,
        revived_as: None,
        phase: None,
        signals: Vec::new(),
        id: "rn_00000000000000000000000007".parse::<TaskId>().unwrap(),
        lane_id: one.id,
        kind: TaskKind::Run,
        command: vec!["sh".into(), "-c".into(), "exit 7".into()],
        pid: Some(42),
        keeper_pid: Some(41),
        state: "ended".into(),
        started_at: Timestamp(NOW.0 - 5_000),
        exit: Some(exit(ExitStatus::Code(7), false)),
        descendants: Vec::new(),
    });
    assert_eq!(
        render::lane(&one, NOW),
        [
            "lane        a",
            "id          ln_00000000000000000000000007",
            "state       running",
            "branch      lanes/a",
            "base        main (0123456789ab)",
            "tree        /src/demo.lanes/x",
            "repository  /src/demo",
            "changes     +2 -1  3 files +20 -4",
            "ends trees  subreaper",
            "limits      rlimits",
            "made        1h ago",
            "",
            "TASK                           STATE          PID  AGE  COMMAND",
            "rn_00000000000000000000000007  ended, exit 7   42   5s  sh -c exit 7",
        ]
    );
}

#[test]
fn json_says_its_schema_and_leaves_out_what_is_not_there() {
    let value = enveloped(&LaneReply { lane: lane("a"), notes: Vec::new() });
    assert_eq!(value["schema"], 1);
    assert_eq!(value["lane"]["name"], "a");
    let fields = value["lane"].as_object().unwrap();
    assert!(!fields.contains_key("close_reason") && !fields.values().any(serde_json::Value::is_null));
}

#[test]
fn a_failure_says_what_and_what_to_do() {
    let failure = Failure::new(Code::NameTaken, "there is a lane a\u{1b}[2J").hint("take another");
    assert_eq!(
        render::failure(&failure),
        ["lanes: there is a lane a\\u{1b}[2J [NAME_TAKEN]", "  hint: take another"]
    );
    let result = LaneResult {
        lane: Raw::from("a"),
        id: None,
        ok: false,
        error: Some(failure),
        notes: vec!["kept".into()],
    };
    assert_eq!(
        render::result(&result, "closed"),
        ["a: there is a lane a\\u{1b}[2J", "    take another", "    kept"]
    );
}

#[test]
fn every_code_has_the_documented_exit_code() {
    let of = |wanted: u8| -> Vec<String> {
        Code::ALL.iter().filter(|code| exit_code(**code) == wanted).map(Code::to_string).collect()
    };
    assert_eq!(of(2), ["NAME_INVALID", "CONFIG_INVALID", "VALIDATION_ERROR"]);
    assert_eq!(of(4), ["LANE_NOT_FOUND", "TASK_NOT_FOUND", "ORPHAN_NOT_FOUND"]);
    assert_eq!(
        of(3),
        [
            "NAME_TAKEN",
            "BRANCH_EXISTS",
            "BRANCH_CHECKED_OUT",
            "AT_CAPACITY",
            "INVALID_TRANSITION",
            "LANE_BUSY",
            "LANE_NOT_SHARED",
            "SHARED_IN_USE",
            "NOT_YOUR_LANE",
            "NOT_TRUSTED",
            "DISK_LOW",
            "BUSY",
            "SAFE_MODE"
        ]
    );
    assert_eq!(of(124), ["GIT_TIMEOUT", "TIMEOUT"]);
    assert_eq!(of(0), Vec::<String>::new());
    assert_eq!(of(1).len(), Code::ALL.len() - 3 - 3 - 13 - 2);
    let without_hint: Vec<_> = Code::ALL.into_iter().filter(|code| default_hint(*code).is_none()).collect();
    assert_eq!(without_hint, [Code::GitFailed, Code::Io, Code::HandlerError, Code::Timeout]);
}

fn exit(status: ExitStatus, timed_out: bool) -> Exit {
    Exit { status, timed_out, at: NOW, ms: 5, max_rss_kb: 1, cpu_ms: 1, end: 0 }
}

#[test]
fn the_end_of_a_command_has_the_exit_code_a_shell_would_give() {
    let check = |status, timed_out, expected: u8| {
        assert_eq!(lanes::cli::exit_of(&exit(status, timed_out)), expected);
    };
    check(ExitStatus::Code(0), false, 0);
    check(ExitStatus::Code(7), false, 7);
    check(ExitStatus::Signal(9), false, 137);
    check(ExitStatus::Signal(15), true, 124);
    check(ExitStatus::Code(0), true, 124);
    check(ExitStatus::Lost(true), false, 1);
}

#[test]
fn ages_and_sizes_are_short() {
    let age = |ms| render::age(std::time::Duration::from_millis(ms));
    assert_eq!(
        [age(250), age(59_000), age(61_000), age(7_200_000), age(200_000_000)],
        ["250ms", "59s", "1m", "2h", "2d"]
    );
    assert_eq!([render::bytes(512), render::bytes(3_565_158)], ["512 B", "3.4 MiB"]);
}
