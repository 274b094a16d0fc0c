//! What of a terminal's stream goes to the client's own window, as what.

use super::super::connect::terminal::{Filter, Model, Questions, RESET, Size, View};

/// The screen of a terminal in a window. Output goes through as it is while both have one size; else what
/// fits is drawn.
pub struct Picture {
    window: Size,
    read_only: bool,
    /// The terminal's size, when it was told.
    size: Option<Size>,
    /// The window is the terminal's size by right.
    owner: bool,
    state: State,
}

enum State {
    /// What was asked for anew has not begun; what still comes of the old is dropped.
    Awaiting,
    /// The screen is being made of its drawing and the output since.
    Building(Box<Model>),
    /// Output goes through.
    Passing(Filter),
    /// What fits is drawn now and then.
    Viewing { model: Box<Model>, view: View, changed: bool },
}

/// Whether a fresh screen must be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// It is at hand.
    Known,
    /// It must be asked for.
    Wanted,
}

impl Picture {
    /// Nothing is known of the terminal yet.
    pub const fn new(window: Size, read_only: bool) -> Self {
        Self { window, read_only, size: None, owner: false, state: State::Awaiting }
    }

    /// A screen of this size begins.
    pub fn begin(&mut self, size: Size) {
        self.state = State::Building(Box::new(Model::new(size)));
    }

    /// Drawing of the screen that began.
    pub fn drawing(&mut self, bytes: &[u8]) {
        if let State::Building(model) = &mut self.state {
            model.feed(bytes);
        }
    }

    /// Output; what of it goes to the window is appended.
    pub fn output(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let questions = if self.owner && !self.read_only { Questions::Pass } else { Questions::Drop };
        match &mut self.state {
            State::Awaiting => {}
            State::Building(model) => model.feed(bytes),
            State::Passing(filter) => filter.pass(bytes, questions, out),
            State::Viewing { model, changed, .. } => {
                model.feed(bytes);
                *changed = true;
            }
        }
    }

    /// All output so far was given: the screen is drawn.
    pub fn live(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.state, State::Awaiting) {
            State::Building(mut model) => {
                if let Some(size) = self.size {
                    model.resize(size);
                }
                self.draw(model, out);
            }
            other @ (State::Awaiting | State::Passing(_) | State::Viewing { .. }) => self.state = other,
        }
    }

    /// The terminal has this size.
    pub fn sized(&mut self, size: Size, owner: bool, out: &mut Vec<u8>) -> Screen {
        (self.size, self.owner) = (Some(size), owner);
        self.fit(Some(size), out)
    }

    /// The window has this size.
    pub fn resized(&mut self, window: Size, out: &mut Vec<u8>) -> Screen {
        self.window = window;
        self.fit(None, out)
    }

    /// A fresh screen was asked for.
    pub fn refresh(&mut self) {
        self.state = State::Awaiting;
    }

    /// True when there is something to draw that was not drawn yet.
    pub const fn is_due(&self) -> bool {
        matches!(self.state, State::Viewing { changed: true, .. })
    }

    /// True once the screen was drawn, and no other is on its way.
    pub const fn is_drawn(&self) -> bool {
        matches!(self.state, State::Passing(_) | State::Viewing { .. })
    }

    /// Draws what changed.
    pub fn update(&mut self, out: &mut Vec<u8>) {
        if let State::Viewing { model, view, changed } = &mut self.state {
            *changed = false;
            out.extend_from_slice(&view.update(model));
        }
    }

    /// Output goes through while the window has the terminal's size, and while it is about to have it.
    fn passes(&self) -> bool {
        self.owner || self.size.map_or(!self.read_only, |size| size == self.window)
    }

    /// Goes on in the way that the sizes ask for.
    fn fit(&mut self, terminal: Option<Size>, out: &mut Vec<u8>) -> Screen {
        let passes = self.passes();
        match std::mem::replace(&mut self.state, State::Awaiting) {
            State::Passing(_) if !passes => return Screen::Wanted,
            State::Viewing { mut model, .. } => {
                if let Some(size) = terminal {
                    model.resize(size);
                }
                self.draw(model, out);
            }
            same @ (State::Awaiting | State::Building(_) | State::Passing(_)) => self.state = same,
        }
        Screen::Known
    }

    /// Draws the whole screen in one go, on a terminal of which nothing is known.
    fn draw(&mut self, mut model: Box<Model>, out: &mut Vec<u8>) {
        out.extend_from_slice(RESET);
        out.extend_from_slice(b"\x1b[?2026h\x1b[H\x1b[2J");
        if self.passes() {
            out.extend_from_slice(&model.draw());
            let (filter, cut) = model.hand_over();
            out.extend_from_slice(b"\x1b[?2026l");
            out.extend_from_slice(cut);
            self.state = State::Passing(filter);
            return;
        }
        let mut view = View::new(self.window);
        out.extend_from_slice(&view.update(&mut model));
        out.extend_from_slice(b"\x1b[?2026l");
        self.state = State::Viewing { model, view, changed: false };
    }
}
