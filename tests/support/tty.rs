//! A real terminal for a program, with somebody who reads what it draws.
#![allow(dead_code, reason = "each suite uses a part")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::stage::until;

/// Our side of a terminal, and what was drawn on it.
pub struct Terminal {
    main: File,
    slave: OwnedFd,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn new() -> Self {
        let terminal = Self::unread();
        terminal.read();
        terminal
    }

    /// Begins to read what is drawn.
    pub fn read(&self) {
        let (mut from, drawn) = (self.main.try_clone().expect("clones"), self.drawn.clone());
        // Ends when the last descriptor of the other side is closed.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                drawn.lock().expect("no panic").extend_from_slice(&buffer[..n]);
            }
        });
    }

    /// One that nobody reads.
    pub fn unread() -> Self {
        let main =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&main).expect("grants");
        unlockpt(&main).expect("unlocks");
        let name = ptsname(&main, Vec::new()).expect("has a name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).expect("opens");
        let terminal = Self { main: File::from(main), slave, drawn: Arc::default() };
        terminal.resize(80, 24);
        terminal
    }

    pub fn resize(&self, cols: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.slave, size).expect("resizes");
    }

    /// Starts a program with its three streams at this terminal.
    pub fn start(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.slave.try_clone().expect("clones"));
        command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("starts")
    }

    pub fn drew(&self, text: &str) -> bool {
        let drawn = self.drawn.lock().expect("no panic");
        drawn.windows(text.len()).any(|part| part == text.as_bytes())
    }

    pub fn until_drawn(&self, text: &str) {
        until(&format!("{text:?} is drawn"), || self.drew(text));
    }

    pub fn type_in(&self, keys: &[u8]) {
        (&self.main).write_all(keys).expect("types");
    }

    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("has modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}
