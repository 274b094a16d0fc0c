//! A retired tree is a pooled one again, whatever was done to it, or it is not used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lanes::worktree::{Kept, SpareKind, Way, recycle, spares, sweep_spares};

use crate::support::git::{Yard, write};
use crate::support::spare::Stocked;
use crate::support::work::picture;

/// A tree as the trash has it after it was saved, with a template of its base.
async fn retired(stocked: &Stocked) -> (Kept, PathBuf) {
    let template = stocked.template().await;
    let order = stocked.order("old", None).await;
    let tree = stocked.make(&order, Way::Git).await.expect("made");
    let spot = stocked.root.path.join(".trash/spot/tree");
    std::fs::create_dir_all(spot.parent().expect("above")).expect("made");
    std::fs::rename(tree.path.as_path(), &spot).expect("renamed");
    std::fs::remove_dir_all(stocked.repo.common_dir.join("worktrees").join(&tree.admin_id)).expect("removed");
    stocked.yard.git(&["branch", "-q", "-D", "lanes/old"]);
    (template, spot)
}

async fn again(stocked: &Stocked, spot: &Path, template: &Kept, warm: bool) -> Option<Kept> {
    let want = stocked.want(SpareKind::Pooled, &template.spare.base).await;
    recycle(&stocked.git, &stocked.repo, spot, template, &want, warm).await.expect("no error")
}

fn yard() -> Yard {
    let yard = Yard::new();
    yard.write(".gitattributes", "*.txt text eol=lf\n");
    yard.write(".gitignore", "built/\n");
    yard.write("run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(yard.repo.join("run.sh"), PermissionsExt::from_mode(0o755)).expect("mode");
    std::os::unix::fs::symlink("a.txt", yard.repo.join("link")).expect("links");
    let _commit = yard.commit("more");
    yard
}

/// All that an agent may leave, with nothing that is refused.
fn meddle(tree: &Path) {
    // Attributes that make git take other bytes for the same.
    std::fs::write(tree.join(".gitattributes"), "*.txt text eol=crlf\n").expect("written");
    std::fs::write(tree.join("a.txt"), "one\r\ntwo\r\nthree\r\n").expect("written");
    std::fs::write(tree.join("new"), "not tracked").expect("written");
    write(&tree.join("built/out"), "ignored");
    write(&tree.join("sub/.gitignore"), "*\n");
    write(&tree.join("sub/hidden"), "ignored by that");
    std::fs::remove_file(tree.join("sub/b.txt")).expect("removed");
    std::fs::create_dir(tree.join("sub/b.txt")).expect("made");
    std::fs::remove_file(tree.join("link")).expect("removed");
    std::fs::write(tree.join("link"), "a.txt").expect("written");
    for (name, mode) in [("run.sh", 0o600), (".gitignore", 0o666), ("sub", 0o700), ("", 0o777)] {
        std::fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).expect("mode");
    }
}

/// Without times.
fn looks(tree: &Path) -> Vec<(Vec<u8>, char, u32, Vec<u8>)> {
    let plain = |(path, (kind, mode, mut content)): (Vec<u8>, (char, u32, Vec<u8>))| {
        if kind == 'f' {
            let end = content.iter().rposition(|byte| *byte == b'@').expect("a time");
            content.truncate(end);
        }
        (path, kind, mode, content)
    };
    picture(tree).into_iter().map(plain).collect()
}

#[tokio::test]
async fn whatever_was_done_to_it_is_undone() {
    let stocked = Stocked::of(yard()).await;
    let (template, spot) = retired(&stocked).await;
    meddle(&spot);
    let kept = again(&stocked, &spot, &template, false).await.expect("recycled");
    assert!(!spot.exists());
    assert_eq!(looks(kept.tree()), looks(template.tree()));
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(kept.tree()), mode(template.tree()));
    let order = stocked.order("a", None).await;
    let tree = stocked.make(&order, Way::Pool(kept)).await.expect("claimed");
    let path = tree.path.as_path();
    assert_eq!(
        (tree.backend.as_str(), stocked.yard.git_in(path, &["status", "--porcelain", "--ignored"])),
        ("pool", String::new())
    );
    assert_eq!(stocked.yard.git_in(path, &["reflog", "show", "--format=%H", "HEAD"]).lines().count(), 2);
}

#[tokio::test]
async fn a_warm_one_keeps_what_git_ignores() {
    let stocked = Stocked::of(yard()).await;
    let (template, spot) = retired(&stocked).await;
    write(&spot.join("built/out"), "ignored");
    write(&spot.join("new"), "not tracked");
    let kept = again(&stocked, &spot, &template, true).await.expect("recycled");
    assert_eq!(std::fs::read_to_string(kept.tree().join("built/out")).expect("reads"), "ignored");
    assert!(!kept.tree().join("new").exists());
}

