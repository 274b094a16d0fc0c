//! The whole program as a user has it: a repository, the built binary, a real daemon, and a look at what is left.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use serde_json::Value;

use super::git::{executable, write};
use super::stage::{PATIENCE, until};
use super::task::kill_and_wait;

/// A folder with a user, a repository and a state folder of its own. When dropped, the daemon is stopped
/// and nothing may be left of it; what is left all the same is ended.
pub struct Scene {
    dir: tempfile::TempDir,
    real: PathBuf,
    more: Vec<(OsString, OsString)>,
    user: Option<u32>,
    spares: bool,
}

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A lane as `create --json` told it.
#[derive(Clone, Debug)]
pub struct Made {
    pub name: String,
    pub id: String,
    pub path: PathBuf,
    pub branch: String,
}

/// A checkout that waits.
#[derive(Clone, Debug)]
pub struct Slow {
    /// There once it has begun.
    pub reached: PathBuf,
    /// Made to let it go on.
    pub open: PathBuf,
    /// What waits.
    pub script: PathBuf,
}

/// What there is on disk and in the process table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Folders in the root of trees, without trash and vault.
    pub trees: BTreeSet<String>,
    /// Folders in the trash.
    pub trash: BTreeSet<String>,
    /// Entries of `.git/worktrees`, without the vault's and those of spares: what becomes of these is the business
    /// of the background, and of no command.
    pub admin: BTreeSet<String>,
    /// Local branches.
    pub branches: BTreeSet<String>,
    /// Processes of tasks and their keepers, as `pid program`.
    pub processes: BTreeSet<String>,
    /// Sockets in the state folder, without the daemon's.
    pub sockets: BTreeSet<String>,
}

impl Scene {
    /// A repository with one commit of two files on `main`.
    pub fn new() -> Self {
        let scene = Self::empty(&[]);
        scene.write("a.txt", "one\ntwo\nthree\n");
        scene.write("sub/b.txt", "b\n");
        scene.commit("first");
        scene
    }

    /// A repository without a commit, made with these arguments to `git init`.
    pub fn empty(init: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("lanes-e2e-").tempdir().expect("a temporary folder");
        let real = dir.path().canonicalize().expect("its real path");
        for part in ["user", "work/repo", "tmp"] {
            std::fs::create_dir_all(real.join(part)).expect("a folder");
        }
        let config = "[user]\n\tname = T\n\temail = t@example.com\n[init]\n\tdefaultBranch = main\n\
                      [protocol \"file\"]\n\tallow = always\n[gc]\n\tauto = 0\n";
        std::fs::write(real.join("user/.gitconfig"), config).expect("a configuration");
        let scene = Self { dir, real, more: Vec::new(), user: None, spares: true };
        let mut args = vec!["init", "-q"];
        args.extend(init);
        scene.git(&args);
        scene
    }

    /// No spares are made, whatever else is configured: for scenes that compare all there is, or run out of room.
    /// To be called before anything is configured.
    pub fn without_spares(mut self) -> Self {
        self.spares = false;
        self.configure("");
        self
    }

