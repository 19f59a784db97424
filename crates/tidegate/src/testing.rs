//! Helpers that the tests of the layers share.

use tidegate_testkit::strict::{self, Handle, Strict};

pub(crate) use tidegate_testkit::calls::{call, complete, rejection, request, send};

use crate::Payload;

pub(crate) fn strict() -> (Strict<Payload>, Handle) {
    strict::service()
}