#[tokio::test]
async fn what_a_checkout_never_has_is_not_recycled() {
    let harms: [fn(&Path); 5] = [
        |tree| std::fs::hard_link(tree.join("a.txt"), tree.join("other")).expect("links"),
        |tree| write(&tree.join("inner/.git/HEAD"), "ref: refs/heads/main\n"),
        |tree| {
            let made = Command::new("mkfifo").arg(tree.join("pipe")).status().expect("mkfifo runs");
            assert!(made.success());
        },
        |tree| {
            let value = rustix::fs::XattrFlags::empty();
            match rustix::fs::lsetxattr(tree.join("a.txt"), "user.mark", b"x", value) {
                Err(rustix::io::Errno::NOTSUP) => {
                    std::fs::hard_link(tree.join("a.txt"), tree.join("other")).expect("links");
                }
                set => set.expect("an attribute"),
            }
        },
        |tree| {
            std::fs::remove_file(tree.join(".git")).expect("removed");
            std::fs::create_dir(tree.join(".git")).expect("made");
        },
    ];
    let stocked = Stocked::of(yard()).await;
    let template = stocked.template().await;
    for (number, harm) in harms.into_iter().enumerate() {
        let stocked = Stocked::of(yard()).await;
        let (own, spot) = retired(&stocked).await;
        harm(&spot);
        assert_eq!(again(&stocked, &spot, &own, false).await, None, "{number}");
        assert!(spot.exists(), "{number}: it is where it was");
        assert_eq!(spares(&stocked.repo, &stocked.home()).len(), 1, "{number}");
    }
    // A template that is gone is said.
    let want = stocked.want(SpareKind::Pooled, &template.spare.base).await;
    std::fs::remove_dir_all(template.tree()).expect("removed");
    let error =
        recycle(&stocked.git, &stocked.repo, Path::new("/nonexistent"), &template, &want, false).await;
    assert!(error.expect_err("it says so").is_of_spare());
}

const WORK: &str = "LANES_TEST_RECYCLE_WORK";

/// What a daemon does that is killed while it recycles.
#[test]
#[ignore = "the other process of these tests"]
fn child_that_recycles() {
    let Some(folder) = std::env::var_os(WORK) else { return };
    let text = std::fs::read_to_string(folder).expect("reads");
    let mut lines = text.lines();
    let mut line = || lines.next().expect("a line");
    let (repo, home, spot) = (line(), line(), line());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let git = lanes::worktree::Git::find(lanes::worktree::GitConfig::default()).await.expect("git");
        let repo = lanes::worktree::discover(&git, Path::new(repo)).await.expect("a repository");
        let template = spares(&repo, Path::new(home)).into_iter().next().expect("a template");
        let spare = template.spare.clone();
        let want = lanes::worktree::Want {
            kind: SpareKind::Pooled,
            home: spare.home,
            workspace_id: spare.workspace_id,
            root: spare.root,
            base: spare.base,
            print: spare.print,
            lock_reason: "lanes spare boot 2".to_owned(),
        };
        let _kept = recycle(&git, &repo, Path::new(spot), &template, &want, false).await;
    });
}

#[tokio::test]
async fn one_that_is_cut_off_is_rubbish_that_goes() {
    for fault in ["recycle.entered=kill", "recycle.taken=kill", "recycle.cleaned=kill", "recycle.aged=kill"] {
        let stocked = Stocked::of(yard()).await;
        let (template, spot) = retired(&stocked).await;
        meddle(&spot);
        let file = stocked.yard.path().join("work");
        let home = stocked.home();
        let lines = [&stocked.yard.repo, &home, &spot].map(|path| path.to_str().expect("text").to_owned());
        std::fs::write(&file, lines.join("\n")).expect("written");
        let status = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "spare_recycle::child_that_recycles", "--ignored"])
            .env_clear()
            .envs(stocked.yard.env())
            .env(WORK, &file)
            .env("LANES_FAULTS", fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("started");
        assert!(!status.success(), "{fault}: it was killed");
        let swept = sweep_spares(&stocked.repo, &stocked.root.path, &home, &Default::default()).await;
        assert_eq!(swept.expect("swept").stays, Vec::<String>::new(), "{fault}");
        assert_eq!(spares(&stocked.repo, &home), [template], "{fault}");
        assert_eq!(stocked.names(&stocked.root.path.join(".pool")), Vec::<String>::new(), "{fault}");
        assert_eq!(spot.exists(), fault.starts_with("recycle.entered"), "{fault}");
    }
}
