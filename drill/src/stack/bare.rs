use super::{BuiltStack, ComparedStack, peer};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "bare",
    description: "the client alone: one attempt at the first provider",
    build: |_, wire| BuiltStack::new(peer::client(wire)),
};
