use std::num::NonZeroU64;

/// The admission of one attempt by the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircuitAdmission {
    pub(super) generation: u64,
    /// The number of the probe, if the circuit is half-open.
    pub(super) probe: Option<NonZeroU64>,
}

impl CircuitAdmission {
    /// The admission of an attempt beside an open circuit, whose result does not change the state.
    pub(super) const WHILE_OPEN: Self = Self { generation: u64::MAX, probe: None };
}
