use std::time::Duration;

/// What a process does with a shared circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitChange {
    /// It reads the state.
    Read,
    /// It opens the circuit for this time from now on, or for as long as it is open already if that is
    /// longer. The turn to probe ends.
    Open {
        /// The time.
        wait: Duration,
        /// Whether the account's quota is exhausted.
        is_quota: bool,
    },
    /// It closes the circuit.
    Close,
    /// The circuit of this process is open for this time from now on, and the store had lost that. The later
    /// time holds, no turn ends, and a circuit that is closed or that another process probes stays so.
    Restore {
        /// The time.
        wait: Duration,
        /// Whether the account's quota is exhausted.
        is_quota: bool,
        /// As for [`TakeTurn`](Self::TakeTurn).
        grace: Duration,
    },
    /// It has opened the circuit, which may not have reached the store. Its own turn ends. A circuit that was
    /// closed before that opens; else this is as [`Restore`](Self::Restore).
    Reopen {
        /// The rest of the time.
        wait: Duration,
        /// Whether the account's quota is exhausted.
        is_quota: bool,
        /// As for [`TakeTurn`](Self::TakeTurn).
        grace: Duration,
        /// The time since it has opened the circuit.
        age: Duration,
    },
    /// It has closed the circuit, which may not have reached the store. A circuit that was opened after that
    /// stays open.
    Reclose {
        /// The time since it has closed the circuit.
        age: Duration,
    },
    /// It requests the turn to probe.
    TakeTurn {
        /// The time after which another process may have the turn.
        lease: Duration,
        /// How long no process gets the turn if nothing is known of the circuit. A process that probes has
        /// [published](Self::KeepTurn) that again by then.
        grace: Duration,
    },
    /// It has the turn, and keeps it.
    KeepTurn {
        /// The time after which another process may have the turn.
        lease: Duration,
    },
    /// It ends its turn.
    EndTurn,
}

/// The state of a shared circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitView {
    /// Nothing is known of it.
    Unknown,
    /// It is closed.
    Closed,
    /// It is open.
    Open {
        /// The rest of its cooldown; zero if it may be probed.
        wait: Duration,
        /// Whether the account's quota is exhausted.
        is_quota: bool,
        /// Whether the process that reads this has the turn to probe.
        has_turn: bool,
    },
}
