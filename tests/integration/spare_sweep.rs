//! What becomes of spares: made, swept, removed, set aside; nothing of a half-made one stays, nothing of others goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use lanes::worktree::provision::Direct;
use lanes::worktree::{
    Condition, Git, GitConfig, Order, Pace, SPARE_REASON, SettingsCache, SpareKind, Swept, Want, Way,
    bring_back, can_retarget, discover, look_at_spares, make_pooled, make_template, read_token, remove_spare,
    retarget, set_aside, spares, sweep_spares, trash,
};

use crate::support::git::{Yard, executable, write};
use crate::support::spare::Stocked;
use crate::support::stage::until;

async fn sweep(stocked: &Stocked) -> Swept {
    sweep_spares(&stocked.repo, &stocked.root.path, &stocked.home(), &BTreeSet::new()).await.expect("swept")
}

#[tokio::test]
async fn a_template_is_clean_without_a_look_at_its_files() {
    let stocked = Stocked::new().await;
    let kept = stocked.template().await;
    assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&kept));
    assert_eq!(spares(&stocked.repo, Path::new("/another/home")), []);
    let admin = kept.admin(&stocked.repo);
    let index = std::fs::metadata(admin.join("index")).expect("there").modified().expect("a time");
    let newest = std::fs::metadata(kept.tree().join("a.txt")).expect("there").modified().expect("a time");
    let second =
        |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).expect("after").as_secs();
    assert!(second(newest) < second(index), "nothing is racy");
    // A lock is a lock for git too.
    stocked.yard.git(&["worktree", "prune", "--expire=now"]);
    assert_eq!(stocked.yard.git_in(kept.tree(), &["status", "--porcelain"]), "");
    let listed = stocked.yard.git(&["worktree", "list", "--porcelain"]);
    assert!(listed.contains("locked lanes spare boot 1") && listed.contains("detached"), "{listed}");
    assert_eq!(sweep(&stocked).await, Swept::default(), "a ready one stays");
    remove_spare(&stocked.repo, &kept, Pace::full()).await.expect("removed");
    stocked.assert_nothing_left();
}

#[tokio::test]
async fn what_is_just_being_made_or_removed_was_not_left_behind() {
    let stocked = Stocked::new().await;
    let kept = stocked.template().await;
    let seen = |name: &str| {
        let found = look_at_spares(&stocked.repo, &stocked.root.path, &stocked.home());
        found.into_iter().find(|one| one.path.ends_with(name)).map(|one| one.is)
    };
    let boot = lanes::proc::boot_id();
    for (prefix, of_dead) in [("lanes-spare-", Condition::LeftBehind), (".lanes-gone-", Condition::Begun)] {
        let name = format!("{prefix}{}x", kept.name);
        let entry = stocked.repo.common_dir.join(&name);
        std::fs::create_dir(&entry).expect("made");
        assert_eq!(seen(&name), Some(Condition::Begun), "nobody has signed it yet");
        write(&entry.join("locked"), &format!("{SPARE_REASON} {boot} {}\n", std::process::id()));
        assert_eq!(seen(&name), Some(Condition::Begun), "we live");
        write(&entry.join("locked"), &format!("{SPARE_REASON} earlier-boot 1\n"));
        assert_eq!(seen(&name), Some(of_dead));
    }
    assert_eq!(sweep(&stocked).await.entries, 2);
    assert_eq!(seen(&kept.name), Some(Condition::Ready(kept.clone())));
}

