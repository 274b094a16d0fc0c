//! Git is found, told to run nothing of a repository, bounded and ended.

use std::path::Path;
use std::time::{Duration, Instant};

use lanes::failure::{Code, Failure};
use lanes::worktree::{Git, GitConfig, Mode, Place, discover};

use crate::support::git::{Yard, executable, write};

/// A program that stands in for git.
fn fake_git(yard: &Yard, body: &str) -> GitConfig {
    let path = yard.path().join("bin/git");
    write(&path, &format!("#!/bin/sh\n{body}\n"));
    executable(&path);
    GitConfig { program: Some(path), ..yard.config() }
}

const ANSWERS_VERSION: &str = "case \"$*\" in *version*) echo git version 2.47.3; exit 0;; esac";

fn exists(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn no_git_on_the_path_says_which_version_is_needed() {
    let yard = Yard::new();
    let config = GitConfig { path: Some("/nonexistent".into()), ..yard.config() };
    let failure = Failure::from(Git::find(config).await.expect_err("there is none"));
    assert_eq!(failure.code, Code::GitMissing);
    assert!(failure.hint.is_some_and(|hint| hint.contains("2.34")));
}

#[tokio::test]
async fn an_old_git_is_refused_with_both_versions() {
    let yard = Yard::new();
    let config = fake_git(&yard, "echo git version 2.20.1");
    let failure = Failure::from(Git::find(config).await.expect_err("it is too old"));
    assert_eq!(failure.code, Code::GitTooOld);
    assert!(failure.message.contains("2.20.1") && failure.message.contains("2.34"), "{failure:?}");
}

#[tokio::test]
async fn a_git_that_hangs_is_ended_with_its_whole_group() {
    let yard = Yard::new();
    let pids = yard.path().join("pids");
    let body = format!(
        "{ANSWERS_VERSION}\nsleep 300 & echo $! >> '{0}'; echo $$ >> '{0}'; trap '' TERM; wait",
        pids.display()
    );
    let git = Git::find(fake_git(&yard, &body)).await.expect("it answers its version");
    let command = git.command(Mode::Look, &Place::nowhere(), ["status"]);
    let error = git.run(command, Duration::from_millis(300)).await.expect_err("it hangs");
    assert_eq!(Failure::from(error).code, Code::GitTimeout);
    let pids = std::fs::read_to_string(&pids).expect("it wrote them");
    wait_for("the group to end", || pids.lines().all(|pid| !exists(pid)));
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_group() {
    let yard = Yard::new();
    let pids = yard.path().join("pids");
    let body =
        format!("{ANSWERS_VERSION}\nsleep 300 & echo $! >> '{0}'; echo $$ >> '{0}'; wait", pids.display());
    let git = Git::find(fake_git(&yard, &body)).await.expect("it answers its version");
    let command = git.command(Mode::Look, &Place::nowhere(), ["status"]);
    let run = tokio::spawn(async move { git.run(command, Duration::from_secs(300)).await });
    let lines = || std::fs::read_to_string(&pids).unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(20);
    while lines().lines().count() < 2 {
        assert!(Instant::now() < until, "it did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.abort();
    let _cancelled = run.await;
    wait_for("the group to end", || lines().lines().all(|pid| !exists(pid)));
}

#[tokio::test]
async fn endless_output_is_cut_off() {
    let yard = Yard::new();
    let git =
        Git::find(fake_git(&yard, &format!("{ANSWERS_VERSION}\nyes"))).await.expect("it answers its version");
    let command = git.command(Mode::Look, &Place::nowhere(), ["status"]);
    let error = git.run(command, Duration::from_secs(120)).await.expect_err("it never ends");
    assert_eq!(Failure::from(error).code, Code::GitFailed);
}

#[tokio::test]
async fn a_background_process_that_keeps_the_pipe_delays_nobody() {
    let yard = Yard::new();
    let pid = yard.path().join("pid");
    let body = format!("{ANSWERS_VERSION}\nsleep 300 & echo $! > '{}'; echo done", pid.display());
    let git = Git::find(fake_git(&yard, &body)).await.expect("it answers its version");
    let command = git.command(Mode::Look, &Place::nowhere(), ["status"]);
    let output = git.run(command, Duration::from_secs(60)).await.expect("it ended");
    assert_eq!(output.text(), "done");
    let pid: i32 = std::fs::read_to_string(pid).expect("a pid").trim().parse().expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}

#[tokio::test]
async fn variables_of_another_git_call_are_not_inherited() {
    let yard = Yard::new();
    let mut config = yard.config();
    let env = config.env.as_mut().expect("one was given");
    for name in
        ["GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF", "GIT_OBJECT_DIRECTORY"]
    {
        env.push((name.into(), "/nonexistent".into()));
    }
    let git = Git::find(config).await.expect("git is there");
    let repo = discover(&git, &yard.repo).await.expect("a repository");
    let output =
        git.ask(Mode::Look, &Place::repository(&repo), ["rev-parse", "HEAD"]).await.expect("it works");
    assert_eq!(output.text(), yard.git(&["rev-parse", "HEAD"]));
}

#[tokio::test]
async fn nothing_that_the_configuration_names_runs_when_we_look() {
    let yard = Yard::new();
    yard.write(".gitattributes", "*.txt filter=bad diff=bad\n");
    yard.commit("attributes");
    for (key, name) in [
        ("core.fsmonitor", "fsmonitor"),
        ("diff.external", "external"),
        ("diff.bad.command", "driver"),
        ("diff.bad.textconv", "textconv"),
        ("filter.bad.clean", "clean"),
        ("filter.bad.smudge", "smudge"),
        ("filter.bad.process", "process"),
        ("gpg.program", "gpg"),
        ("core.pager", "pager"),
        ("core.editor", "editor"),
        ("core.askPass", "askpass"),
        ("credential.helper", "credential"),
    ] {
        let script = yard.marking_script(name, "cat");
        yard.git(&["config".as_ref(), key.as_ref(), script.as_os_str()]);
    }
    let hooks = yard.path().join("hooks");
    for hook in ["post-index-change", "reference-transaction", "post-checkout"] {
        let script = yard.marking_script(hook, "");
        std::fs::create_dir_all(&hooks).expect("a folder");
        std::fs::rename(script, hooks.join(hook)).expect("moved");
    }
    yard.git(&["config".as_ref(), "core.hooksPath".as_ref(), hooks.as_os_str()]);
    yard.git(&["config", "filter.bad.required", "true"]);
    yard.git(&["config", "log.showSignature", "true"]);
    std::fs::write(yard.repo.join("a.txt"), "changed\n").expect("written");
    // What plain git ran until here is not what this is about.
    std::fs::remove_dir_all(yard.path().join("marks")).expect("removed");
    std::fs::create_dir_all(yard.path().join("marks")).expect("made");

    let git = yard.our_git().await;
    let repo = discover(&git, &yard.repo).await.expect("a repository");
    let place = Place::tree(&repo.common_dir, &yard.repo);
    let off = git.filters_off(&place).await.expect("they are listed");
    let looks: [&[&str]; 4] = [
        &["status", "--porcelain=v2", "-z", "--untracked-files=all"],
        &["diff", "--no-ext-diff", "--no-textconv", "HEAD", "--"],
        &["diff", "HEAD", "--"],
        &["log", "-p", "-1"],
    ];
    for args in looks {
        let command = git.command(Mode::Look, &place, args.iter().copied()).configs(&off);
        let _said = git.run(command, Duration::from_secs(60)).await.expect("it runs");
    }
    let command = git.command(Mode::Write, &place, ["update-ref", "refs/heads/x", "HEAD"]);
    let _done =
        git.run(command, Duration::from_secs(60)).await.expect("it runs").success("x").expect("it works");
    assert_eq!(yard.marks(), Vec::<String>::new());
    assert!(Path::new(&yard.repo.join(".git/refs/heads/x")).exists());
}
