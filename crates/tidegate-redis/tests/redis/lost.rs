//! Connections that are lost without a sign, as behind a router that forgets them, and connections that are
//! there and of no use.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidegate::store::{CircuitChange, CircuitView, SharedStore, StoreListener};
use tidegate_redis::{RedisSettings, RedisStore};
use tidegate_testkit::RedisServer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const BOUND: Duration = Duration::from_secs(30);

/// Whether a message has come.
#[derive(Default)]
struct Received(AtomicBool);

impl StoreListener for Received {
    fn on_circuit(&self, _: CircuitView) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Passes bytes on to `server`. The connections that are there when the value of the first sender changes stay
/// open, and pass on nothing more. The second is the server of new connections.
async fn router(server: &RedisServer) -> (String, watch::Sender<()>, watch::Sender<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (lose, lost) = watch::channel(());
    let (set_server, server) = watch::channel(address(server));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut lost) = (server.borrow().clone(), lost.clone());
            lost.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = lost.changed() => pending().await,
                }
            });
        }
    });
    (url, lose, set_server)
}

fn address(server: &RedisServer) -> String {
    server.url().replace("redis://", "")
}

fn store(url: &str) -> RedisStore {
    let mut settings = RedisSettings::new(url);
    settings.store.timeout = Duration::from_millis(500);
    RedisStore::lazy(settings).unwrap()
}

async fn command(server: &RedisServer, command: &str) {
    let mut words = command.split(' ');
    let mut connection =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| _ = command.arg(word));
    command.query_async::<redis::Value>(&mut connection).await.unwrap();
}

/// Until an operation that writes succeeds.
async fn works(store: &RedisStore) {
    let operation = async {
        while store.circuit("other", CircuitChange::Close).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(BOUND, operation).await.expect("the store is there");
}

/// Regression: the connection to a server that had become a replica was kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_a_server_that_takes_no_writes_any_more_is_replaced() {
    let Some(old) = RedisServer::start().await.unwrap() else { return };
    let Some(new) = RedisServer::start().await.unwrap() else { return };
    let (url, _lose, set_server) = router(&old).await;
    let store = store(&url);
    works(&store).await;
    command(&old, &format!("REPLICAOF {}", address(&new).replace(':', " "))).await;
    assert!(store.circuit("other", CircuitChange::Close).await.is_err());
    set_server.send(address(&new)).unwrap();
    works(&store).await;
}

/// Regression: a password that was rejected once was not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_password_was_rejected_is_opened_again() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    command(&server, "ACL SETUSER fleet on >secret ~* &* +@all").await;
    let store = store(&format!("redis://fleet:secret@{}", address(&server)));
    works(&store).await;
    command(&server, "ACL DELUSER fleet").await;
    for _ in 0..5 {
        assert!(store.circuit("other", CircuitChange::Close).await.is_err());
        sleep(Duration::from_millis(300)).await;
    }
    command(&server, "ACL SETUSER fleet on >secret ~* &* +@all").await;
    works(&store).await;
}

