//! Tests of `src/daemon/socket.rs`, `src/daemon/home.rs`, `src/api/socket.rs` and `src/api/stdio.rs`.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lanes::api::{socket, stdio};
use lanes::daemon::{DaemonError, Socket};
use lanes::home::{HomeError, private_folder};
use serde_json::json;

use crate::support::server::{Running, World, soon};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode is set");
}

#[tokio::test]
async fn the_socket_is_ours_alone_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("a/b/home");
    let socket = Socket::bind(&home).expect("it is bound");
    assert_eq!((mode(&home), mode(socket.path())), (0o700, 0o600));
    // What a killed runtime leaves: a socket that nobody listens on.
    std::mem::forget(socket);
    let socket = Socket::bind(&home).expect("the stale one is replaced");
    let path = socket.path().to_path_buf();
    drop(socket);
    assert!(!path.exists());
    std::fs::write(&path, "precious").expect("a file");
    assert!(matches!(Socket::bind(&home), Err(DaemonError::InTheWay { .. })));
    assert_eq!(std::fs::read(&path).expect("it is still there"), b"precious");
}

#[test]
fn a_home_that_others_can_reach_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    let refused = |home: &Path| matches!(private_folder(home), Err(HomeError::Unsafe { .. }));
    for open in [0o770, 0o702, 0o1777] {
        set_mode(&home, open);
        assert!(refused(&home), "{open:o}");
    }
    set_mode(&home, 0o755);
    private_folder(&home).expect("it is closed to others");
    assert_eq!(mode(&home), 0o700);
    let link = folder.path().join("link");
    symlink(&home, &link).expect("a link");
    assert!(refused(&link));
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    assert!(refused(&file));
    assert!(refused(Path::new("relative")));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&home, Some(65_534), None).expect("given away");
        assert!(refused(&home));
    }
}

#[tokio::test]
async fn a_home_too_deep_for_a_socket_address_is_served_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("long/".repeat(40)).join("home");
    let running = Running::start(&home, &World::new());
    assert!(home.as_os_str().len() > 200);
    assert_eq!(mode(&home.join("daemon.sock")), 0o600);
    let reply = running.client().await.request("test.echo", json!({})).await;
    assert!(reply.is_ok());
    running.stop().await;
    assert!(!home.join("daemon.sock").exists());
}

/// True for root, where the folder of temporary files can be reached by everybody; else says why not.
fn another_user_gets_to_temporary_files() -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let open =
        |folder: &Path| std::fs::metadata(folder).is_ok_and(|about| about.permissions().mode() & 0o001 != 0);
    let reached = std::env::temp_dir().ancestors().all(open);
    let root = rustix::process::geteuid().is_root();
    if !(root && reached) {
        eprintln!("not tried: it takes root, and a folder for temporary files that others can reach");
    }
    root && reached
}

/// Runs as root only: another user is made by giving one's own up.
#[tokio::test]
async fn another_user_is_cut_off() {
    if !another_user_gets_to_temporary_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let running = Running::start(&home, &World::new());
    // Even when the folders and the socket were open to everybody.
    set_mode(folder.path(), 0o755);
    set_mode(&home, 0o777);
    set_mode(&home.join("daemon.sock"), 0o666);
    let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                  s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}\\n'); \
                  sys.exit(len(s.recv(1)))";
    let path = home.join("daemon.sock");
    let asked = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(path).uid(65_534).gid(65_534).current_dir("/");
        python.stdout(Stdio::null()).stderr(Stdio::piped()).output()
    });
    let output = soon(asked).await.expect("it ends").expect("python runs");
    // Nothing was received: an end of file, or a reset because nobody had read.
    let said = String::from_utf8_lossy(&output.stderr);
    let cut_off = output.status.success() || said.contains("BrokenPipe") || said.contains("ConnectionReset");
    assert!(cut_off, "{:?} {said}", output.status);
    soon(running.client().await.request("test.echo", json!({}))).await.expect("we are served");
    running.stop().await;
}

/// Runs as root only, likewise: somebody else's socket in our home.
#[tokio::test]
async fn a_server_of_another_user_is_not_talked_to() {
    if !another_user_gets_to_temporary_files() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    set_mode(folder.path(), 0o755);
    set_mode(&home, 0o777);
    let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                  print('up', end='', flush=True); sys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(home.join("daemon.sock")).uid(65_534).gid(65_534).current_dir("/");
    let mut server = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
    let mut up = [0; 2];
    let mut stdout = server.stdout.take().expect("a pipe");
    let listening = tokio::task::spawn_blocking(move || stdout.read_exact(&mut up));
    soon(listening).await.expect("it ends").expect("it listens");
    let error = soon(socket::connect(&home)).await.expect_err("it is not ours");
    assert!(matches!(error, lanes::api::ApiError::ForeignServer { path: _, uid: 65_534 }), "{error}");
    drop(server.stdin.take());
    server.wait().expect("it ends");
}

#[tokio::test]
async fn the_bridge_carries_requests_and_replies_and_ends_with_its_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let running = Running::start(&home, &World::new());
    let (from_us, mut to_bridge) = std::io::pipe().expect("a pipe");
    let (mut from_bridge, to_us) = std::io::pipe().expect("a pipe");
    let bridging = tokio::task::spawn_blocking(move || stdio::bridge(&home, from_us, to_us));
    let large = "x".repeat(300 << 10);
    let asking = tokio::task::spawn_blocking(move || {
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "daemon.hello",
                            "params": { "client": "ssh 1", "protocol_min": 1, "protocol_max": 1 } });
        let echo = json!({ "jsonrpc": "2.0", "id": 2, "method": "test.echo", "params": { "text": large } });
        write!(to_bridge, "{hello}\n{echo}\n").expect("the bridge reads");
    });
    let hearing = tokio::task::spawn_blocking(move || {
        let mut heard = String::new();
        from_bridge.read_to_string(&mut heard).map(|_length| heard)
    });
    soon(asking).await.expect("it ends");
    soon(bridging).await.expect("it ends").expect("it bridges");
    let heard = soon(hearing).await.expect("it ends").expect("text");
    let lines: Vec<serde_json::Value> =
        heard.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["id"], &lines[1]["id"], lines.len()), (&json!(1), &json!(2), 2));
    assert_eq!(lines[1]["result"]["params"]["text"].as_str().map(str::len), Some(300 << 10));
    running.stop().await;
}