#[tokio::test]
async fn hooks_do_not_run_for_a_spare_and_filters_do() {
    let yard = Yard::new();
    yard.write(".gitattributes", "*.up filter=up\n");
    yard.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    yard.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
    yard.write("x.up", "text\n");
    let _commit = yard.commit("filtered");
    let hook = yard.marking_script("post-checkout", "");
    let place = yard.repo.join(".git/hooks/post-checkout");
    write(&place, &std::fs::read_to_string(hook).expect("reads"));
    executable(&place);
    let stocked = Stocked::of(yard).await;
    let kept = stocked.template().await;
    assert_eq!(std::fs::read_to_string(kept.tree().join("x.up")).expect("reads"), "TEXT\n");
    assert_eq!(stocked.yard.marks(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_kept_in_stock_says_so_and_leaves_nothing() {
    let inner = Yard::new();
    let yard = Yard::new();
    yard.git(&["submodule", "--quiet", "add", inner.repo.to_str().expect("text"), "deep/inner"]);
    let _commit = yard.commit("with a submodule");
    for stocked in [Stocked::of(yard).await, Stocked::of(Yard::with("r", &["--ref-format=reftable"])).await] {
        let want = stocked.want(SpareKind::Template, &stocked.head()).await;
        let error = make_template(&stocked.git, &stocked.repo, &want, &Direct).await.expect_err("refused");
        assert!(error.is_of_spare(), "{error}");
        stocked.assert_nothing_left();
    }
    // A base that was rewritten and collected, a filter that fails.
    let stocked = Stocked::new().await;
    let want = stocked.want(SpareKind::Template, &"1".repeat(40)).await;
    make_template(&stocked.git, &stocked.repo, &want, &Direct).await.expect_err("there is no such commit");
    stocked.yard.write(".gitattributes", "*.txt filter=broken\n");
    let base = stocked.yard.commit("broken");
    stocked.yard.git(&["config", "filter.broken.smudge", "false"]);
    stocked.yard.git(&["config", "filter.broken.required", "true"]);
    let want = stocked.want(SpareKind::Template, &base).await;
    make_template(&stocked.git, &stocked.repo, &want, &Direct).await.expect_err("the filter fails");
    stocked.assert_nothing_left();
}

#[tokio::test]
async fn half_made_ones_go_and_others_stay() {
    let stocked = Stocked::new().await;
    let whole = stocked.template().await;
    let unready = stocked.pooled().await;
    let file = unready.admin(&stocked.repo).join("lanes-spare.json");
    let text = std::fs::read_to_string(&file).expect("reads");
    assert!(text.contains("\"ready\":true"));
    std::fs::write(&file, text.replace("\"ready\":true", "\"ready\":false")).expect("written");
    let treeless = stocked.pooled().await;
    std::fs::remove_dir_all(treeless.tree()).expect("removed");
    let entryless = stocked.pooled().await;
    std::fs::remove_dir_all(entryless.admin(&stocked.repo)).expect("removed");
    let pool = stocked.root.path.join(".pool");
    let half_gone = stocked.pooled().await;
    std::fs::rename(half_gone.tree(), pool.join(format!(".gone-{}", half_gone.name))).expect("renamed");
    write(&stocked.repo.common_dir.join(format!("lanes-spare-{}", half_gone.name)).join("HEAD"), "x");
    // Another runtime's, and what is nobody's.
    let theirs = "spare-00000000-0123456789ab";
    write(&pool.join(theirs).join("file"), "theirs");
    write(&pool.join("notes.txt"), "of the user");
    let making = stocked.pooled().await;
    let file = making.admin(&stocked.repo).join("lanes-spare.json");
    let text = std::fs::read_to_string(&file).expect("reads");
    std::fs::write(&file, text.replace("\"ready\":true", "\"ready\":false")).expect("written");
    let keep = BTreeSet::from([making.name.clone()]);
    let swept = sweep_spares(&stocked.repo, &stocked.root.path, &stocked.home(), &keep).await.expect("swept");
    assert_eq!(swept.stays, Vec::<String>::new());
    assert_eq!((swept.trees, swept.entries), (3, 4), "the last had a staged entry, too");
    assert_eq!(
        stocked.names(&pool),
        ["notes.txt", theirs, making.name.as_str()]
            .map(str::to_owned)
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(stocked.names(&stocked.root.path.join(".template")), std::slice::from_ref(&whole.name));
    assert_eq!(sweep(&stocked).await, Swept { trees: 1, entries: 1, stays: Vec::new() });
}

#[tokio::test]
async fn an_edited_one_is_set_aside_and_comes_back() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    std::fs::write(kept.tree().join("a.txt"), "edited\n").expect("written");
    std::fs::write(kept.tree().join("new"), "new\n").expect("written");
    stocked.yard.git_in(kept.tree(), &["commit", "-q", "-a", "-m", "in the pool"]);
    let commit = stocked.yard.git_in(kept.tree(), &["rev-parse", "HEAD"]);
    let entry = set_aside(&stocked.git, &stocked.repo, &kept).await.expect("set aside");
    assert!(entry.complete && entry.head.as_ref() == Some(&commit), "{entry:?}");
    assert!(!kept.tree().exists() && !kept.admin(&stocked.repo).exists());
    assert_eq!(spares(&stocked.repo, &stocked.home()), []);
    assert_eq!(trash::list(&stocked.root.path).expect("reads").len(), 1);
    stocked.yard.git(&["gc", "-q", "--prune=now"]);
    let order = stocked.order("back", None).await;
    let tree = bring_back(&stocked.git, &stocked.repo, &entry, &order).await.expect("back");
    let path = tree.path.as_path();
    assert_eq!(std::fs::read_to_string(path.join("a.txt")).expect("reads"), "edited\n");
    assert_eq!(std::fs::read_to_string(path.join("new")).expect("reads"), "new\n");
    assert_eq!(stocked.yard.git_in(path, &["rev-parse", "HEAD"]), commit);
    assert!(read_token(&stocked.repo.common_dir.join("worktrees").join(&tree.admin_id)).is_some());
}

#[tokio::test]
async fn whether_a_spare_can_follow() {
    let stocked = Stocked::new().await;
    let can = async |from: &str, to: &str| {
        can_retarget(&stocked.git, &stocked.repo, from, to).await.expect("git answers")
    };
    let first = stocked.head();
    stocked.yard.write("more", "more");
    let second = stocked.yard.commit("more");
    assert!(can(&first, &second).await && can(&second, &first).await);
    stocked.yard.write("sub/.gitattributes", "* text\n");
    let third = stocked.yard.commit("attributes");
    assert!(!can(&second, &third).await);
    assert!(can(&third, &third).await);
    assert!(!can(&"1".repeat(40), &third).await, "the old base is gone");
}

#[tokio::test]
async fn a_spare_follows_its_base_and_is_handed_out_there() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    stocked.yard.write("a.txt", "changed\n");
    stocked.yard.write("new/file", "new\n");
    stocked.yard.git(&["rm", "-q", "sub/b.txt"]);
    let base = stocked.yard.commit("moved on");
    let kept = retarget(&stocked.git, &stocked.repo, &kept, &base).await.expect("it follows");
    assert_eq!(kept.spare.base, base);
    assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&kept));
    assert!(!kept.tree().join("sub").exists());
    let order = stocked.order("a", None).await;
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("claimed");
    let path = tree.path.as_path();
    assert_eq!(
        (tree.backend.as_str(), stocked.yard.git_in(path, &["status", "--porcelain"])),
        ("pool", String::new())
    );
    assert_eq!(std::fs::read_to_string(path.join("a.txt")).expect("reads"), "changed\n");
    let log = stocked.yard.git_in(path, &["reflog", "show", "--format=%H", "HEAD"]);
    assert!(log.lines().all(|commit| commit == base), "{log}");
}

