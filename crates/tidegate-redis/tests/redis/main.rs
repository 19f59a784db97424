//! Limits that are shared through a real server.

mod cases;
mod limits;
mod processes;
mod server;
