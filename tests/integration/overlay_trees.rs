//! A lane over a template: everything that people do in a tree works, and the template stays as it was.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lanes::worktree::{
    Direct, Pace, SpareKind, Way, Whereabouts, admin_dir_of, make_template, overlay, remove_spare, set_aside,
    sweep_spares, undo, whereabouts,
};

use crate::support::git::Yard;
use crate::support::overlay::{Ground, sh};
use crate::support::work::picture;

fn much() -> Yard {
    let yard = Yard::new();
    for name in ["d/one", "d/deep/two", "e/three", "e/four", "run.sh", "lib/src/lib.rs"] {
        yard.write(name, &format!("{name}\n"));
    }
    std::os::unix::fs::symlink("d/one", yard.repo.join("link")).expect("links");
    let _commit = yard.commit("much");
    yard
}

fn index_of(admin: &Path) -> (u64, u64) {
    let meta = fs::metadata(admin.join("index")).expect("an index");
    (meta.ino(), meta.nlink())
}

/// Makes a lane, does something in it, and sees that the template is bit for bit what it was.
async fn check(script: &str, says: &str) {
    let Some(ground) = Ground::of(much()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let before = picture(template.tree());
    let (order, tree) = ground.lane("a", &template).await;
    let path = tree.path.to_path_buf();
    assert_eq!(sh(&stocked.yard, &path, script), says, "{script}");
    assert_eq!(sh(&stocked.yard, template.tree(), "git status --porcelain"), "", "{script}");
    assert_eq!(picture(template.tree()), before, "{script}: the template has changed");
    undo(&stocked.git, &stocked.repo, &order).await.expect("undone");
    assert_eq!(ground.mounts(), Vec::<std::path::PathBuf>::new());
    assert!(!path.exists() && !stocked.root.path.join(overlay::OVERLAY_DIR).exists(), "{script}");
}

#[tokio::test]
async fn git_finds_nothing_to_look_at_again() {
    let Some(ground) = Ground::of(much()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let (_order, tree) = ground.lane("a", &template).await;
    let admin = admin_dir_of(&stocked.repo, tree.path.as_path()).expect("an entry");
    let shared = index_of(&template.admin(&stocked.repo));
    assert_eq!(index_of(&admin), shared);
    assert_eq!(shared.1, 2, "two names of one index");
    let says = "git status --porcelain --branch --ignored -uall; git update-index --refresh; git diff-files; git fsck";
    assert_eq!(sh(&stocked.yard, tree.path.as_path(), says), "## lanes/a");
    // Had one file not been as the index has it, git would have written the index anew.
    assert_eq!(index_of(&admin), shared);
    let seen = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).expect("there");
    assert_eq!(seen(tree.path.as_path()), (tree.dev, tree.ino));
    sh(&stocked.yard, tree.path.as_path(), "git rm -q a.txt; git commit -qm gone");
    assert_eq!(index_of(&template.admin(&stocked.repo)), (shared.0, 1), "the template keeps its own");
}

#[tokio::test]
async fn commits_edits_and_deletes() {
    let script = "echo more >> a.txt; rm sub/b.txt; echo new > new; git add -A; git commit -qm work
        git status --porcelain; git show --name-status --format=%s | sort; git log --format=%s -3; cat a.txt";
    check(script, "\nA\tnew\nD\tsub/b.txt\nM\ta.txt\nwork\nwork\nmuch\nfirst\none\ntwo\nthree\nmore").await;
}

#[tokio::test]
async fn whole_folders_are_renamed_emptied_and_made_again() {
    let script = "mv d moved; mv moved/deep e/deep; rm -r e/three; cat e/deep/two
        rm -r lib; mkdir lib; echo other > lib/other; ls lib; mkdir d; echo back > d/one; ls d
        git add -A; git commit -qm moved; git status --porcelain; git ls-files | tr '\\n' ' '";
    let files = "a.txt d/one e/deep/two e/four lib/other link moved/one run.sh sub/b.txt";
    check(script, &format!("d/deep/two\nother\none\n{files}")).await;
}

#[tokio::test]
async fn stash_clean_checkout_and_reset() {
    let script = "echo x >> a.txt; echo y > y; git stash -qu; git status --porcelain; git stash pop -q
        git status --porcelain; git clean -qfd; git checkout -q -- a.txt; git status --porcelain
        git rm -qr d; git reset -q --hard; git checkout -q HEAD~1; ls | tr '\\n' ' '; git checkout -q lanes/a
        git status --porcelain; cat d/deep/two";
    check(script, " M a.txt\n?? y\na.txt sub d/deep/two").await;
}

#[tokio::test]
async fn permissions_links_and_times() {
    let script = "chmod 755 run.sh; git diff --summary; ln -sf a.txt link; readlink link; ln a.txt hard
        echo both >> hard; tail -n1 a.txt; stat -c %h hard; touch -d @1000000000 e/four; stat -c %Y e/four
        test a.txt -ef hard; cp -a d d2; rm -rf d2; git status --porcelain | sort";
    let says = " mode change 100644 => 100755 run.sh\na.txt\nboth\n2\n1000000000\n M a.txt\n M link\n M run.sh\n?? hard";
    check(script, says).await;
}

#[tokio::test]
async fn locks_hold_and_writers_append_to_one_file() {
    let script = "exec 3>>a.txt; flock 3; ! flock -n a.txt true; flock -u 3; flock -n a.txt echo free
        for n in 1 2 3 4; do (for m in 1 2 3 4 5 6 7 8; do echo line >> e/four; done) & done; wait; grep -c line e/four";
    check(script, "free\n32").await;
}

#[tokio::test]
async fn a_build_works_and_is_up_to_date_afterwards() {
    let script = "cargo init -q --lib --name small built 2>/dev/null; cd built
        cargo build -q --offline; cargo test -q --offline 2>/dev/null | grep -c 'test result: ok'; ls target/debug/libsmall.rlib
        cargo build --offline 2>&1 | grep -c Compiling || true";
    let home = std::env::var("HOME").unwrap_or_default();
    let rust = ["CARGO_HOME", "RUSTUP_HOME"].iter().zip([".cargo", ".rustup"]);
    let set: Vec<String> = rust
        .map(|(name, folder)| {
            std::env::var(name)
                .map_or_else(|_| format!("{name}='{home}/{folder}'"), |at| format!("{name}='{at}'"))
        })
        .collect();
    check(&format!("export {}\n{script}", set.join(" ")), "2\ntarget/debug/libsmall.rlib\n0").await;
}

#[tokio::test]
async fn whoever_watches_a_folder_is_told() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let Some(ground) = Ground::of(much()).await else { return };
    let template = ground.stocked.template().await;
    let (_order, tree) = ground.lane("a", &template).await;
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
    let folder = tree.path.as_path().join("d");
    let kinds = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE;
    inotify::add_watch(&watch, &folder, kinds).expect("watches");
    sh(&ground.stocked.yard, &folder, "echo x > new; rm one");
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut told = Vec::new();
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        told.push((name, event.events() & (ReadFlags::CREATE | ReadFlags::CLOSE_WRITE | ReadFlags::DELETE)));
    }
    let of = |name: &str, kind| (name.to_owned(), kind);
    let expected =
        [of("new", ReadFlags::CREATE), of("new", ReadFlags::CLOSE_WRITE), of("one", ReadFlags::DELETE)];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn paths_may_have_any_bytes_and_any_length() {
    for name in ["a,b:c\\d'e\"", "new\nline and space", "ünï%40\\040", "x=y,lowerdir=/,upperdir=/"] {
        let yard = Yard::with(name, &[]);
        yard.write("d/one", "one\n");
        let _commit = yard.commit("one");
        let Some(ground) = Ground::of(yard).await else { return };
        let template = ground.stocked.template().await;
        let (order, tree) = ground.lane("a", &template).await;
        let path = tree.path.to_path_buf();
        let script =
            "mv d e; echo two >> e/one; git add -A; git commit -qm moved; git status --porcelain; cat e/one";
        assert_eq!(sh(&ground.stocked.yard, &path, script), "one\ntwo", "{name:?}");
        undo(&ground.stocked.git, &ground.stocked.repo, &order).await.expect("undone");
        assert!(!path.exists(), "{name:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_an_overlay_is_refused_with_the_reason_and_leaves_nothing() {
    let Some(ground) = Ground::of(much()).await else { return };
    let stocked = &ground.stocked;
    let template = stocked.template().await;
    let mut elsewhere = template.clone();
    elsewhere.spare.root = stocked.yard.path().as_path().into();
    let mut gone = template.clone();
    gone.ino += 1;
    for (template, said) in [(elsewhere, "in another folder"), (gone, "its folder is gone")] {
        let order = stocked.order("a", None).await;
        let refused = stocked.make(&order, Way::Overlay(template)).await.expect_err("refused");
        assert!(refused.to_string().contains(said), "{refused}");
        let failure = lanes::failure::Failure::from(refused);
        assert_eq!(failure.code, lanes::failure::Code::ConfigInvalid);
        assert!(failure.hint.is_some_and(|hint| hint.contains("worktree.backend")));
        assert!(!order.path.as_path().exists());
        assert_eq!(stocked.yard.git(&["branch", "--list", "lanes/*"]), "");
    }
    let unready = stocked.want(SpareKind::Template, &stocked.head()).await;
    let kept = make_template(&stocked.git, &stocked.repo, &unready, &Direct).await.expect("a template");
    let in_use = overlay::in_use(&stocked.root.path);
    assert!(in_use.is_empty(), "{in_use:?}");
    let (order, tree) = ground.lane("b", &kept).await;
    assert_eq!(overlay::in_use(&stocked.root.path), [kept.name.clone()].into());
    let refused = remove_spare(&stocked.repo, &kept, Pace::full()).await.expect_err("refused");
    assert!(refused.to_string().contains("lanes live on it"), "{refused}");
    let refused = set_aside(&stocked.git, &stocked.repo, &kept).await.expect_err("refused");
    assert!(refused.to_string().contains("lanes live on it"), "{refused}");
    let swept = sweep_spares(&stocked.repo, &stocked.root.path, &stocked.home(), &Default::default()).await;
    swept.expect("swept");
    assert!(kept.tree().join("a.txt").exists());
    remove_spare(&stocked.repo, &template, Pace::full()).await.expect("nobody lives on it");
    let at = whereabouts(&stocked.repo, &order, &tree).expect("looks");
    assert_eq!(at, Whereabouts::Here(Box::new(tree)));
}