#[tokio::test]
async fn one_that_somebody_edited_does_not_follow() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    std::fs::write(kept.tree().join("mine"), "mine\n").expect("written");
    stocked.yard.write("a.txt", "changed\n");
    let base = stocked.yard.commit("moved on");
    let error = retarget(&stocked.git, &stocked.repo, &kept, &base).await.expect_err("refused");
    assert!(error.is_of_spare(), "{error}");
    assert_eq!(std::fs::read_to_string(kept.tree().join("mine")).expect("it is still there"), "mine\n");
    assert_eq!(spares(&stocked.repo, &stocked.home()), [kept], "for whoever sets it aside");
}

/// What a daemon does that is killed while it makes or retargets a spare.
#[test]
#[ignore = "the other process of these tests"]
fn child_that_makes() {
    let Some(text) = std::env::var_os(WORK) else { return };
    let text = std::fs::read_to_string(text).expect("reads");
    let (repo, rest) = text.split_once('\n').expect("lines");
    let (home, rest) = rest.split_once('\n').expect("lines");
    let (base, want) = rest.split_once('\n').expect("lines");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let git = Git::find(GitConfig::default()).await.expect("git");
        let repo = discover(&git, Path::new(repo)).await.expect("a repository");
        let settings = SettingsCache::default().get(&git, &repo).await.expect("settings");
        let want: Order = serde_json::from_str(want).expect("an order");
        let want = |kind| Want {
            kind,
            home: home.into(),
            workspace_id: want.workspace_id,
            root: want.root.clone(),
            base: want.base.sha.clone(),
            print: settings.print.clone(),
            lock_reason: "lanes spare boot 2".to_owned(),
        };
        let template = make_template(&git, &repo, &want(SpareKind::Template), &Direct).await.expect("made");
        let kept = make_pooled(&repo, &template, &want(SpareKind::Pooled), Pace::full()).await;
        let kept = retarget(&git, &repo, &kept.expect("made"), base).await.expect("it follows");
        remove_spare(&repo, &kept, Pace::full()).await.expect("removed");
        set_aside(&git, &repo, &template).await.expect("set aside");
    });
}

