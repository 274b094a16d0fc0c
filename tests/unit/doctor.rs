//! What the doctor concludes from facts.

use std::path::PathBuf;
use std::time::Duration;

use lanes::clock::Timestamp;
use lanes::doctor::{
    Check, Copies, DaemonFacts, Disk, FileSystem, GitFacts, HomeFacts, LaneTree, Lock, MachineFacts, Mend,
    Mode, Place, RunFacts, RunSeen, SHARED, Setting, SettingsFacts, Status, StoreFacts, TrashFacts,
    TreeFacts, VaultFacts, judge_daemon, judge_disk, judge_git, judge_home, judge_lanes, judge_locks,
    judge_machine, judge_runs, judge_settings, judge_store, judge_trash, judge_trees, judge_vault,
    parse_settings,
};
use lanes::ids::{TaskId, TaskKind};
use lanes::store::VERSION;
use lanes::worktree::Floors;
use lanes::worktree::links::{Link, LinkState};

/// Each check as `status id`, in order.
#[track_caller]
fn check(found: &[Check], expected: &[&str]) {
    let said: Vec<String> = found.iter().map(|one| format!("{} {}", one.status.name(), one.id)).collect();
    assert_eq!(said, expected, "{found:#?}");
    for one in found {
        assert_eq!(one.fixable, one.mend.is_some());
        let told = one.status <= Status::Note || one.hint.is_some();
        assert!(told, "it does not say what to do: {one:?}");
        assert!(!one.message.ends_with('.'), "{one:?}");
    }
}

fn git(version: &str, of_daemon: Option<&str>) -> GitFacts {
    let found = Ok(("/usr/bin/git".into(), version.to_owned()));
    GitFacts { found, of_daemon: of_daemon.map(PathBuf::from) }
}

#[test]
fn an_older_git_is_told_what_newer_ones_bring() {
    check(&judge_git(&git("2.47.3", None)), &["ok git.version"]);
    check(&judge_git(&git("2.47.3", Some("/usr/bin/git"))), &["ok git.version"]);
    check(&judge_git(&git("2.47.3", Some("/opt/git"))), &["ok git.version", "note git.path"]);
    let old = judge_git(&git("2.34.1", None));
    check(&old, &["note git.version"]);
    assert!(old[0].hint.as_ref().is_some_and(|hint| hint.contains("2.38") && hint.contains("2.45")));
    check(&judge_git(&GitFacts { found: Err("no git".into()), of_daemon: None }), &["fail git.version"]);
}

