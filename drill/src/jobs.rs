//! Independent jobs on a few threads, with their results in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `job` for each number below `count`, on `threads` threads.
pub(crate) fn run<T: Send>(count: usize, threads: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = (0..count).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(result) = results.get(number) else { break };
                    let value = job(number);
                    *result.lock().expect("the job is over") = Some(value);
                }
            });
        }
    });
    let values = results.into_iter().map(|result| result.into_inner().expect("the job is over"));
    values.map(|value| value.expect("every number was taken")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_the_order_of_the_numbers() {
        assert_eq!(super::run(100, 3, |number| number * 2), (0..200).step_by(2).collect::<Vec<_>>());
    }
}
