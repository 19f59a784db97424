//! Limits that are shared through a real server.

mod cases;
mod circuits;
mod cluster;
mod limits;
mod lost;
mod processes;
mod tls;
mod windows;
