//! What happens beside the runtime: agents work, processes come and go, users do as they like.

use std::collections::BTreeSet;

use lanes::keeper::ExitStatus;
use lanes::worktree::Order;

use super::git::{Admin, Folder, Head, Whose};
use super::machine::{Process, Role};
use super::sim::{Sim, State};

/// Trees that users and agents work in: those of lanes that somebody was told are there.
fn workplaces(state: &State) -> Vec<(String, String)> {
    let open = |order: &Order| state.recorded.get(&order.lane_id).is_some_and(|lane| lane.takes_tasks());
    let of_lane = |(id, admin): (&String, &Admin)| {
        let order = admin.order.as_ref()?;
        let folder = state.git.trees.get(&admin.path)?;
        (open(order) && folder.admin.as_ref() == Some(id)).then(|| (id.clone(), admin.path.clone()))
    };
    state.git.admins.iter().filter_map(of_lane).collect()
}

/// Something that happens beside the runtime.
pub fn meanwhile(sim: &Sim) {
    let choice = sim.lock().rng.below(100);
    match choice {
        0..=39 => work(sim),
        40..=84 => processes(sim),
        _rest => others(sim),
    }
}

/// Somebody works in a lane.
fn work(sim: &Sim) {
    let places = workplaces(&sim.lock());
    let Some((admin_id, path)) = sim.lock().rng.pick(&places) else { return };
    let choice = sim.lock().rng.below(100);
    match choice {
        0..=44 => sim.change(
            || format!("a file in {path}"),
            |state| {
                let file = state.new_file();
                state.git.trees.get_mut(&path).expect("it is there").files.insert(file);
            },
        ),
        45..=79 => sim.change(
            || format!("a commit in {path}"),
            |state| {
                let files = std::mem::take(&mut state.git.trees.get_mut(&path).expect("it is there").files);
                let head = state.git.head_of(&state.git.admins[&admin_id]);
                let commit = state.new_commit(head.into_iter().collect(), files);
                move_head(state, &admin_id, commit);
            },
        ),
        80..=89 => sim.change(
            || format!("HEAD is detached in {path}"),
            |state| {
                if let Some(head) = state.git.head_of(&state.git.admins[&admin_id]) {
                    state.git.admins.get_mut(&admin_id).expect("it is there").head = Head::At(head);
                }
            },
        ),
        _rest => sim.change(
            || format!("a reset to the commit before in {path}"),
            |state| {
                let head = state.git.head_of(&state.git.admins[&admin_id]);
                let before = head.and_then(|head| state.git.commits[head].0.first().copied());
                if let Some(before) = before {
                    move_head(state, &admin_id, before);
                }
            },
        ),
    }
}

fn move_head(state: &mut State, admin_id: &str, to: usize) {
    let admin = state.git.admins.get_mut(admin_id).expect("it is there");
    admin.log.insert(to);
    match admin.head.clone() {
        Head::Branch(name) => drop(state.git.branches.insert(name, to)),
        Head::At(_) => admin.head = Head::At(to),
    }
    // A lane may be on a branch of the user.
    state.others = state.git.others();
}

fn processes(sim: &Sim) {
    let all: Vec<(u32, Role)> =
        sim.lock().machine.processes.iter().map(|(pid, one)| (*pid, one.role)).collect();
    let of = |role: Role| -> Vec<u32> {
        all.iter().filter(|(_pid, one)| *one == role).map(|(pid, _one)| *pid).collect()
    };
    let choice = sim.lock().rng.below(100);
    let role = match choice {
        0..=34 => Role::Command,
        35..=54 => Role::Child,
        55..=69 => Role::Keeper,
        _rest => Role::Stranger,
    };
    let one = sim.lock().rng.pick(&of(role));
    match (role, one) {
        (Role::Command, Some(pid)) if choice < 20 => sim.change(
            || format!("command {pid} ends"),
            |state| {
                state.machine.end(pid, ExitStatus::Code(0));
                // Its number is taken by somebody else at once.
                if state.rng.chance(40) {
                    state.new_stranger();
                }
            },
        ),
        (Role::Command, Some(pid)) => sim.change(
            || format!("command {pid} starts a child"),
            |state| {
                let parent = state.machine.processes[&pid].clone();
                let hides = state.rng.chance(30);
                let mut child = Process { role: Role::Child, ..parent };
                child.secret = child.secret.filter(|_| !hides);
                let (pid, _start) = state.machine.spawn(child);
                if hides {
                    state.hidden.insert(pid);
                }
            },
        ),
        (Role::Child, Some(pid)) => sim.change(
            || format!("child {pid} ends"),
            |state| {
                state.machine.end(pid, ExitStatus::Code(0));
                state.hidden.remove(&pid);
            },
        ),
        (Role::Keeper, Some(pid)) => sim.change(
            || format!("keeper {pid} is ended by force"),
            |state| {
                state.machine.end(pid, ExitStatus::Signal(9));
            },
        ),
        (Role::Stranger, Some(pid)) if choice < 80 => sim.change(
            || format!("stranger {pid} ends"),
            |state| {
                state.strangers.remove(&pid);
                state.machine.processes.remove(&pid);
            },
        ),
        (Role::Stranger, _none) => sim.change(|| "a stranger begins".to_owned(), State::new_stranger),
        (Role::Command | Role::Child | Role::Keeper, None) => {}
    }
}

/// Users work in their own places, and take lanes apart.
fn others(sim: &Sim) {
    let places = workplaces(&sim.lock());
    let place = sim.lock().rng.pick(&places);
    let choice = sim.lock().rng.below(100);
    match (choice, place) {
        (0..=29, _) => sim.others_do(
            || "main moves on".to_owned(),
            |state| {
                let main = state.git.branches["main"];
                let commit = state.new_commit(vec![main], BTreeSet::new());
                state.git.branches.insert("main".into(), commit);
            },
        ),
        (30..=54, Some((admin, path))) => sim.others_do(
            || format!("{path} is merged into main"),
            |state| {
                let main = state.git.branches["main"];
                let Some(head) = state.git.head_of(&state.git.admins[&admin]) else { return };
                let commit = state.new_commit(vec![main, head], BTreeSet::new());
                state.git.branches.insert("main".into(), commit);
            },
        ),
        (55..=66, Some((_admin, path))) => sim.others_do(
            || format!("{path} is deleted by hand"),
            |state| {
                state.git.trees.remove(&path);
            },
        ),
        (67..=76, Some((_admin, path))) => sim.others_do(
            || format!("{path} is replaced"),
            |state| {
                let (ino, file) = (state.git.new_ino(), state.new_file());
                let files = BTreeSet::from([file]);
                let folder = Folder { whose: Whose::Others, ino, admin: None, files };
                state.git.trees.insert(path.clone(), folder);
            },
        ),
        (77..=84, Some((admin, path))) => sim.others_do(
            || format!("git worktree remove {path}"),
            |state| {
                state.git.trees.remove(&path);
                state.git.admins.remove(&admin);
            },
        ),
        (85.., _) => {
            let free: Vec<String> = {
                let state = sim.lock();
                let ours = state.git.branches.keys().filter(|name| name.starts_with("lanes/"));
                ours.filter(|name| !state.git.is_used(name)).cloned().collect()
            };
            let branch = sim.lock().rng.pick(&free);
            if let Some(branch) = branch {
                sim.others_do(
                    || format!("git branch -D {branch}"),
                    |state| {
                        state.git.branches.remove(&branch);
                    },
                );
            }
        }
        (_rest, None) => {}
    }
}
