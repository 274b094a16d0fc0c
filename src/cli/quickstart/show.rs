//! The live table: redrawn in place on a terminal, one line for each change elsewhere.

use std::time::{Duration, Instant};

use super::super::output::Output;
use super::super::render::age;
use super::super::table::{Align, Table};
use crate::failure::Failure;

/// One lane of the table.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    state: String,
    said: String,
    took: Option<Duration>,
}

/// The table.
pub struct Show {
    output: Output,
    rows: Vec<Row>,
    drawn: usize,
    begun: Instant,
}

impl Show {
    /// A table of these lanes.
    pub fn new(output: Output, names: &[String]) -> Self {
        let row = |name: &String| Row {
            name: name.clone(),
            state: "provisioning".into(),
            said: String::new(),
            took: None,
        };
        Self { output, rows: names.iter().map(row).collect(), drawn: 0, begun: Instant::now() }
    }

    /// A lane is in another state.
    pub fn state(&mut self, lane: usize, state: &str) -> Result<(), Failure> {
        if self.rows[lane].state == state {
            return Ok(());
        }
        self.rows[lane].state = state.into();
        self.changed(lane, state)
    }

    /// A lane was made.
    pub fn made(&mut self, lane: usize, took: Duration) -> Result<(), Failure> {
        self.rows[lane].took = Some(took);
        self.rows[lane].state = "ready".into();
        self.changed(lane, &format!("ready after {}", age(took)))
    }

    /// A command printed a line.
    pub fn said(&mut self, lane: usize, line: &str) -> Result<(), Failure> {
        self.rows[lane].said = line.into();
        self.changed(lane, line)
    }

    /// Draws it.
    pub fn draw(&mut self) -> Result<(), Failure> {
        let Some(width) = self.output.width.filter(|_| !self.output.json) else { return Ok(()) };
        let mut table = Table::new(&[
            ("LANE", Align::Left),
            ("STATE", Align::Left),
            ("MADE IN", Align::Right),
            ("LAST LINE", Align::Left),
        ]);
        for row in &self.rows {
            let took = row.took.map(age).unwrap_or_else(|| "…".into());
            table.row([row.name.as_str(), &format!("{:<12}", row.state), &took, &row.said]);
        }
        let lines = table.lines(Some(width.saturating_sub(1)));
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let body: String = lines.iter().map(|line| format!("\x1b[2K{line}\r\n")).collect();
        self.output.bytes(format!("{up}{body}").as_bytes())
    }

    fn changed(&mut self, lane: usize, what: &str) -> Result<(), Failure> {
        if self.output.json {
            return Ok(());
        }
        if self.output.width.is_some() {
            return self.draw();
        }
        let name = &self.rows[lane].name;
        let line = format!("{:>6} ms  {name}: {what}", self.begun.elapsed().as_millis());
        self.output.line(&super::super::sanitise::clean(&line))
    }
}
