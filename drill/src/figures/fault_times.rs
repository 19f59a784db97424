use std::time::Duration;

use crate::run::Record;
use crate::scenario::{PlannedFaultKind, Scenario};

/// The time from the first fault that starts in the middle of the scenario to the first call that makes no attempt at its
/// provider, if that is not a member of a group, which other calls pass by anyway; and from its end, or that of the faults that follow it without a gap, to the first answer of the provider.
pub(super) fn of(scenario: &Scenario, record: &Record) -> (Option<Duration>, Option<Duration>) {
    let faults = scenario
        .providers
        .iter()
        .enumerate()
        .flat_map(|(provider, spec)| spec.faults.iter().map(move |fault| (provider, fault)));
    let mut windows =
        faults.filter(|(_, fault)| fault.from.0 > Duration::ZERO && fault.kind != PlannedFaultKind::Capacity);
    let Some((provider, fault)) = windows.next() else { return (None, None) };
    let mut end = fault.to.map(|to| to.0);
    for (_, next) in windows.filter(|(other, _)| *other == provider) {
        if end == Some(next.from.0) {
            end = next.to.map(|to| to.0);
        }
    }
    let mut has_attempt = vec![false; record.calls.len()];
    for attempt in record.attempts.iter().filter(|attempt| attempt.provider == provider) {
        if let Some(has_attempt) = has_attempt.get_mut(attempt.call as usize) {
            *has_attempt = true;
        }
    }
    let is_without = |at: Duration| at >= fault.from.0 && end.is_none_or(|end| at < end);
    let detected = record
        .calls
        .iter()
        .map(|(call, _)| call)
        .find(|call| is_without(call.at) && !has_attempt[call.number as usize]);
    let answers =
        record.attempts.iter().filter(|attempt| attempt.provider == provider && attempt.is_answer());
    let recovered = end.and_then(|end| {
        let heads = answers.filter(|attempt| attempt.sent >= end).filter_map(|attempt| attempt.head);
        heads.min().map(|head| head - end)
    });
    let detected = detected.filter(|_| scenario.providers[provider].group.is_none());
    (detected.map(|call| call.at - fault.from.0), recovered)
}
