//! A gateway in front of scripted providers, and a client that sees bytes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::ffi::OsString;
use std::net::SocketAddr;

use reqwest::{Client, RequestBuilder};
use tidegate_gateway::{Config, Gateway, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The key that the file names as `PROVIDER_KEY`.
pub const KEY: &str = "sk-the-key-of-the-provider";

fn env(variable: &str) -> Option<OsString> {
    (variable == "PROVIDER_KEY").then(|| KEY.into())
}

/// A gateway on a free port, made of `file`.
pub async fn gateway(file: &str) -> Running {
    let mut config = Config::parse(file, env).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    Gateway::new(config).unwrap().bind().await.unwrap()
}

/// The line of a file for a provider that speaks OpenAI's dialect.
pub fn openai(name: &str, base_url: &str) -> String {
    format!("providers.{name} = {{ base_url = \"{base_url}\", dialect = \"openai\" }}\n")
}

/// The lines of a file for a route of chat completions.
pub fn route(model: &str, chain: &[&str]) -> String {
    format!("[[routes]]\npath = \"/v1/chat/completions\"\nmodel = {model:?}\nchain = {chain:?}\n")
}

pub fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

pub fn url(gateway: &Running, path: &str) -> String {
    format!("http://{}{path}", gateway.addr())
}

pub fn chat(gateway: &Running, body: impl Into<reqwest::Body>) -> RequestBuilder {
    client().post(url(gateway, "/v1/chat/completions")).header("content-type", "application/json").body(body)
}

pub async fn json(answer: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Sends `request` as it is, and reads until the connection ends.
pub async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well; what came before it is kept.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A request for a chat completion as it stands on the wire.
pub fn on_the_wire(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
