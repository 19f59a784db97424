use crate::caller::CallEnding;
use crate::run::Record;
use crate::scenario::Scenario;

/// What the worst-off tenant got of its max-min fair share of all answers.
pub(super) fn of(scenario: &Scenario, record: &Record) -> Option<f64> {
    let tenants = scenario.tenants();
    if tenants.len() < 2 {
        return None;
    }
    let count = |tenant: &str, is_served_only: bool| {
        let calls = record.calls.iter().filter(|(call, result)| {
            let is_wanted = if is_served_only {
                result.ending == CallEnding::Served
            } else {
                result.ending != CallEnding::Left
            };
            &*call.tenant == tenant && is_wanted
        });
        calls.count() as f64
    };
    let wanted: Vec<_> = tenants.iter().map(|tenant| count(tenant, false)).collect();
    let served: Vec<_> = tenants.iter().map(|tenant| count(tenant, true)).collect();
    wanted.iter().any(|wanted| *wanted > 0.0).then(|| worst_share(&wanted, &served))
}

fn worst_share(wanted: &[f64], served: &[f64]) -> f64 {
    let level = fair_level(wanted, served.iter().sum());
    let shares = wanted.iter().zip(served).filter(|(wanted, _)| **wanted > 0.0);
    shares.map(|(wanted, served)| (served / wanted.min(level)).min(1.0)).fold(1.0, f64::min)
}

/// The level up to which every demand is met, if `supply` is divided by max-min fairness.
fn fair_level(wanted: &[f64], supply: f64) -> f64 {
    let mut demands = wanted.to_vec();
    demands.sort_by(f64::total_cmp);
    let (mut left, mut level) = (supply, f64::INFINITY);
    for (index, demand) in demands.iter().enumerate() {
        level = left / (demands.len() - index) as f64;
        if *demand >= level {
            return level.max(f64::MIN_POSITIVE);
        }
        left -= demand;
    }
    level.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_share_is_that_of_the_starved_tenant() {
        for (wanted, served, share) in [
            ([100.0, 900.0], [100.0, 200.0], 1.0),
            ([100.0, 900.0], [30.0, 270.0], 0.3),
            ([500.0, 500.0], [100.0, 300.0], 0.5),
            ([100.0, 100.0], [100.0, 100.0], 1.0),
            ([100.0, 900.0], [0.0, 0.0], 0.0),
        ] {
            assert!((worst_share(&wanted, &served) - share).abs() < 1e-9, "{wanted:?} {served:?}");
        }
    }
}
