use std::time::Duration;

use crate::run::Record;
use crate::scenario::{PlannedFaultKind, Scenario};

/// The time from the start of the first fault of the scenario, see [`first_fault`], to the first call that
/// makes no attempt at its provider, if that is not a member of a group, which other calls pass by anyway;
/// and from the end of the fault to the first answer of the provider.
pub(super) fn of(scenario: &Scenario, record: &Record) -> (Option<Duration>, Option<Duration>) {
    let Some((provider, start, end)) = first_fault(scenario) else { return (None, None) };
    let mut has_attempt = vec![false; record.calls.len()];
    for attempt in record.attempts.iter().filter(|attempt| attempt.provider == provider) {
        if let Some(has_attempt) = has_attempt.get_mut(attempt.call as usize) {
            *has_attempt = true;
        }
    }
    let is_without = |at: Duration| at >= start && end.is_none_or(|end| at < end);
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
    (detected.map(|call| call.at - start), recovered)
}

/// The provider, the start and the end of the fault that starts first, of those that start in the middle of
/// the scenario. It ends with the faults of the same provider that follow it without a gap. A lower capacity
/// is no fault of its own.
fn first_fault(scenario: &Scenario) -> Option<(usize, Duration, Option<Duration>)> {
    let of_provider = |provider: usize| {
        let faults = scenario.providers[provider].faults.iter();
        let in_the_middle =
            faults.filter(|fault| !fault.from.0.is_zero() && fault.kind != PlannedFaultKind::Capacity);
        let mut faults: Vec<_> = in_the_middle.map(|fault| (fault.from.0, fault.to.map(|to| to.0))).collect();
        faults.sort_unstable_by_key(|(from, _)| *from);
        faults
    };
    let providers = (0..scenario.providers.len()).map(|provider| (provider, of_provider(provider)));
    let (provider, faults) =
        providers.filter(|(_, faults)| !faults.is_empty()).min_by_key(|(_, faults)| faults[0].0)?;
    let (start, end) = faults[0];
    let end = faults.iter().fold(end, |end, (from, to)| match (end, to) {
        (Some(end), Some(to)) if *from <= end => Some(end.max(*to)),
        (Some(end), None) if *from <= end => None,
        _ => end,
    });
    Some((provider, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_the_one_that_starts_first() {
        let at = |from: u64, to| (1, Duration::from_secs(from), Option::<u64>::map(to, Duration::from_secs));
        for (first, second, expected) in [
            ("from = '9s', to = '10s'", "from = '5s', to = '8s'", Some(at(5, Some(8)))),
            // It is not the listed order that counts, and an overlap is no gap.
            (
                "from = '8s', to = '11s'",
                "from = '12s', to = '14s'}, {kind = 'hang', from = '5s', to = '12s'",
                { Some(at(5, Some(14))) },
            ),
            ("", "from = '5s', to = '9s'}, {kind = 'slow', from = '6s', to = '7s'", Some(at(5, Some(9)))),
            ("", "from = '7s', to = '8s'}, {kind = 'slow', from = '8s'", Some(at(7, None))),
            ("from = '9s'", "from = '6s'}, {kind = 'capacity', from = '2s', to = '3s'", Some(at(6, None))),
            ("", "share = 0.5", None),
        ] {
            let text = format!(
                "title = 't'\nduration = '15s'\n[[callers]]\nper_minute = 60\n\
                 [[providers]]\nname = 'one'\nfaults = [{{kind = 'hang', {first}}}]\n\
                 [[providers]]\nname = 'two'\nfaults = [{{kind = 'hang', {second}}}]"
            );
            let scenario = Scenario::parse("test", &text).unwrap();
            assert_eq!(first_fault(&scenario), expected, "{first} {second}");
        }
    }
}