const WORK: &str = "LANES_TEST_SPARE_WORK";

#[tokio::test]
async fn what_is_killed_while_it_makes_or_moves_a_spare_leaves_rubbish_that_goes() {
    let stocked = Stocked::new().await;
    let order = stocked.order("a", None).await;
    stocked.yard.write("a.txt", "changed\n");
    let next = stocked.yard.commit("moved on");
    let file = stocked.yard.path().join("work");
    let text = serde_json::to_string(&order).expect("an order");
    let home = stocked.home();
    let lines = [stocked.yard.repo.to_str().expect("text"), home.to_str().expect("text"), &next, &text];
    std::fs::write(&file, lines.join("\n")).expect("written");
    // The second of what both kinds pass is the pooled one.
    for (fault, whole) in [
        ("spare.begin=kill", 0),
        ("spare.added=kill", 0),
        ("spare.aged=kill", 0),
        ("spare.entered=kill", 1),
        ("spare.copied=kill", 1),
        ("spare.filled=kill", 1),
        ("retarget.begun=kill", 1),
        ("retarget.moved=kill", 1),
        ("retarget.aged=kill", 1),
        ("unspare.tree=kill", 1),
        ("unspare.entry=kill", 1),
        ("git.run(worktree)=pause:/nonexistent/x", 0),
    ] {
        let pause = fault.contains("pause");
        let killed = fault.replace("/nonexistent/x", file.with_extension("never").to_str().expect("text"));
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "spare_sweep::child_that_makes", "--ignored"])
            .env_clear()
            .envs(stocked.yard.env())
            .env(WORK, &file)
            .env("LANES_FAULTS", killed)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        if pause {
            until("it is about to start git", || file.with_extension("never.here").exists());
            child.kill().expect("killed");
        }
        assert!(!child.wait().expect("gone").success(), "{fault}: it was killed");
        let ready = spares(&stocked.repo, &stocked.home()).into_iter().filter(|kept| kept.spare.ready);
        let ready: Vec<_> = ready.collect();
        assert_eq!(ready.len(), whole, "{fault}: {ready:?}");
        assert_eq!(sweep(&stocked).await.stays, Vec::<String>::new(), "{fault}");
        for kept in ready {
            assert_eq!(stocked.yard.git_in(kept.tree(), &["status", "--porcelain"]), "", "{fault}");
            remove_spare(&stocked.repo, &kept, Pace::full()).await.expect("removed");
        }
        stocked.assert_nothing_left();
    }
}

#[tokio::test]
async fn two_homes_in_one_repository_leave_each_other_alone() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    let mut want = stocked.want(SpareKind::Template, &stocked.head()).await;
    want.home = "/another/home".into();
    let theirs = make_template(&stocked.git, &stocked.repo, &want, &Direct).await.expect("made");
    assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&kept));
    assert_eq!(sweep(&stocked).await, Swept::default());
    assert_eq!(spares(&stocked.repo, Path::new("/another/home")), std::slice::from_ref(&theirs));
    let order = stocked.order("a", None).await;
    let order = Order { home: "/another/home".into(), ..order };
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("made");
    assert_eq!(tree.backend, "git", "nobody else's is claimed");
}
