//! Detects by events of `tracing` when a circuit of recloser opens: it reports its state in no other way.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::circuit_cooldown::CircuitCooldown;

/// Starts the cooldown of the circuit that an event names.
#[derive(Debug)]
pub(super) struct RecloserEvents(pub(super) Vec<(String, CircuitCooldown)>);

/// The fields of an event.
#[derive(Debug, Default)]
struct StateChange {
    name: String,
    state: String,
    is_start: bool,
}

impl Subscriber for RecloserEvents {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "recloser_event"
    }

    fn event(&self, event: &Event<'_>) {
        let mut change = StateChange::default();
        event.record(&mut change);
        if change.is_start && change.state == "Open" {
            self.0.iter().filter(|(name, _)| *name == change.name).for_each(|(_, cooldown)| cooldown.start());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for StateChange {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "name" => value.clone_into(&mut self.name),
            "state" => value.clone_into(&mut self.state),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, _: u64) {
        self.is_start |= field.name() == "started_ts";
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
