//! A real terminal emulator: tmux on a socket of its own.
#![allow(dead_code, reason = "each suite uses a part")]

use std::path::PathBuf;
use std::process::Command;

use super::e2e::Scene;
use super::stage::until;

/// A tmux server; it ends when this is dropped.
pub struct Tmux<'a> {
    scene: &'a Scene,
    socket: PathBuf,
}

/// True when a program is there; says so when it is not.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

impl<'a> Tmux<'a> {
    pub fn new(scene: &'a Scene) -> Self {
        let config = "set -g status off\nset -g default-terminal screen-256color\nset -s escape-time 0\n\
                      set -g remain-on-exit on\n";
        std::fs::write(scene.path().join("tmux.conf"), config).expect("writes");
        Self { scene, socket: scene.path().join("tmux.sock") }
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).arg("-f").arg(self.scene.path().join("tmux.conf"));
        // tmux writes letters that are not ASCII only where it is told that it may.
        command.args(["-u"]).args(args).env_clear().envs(self.scene.env()).env("LC_ALL", "C.UTF-8");
        let output = command.output().expect("tmux starts");
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell script in a terminal of this name and size.
    pub fn start(&self, name: &str, cols: u16, rows: u16, folder: &std::path::Path, script: &str) {
        let (cols, rows) = (cols.to_string(), rows.to_string());
        let folder = folder.to_str().expect("text");
        let lanes = env!("CARGO_BIN_EXE_lanes");
        let script = format!("lanes() {{ {lanes} \"$@\"; }}; {script}");
        self.run(&[
            "new-session",
            "-d",
            "-s",
            name,
            "-x",
            &cols,
            "-y",
            &rows,
            "-c",
            folder,
            "sh",
            "-c",
            &script,
        ]);
    }

    /// Types keys, by tmux's names for them.
    pub fn keys(&self, name: &str, keys: &[&str]) {
        let mut args = vec!["send-keys", "-t", name];
        args.extend(keys);
        self.run(&args);
    }

    /// Types text as it is.
    pub fn text(&self, name: &str, text: &str) {
        self.run(&["send-keys", "-t", name, "-l", text]);
    }

    /// What is on the screen, with colours, and where the cursor is.
    pub fn screen(&self, name: &str) -> String {
        let cells = self.run(&["capture-pane", "-p", "-e", "-N", "-t", name]);
        let lines: Vec<_> = cells.lines().map(str::trim_end).collect();
        format!("{}\n{}", lines.join("\n"), self.ask(name, "#{cursor_x},#{cursor_y} #{alternate_on}"))
    }

    /// The letters on the screen.
    pub fn letters(&self, name: &str) -> String {
        self.run(&["capture-pane", "-p", "-t", name])
    }

    /// What tmux knows of a terminal.
    pub fn ask(&self, name: &str, format: &str) -> String {
        self.run(&["display-message", "-p", "-t", name, format]).trim_end().to_owned()
    }

    pub fn resize(&self, name: &str, cols: u16, rows: u16) {
        self.run(&["resize-window", "-t", name, "-x", &cols.to_string(), "-y", &rows.to_string()]);
    }

    pub fn until_shown(&self, name: &str, text: &str) {
        until(&format!("{text:?} is in\n{}", self.letters(name)), || self.letters(name).contains(text));
    }

    /// Waits until two terminals look the same, and returns what they show.
    #[track_caller]
    pub fn until_same(&self, one: &str, other: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            let (first, second) = (self.screen(one), self.screen(other));
            if first == second {
                return first;
            }
            let late = begun.elapsed() > std::time::Duration::from_secs(15);
            assert!(!late, "{one} shows\n{first}\nand {other}\n{second}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let _none_was_started = command.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}