/// Regression: the operations failed, and the subscription received nothing, until the system gave the
/// connection up after a quarter of an hour, or for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_without_a_sign_is_replaced() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let (url, lose, _set_server) = router(&server).await;
    let (behind_router, beside) = (store(&url), store(&server.url()));
    let received = Arc::new(Received::default());
    let listener: Weak<dyn StoreListener> = Arc::downgrade(&received) as _;
    behind_router.listen("name", listener);
    let receives = async || {
        received.0.store(false, Ordering::SeqCst);
        while !received.0.load(Ordering::SeqCst) {
            beside.circuit("name", CircuitChange::Close).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    works(&behind_router).await;
    timeout(BOUND, receives()).await.expect("the subscription is there");
    lose.send(()).unwrap();
    assert!(behind_router.circuit("other", CircuitChange::Read).await.is_err());
    works(&behind_router).await;
    timeout(BOUND, receives()).await.expect("the subscription has a new connection");
}

/// Regression: such a server was accepted, and each change of a limit failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_or_user_that_permits_no_changes_is_an_error_of_the_check() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let Some(replica) = RedisServer::start().await.unwrap() else { return };
    command(&replica, &format!("REPLICAOF {}", address(&server).replace(':', " "))).await;
    command(
        &server,
        "ACL SETUSER fleet on >secret ~tidegate:* &tidegate:events* +@all -@admin -@dangerous +cluster|info",
    )
    .await;
    command(&server, "ACL SETUSER keys on >secret ~tidegate:* resetchannels +@all").await;
    command(&server, "ACL SETUSER channels on >secret ~other:* &* +@all").await;
    command(&server, "ACL SETUSER silent on >secret ~* &* +@all -subscribe").await;
    for (user, problem) in [
        ("fleet", None),
        ("keys", Some("to a script that writes and publishes")),
        ("channels", Some("to a script that writes and publishes")),
        ("silent", Some("the server replied NOPERM to a subscription")),
    ] {
        let checked = store(&format!("redis://{user}:secret@{}", address(&server))).check().await;
        let message = checked.err().map(|error| error.to_string());
        assert_eq!(message.is_some(), problem.is_some(), "{user}: {message:?}");
        assert!(message.is_none_or(|message| message.contains(problem.unwrap())), "{user}");
    }
    let message = store(&replica.url()).check().await.unwrap_err().to_string();
    assert!(message.contains("READONLY"), "{message}");
}

/// Regression: what was published in one database closed the gates of all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_of_one_server_have_channels_of_their_own() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let stores = [0, 1].map(|database| store(&format!("{}/{database}", server.url())));
    let later = Arc::new(Received::default());
    let listener: Weak<dyn StoreListener> = Arc::downgrade(&later) as _;
    stores[0].listen("later", listener);
    let received = stores.each_ref().map(|store| {
        let received = Arc::new(Received::default());
        let listener: Weak<dyn StoreListener> = Arc::downgrade(&received) as _;
        store.listen("name", listener);
        received
    });
    // Until the subscription of each is there.
    for (database, received) in received.iter().enumerate() {
        let beside = store(&format!("{}/{database}", server.url()));
        let receives = async {
            while !received.0.load(Ordering::SeqCst) {
                beside.circuit("name", CircuitChange::Close).await.unwrap();
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(BOUND, receives).await.expect("the subscription is there");
    }
    received.iter().for_each(|received| received.0.store(false, Ordering::SeqCst));
    let beside = store(&format!("{}/1", server.url()));
    beside.circuit("name", CircuitChange::Close).await.unwrap();
    // A subscription receives messages in the order in which they were published.
    store(&server.url()).circuit("later", CircuitChange::Close).await.unwrap();
    let receives = async {
        while ![&received[1], &later].iter().all(|received| received.0.load(Ordering::SeqCst)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(BOUND, receives).await.expect("a change in its database");
    assert!(!received[0].0.load(Ordering::SeqCst), "no change in another");
}

/// Regression: the subscription ended with the runtime in which the store was made, and was not made again.
#[test]
fn changes_are_received_after_the_runtime_of_the_store_has_ended() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = runtime();
    let Some(server) = first.block_on(RedisServer::start()).unwrap() else { return };
    let received = Arc::new(Received::default());
    let made = first.block_on(async {
        let store = store(&server.url());
        works(&store).await;
        store
    });
    drop(first);
    let listener: Weak<dyn StoreListener> = Arc::downgrade(&received) as _;
    made.listen("name", listener);
    runtime().block_on(async {
        works(&made).await;
        let other = store(&server.url());
        let published = async {
            while !received.0.load(Ordering::SeqCst) {
                let _ = other.circuit("name", CircuitChange::Close).await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(BOUND, published).await.expect("the change is received");
    });
}
