//! What git's configuration says is read from recorded output.

use std::path::{Path, PathBuf};

use lanes::worktree::settings_list::{
    Entry, decides_looks, differs_by_tree, included, last, parse_list, parse_plain,
};

fn check(key: &str, decides: bool) {
    assert_eq!(decides_looks(key.as_bytes()), decides, "{key}");
}

fn entry(scope: &str, origin: &str, key: &str, value: Option<&str>) -> Entry {
    Entry {
        scope: scope.to_owned(),
        origin: PathBuf::from(origin),
        key: key.as_bytes().to_vec(),
        value: value.map(|value| value.as_bytes().to_vec()),
    }
}

#[test]
fn what_decides_how_a_checkout_looks_is_told_apart() {
    for key in ["core.autocrlf", "core.symlinks", "filter.Any.Name.smudge", "lfs.fetchexclude"] {
        check(key, true);
    }
    for key in ["index.sparse", "extensions.worktreeconfig", "feature.manyfiles", "core.sparsecheckout"] {
        check(key, true);
    }
    // What a push, a fetch or an editor writes makes no tree stale.
    for key in ["branch.x.remote", "remote.origin.url", "user.name", "core.hookspath", "core.pager"] {
        check(key, false);
    }
    check("lfs.https://a.example/x.git/info/lfs.access", false);
    check("lfs.https://a.example/x.git/info/lfs.locksverify", false);
}

#[test]
fn a_list_is_read_and_what_we_said_ourselves_is_left_out() {
    let list = b"global\0file:/h/.gitconfig\0filter.a\nb.clean\nx\ny\0local\0file:config\0core.bare\0\
        command\0command line:\0core.hookspath\n/dev/null\0";
    let expected = [
        entry("global", "/h/.gitconfig", "filter.a", Some("b.clean\nx\ny")),
        entry("local", "/r/.git/config", "core.bare", None),
    ];
    assert_eq!(parse_list(list, Path::new("/r/.git")).as_deref(), Some(expected.as_slice()));
    assert_eq!(parse_list(b"", Path::new("/")), Some(vec![]));
    for broken in [b"local\0file:config".as_slice(), b"local\0", b"local\0file:a\0k\nv\0\0x\0"] {
        assert_eq!(parse_list(broken, Path::new("/")), None, "{broken:?}");
    }
    let plain = parse_plain(b"core.eol\nlf\0core.bare\0");
    assert_eq!(plain, [(b"core.eol".to_vec(), Some(b"lf".to_vec())), (b"core.bare".to_vec(), None)]);
}

#[test]
fn the_last_value_counts() {
    let entries =
        [entry("global", "/g", "core.eol", Some("lf")), entry("local", "/l", "core.eol", Some("crlf"))];
    assert_eq!(last(&entries, "core.eol").map(|entry| entry.scope.as_str()), Some("local"));
    assert_eq!(last(&entries, "core.autocrlf"), None);
}

#[test]
fn includes_are_found_beside_the_file_that_names_them() {
    let entries = [
        entry("global", "/h/.gitconfig", "include.path", Some("more")),
        entry("global", "/h/.gitconfig", "includeif.gitdir:~/work/.path", Some("~/work.config")),
        entry("local", "/r/.git/config", "includeif.onbranch:a.path", Some("/abs")),
        entry("local", "/r/.git/config", "include.path", Some("~somebody/x")),
        entry("local", "/r/.git/config", "include.path", None),
    ];
    let found: Vec<_> = included(&entries, Some(Path::new("/home")))
        .into_iter()
        .map(|file| (file.path, file.condition.map(|text| String::from_utf8_lossy(&text).into_owned())))
        .collect();
    let path = |path: &str| Some(PathBuf::from(path));
    let expected = [
        (path("/h/more"), None),
        (path("/home/work.config"), Some("gitdir:~/work/".to_owned())),
        (path("/abs"), Some("onbranch:a".to_owned())),
        (None, None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn conditions_that_tell_one_linked_worktree_from_another_are_known() {
    for same in ["gitdir:~/work/", "gitdir:/srv/repo/.git", "gitdir/i:/srv/**", "hasconfig:remote.*.url:x"] {
        assert!(!differs_by_tree(same.as_bytes()), "{same}");
    }
    for other in ["onbranch:lanes/**", "gitdir:work/", "gitdir:/r/.git/worktrees/a", "gitdir:/r/*/a*/"] {
        assert!(differs_by_tree(other.as_bytes()), "{other}");
    }
}
