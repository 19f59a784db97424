use super::{BuiltStack, ComparedStack, peer};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "bare",
    description: "the client alone: one attempt at the first provider, or the first member of a group",
    build: |_, wire| BuiltStack::new(peer::client(wire)),
};
