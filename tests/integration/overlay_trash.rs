//! An overlay that is retired, saved, freed, brought back; unmounted in between, and with its template gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lanes::worktree::{
    Order, Pace, Saved, Standing, Tree, WorktreeError, bring_back, empty, layout, overlay, overlays, renew,
    retire, roll_back, save, trash, whereabouts,
};

use crate::support::git::Yard;
use crate::support::overlay::{Ground, Unmounted, sh, unmount_below};
use crate::support::stage::until;
use crate::support::work::{Picture, picture};

const LIMIT: u64 = 1 << 30;
const WORK: &str =
    "mkdir d e; echo f > d/f; git add d; git commit -qm f; mv d g; echo more >> a.txt; rm sub/b.txt
    echo staged > s; git add s; echo new > e/new; ln -s e l; chmod 700 e";

struct Lane {
    ground: Ground,
    order: Order,
    tree: Tree,
    before: Picture,
}

/// A lane that was worked in.
async fn lane() -> Option<Lane> {
    let ground = Ground::of(Yard::new()).await?;
    let template = ground.stocked.template().await;
    let (order, tree) = ground.lane("a", &template).await;
    sh(&ground.stocked.yard, tree.path.as_path(), WORK);
    let before = picture(tree.path.as_path());
    Some(Lane { ground, order, tree, before })
}

impl Lane {
    fn root(&self) -> &Path {
        &self.ground.stocked.root.path
    }

    fn entry_dir(&self) -> PathBuf {
        self.root().join(".trash").join(self.order.lane_id.to_string())
    }

    async fn retire(&self) {
        let stocked = &self.ground.stocked;
        let entry = retire(&stocked.git, &stocked.repo, &self.order, &self.tree).await.expect("retired");
        assert!(entry.complete && entry.saved == Saved::Pending);
        assert!(!self.tree.path.as_path().exists());
    }

    async fn save(&self) -> lanes::worktree::TrashEntry {
        let stocked = &self.ground.stocked;
        save(&stocked.git, &stocked.repo, self.root(), self.order.lane_id, LIMIT, &Pace::full())
            .await
            .expect("saved")
    }

    /// Saved, and nothing of an overlay is left.
    async fn check_saved(&self) {
        let entry = self.save().await;
        assert!(matches!(entry.saved, Saved::Archived { .. }), "{entry:?}");
        assert_eq!(entry.stays, None);
        assert_eq!(self.ground.mounts(), Vec::<PathBuf>::new());
        assert!(!self.root().join(overlay::OVERLAY_DIR).exists() && !self.entry_dir().join("tree").exists());
    }

    /// Brings it back, as what it was.
    async fn check_restored(&self, name: &str) -> (Order, Tree) {
        let stocked = &self.ground.stocked;
        let entry = trash::find(self.root(), self.order.lane_id).expect("reads").expect("an entry");
        let order = stocked.order(name, None).await;
        let tree = bring_back(&stocked.git, &stocked.repo, &entry, &order).await.expect("brought back");
        assert_same(&self.before, tree.path.as_path());
        let status = "git status --porcelain | tr '\\n' ' '; git log -1 --format=%s";
        let says = " M a.txt  D d/f A  s  D sub/b.txt ?? e/ ?? g/ ?? l f";
        assert_eq!(sh(&stocked.yard, tree.path.as_path(), status), says);
        (order, tree)
    }
}

/// The same but for what its `.git` names.
#[track_caller]
fn assert_same(before: &Picture, tree: &Path) {
    let but_link = |picture: &Picture| {
        let mut picture = picture.clone();
        picture.retain(|path, _what| path != b".git");
        picture
    };
    assert_eq!(but_link(before), but_link(&picture(tree)));
}

fn in_it(folder: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3>>f; echo in; exec sleep 1000"]).current_dir(folder).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut said = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut said).expect("it is in");
    child
}

#[tokio::test]
async fn who_is_in_it_moves_along_and_nothing_is_freed_under_him() {
    let Some(lane) = lane().await else { return };
    let mut child = in_it(&lane.tree.path.as_path().join("g"));
    lane.retire().await;
    let at = lane.entry_dir().join("tree");
    let cwd = fs::read_link(format!("/proc/{}/cwd", child.id())).expect("it lives");
    assert_eq!(cwd, at.join("g"));
    assert_eq!(lane.ground.mounts(), std::slice::from_ref(&at));
    let entry = lane.save().await;
    assert_eq!(entry.saved, Saved::Pending);
    assert!(entry.stays.is_some_and(|why| why.contains(&format!("process {}", child.id()))));
    assert_same(&lane.before, &at);
    child.kill().expect("ends");
    let _status = child.wait().expect("ended");
    lane.check_saved().await;
    let (_order, tree) = lane.check_restored("b").await;
    assert!(!lane.ground.mounts().contains(&tree.path.to_path_buf()), "a plain tree");
}

