//! A served bus on a memory journal, in a folder of its own, for tests of the socket.
#![allow(dead_code, reason = "each test file uses another part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanes::api::{Client, socket};
use lanes::bus::{BoxFuture, Bus, Context, Hub, MemoryJournal};
use lanes::daemon::{ServeOptions, Served, Socket, serve};
use lanes::failure::Failure;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No step of a test takes longer, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// A bus with a few methods: `test.echo`, `test.count` (how often it ran), `test.publish {count}`,
/// `test.wait` (until `release` is cancelled), `test.fail`.
pub struct World {
    pub bus: Bus,
    pub ran: Arc<AtomicUsize>,
    pub release: CancellationToken,
}

impl World {
    pub fn new() -> Self {
        let hub = Hub::new();
        let bus = Bus::new(Arc::new(MemoryJournal::new(hub.clone())), hub);
        let world = Self { bus, ran: Arc::default(), release: CancellationToken::new() };
        world.register();
        world
    }

    fn register(&self) {
        self.on("test.echo", |params, context| async move {
            Ok(json!({ "params": params, "correlation_id": context.correlation_id, "actor": context.actor,
                       "from_lane": context.from_lane }))
        });
        let ran = self.ran.clone();
        let release = self.release.clone();
        self.on("test.count", move |params, _context| {
            let (ran, release) = (ran.clone(), release.clone());
            async move {
                let count = ran.fetch_add(1, Ordering::SeqCst) + 1;
                if params["waits"] == true {
                    release.cancelled().await;
                }
                Ok(json!({ "ran": count }))
            }
        });
        let release = self.release.clone();
        self.on("test.wait", move |_params, _context| {
            let release = release.clone();
            async move {
                release.cancelled().await;
                Ok(json!({}))
            }
        });
        let bus = self.bus.clone();
        self.on("test.publish", move |params, context| {
            let bus = bus.clone();
            async move {
                for n in 0..params["count"].as_u64().unwrap_or(1) {
                    bus.publish(context.draft("test.happened", json!({ "n": n }))).await?;
                }
                Ok(json!({}))
            }
        });
        self.on("test.fail", |_params, _context| async move {
            let code = lanes::failure::Code::AtCapacity;
            Err(Failure::new(code, "50 lanes are open").hint("close one"))
        });
    }

    pub fn on<F, A>(&self, method: &'static str, handler: F)
    where
        F: Fn(Value, Context) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let handler = move |params, context| -> BoxFuture<'static, Result<Value, Failure>> {
            Box::pin(handler(params, context))
        };
        self.bus.register(method, Arc::new(handler)).expect("a method is registered once");
    }
}

/// A socket that is being served.
pub struct Running {
    pub home: PathBuf,
    stop: CancellationToken,
    served: JoinHandle<Served>,
}

impl Running {
    pub fn start(home: &Path, world: &World) -> Self {
        Self::start_with(home, world, |_options| {})
    }

    pub fn start_with(home: &Path, world: &World, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let socket = Socket::bind(home).expect("the socket is bound");
        let mut options = ServeOptions::new(socket, world.bus.clone());
        change(&mut options);
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(options, stop.clone()));
        Self { home: home.to_path_buf(), stop, served }
    }

    pub async fn client(&self) -> Client {
        soon(Client::connect(&self.home, "test 1")).await.expect("the server greets")
    }

    pub fn stop_soon(&self) {
        self.stop.cancel();
    }

    pub async fn stop(self) -> Served {
        self.stop.cancel();
        soon(self.served).await.expect("the server ends")
    }

    /// A connection that has said nothing yet.
    pub async fn bare(&self) -> Bare {
        Bare::new(soon(socket::connect(&self.home)).await.expect("somebody listens"))
    }

    /// A connection that has said hello.
    pub async fn greeted(&self) -> Bare {
        let mut bare = self.bare().await;
        bare.say(r#"{"jsonrpc":"2.0","id":"h","method":"daemon.hello","params":{"client":"bare 1","protocol_min":1,"protocol_max":1}}"#).await;
        assert_eq!(bare.hear().await["id"], "h");
        bare
    }
}

/// Lines, as they are.
pub struct Bare {
    pub read: BufReader<tokio::net::unix::OwnedReadHalf>,
    pub write: tokio::net::unix::OwnedWriteHalf,
}

impl Bare {
    fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write }
    }

    pub async fn say(&mut self, line: &str) {
        soon(self.write.write_all(format!("{line}\n").as_bytes())).await.expect("the server reads");
    }

    /// The next line; null at the end.
    pub async fn hear(&mut self) -> Value {
        let mut line = String::new();
        soon(self.read.read_line(&mut line)).await.expect("the server writes text");
        if line.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&line).expect("the server writes JSON")
        }
    }
}