    /// Sets a variable for everything that is started from now on.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.more.push((name.into(), value.as_ref().to_owned()));
    }

    /// Hands everything to another user, as whom all programs run from now on. Only for root.
    pub fn become_user(&mut self, uid: u32) {
        let owner = format!("{uid}:{uid}");
        let handed = Command::new("chown").arg("-R").arg(owner).arg(&self.real).status();
        assert!(handed.is_ok_and(|status| status.success()), "chown failed");
        self.user = Some(uid);
    }

    /// Makes a program run as the scene's user.
    fn as_user(&self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        if let Some(uid) = self.user {
            let _same = command.uid(uid).gid(uid);
        }
    }

    /// The folder of it all, canonical.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// The main checkout.
    pub fn repo(&self) -> PathBuf {
        self.real.join("work/repo")
    }

    /// Where the trees of lanes are by default.
    pub fn root(&self) -> PathBuf {
        self.real.join("work/repo.lanes")
    }

    /// The state folder.
    pub fn home(&self) -> PathBuf {
        self.real.join("home")
    }

    /// The environment of everything: nothing of this machine but the PATH.
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let user = self.real.join("user");
        let mut env: Vec<(OsString, OsString)> = [
            ("PATH", std::env::var_os("PATH").expect("a PATH")),
            ("HOME", user.clone().into()),
            ("XDG_CONFIG_HOME", user.join(".config").into()),
            ("XDG_STATE_HOME", user.join(".local/state").into()),
            ("XDG_DATA_HOME", user.join(".local/share").into()),
            ("XDG_RUNTIME_DIR", user.join("run").into()),
            ("TMPDIR", self.real.join("tmp").into()),
            ("LANES_HOME", self.home().into()),
            ("GIT_CONFIG_GLOBAL", user.join(".gitconfig").into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_EDITOR", "true".into()),
            ("LC_ALL", "C".into()),
            ("SHELL", "/bin/sh".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .to_vec();
        env.extend(self.more.clone());
        env
    }

    /// `lanes` with these arguments in a folder, not started yet; streams are piped, stdin is empty.
    pub fn command<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanes"));
        command.args(args).env_clear().envs(self.env()).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.as_user(&mut command);
        command
    }

    /// Runs `lanes` in the main checkout.
    pub fn lanes<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        self.lanes_in(&self.repo(), args)
    }

    /// Runs `lanes` in a folder.
    pub fn lanes_in<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> Ran {
        ran(&mut self.command(folder, args))
    }

    /// Runs `lanes`, which must succeed, and returns what it printed without the last line end.
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let ran = self.lanes(args);
        assert_eq!(ran.code, Some(0), "lanes {:?}: {}{}", words(args), ran.stdout, ran.stderr);
        ran.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs `lanes --json`, which must succeed, and returns the object.
    pub fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Value {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--json")];
        all.extend(args.iter().map(AsRef::as_ref));
        serde_json::from_str(&self.ok(&all)).expect("one object")
    }

    /// Runs `lanes --json`, which must fail like this, and returns the error.
    pub fn fails<S: AsRef<OsStr>>(&self, args: &[S], code: i32, stable: &str) -> Value {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--json")];
        all.extend(args.iter().map(AsRef::as_ref));
        let ran = self.lanes(&all);
        let error: Value = serde_json::from_str(&ran.stderr).unwrap_or(Value::Null);
        assert_eq!(
            (ran.code, error["error"]["code"].as_str()),
            (Some(code), Some(stable)),
            "lanes {:?}: {}{}",
            words(args),
            ran.stdout,
            ran.stderr
        );
        assert!(error["error"]["hint"].is_string(), "it does not say what to do: {error}");
        error["error"].clone()
    }

    /// Runs `lanes --json`, which must fail like this with these words in message or hint, and change nothing.
    pub fn refuses<S: AsRef<OsStr>>(&self, args: &[S], code: i32, stable: &str, said: &[&str]) {
        let before = self.inventory();
        let error = self.fails(args, code, stable);
        let text = format!("{} | {}", error["message"], error["hint"]);
        for word in said {
            assert!(text.contains(word), "lanes {:?} does not say {word:?}: {text}", words(args));
        }
        assert_eq!(self.inventory(), before, "lanes {:?} left something", words(args));
    }

    /// Starts `lanes` in the main checkout; streams are piped.
    pub fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        self.command(&self.repo(), args).spawn().expect("starts")
    }

    /// The process of the daemon, which runs.
    pub fn daemon(&self) -> Pid {
        let pid = self.json(&["daemon", "status"])["daemon"]["pid"].as_i64().expect("a pid");
        Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid")
    }

    /// Ends the daemon by force and waits until it has gone.
    pub fn kill_daemon(&self) -> Pid {
        let pid = self.daemon();
        assert!(kill_and_wait(pid), "it is there");
        pid
    }

    /// Waits until the daemon has died of its fault.
    pub fn daemon_dies(&self) {
        let lock = self.home().join("daemon.lock");
        until("the daemon dies", || {
            let text = std::fs::read_to_string(&lock).unwrap_or_default();
            let holder: Option<Value> = serde_json::from_str(&text).ok();
            let pid = holder.as_ref().and_then(|holder| holder["pid"].as_u64());
            pid.is_some_and(|pid| {
                let process = u32::try_from(pid).ok().and_then(lanes::proc::process);
                process.is_none_or(|process| process.is_dead())
            })
        });
    }

    /// The user's own configuration from now on; a daemon that runs has read another.
    pub fn configure(&self, text: &str) {
        let off = if self.spares { "" } else { "pool.size = 0\n" };
        write(&self.real.join("user/.config/lanes/config.toml"), &format!("{off}{text}"));
    }

    /// As many crashes as a test wants are no reason for safe mode.
    pub fn may_crash(&self) {
        self.configure("[daemon]\ncrash_limit = 0\n");
    }

    /// Makes a lane.
    pub fn create(&self, name: &str) -> Made {
        self.create_with(&["create", name])
    }

    /// Makes a lane with `create` and more words.
    pub fn create_with(&self, args: &[&str]) -> Made {
        made(&self.json(args)["lane"])
    }

    /// An open lane.
    pub fn made(&self, name: &str) -> Made {
        made(&self.json(&["show", name])["lane"])
    }

    /// Brings a lane back with `restore` and these words.
    pub fn restore(&self, args: &[&str]) -> Made {
        let mut all = vec!["restore"];
        all.extend(args);
        made(&self.json(&all)["lane"])
    }

    /// Runs a shell script in a lane, which must succeed.
    pub fn sh(&self, lane: &str, script: &str) -> String {
        self.ok(&["exec", lane, "--", "sh", "-ec", script])
    }

    /// The events of a topic.
    pub fn events(&self, topic: &str) -> Vec<Value> {
        let text = self.ok(&["--json", "events", "--since", "0", "--topic", topic]);
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    /// Waits until the files of a closed lane are saved, and returns what became of them.
    pub fn saved(&self, id: &str) -> Value {
        let find = || {
            let events = self.events("lane.worktree.saved");
            events.into_iter().find(|event| event["lane_id"] == id)
        };
        until("the files of the lane are saved", || find().is_some());
        find().expect("just found")["payload"]["saved"].clone()
    }

    /// Runs plain git in the repository, which must succeed, and returns what it printed.
    pub fn git<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.git_in(&self.repo(), args)
    }

    /// Runs plain git in a folder, which must succeed, and returns what it printed. A lock that the daemon's
    /// own git holds is waited for.
    pub fn git_in<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> String {
        let mut ran = self.try_git(folder, args);
        let begun = std::time::Instant::now();
        while ran.code != Some(0) && ran.stderr.contains(".lock': File exists") && begun.elapsed() < PATIENCE
        {
            std::thread::sleep(std::time::Duration::from_millis(50));
            ran = self.try_git(folder, args);
        }
        assert_eq!(ran.code, Some(0), "git {:?}: {}{}", words(args), ran.stdout, ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    /// Runs plain git in a folder.
    pub fn try_git<S: AsRef<OsStr>>(&self, folder: &Path, args: &[S]) -> Ran {
        let mut command = Command::new("git");
        command.args(args).current_dir(folder).env_clear().envs(self.env());
        self.as_user(&mut command);
        ran(&mut command)
    }

    /// Writes a file of the main checkout.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.repo().join(path), text);
    }

    /// Commits everything in the main checkout and returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// An executable script outside of the repository.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.real.join("scripts").join(name);
        write(&path, text);
        executable(&path);
        path
    }

    /// From now on a checkout says when it has begun, and waits.
    pub fn slow_checkout(&self) -> Slow {
        let (reached, open) = (self.real.join("tmp/reached"), self.real.join("tmp/open"));
        let wait =
            format!(": > '{}'; while ! test -e '{}'; do sleep 0.05; done", reached.display(), open.display());
        let script = self.script("slow", &format!("#!/bin/sh\n{wait}\nexec cat\n"));
        self.write(".gitattributes", "*.slow filter=slow\n");
        self.write("one.slow", "1\n");
        let _oid = self.commit("slow");
        self.git(&["config", "filter.slow.smudge", &script.display().to_string()]);
        Slow { reached, open, script }
    }

    /// What there is now.
    pub fn inventory(&self) -> Inventory {
        let root = self.root();
        let mut trees = names(&root);
        trees.retain(|name| !name.starts_with('.'));
        let admin = self.repo().join(".git/worktrees");
        let vault = root.join(".vault/.git");
        let is_vault = |name: &str| {
            let text = std::fs::read(admin.join(name).join("gitdir")).unwrap_or_default();
            text.trim_ascii_end() == vault.as_os_str().as_bytes()
        };
        let branches = self.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
        let mut found = BTreeSet::new();
        sockets(&self.home(), &mut found);
        Inventory {
            trees,
            trash: names(&root.join(".trash")),
            admin: names(&admin)
                .into_iter()
                .filter(|name| !is_vault(name) && !is_of_spare(&admin.join(name)))
                .collect(),
            branches: branches.lines().map(str::to_owned).collect(),
            processes: self.processes().into_iter().filter(|(_pid, _line, task)| *task).map(said).collect(),
            sockets: found,
        }
    }

    /// The ready spares of the repository, whichever home they belong to: what each says of itself, with its name.
    pub fn spares(&self, kind: &str) -> Vec<Value> {
        let admin = self.repo().join(".git/worktrees");
        let spare = |name: String| {
            let text = std::fs::read(admin.join(&name).join("lanes-spare.json")).ok()?;
            let mut spare: Value = serde_json::from_slice(&text).ok()?;
            spare["name"] = name.into();
            let has_order = admin.join(spare["name"].as_str()?).join("lanes.json").exists();
            (spare["ready"] == true && spare["kind"] == kind && !has_order).then_some(spare)
        };
        names(&admin).into_iter().filter_map(spare).collect()
    }

    /// Waits until there are at least so many pooled trees at a commit, and a template of it.
    pub fn stocked(&self, count: usize, base: &str) {
        let at = |kind: &str| self.spares(kind).iter().filter(|spare| spare["base"] == base).count();
        until("the pool is full", || at("pooled") >= count && at("template") > 0);
    }

    /// True when nothing is left in the root of trees but spares.
    pub fn has_only_spares(&self) -> bool {
        names(&self.root())
            .iter()
            .all(|name| [".workspace", ".reserve", ".pool", ".template"].contains(&name.as_str()))
    }

    /// Waits until nothing of any lane is left but trash and branches.
    pub fn nothing_open(&self) {
        let clean = || {
            let now = self.inventory();
            now.trees.is_empty() && now.admin.is_empty() && now.processes.is_empty() && now.sockets.is_empty()
        };
        let begun = std::time::Instant::now();
        while !clean() {
            assert!(begun.elapsed() < PATIENCE, "left: {:#?}", self.inventory());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Every process of this scene: pid, command line, whether it belongs to a task.
    pub fn processes(&self) -> Vec<(u32, String, bool)> {
        let mark = self.real.as_os_str().as_bytes();
        let has = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        let mut found = Vec::new();
        for process in lanes::proc::all() {
            let read =
                |file: &str| std::fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
            let (environment, line) = (read("environ"), read("cmdline"));
            if !has(&environment) && !has(&line) {
                continue;
            }
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let marked = lanes::proc::variable(process.pid, "LANES_TASK_SECRET").is_some();
            let keeper = line.split(' ').any(|word| word.contains("keeper"));
            found.push((process.pid, line, marked || keeper));
        }
        found
    }

    /// Ends the daemon and says what is left of the scene's processes and sockets.
    pub fn stop(&self) -> Vec<String> {
        let stopped = self.lanes(&["daemon", "stop"]);
        let mut left = Vec::new();
        if stopped.code != Some(0) {
            left.push(format!("daemon stop: {}{}", stopped.stdout, stopped.stderr));
        }
        let begun = std::time::Instant::now();
        while !self.processes().is_empty() && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        left.extend(self.processes().into_iter().map(said));
        let mut found = BTreeSet::new();
        sockets(&self.home(), &mut found);
        left.extend(found);
        left
    }
}

/// True for the admin entry of a spare that no lane has, ready or not.
fn is_of_spare(admin: &Path) -> bool {
    let name = admin.file_name().unwrap_or_default();
    name.as_bytes().starts_with(b"spare-") && !admin.join("lanes.json").exists()
}

impl Drop for Scene {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        let open: Vec<String> = self.lanes(&["ls"]).stdout.lines().map(str::to_owned).collect();
        if open.len() > 1 && !std::thread::panicking() {
            let _refused_ones_are_found_below = self.lanes(&["cleanup", "--all", "--force"]);
        }
        let left = self.stop();
        for (pid, _line, _task) in self.processes() {
            let process = lanes::proc::process(pid);
            let _gone = process.map(|one| lanes::keeper::signal(&one, &[rustix::process::Signal::KILL]));
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default();
            eprintln!("the daemon said:\n{log}");
            return;
        }
        assert!(left.is_empty(), "left after {:?}: {left:#?}", begun.elapsed());
    }
}

fn said((pid, line, _task): (u32, String, bool)) -> String {
    format!("{pid} {line}")
}

fn words<S: AsRef<OsStr>>(args: &[S]) -> Vec<&OsStr> {
    args.iter().map(AsRef::as_ref).collect()
}

fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn made(lane: &Value) -> Made {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("text in {lane}")).to_owned();
    Made {
        name: text(&lane["name"]),
        id: text(&lane["id"]),
        path: text(&lane["worktree"]).into(),
        branch: text(&lane["branch"]),
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn sockets(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            sockets(&entry.path(), found);
        } else if kind.is_socket() && entry.file_name() != OsStr::new("daemon.sock") {
            let _new = found.insert(entry.path().to_string_lossy().into_owned());
        }
    }
}
