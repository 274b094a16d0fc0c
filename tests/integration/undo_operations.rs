//! An unfinished operation of git comes back with its lane, and can be gone on with or given up.

use crate::support::e2e::{Made, Scene};
use crate::support::state::State;

/// Something that git begins in a lane and does not end.
struct Operation {
    /// Begins it; what of it fails is told with `|| true`.
    begin: &'static str,
    /// Goes on with it to its end.
    go_on: &'static str,
    /// Gives it up.
    give_up: &'static str,
    /// Says what there is afterwards; `(going on, giving up)`.
    ends: (&'static str, &'static str),
}

/// What a lane is asked at the end: where HEAD is, the last subjects, what is not committed.
const AFTER: &str = "git symbolic-ref -q --short HEAD | sed 's,lanes/[a-z]*,own,'; git log --first-parent -4 --format=%s | sed 's,lanes/[a-z]*,lanes/x,'; \
                     git status --porcelain; cat c.txt; git stash list --format=%gs";

/// Four lanes with the operation under way: gone on with and given up, brought back at once and from the
/// archive, with everything collected in between that git does not hold.
fn check(operation: &Operation) {
    let scene = Scene::new();
    scene.write("c.txt", "base\n");
    scene.commit("base");
    let cases = [("goa", true, false), ("gob", true, true), ("upa", false, false), ("upb", false, true)];
    let lanes: Vec<Made> = cases.iter().map(|(name, _on, _wait)| scene.create(name)).collect();
    scene.write("c.txt", "main\n");
    scene.commit("in the way");
    for lane in &lanes {
        scene.sh(
            &lane.name,
            "echo lane > c.txt; git commit -qam one; echo 2 > two; git add two; git commit -qm two",
        );
        scene.sh(&lane.name, operation.begin);
    }
    let before: Vec<State> = lanes.iter().map(|lane| State::of(&scene, &lane.path)).collect();
    scene.ok(&["cleanup", "--all"]);
    for (lane, (_name, _on, wait)) in lanes.iter().zip(cases) {
        if wait {
            let saved = scene.saved(&lane.id);
            assert_eq!(saved["state"], "archived", "{saved}");
        }
    }
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["worktree", "prune", "--expire=now"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    for lane in &lanes {
        let _back = scene.restore(&[&lane.name]);
    }
    for ((lane, before), (name, on, _wait)) in lanes.iter().zip(&before).zip(cases) {
        before.same(&State::of(&scene, &lane.path));
        scene.sh(name, if on { operation.go_on } else { operation.give_up });
        let wanted = if on { operation.ends.0 } else { operation.ends.1 };
        assert_eq!(scene.sh(name, AFTER).lines().collect::<Vec<_>>().join("|"), wanted, "{name}");
    }
    scene.ok(&["cleanup", "--all"]);
    scene.git(&["fsck", "--no-progress", "--no-dangling"]);
}

const GIVEN_UP: &str = "own|two|one|base|first|lane";

#[test]
fn an_interactive_rebase_with_conflicts() {
    check(&Operation {
        begin: "GIT_SEQUENCE_EDITOR='sed -i 2s/^pick/reword/' git rebase -q -i main || true; git status | grep -q 'rebase in progress'",
        go_on: "echo both > c.txt; git add c.txt; git rebase --continue",
        give_up: "git rebase --abort",
        ends: ("own|two|one|in the way|base|both", GIVEN_UP),
    });
}

#[test]
fn a_rebase_that_has_put_work_aside() {
    check(&Operation {
        begin: "echo work >> two; git rebase -q --autostash main || true",
        go_on: "echo both > c.txt; git add c.txt; git rebase --continue; cat two | grep -q work",
        give_up: "git rebase --abort; cat two | grep -q work",
        ends: ("own|two|one|in the way|base| M two|both", "own|two|one|base|first| M two|lane"),
    });
}

#[test]
fn a_merge_with_conflicts() {
    check(&Operation {
        begin: "git merge -q main || true; echo half > c.txt; echo new > untracked",
        go_on: "echo both > c.txt; git add c.txt; git commit -q --no-edit; git log -1 --format=%P | grep -q ' '",
        give_up: "git merge --abort",
        ends: (
            "own|Merge branch 'main' into lanes/x|two|one|base|?? untracked|both",
            "own|two|one|base|first|?? untracked|lane",
        ),
    });
}

#[test]
fn a_sequence_of_picks_with_conflicts() {
    check(&Operation {
        begin: "git checkout -q --detach main; git cherry-pick lanes/$LANES_LANE_NAME~1 lanes/$LANES_LANE_NAME || true",
        go_on: "echo both > c.txt; git add c.txt; git cherry-pick --continue",
        give_up: "git cherry-pick --abort",
        ends: ("two|one|in the way|base|both", "in the way|base|first|main"),
    });
}

#[test]
fn a_revert_with_conflicts() {
    check(&Operation {
        begin: "echo more >> c.txt; git commit -qam three; git revert --no-edit HEAD~2 || true",
        go_on: "echo reverted > c.txt; git add c.txt; git revert --continue",
        give_up: "git revert --abort",
        ends: ("own|Revert \"one\"|three|two|one|reverted", "own|three|two|one|base|lane|more"),
    });
}

#[test]
fn patches_that_do_not_apply() {
    check(&Operation {
        begin: "git format-patch -q -2 --stdout > ../patches-$LANES_LANE_NAME; git checkout -q --detach main; \
                git am -q -3 ../patches-$LANES_LANE_NAME || true; rm ../patches-$LANES_LANE_NAME",
        go_on: "echo both > c.txt; git add c.txt; git am -q --continue",
        give_up: "git am --abort",
        ends: ("two|one|in the way|base|both", "in the way|base|first|main"),
    });
}

#[test]
fn a_bisection() {
    check(&Operation {
        begin: "git commit -q --allow-empty -m three; git commit -q --allow-empty -m four; \
                git bisect start HEAD HEAD~4; git rev-parse --verify -q refs/bisect/bad",
        go_on: "git bisect bad; git bisect bad | grep -q 'first bad commit'; git bisect reset",
        give_up: "git bisect reset",
        ends: ("own|four|three|two|one|lane", "own|four|three|two|one|lane"),
    });
}

#[test]
fn commits_on_a_detached_head_with_sparse_files_and_settings_of_their_own() {
    check(&Operation {
        begin: "git checkout -q --detach; git commit -q --allow-empty -m nowhere; git config extensions.worktreeConfig true; \
                git config --worktree lane.own yes; git sparse-checkout set --no-cone '/*' '!/sub'; test ! -e sub; \
                echo part > sparse; git add sparse; echo more >> sparse; git update-index --assume-unchanged a.txt; \
                echo hidden >> a.txt",
        go_on: "test \"$(git config lane.own)\" = yes; git sparse-checkout disable; test -e sub/b.txt",
        give_up: "git checkout -q lanes/$LANES_LANE_NAME",
        ends: ("nowhere|two|one|base|AM sparse|lane", "own|two|one|base|first|AM sparse|lane"),
    });
}
