//! The `lanes` program.

fn main() {}
