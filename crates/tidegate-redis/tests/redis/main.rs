//! Limits that are shared through a real server.

mod cases;
mod circuits;
mod limits;
mod processes;
mod tls;
