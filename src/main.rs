//! The `lanes` program: a keeper when it is asked to be one.

fn main() {
    lanes::keeper::main_if_invoked();
}
