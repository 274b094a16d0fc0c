//! A tree that somebody has touched is told from one that nobody has.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lanes::worktree::{Listing, Pace, listing, verify};

use crate::support::copied::{Linked, add, copy, template};
use crate::support::git::Yard;

struct Stage {
    yard: Yard,
    copy: Linked,
}

impl Stage {
    fn new() -> Self {
        let yard = Yard::new();
        yard.write(".gitignore", "*.o\nout/\n");
        yard.write("sub/deep/c.txt", "c");
        symlink("a.txt", yard.repo.join("link")).expect("a link");
        let commit = yard.commit("more");
        let copy = copy(&yard, &template(&yard, &commit), "copy", &commit);
        Self { yard, copy }
    }

    fn verify(&self, extras: Option<&Listing>) -> Vec<String> {
        let strange = verify(&self.copy.tree, &self.copy.index(), 40, extras, &Pace::full());
        strange.expect("it is looked at").iter().map(ToString::to_string).collect()
    }

    fn listing(&self) -> Listing {
        listing(&self.copy.tree, &self.copy.index(), 40, &Pace::full()).expect("it is listed")
    }
}

/// Says what is strange once something was done to a copy.
#[track_caller]
fn check(change: impl FnOnce(&Path), expected: &[&str]) {
    let stage = Stage::new();
    assert_eq!(stage.verify(None), Vec::<String>::new());
    change(&stage.copy.tree);
    assert_eq!(stage.verify(None), expected);
}

#[test]
fn what_is_changed_missing_or_new_is_told() {
    check(|tree| fs::write(tree.join("a.txt"), "ONE\ntwo\nthree\n").expect("written"), &["a.txt"]);
    check(|tree| fs::remove_file(tree.join("sub/b.txt")).expect("removed"), &["sub/b.txt"]);
    check(|tree| fs::remove_dir_all(tree.join("sub")).expect("removed"), &["sub/b.txt", "sub/deep/c.txt"]);
    check(|tree| fs::write(tree.join("new"), "").expect("written"), &["new"]);
    check(|tree| fs::write(tree.join("sub/deep/ignored.o"), "").expect("written"), &["sub/deep/ignored.o"]);
    check(|tree| fs::create_dir_all(tree.join("empty/inner")).expect("a folder"), &["empty"]);
    check(|tree| fs::remove_file(tree.join(".git")).expect("removed"), &[".git"]);
    let mode = |tree: &Path| fs::set_permissions(tree.join("a.txt"), PermissionsExt::from_mode(0o755));
    check(|tree| mode(tree).expect("a mode"), &["a.txt"]);
}

#[test]
fn what_took_the_place_of_another_is_told() {
    let exchanged = |tree: &Path| {
        let (old, new) = (tree.join("a.txt"), tree.join("new"));
        let time = fs::metadata(&old).expect("there").modified().expect("a time");
        fs::copy(&old, &new).expect("copied");
        File::open(&new).expect("opens").set_modified(time).expect("a time");
        fs::rename(new, old).expect("renamed");
    };
    check(exchanged, &["a.txt"]);
    let linked = |tree: &Path| {
        fs::rename(tree.join("sub/deep"), tree.join("sub/other")).expect("renamed");
        symlink("other", tree.join("sub/deep")).expect("a link");
    };
    check(linked, &["sub/deep", "sub/other"]);
    let folder = |tree: &Path| {
        fs::remove_file(tree.join("link")).expect("removed");
        fs::create_dir(tree.join("link")).expect("a folder");
    };
    check(folder, &["link"]);
    let file = |tree: &Path| {
        fs::remove_dir_all(tree.join("sub")).expect("removed");
        fs::write(tree.join("sub"), "").expect("written");
    };
    check(file, &["sub"]);
}

