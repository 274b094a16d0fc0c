//! A claim that is cut off anywhere is undone whole, and a spare that somebody touched is not handed out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lanes::failure::{Code, Failure};
use lanes::worktree::provision::{Direct, Floors, provision};
use lanes::worktree::{
    Git, GitConfig, Order, Pace, SettingsCache, SpareKind, Way, discover, half_claimed, read_token,
    remove_spare, spares, sweep_spares, undo,
};

use crate::support::git::{executable, write};
use crate::support::spare::Stocked;

const REPO: &str = "LANES_TEST_CLAIM_REPO";
const HOME: &str = "LANES_TEST_CLAIM_HOME";
const ORDER: &str = "LANES_TEST_CLAIM_ORDER";

/// What a daemon does that is killed in the middle of a claim.
#[test]
#[ignore = "the other process of these tests"]
fn child_that_claims() {
    let Some(repo) = std::env::var_os(REPO) else { return };
    let home = PathBuf::from(std::env::var_os(HOME).expect("a home"));
    let order: Order =
        serde_json::from_slice(&std::fs::read(std::env::var_os(ORDER).expect("a file")).expect("reads"))
            .expect("an order");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let git = Git::find(GitConfig::default()).await.expect("git");
        let repo = discover(&git, Path::new(&repo)).await.expect("a repository");
        let settings = SettingsCache::default().get(&git, &repo).await.expect("settings");
        let kept = spares(&repo, &home).into_iter().next().expect("a spare");
        let way = match kept.spare.kind {
            SpareKind::Pooled => Way::Pool(kept),
            SpareKind::Template => Way::Copy(kept),
        };
        provision(&git, &repo, &order, Floors::default(), way, &settings, &Direct, &|_step| {})
            .await
            .expect("claimed");
    });
}

/// Claims in a process of its own that meets this fault.
fn claim_with(stocked: &Stocked, order: &Order, fault: &str) -> bool {
    let file = stocked.yard.path().join("order.json");
    std::fs::write(&file, serde_json::to_vec(order).expect("an order")).expect("written");
    let status = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "claim_faults::child_that_claims", "--ignored"])
        .env_clear()
        .envs(stocked.yard.env())
        .env(REPO, &stocked.yard.repo)
        .env(HOME, stocked.home())
        .env(ORDER, file)
        .env("LANES_FAULTS", fault)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("started");
    status.success()
}

#[tokio::test]
async fn a_claim_that_is_killed_after_any_step_is_undone_whole() {
    let stocked = Stocked::new().await;
    let points =
        ["claim.token", "claim.branch", "claim.head", "claim.gitdir", "claim.moved", "provision.hooked"];
    for (number, point) in points.into_iter().enumerate() {
        let kept = stocked.pooled().await;
        let order = stocked.order(&format!("n{number}"), None).await;
        assert!(!claim_with(&stocked, &order, &format!("{point}=kill")), "{point}: it was killed");
        // Whatever it came to, it is the lane's, and nobody's spare.
        assert_eq!(read_token(&kept.admin(&stocked.repo)).as_ref(), Some(&order), "{point}");
        assert_eq!(spares(&stocked.repo, &stocked.home()), [], "{point}");
        let cut_off = half_claimed(&stocked.repo);
        assert_eq!(cut_off.len(), usize::from(point != "provision.hooked"), "{point}");
        sweep_spares(&stocked.repo, &stocked.root.path, &stocked.home(), &Default::default())
            .await
            .expect("swept");
        assert_eq!(
            read_token(&kept.admin(&stocked.repo)).as_ref(),
            Some(&order),
            "{point}: no sweep takes it"
        );
        undo(&stocked.git, &stocked.repo, &order).await.expect("undone");
        stocked.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_copy_that_is_killed_after_any_step_is_undone_whole() {
    let stocked = Stocked::new().await;
    let template = stocked.template().await;
    for (number, point) in
        ["copy.staged", "copy.entered", "copy.copied", "provision.hooked"].into_iter().enumerate()
    {
        let order = stocked.order(&format!("n{number}"), None).await;
        assert!(!claim_with(&stocked, &order, &format!("{point}=kill")), "{point}: it was killed");
        assert_eq!(half_claimed(&stocked.repo), []);
        undo(&stocked.git, &stocked.repo, &order).await.expect("undone");
        assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&template), "{point}");
        assert!(!order.path.as_path().exists(), "{point}");
        assert_eq!(stocked.yard.git(&["for-each-ref", "refs/heads/lanes/"]), "", "{point}");
    }
    remove_spare(&stocked.repo, &template, Pace::full()).await.expect("removed");
    stocked.assert_nothing_left();
}

#[tokio::test]
async fn a_claim_that_is_killed_before_its_first_step_has_changed_nothing() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    let order = stocked.order("a", None).await;
    assert!(!claim_with(&stocked, &order, "provision.add=kill"));
    assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&kept));
    undo(&stocked.git, &stocked.repo, &order).await.expect("undone");
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("claimed");
    assert_eq!(tree.backend, "pool");
}

/// Made by the pool after `harm`, the lane is git's, with a note; everything the spare was stays or goes.
async fn falls_back(
    harm: impl AsyncFn(&Stocked, &lanes::worktree::Kept),
) -> (Stocked, lanes::worktree::Tree) {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    harm(&stocked, &kept).await;
    let order = stocked.order("a", None).await;
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("git makes it");
    assert_eq!(tree.backend, "git");
    assert!(tree.notes.iter().any(|note| note.ends_with("git made the tree")), "{:?}", tree.notes);
    assert_eq!(stocked.yard.git_in(tree.path.as_path(), &["status", "--porcelain"]), "");
    (stocked, tree)
}

