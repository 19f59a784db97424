//! What several layers are made of.

#[macro_use]
pub(crate) mod body;
#[macro_use]
pub(crate) mod debug;
#[macro_use]
pub(crate) mod send;

pub(crate) mod bucket;
pub(crate) mod buffered_body;
pub(crate) mod chain_position;
pub(crate) mod clock;
pub(crate) mod defaults;
pub(crate) mod durations;
pub(crate) mod keyed;
pub(crate) mod layer_state;
pub(crate) mod offload;
pub(crate) mod priority_semaphore;
pub(crate) mod rejected;
pub(crate) mod shared;
pub(crate) mod sync;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod thread_shard;
pub(crate) mod timer;
