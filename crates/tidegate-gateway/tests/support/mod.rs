//! A gateway in front of scripted providers, and clients for it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses some of the functions")]

#[cfg(unix)]
pub mod process;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The API key in the variable `PROVIDER_KEY`.
pub const KEY: &str = "sk-the-key-of-the-provider";

/// No response may take longer: a test that would hang fails instead.
const BOUND: Duration = Duration::from_secs(30);

/// The keys of two callers, in the variables `ANN_KEY` and `BEN_KEY`.
pub const ANN_KEY: &str = "the-long-key-of-ann";
pub const BEN_KEY: &str = "the-long-key-of-ben";

/// The admin key, in the variable `ADMIN_KEY`, and the configuration line for it.
pub const ADMIN_KEY: &str = "the-long-key-of-the-operator";
pub const ADMIN: &str = "admin.key_env = \"ADMIN_KEY\"\n";

/// The configuration lines for these callers.
pub const CALLERS: &str = "[[callers]]\nname = \"ann\"\nkey_env = \"ANN_KEY\"\n\
                           [[callers]]\nname = \"ben\"\nkey_env = \"BEN_KEY\"\n";

pub fn env(variable: &str) -> Option<OsString> {
    let value = match variable {
        "PROVIDER_KEY" => KEY,
        "ANN_KEY" => ANN_KEY,
        "BEN_KEY" => BEN_KEY,
        "ADMIN_KEY" => ADMIN_KEY,
        _ => return None,
    };
    Some(value.into())
}

/// Starts a gateway with the configuration `file` on a free port.
pub async fn gateway(file: &str) -> RunningGateway {
    let mut config = Config::parse(file, env).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.notice = Duration::ZERO;
    Gateway::new(config).unwrap().bind().await.unwrap()
}

/// The same, bound to all addresses, which other machines would reach.
pub async fn exposed_gateway(file: &str) -> RunningGateway {
    let mut config = Config::parse(file, env).unwrap();
    config.listen = "0.0.0.0:0".parse().unwrap();
    config.notice = Duration::ZERO;
    Gateway::new(config).unwrap().bind().await.unwrap()
}

/// The configuration line for a provider with the dialect `openai`.
pub fn openai(name: &str, base_url: &str) -> String {
    format!("providers.{name} = {{ base_url = \"{base_url}\", dialect = \"openai\" }}\n")
}

/// The configuration line for a provider with the dialect `openai` and the key [`KEY`].
pub fn openai_with_key(name: &str, base_url: &str) -> String {
    format!(
        "providers.{name} = {{ base_url = \"{base_url}\", dialect = \"openai\", api_key_env = \"PROVIDER_KEY\" }}\n"
    )
}

/// The configuration lines for a route of chat completions.
pub fn route(model: &str, chain: &[&str]) -> String {
    format!("[[routes]]\npath = \"/v1/chat/completions\"\nmodel = {model:?}\nchain = {chain:?}\n")
}

pub fn client() -> Client {
    Client::builder().no_proxy().timeout(BOUND).build().unwrap()
}

pub fn url(gateway: &RunningGateway, path: &str) -> String {
    format!("http://{}{path}", gateway.addr())
}

pub fn chat(gateway: &RunningGateway, body: impl Into<reqwest::Body>) -> RequestBuilder {
    client().post(url(gateway, "/v1/chat/completions")).header("content-type", "application/json").body(body)
}

pub async fn json(response: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Sends `request` unchanged, and reads until the connection ends.
pub async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    read_to_end(socket).await
}

/// Sends `request` unchanged, closes the sending side, and reads until the connection ends.
pub async fn half_closed(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    read_to_end(socket).await
}

/// A provider that sends these bytes to every request, and then keeps the connection, or closes it.
pub async fn fixed_response(parts: Vec<String>, keeps: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let _ = socket.read(&mut [0; 4096]).await;
            for part in &parts {
                let _ = socket.write_all(part.as_bytes()).await;
            }
            if keeps {
                held.push(socket);
            }
        }
    });
    base_url
}

async fn read_to_end(mut socket: TcpStream) -> String {
    let mut response = Vec::new();
    // A reset ends the response as well. The bytes before it are kept.
    let _ = timeout(BOUND, socket.read_to_end(&mut response)).await.expect("an end of the response");
    String::from_utf8(response).unwrap()
}

/// The bytes of a request for a chat completion.
pub fn request_bytes(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