#[test]
fn what_the_machine_allows_is_judged_by_what_fifty_lanes_need() {
    let well = MachineFacts {
        terminals: Some((3, 4096)),
        reserved_terminals: 1024,
        files: (Some(1024), Some(20_000)),
        processes: (100, Some(10_000)),
        group_ends_trees: true,
        group_limits: vec!["memory"],
        watches: Some(1_000_000),
        tells_pressure: true,
        knows_boot: true,
        now: Timestamp(100_000),
        newest_event: Some(Timestamp(99_000)),
    };
    let ids = ["machine.terminals", "machine.files", "machine.processes", "machine.cgroups", "machine.clock"];
    let all = |status: [&str; 5]| -> Vec<String> {
        let two = ["ok machine.watches", "ok machine.pressure"].map(str::to_owned);
        status.iter().zip(ids).map(|(status, id)| format!("{status} {id}")).chain(two).collect()
    };
    let says = |facts: &MachineFacts, status: [&str; 5]| {
        let expected = all(status);
        check(&judge_machine(facts), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    says(&well, ["ok"; 5]);
    let ill = MachineFacts {
        terminals: Some((3060, 4096)),
        files: (Some(128), Some(200)),
        processes: (9_900, Some(10_000)),
        group_ends_trees: false,
        newest_event: Some(Timestamp(200_000)),
        ..well.clone()
    };
    says(&ill, ["fail", "warn", "warn", "note", "warn"]);
    let unknown = MachineFacts {
        terminals: None,
        files: (None, None),
        processes: (5, None),
        knows_boot: false,
        ..well
    };
    says(&unknown, ["note", "ok", "ok", "ok", "fail"]);
}

fn disk(magic: u64, free_bytes: u64) -> Disk {
    let kind = FileSystem::from_magic(magic);
    Disk { path: "/d".into(), kind, free_bytes, free_inodes: Some(100), read_only: false }
}

#[test]
fn a_file_system_is_judged_by_what_lies_on_it() {
    let floors = Floors { bytes: 1_000, inodes: 10 };
    let says = |place, disk: &Disk, expected: &[&str]| check(&judge_disk(place, disk, floors), expected);
    for (magic, name) in
        [(0xef53, "ext4"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs"), (0x794c_7630, "overlayfs")]
    {
        says(Place::Trees, &disk(magic, 5_000), &["ok trees.disk"]);
        assert_eq!(FileSystem::from_magic(magic).name(), name);
    }
    says(Place::Home, &disk(0x6969, 5_000), &["warn home.disk"]);
    says(Place::Repository, &disk(0x6573_5546, 5_000), &["warn repository.disk"]);
    says(Place::Home, &disk(0x0102_1994, 5_000), &["warn home.disk"]);
    says(Place::Trees, &disk(0x4d44, 5_000), &["fail trees.disk"]);
    says(Place::Trees, &disk(0xef53, 999), &["fail trees.disk"]);
    says(Place::Trees, &Disk { free_inodes: Some(9), ..disk(0xef53, 5_000) }, &["fail trees.disk"]);
    says(Place::Trees, &Disk { free_inodes: None, ..disk(0x9123_683e, 5_000) }, &["ok trees.disk"]);
    says(Place::Home, &Disk { read_only: true, ..disk(0x1234, 0) }, &["fail home.disk", "fail home.disk"]);
}

#[test]
fn a_home_is_judged_by_who_can_reach_into_it() {
    let well = HomeFacts { path: "/h".into(), there: true, ..HomeFacts::default() };
    let ids = ["ok home.folder", "ok home.modes", "ok home.path", "ok home.bin", "ok home.logs"];
    check(&judge_home(&well), &ids);
    check(&judge_home(&HomeFacts { there: false, ..well.clone() }), &["note home.folder"]);
    check(&judge_home(&HomeFacts { refused: Some("a link".into()), ..well.clone() }), &["fail home.folder"]);
    let ill = HomeFacts {
        missing: vec!["run"],
        open_to_others: vec![Mode { path: "/h/logs".into(), mode: 0o40755 }],
        strange: vec!["/h/x".into()],
        socket_path_bytes: 108,
        copies: Copies { unused: vec!["/h/bin/old".into()], bytes: 7 },
        output: (1 << 40, Some(("ln_x".into(), 1 << 40))),
        ..well
    };
    let expected = [
        "note home.folder",
        "warn home.modes",
        "fail home.strange",
        "note home.path",
        "note home.bin",
        "note home.logs",
    ];
    check(&judge_home(&ill), &expected);
    assert_eq!(judge_home(&ill)[4].mend, Some(Mend::Copies(vec!["/h/bin/old".into()])));
    assert_eq!(
        judge_home(&HomeFacts { owned: true, ..ill })[4].mend,
        None,
        "the owner may start keepers from it"
    );
}

#[test]
fn a_daemon_is_judged_by_its_answer() {
    let answers = |safe_mode, version: &str| DaemonFacts::Answers {
        pid: 7,
        version: version.into(),
        safe_mode,
        notes: Vec::new(),
    };
    let ours = env!("CARGO_PKG_VERSION");
    check(&judge_daemon(&DaemonFacts::Nobody { stale_socket: false }), &["ok daemon.status"]);
    check(
        &judge_daemon(&DaemonFacts::Nobody { stale_socket: true }),
        &["ok daemon.status", "note daemon.socket"],
    );
    check(&judge_daemon(&answers(false, ours)), &["ok daemon.status"]);
    check(&judge_daemon(&answers(true, ours)), &["ok daemon.status", "warn daemon.safe_mode"]);
    check(&judge_daemon(&answers(false, "9.9.9")), &["ok daemon.status", "note daemon.version"]);
    check(&judge_daemon(&DaemonFacts::Silent(Some(7))), &["fail daemon.status"]);
    check(&judge_daemon(&DaemonFacts::Refuses("another".into())), &["fail daemon.status"]);
    check(&judge_daemon(&DaemonFacts::Embedded(7)), &["note daemon.status"]);
}

#[test]
fn only_a_run_folder_that_nobody_can_miss_may_go() {
    let id = TaskId::generate(TaskKind::Run);
    let run = |keeper, processes, known| RunSeen { id, keeper, processes, known };
    let judged = |one| judge_runs(&RunFacts { runs: vec![one], watched: false });
    let cases = [
        (run(true, 3, Some(true)), "ok", false),
        (run(true, 3, Some(false)), "ok", false),
        (run(false, 0, Some(false)), "warn", true),
        (run(false, 1, Some(false)), "warn", false),
        (run(false, 0, Some(true)), "note", false),
        (run(false, 0, None), "note", false),
        (run(false, 2, None), "warn", false),
    ];
    for (one, status, fixable) in cases {
        let found = judged(one.clone());
        check(&found, &[&format!("{status} home.runs")]);
        assert_eq!(found[0].fixable, fixable, "{one:?}");
    }
}

#[test]
fn a_store_is_judged_by_what_a_look_found() {
    let well = StoreFacts {
        there: true,
        broken: None,
        unread: false,
        version: VERSION,
        bytes: (1 << 20, 0),
        aside: Vec::new(),
        unreadable: 0,
    };
    check(&judge_store(&well), &["ok store.integrity"]);
    check(&judge_store(&StoreFacts { there: false, ..well.clone() }), &["ok store.integrity"]);
    check(&judge_store(&StoreFacts { version: VERSION + 1, ..well.clone() }), &["fail store.integrity"]);
    check(
        &judge_store(&StoreFacts { broken: Some(("torn".into(), true)), ..well.clone() }),
        &["fail store.integrity"],
    );
    check(&judge_store(&StoreFacts { unread: true, ..well.clone() }), &["note store.integrity"]);
    let worn = StoreFacts { unreadable: 1, bytes: (1, 1 << 30), aside: vec!["/x".into()], ..well };
    check(
        &judge_store(&worn),
        &["ok store.integrity", "fail store.records", "warn store.log", "note store.aside"],
    );
}

fn settings(checkout: bool, all: &[(&str, &str)]) -> SettingsFacts {
    let one = |(key, value): &(&str, &str)| Setting {
        scope: SHARED.into(),
        key: (*key).into(),
        value: Some((*value).into()),
    };
    SettingsFacts {
        common_dir: "/r/.git".into(),
        checkout: checkout.then(|| "/r".into()),
        settings: all.iter().map(one).collect(),
    }
}

#[test]
fn settings_that_break_worktrees_are_told_and_unset_only_beside_a_checkout() {
    let says = |checkout, all: &[(&str, &str)], expected: &[&str]| {
        let found = judge_settings(&settings(checkout, all));
        check(&found, expected);
        found
    };
    says(true, &[("core.bare", "false")], &["ok repository.config"]);
    says(false, &[("core.bare", "true")], &["ok repository.config"]);
    let found = says(true, &[("core.bare", "TRUE")], &["fail repository.bare"]);
    let undo = Mend::Setting { common_dir: "/r/.git".into(), key: "core.bare", value: "TRUE".into() };
    assert_eq!(found[0].mend, Some(undo));
    says(true, &[("core.bare", "true"), ("core.bare", "false")], &["ok repository.config"]);
    says(true, &[("core.worktree", "/r")], &["ok repository.config"]);
    says(true, &[("core.worktree", "/other")], &["fail repository.worktree"]);
    says(false, &[("core.worktree", "../../sub")], &["ok repository.config"]);
    let found = says(true, &[("core.hookspath", "/no such folder")], &["warn repository.hooks"]);
    assert!(!found[0].fixable, "whether it is meant only the user knows");
    says(true, &[("core.hookspath", ".husky/_")], &["note repository.hooks"]);
    says(true, &[("extensions.worktreeconfig", "true")], &["note repository.worktree_config"]);
    says(
        true,
        &[("gc.pruneexpire", "now"), ("gc.worktreepruneexpire", "all")],
        &["warn repository.gc", "warn repository.gc"],
    );
}

#[test]
fn a_list_of_settings_is_read_by_its_zeros() {
    let found = parse_settings(b"core.bare\ntrue\0a.b c.d\nx\ny\0core.flag\0", SHARED);
    let said: Vec<(&str, Option<&str>)> =
        found.iter().map(|one| (one.key.as_str(), one.value.as_deref())).collect();
    assert_eq!(said, [("core.bare", Some("true")), ("a.b c.d", Some("x\ny")), ("core.flag", None)]);
    assert!(found.iter().all(|one| one.scope == SHARED));
    assert!(parse_settings(b"", SHARED).is_empty());
}

fn trees(state: LinkState, locked: Option<&str>) -> TreeFacts {
    let link = Link {
        name: "a".into(),
        admin: "/r/.git/worktrees/a".into(),
        tree: "/t/a".into(),
        order: None,
        locked: locked.map(str::to_owned),
        state,
    };
    TreeFacts { links: vec![link], home: "/h".into(), one_file_system: true, ..TreeFacts::default() }
}

#[test]
fn trees_of_others_are_told_and_never_mended() {
    let states = [
        (LinkState::Fits, None, "ok"),
        (LinkState::Broken, None, "note"),
        (LinkState::Elsewhere("/x".into()), None, "fail"),
        (LinkState::NoLink, None, "warn"),
        (LinkState::Gone, None, "note"),
        (LinkState::Gone, Some("agent 7"), "note"),
        (LinkState::Gone, Some("initializing"), "warn"),
        (LinkState::Unreadable("no HEAD".into()), None, "fail"),
    ];
    for (state, locked, status) in states {
        let found = judge_trees(&trees(state, locked));
        check(&found, &["ok repository.open", &format!("{status} trees.links")]);
        assert!(found.iter().all(|one| !one.fixable));
    }
    let ill = TreeFacts {
        root_refused: Some("it is a link".into()),
        one_file_system: false,
        branch_in_the_way: Some("lanes".into()),
        unreadable_by_libgit2: Some("sha256".into()),
        ..trees(LinkState::Fits, None)
    };
    let expected = ["note repository.open", "fail trees.root", "note trees.disk", "fail repository.branch"];
    check(&judge_trees(&ill), &[&expected[..], &["ok trees.links"]].concat());
}

#[test]
fn a_lock_is_told_when_it_is_old_and_no_git_is_there() {
    let lock = |age_s, git_lives| Lock {
        path: "/r/.git/index.lock".into(),
        age: Duration::from_secs(age_s),
        git_lives,
    };
    check(&judge_locks(&[]), &["ok repository.locks"]);
    check(&judge_locks(&[lock(5, false), lock(5_000, true)]), &["ok repository.locks"]);
    check(
        &judge_locks(&[lock(5_000, false), lock(6_000, false)]),
        &["warn repository.locks", "warn repository.locks"],
    );
}

#[test]
fn what_closed_lanes_hold_must_be_there_and_reached() {
    let well = VaultFacts {
        admin: Some("/r/.git/worktrees/-vault".into()),
        locked: true,
        pins: 3,
        ..VaultFacts::default()
    };
    check(&judge_vault(&well), &["ok trash.vault"]);
    check(&judge_vault(&VaultFacts::default()), &["ok trash.vault"]);
    check(&judge_vault(&VaultFacts { admin: None, ..well.clone() }), &["fail trash.vault"]);
    let unlocked = judge_vault(&VaultFacts { locked: false, ..well.clone() });
    check(&unlocked, &["warn trash.vault"]);
    assert!(unlocked[0].fixable);
    let ill = VaultFacts { unreached: vec!["1".into()], lost: vec!["2".into()], ..well };
    check(&judge_vault(&ill), &["fail trash.vault", "fail trash.vault"]);
    check(
        &judge_trash(&TrashFacts { entries: 1, max: Some(9), bytes: 9, ..TrashFacts::default() }),
        &["ok trash.entries"],
    );
    let ill = TrashFacts {
        unfinished: 1,
        bytes: 10,
        max: Some(9),
        broken: vec!["/x".into()],
        unfreed: vec!["/y".into()],
        ..TrashFacts::default()
    };
    check(
        &judge_trash(&ill),
        &["fail trash.entries", "warn trash.entries", "note trash.size", "note trash.entries"],
    );
    check(
        &judge_trash(&TrashFacts { unfinished: 1, watched: true, ..TrashFacts::default() }),
        &["ok trash.entries"],
    );
}

#[test]
fn a_lane_that_is_not_where_it_should_be_is_told_with_what_brings_it_back() {
    let lane = |there, repository, moved_to: Option<&str>| LaneTree {
        name: "a".into(),
        path: "/t/a".into(),
        there,
        moved_to: moved_to.map(PathBuf::from),
        repository,
    };
    check(&judge_lanes(&[lane(true, true, None)]), &["ok lanes.trees"]);
    check(&judge_lanes(&[lane(false, true, None)]), &["warn lanes.trees"]);
    check(&judge_lanes(&[lane(false, true, Some("/t/b"))]), &["fail lanes.trees"]);
    check(&judge_lanes(&[lane(false, false, None)]), &["fail lanes.trees"]);
    check(&judge_lanes(&[lane(true, false, None), lane(true, false, None)]), &["fail lanes.trees"]);
}