#[tokio::test]
async fn what_was_not_saved_yet_is_an_overlay_again() {
    let Some(lane) = lane().await else { return };
    lane.retire().await;
    let (order, tree) = lane.check_restored("b").await;
    assert_eq!(lane.ground.mounts(), [tree.path.to_path_buf()]);
    let stocked = &lane.ground.stocked;
    let entry = retire(&stocked.git, &stocked.repo, &order, &tree).await.expect("retired again");
    assert!(entry.complete);
    assert!(trash::size(&entry).expect("measured") > 0);
    let emptied = empty(&stocked.git, &stocked.repo, lane.root(), &[order.lane_id], &Pace::full())
        .await
        .expect("emptied");
    assert_eq!((emptied.lanes, emptied.left), (vec![order.lane_id], vec![]));
    assert_eq!(lane.ground.mounts(), Vec::<PathBuf>::new());
    assert_eq!(stocked.names(lane.root()), [".reserve", ".template"]);
}

#[tokio::test]
async fn an_empty_folder_is_never_taken_for_the_tree() {
    let Some(lane) = lane().await else { return };
    let (stocked, path) = (&lane.ground.stocked, lane.tree.path.to_path_buf());
    // As a start of the machine leaves it.
    unmount_below(&stocked.yard.path());
    let unknown = whereabouts(&stocked.repo, &lane.order, &lane.tree).expect_err("nothing can be told");
    assert!(matches!(unknown, WorktreeError::Unmounted { .. }), "{unknown}");
    let home = stocked.home();
    let seen = overlays(&stocked.repo, lane.root(), &home);
    assert_eq!(seen.iter().map(|one| &one.standing).collect::<Vec<_>>(), [&Standing::Down]);
    // Somebody who does not know works in the empty folder.
    fs::write(path.join("mine"), "mine").expect("writes");
    let blocked = overlays(&stocked.repo, lane.root(), &home);
    assert!(matches!(blocked[0].standing, Standing::Blocked(_)), "{blocked:?}");
    let refused = retire(&stocked.git, &stocked.repo, &lane.order, &lane.tree).await.expect_err("in the way");
    assert!(matches!(refused, WorktreeError::Unmounted { .. }), "{refused}");
    assert_eq!(fs::read(path.join("mine")).expect("it is there"), b"mine");
    fs::rename(path.join("mine"), stocked.yard.path().join("mine")).expect("moved away");
    // It is mounted by whoever needs it.
    lane.retire().await;
    assert_same(&lane.before, &lane.entry_dir().join("tree"));
    unmount_below(&stocked.yard.path());
    lane.check_saved().await;
    let _back = lane.check_restored("b").await;
}

#[tokio::test]
async fn an_unmounted_restore_is_rolled_back_and_goes_again() {
    use lanes::worktree::{RestoreStep, bring_back_until};
    for last in [RestoreStep::Admin, RestoreStep::Tree] {
        let Some(lane) = lane().await else { return };
        let stocked = &lane.ground.stocked;
        lane.retire().await;
        let entry = trash::find(lane.root(), lane.order.lane_id).expect("reads").expect("an entry");
        let order = stocked.order("b", None).await;
        let _cut = bring_back_until(&stocked.git, &stocked.repo, &entry, &order, last).await.expect("so far");
        unmount_below(&stocked.yard.path());
        roll_back(&stocked.git, &stocked.repo, lane.root(), lane.order.lane_id).await.expect("rolled back");
        assert!(!order.path.as_path().exists(), "{last:?}");
        let _back = lane.check_restored("c").await;
    }
}