#[tokio::test]
async fn a_spare_that_is_not_as_it_was_made_is_not_handed_out() {
    falls_back(async |_stocked, kept| std::fs::remove_dir_all(kept.tree()).expect("removed")).await;
    falls_back(async |stocked, kept| {
        std::fs::remove_dir_all(kept.admin(&stocked.repo)).expect("removed");
    })
    .await;
    let (_stocked, _tree) = falls_back(async |stocked, kept| {
        let _said = stocked.yard.git_in(kept.tree(), &["switch", "-q", "-c", "of-the-user"]);
    })
    .await;
    falls_back(async |stocked, kept| {
        std::fs::write(kept.admin(&stocked.repo).join("index.lock"), "").expect("written");
    })
    .await;
    falls_back(async |stocked, _kept| {
        let _commit = stocked.yard.commit("the base of new lanes is another one");
    })
    .await;
    falls_back(async |stocked, _kept| {
        stocked.yard.git(&["config", "core.autocrlf", "input"]);
    })
    .await;
    falls_back(async |_stocked, kept| {
        std::fs::rename(kept.tree(), kept.tree().with_extension("old")).expect("renamed");
        std::fs::create_dir(kept.tree()).expect("made");
    })
    .await;
}

#[tokio::test]
async fn the_branch_is_looked_at_as_git_looks_at_it() {
    let stocked = Stocked::new().await;
    let kept = stocked.pooled().await;
    let refused = async |order: &Order| {
        let made = stocked.make(order, Way::Pool(kept.clone())).await.expect_err("refused");
        Failure::from(made).code
    };
    let order = stocked.order("a", None).await;
    stocked.yard.git(&["branch", "lanes/a"]);
    assert_eq!(refused(&order).await, Code::BranchExists);
    // One that came after the request looked.
    let order = stocked.order("b", None).await;
    stocked.yard.git(&["branch", "lanes/b/c"]);
    assert_eq!(refused(&order).await, Code::BranchExists);
    assert_eq!(
        stocked.yard.git(&["for-each-ref", "--format=%(refname)", "refs/heads/lanes/"]).lines().count(),
        2
    );
    // The branch that is in the way was found after the first step: that spare is gone.
    assert_eq!(spares(&stocked.repo, &stocked.home()), []);
}

#[tokio::test]
async fn an_existing_branch_is_taken_where_the_spare_is_at_its_tip() {
    let stocked = Stocked::new().await;
    stocked.yard.git(&["branch", "theirs"]);
    let kept = stocked.pooled().await;
    let order = stocked.order("a", Some("theirs")).await;
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("claimed");
    assert_eq!(tree.backend, "pool");
    assert_eq!(stocked.yard.git_in(tree.path.as_path(), &["status", "-sb"]), "## theirs");
    // Again: it is checked out there.
    let kept = stocked.pooled().await;
    let again =
        Order { path: order.root.as_path().join("b").as_path().into(), name: "b".to_owned(), ..order };
    let again = Order { lane_id: lanes::ids::LaneId::generate(), token: "other".to_owned(), ..again };
    let error = stocked.make(&again, Way::Pool(kept.clone())).await.expect_err("refused");
    assert_eq!(Failure::from(error).code, Code::BranchCheckedOut);
    assert_eq!(spares(&stocked.repo, &stocked.home()), std::slice::from_ref(&kept), "it is as it was");
    // And one that is elsewhere.
    stocked.yard.git(&["branch", "elsewhere"]);
    let order = stocked.order("c", Some("elsewhere")).await;
    let commit = stocked.yard.commit("further");
    stocked.yard.git(&["branch", "-f", "elsewhere", &commit]);
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("made");
    assert_eq!(
        (tree.backend.as_str(), stocked.yard.git_in(tree.path.as_path(), &["rev-parse", "HEAD"])),
        ("git", commit)
    );
}

#[tokio::test]
async fn the_hook_runs_as_git_runs_it() {
    let stocked = Stocked::new().await;
    let said = stocked.yard.path().join("said");
    let hook = stocked.repo.common_dir.join("hooks/post-checkout");
    let dump = |name: &str| {
        format!(
            "#!/bin/sh\n{{ pwd | sed 's,/[^/]*$,,'; echo \"$@\"; env | grep -v -e ^PWD= -e ^OLDPWD= -e ^LANES_ -e ^_= -e SHLVL | sort; }} > {}/{name}\n",
            said.display()
        )
    };
    std::fs::create_dir_all(&said).expect("made");
    write(&hook, &dump("git"));
    executable(&hook);
    let order = stocked.order("by-git", None).await;
    stocked.make(&order, Way::Git).await.expect("made");
    let kept = stocked.pooled().await;
    assert_eq!(std::fs::read_dir(&said).expect("reads").count(), 1);
    let before = std::fs::read_to_string(said.join("git")).expect("it ran");
    std::fs::remove_file(said.join("git")).expect("removed");
    let order = stocked.order("by-pool", None).await;
    stocked.make(&order, Way::Pool(kept)).await.expect("made");
    assert_eq!(std::fs::read_to_string(said.join("git")).expect("it ran"), before);
    // One that says no is a failure that leaves nothing.
    write(&hook, "exit 3\n");
    executable(&hook);
    let kept = stocked.pooled().await;
    let order = stocked.order("refused", None).await;
    let error = stocked.make(&order, Way::Pool(kept.clone())).await.expect_err("the hook says no");
    assert!(
        error.to_string().contains("post-checkout failed (exit 3)") || error.to_string().contains("exit 3"),
        "{error}"
    );
    assert!(!order.path.as_path().exists() && !kept.tree().exists());
    assert_eq!(stocked.yard.git(&["branch", "--list", "lanes/refused"]), "");
}
