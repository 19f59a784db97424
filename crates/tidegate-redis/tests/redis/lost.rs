//! Connections that are lost without a sign, as behind a router that forgets them.

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

/// Passes bytes on to `server`. The connections that are there when the value changes stay open, and pass on
/// nothing more.
async fn router(server: String) -> (String, watch::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (lose, lost) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut lost) = (server.clone(), lost.clone());
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
    (url, lose)
}

/// Regression: the operations failed, and the subscription received nothing, until the system gave the
/// connection up after a quarter of an hour, or for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_without_a_sign_is_replaced() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let (url, lose) = router(server.url().replace("redis://", "")).await;
    let store = |url: &str| {
        let mut settings = RedisSettings::new(url);
        settings.store.timeout = Duration::from_millis(500);
        RedisStore::lazy(settings).unwrap()
    };
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
    let works = async || {
        while behind_router.circuit("other", CircuitChange::Read).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(BOUND, works()).await.expect("the store is there");
    timeout(BOUND, receives()).await.expect("the subscription is there");
    lose.send(()).unwrap();
    assert!(behind_router.circuit("other", CircuitChange::Read).await.is_err());
    timeout(BOUND, works()).await.expect("the operations have a new connection");
    timeout(BOUND, receives()).await.expect("the subscription has a new connection");
}