#[test]
fn not_more_paths_are_told_than_people_read() {
    let stage = Stage::new();
    for number in 0..100 {
        fs::write(stage.copy.tree.join(format!("{number}")), "").expect("written");
    }
    assert_eq!(stage.verify(None).len(), 20);
    assert_eq!(stage.verify(Some(&Listing::default())).len(), 20);
}

#[test]
fn what_was_there_before_is_not_strange_until_it_changes() {
    let stage = Stage::new();
    let tree = &stage.copy.tree;
    fs::create_dir_all(tree.join("out/empty")).expect("folders");
    fs::write(tree.join("out/made.o"), "1").expect("written");
    fs::write(tree.join("sub/x.o"), "2").expect("written");
    let kept = stage.copy.admin.join("lanes-extras");
    stage.listing().write(&kept).expect("written");
    let extras = Listing::read(&kept).expect("read");
    assert_eq!(extras.len(), 4);
    assert_eq!(extras, stage.listing());
    assert_eq!(stage.verify(Some(&extras)), Vec::<String>::new());
    assert_eq!(stage.verify(None), ["out", "sub/x.o"]);
    fs::write(tree.join("out/made.o"), "3").expect("written");
    fs::write(tree.join("out/empty/new"), "").expect("written");
    fs::remove_file(tree.join("sub/x.o")).expect("removed");
    fs::remove_file(tree.join("a.txt")).expect("removed");
    assert_eq!(stage.verify(Some(&extras)), ["a.txt", "out/empty/new", "out/made.o", "sub/x.o"]);
    let mut bytes = fs::read(&kept).expect("read");
    bytes[40] ^= 1;
    fs::write(&kept, &bytes).expect("written");
    assert_eq!(Listing::read(&kept).expect_err("damaged").to_string(), "it is damaged");
    fs::write(&kept, "").expect("written");
    assert_eq!(Listing::read(&kept).expect_err("empty").to_string(), "it is cut off");
}

#[test]
fn a_young_file_is_read_unless_attributes_could_alter_it() {
    let young = |attributes: &str| {
        let yard = Yard::new();
        if !attributes.is_empty() {
            yard.write(".gitattributes", attributes);
        }
        let commit = yard.commit("more");
        let made = add(&yard, "plain", &commit, &[]);
        let index = fs::metadata(made.index()).expect("an index").modified().expect("a time");
        let file = fs::metadata(made.tree.join("a.txt")).expect("a file").modified().expect("a time");
        // As old as the file: the clock of a quick machine has not gone on between them.
        assert!(file <= index);
        File::options().write(true).open(made.index()).expect("opens").set_modified(file).expect("a time");
        let strange = verify(&made.tree, &made.index(), 40, None, &Pace::full()).expect("it is looked at");
        (strange.iter().any(|path| path.0 == b"a.txt"), strange.len())
    };
    assert_eq!(young(""), (false, 0));
    assert!(young("*.txt -text\n").0);
}

#[test]
fn what_a_sparse_checkout_left_out_is_strange_when_it_is_there() {
    let stage = Stage::new();
    let tree = &stage.copy.tree;
    stage.yard.git_in(tree, &["sparse-checkout", "set", "--no-cone", "/*", "!/sub/"]);
    assert_eq!(stage.verify(None), Vec::<String>::new());
    fs::create_dir_all(tree.join("sub/deep")).expect("folders");
    assert_eq!(stage.verify(None), ["sub"]);
    fs::write(tree.join("sub/b.txt"), "b\n").expect("written");
    assert_eq!(stage.verify(Some(&Listing::default())), ["sub", "sub/b.txt", "sub/deep"]);
}

#[test]
fn an_index_that_cannot_be_read_is_an_error() {
    let stage = Stage::new();
    stage.yard.git_in(&stage.copy.tree, &["update-index", "--split-index"]);
    let error = verify(&stage.copy.tree, &stage.copy.index(), 40, None, &Pace::full());
    let said = error.expect_err("it is split").to_string();
    assert!(said.contains("split index"), "{said}");
}
