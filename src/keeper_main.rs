//! The keeper as a small program of its own; see [`lanes::keeper`].

fn main() {
    lanes::keeper::main_if_invoked();
    eprintln!("lanes-keeper is started by lanes, for one task each; see `lanes --help`");
    std::process::exit(2);
}