#[tokio::test]
async fn a_template_that_was_removed_is_made_again_under_its_lanes() {
    let Some(lane) = lane().await else { return };
    let stocked = &lane.ground.stocked;
    let used = overlay::in_use(lane.root());
    let template = lane.root().join(".template").join(used.first().expect("one"));
    fs::remove_dir_all(&template).expect("removed by hand");
    for mounted in [true, false] {
        if !mounted {
            unmount_below(&stocked.yard.path());
        }
        let seen = overlays(&stocked.repo, lane.root(), &stocked.home());
        assert!(matches!(seen[0].standing, Standing::Templateless(_)), "{seen:?}");
    }
    // Looks would differ.
    stocked.yard.git(&["config", "core.autocrlf", "true"]);
    let seen = overlays(&stocked.repo, lane.root(), &stocked.home()).remove(0);
    let reason = || "lanes spare boot 1".to_owned();
    let refused = renew(&stocked.git, &stocked.repo, &seen, None, reason()).await.expect_err("refused");
    assert!(refused.to_string().contains("has changed since"), "{refused}");
    stocked.yard.git(&["config", "--unset", "core.autocrlf"]);
    let kept = renew(&stocked.git, &stocked.repo, &seen, None, reason()).await.expect("made again");
    assert_eq!(overlay::in_use(lane.root()), [kept.name].into());
    // Times of files that nobody has changed are those of the new template.
    let says = "git status --porcelain | tr '\\n' ' '; cat a.txt g/f";
    let said = sh(&stocked.yard, lane.tree.path.as_path(), says);
    assert_eq!(said, " M a.txt  D d/f A  s  D sub/b.txt ?? e/ ?? g/ ?? l one\ntwo\nthree\nmore\nf");
    lane.retire().await;
    lane.check_saved().await;
}

#[tokio::test]
async fn what_shows_nothing_is_not_saved_as_deleted() {
    let Some(lane) = lane().await else { return };
    lane.retire().await;
    let used = overlay::in_use(lane.root());
    fs::remove_dir_all(lane.root().join(".template").join(used.first().expect("one"))).expect("removed");
    let entry = lane.save().await;
    assert_eq!(entry.saved, Saved::Pending);
    assert!(entry.stays.is_some_and(|why| why.contains("is gone")));
    let stocked = &lane.ground.stocked;
    let seen = overlays(&stocked.repo, lane.root(), &stocked.home()).remove(0);
    assert_eq!(seen.at, lane.entry_dir().join("tree"));
    let _kept = renew(&stocked.git, &stocked.repo, &seen, None, "lanes spare boot 1".to_owned())
        .await
        .expect("made again");
    lane.check_saved().await;
}

#[tokio::test]
async fn a_full_disk_below_it_loses_nothing() {
    let yard = Yard::new();
    let small = yard.path().join("small");
    fs::create_dir(&small).expect("a folder");
    let size = ["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"];
    let done = Command::new("mount").args(size).arg(&small).output().expect("starts");
    if !done.status.success() {
        eprintln!("not shown: this user may not mount");
        return;
    }
    let _disk = Unmounted(yard.path());
    let Some(mut ground) = Ground::of(yard).await else { return };
    let stocked = &mut ground.stocked;
    stocked.root =
        layout::choose(&stocked.repo, Some(&small.join("trees")), &stocked.home()).expect("a root");
    let template = ground.stocked.template().await;
    let (order, tree) = ground.lane("a", &template).await;
    let path = tree.path.to_path_buf();
    let script =
        "echo kept > kept; head -c 3000000 /dev/urandom > large; ! cat /dev/urandom > rest 2>/dev/null; sync";
    sh(&ground.stocked.yard, &path, script);
    let before = picture(&path);
    let stocked = &ground.stocked;
    let entry = retire(&stocked.git, &stocked.repo, &order, &tree).await.expect("there is a reserve");
    assert!(entry.complete);
    let root = &stocked.root.path;
    let entry =
        save(&stocked.git, &stocked.repo, root, order.lane_id, LIMIT, &Pace::full()).await.expect("waits");
    assert_eq!(entry.saved, Saved::Pending);
    assert!(entry.stays.is_some_and(|why| why.contains("no room")));
    assert_same(&before, &root.join(".trash").join(order.lane_id.to_string()).join("tree"));
    let emptied =
        empty(&stocked.git, &stocked.repo, root, &[order.lane_id], &Pace::full()).await.expect("emptied");
    assert_eq!((emptied.lanes, emptied.left), (vec![order.lane_id], vec![]));
    assert_eq!(ground.mounts(), [small], "only the disk");
}

#[tokio::test]
async fn a_plain_unmount_beside_a_busy_one_is_told() {
    let Some(lane) = lane().await else { return };
    let mut child = in_it(lane.tree.path.as_path());
    let stocked = &lane.ground.stocked;
    // An undo takes it from whoever is in it.
    lanes::worktree::undo(&stocked.git, &stocked.repo, &lane.order).await.expect("undone");
    assert_eq!(lane.ground.mounts(), Vec::<PathBuf>::new());
    assert!(!lane.tree.path.as_path().exists() && !lane.root().join(overlay::OVERLAY_DIR).exists());
    child.kill().expect("ends");
    let _status = child.wait().expect("ended");
    until("no mount stays", || lane.ground.mounts().is_empty());
}
