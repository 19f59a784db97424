use super::{BuiltStack, Stack, peer};

pub(super) const STACK: Stack = Stack {
    name: "bare",
    description: "the client alone: one attempt at the first provider",
    build: |_, wire| BuiltStack::new(peer::client(wire)),
};
