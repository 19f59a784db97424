//! Throughput, processor time and latency, in rounds that measure all proxies one after the other.

use std::time::{Duration, Instant};

use tidegate::BoxError;

use crate::callers::{Question, closed_loop, open_loop};
use crate::peers::Peer;
use crate::provider::{EVENTS, Model, Provider};
use crate::subject::{Kind, Subject, build_gateway};

const ROUNDS: usize = 9;

/// What one round has measured of one proxy.
struct Sample {
    /// Units of work a second: calls, or events.
    rate: f64,
    /// Processor time per unit.
    cpu: Duration,
    times: Vec<Duration>,
}

/// One line of a table.
struct Workload {
    name: String,
    question: Question,
    callers: usize,
    calls: usize,
    /// Units of work in a call.
    units: usize,
}

async fn start_all(provider: &Provider, kinds: &[Kind]) -> Result<Vec<Subject>, BoxError> {
    build_gateway()?;
    let mut subjects = Vec::new();
    for &kind in kinds {
        subjects.push(Subject::start(kind, provider, &[]).await?);
    }
    Ok(subjects)
}

/// Each call of a document, with bodies of several lengths and with several callers.
pub(crate) async fn print_calls(provider: &Provider) -> Result<(), BoxError> {
    const KIB: usize = 1024;
    let lengths = [
        ("2 KiB", 2 * KIB, 1, 2_000),
        ("2 KiB", 2 * KIB, 16, 500),
        ("2 KiB", 2 * KIB, 64, 125),
        ("64 KiB", 64 * KIB, 16, 100),
        ("1 MiB", KIB * KIB, 4, 40),
        ("8 MiB", 8 * KIB * KIB, 2, 8),
    ];
    let workloads = lengths.map(|(name, length, callers, calls)| Workload {
        name: format!("{name}, {callers} callers"),
        question: Question::new(Model::Document, length),
        callers,
        calls,
        units: 1,
    });
    print_closed(provider, "calls", &Kind::ALL, &workloads).await
}

/// Streams, per event.
pub(crate) async fn print_streams(provider: &Provider) -> Result<(), BoxError> {
    let models = [("own writes", Model::Single, 20), ("bunched", Model::Bunched, 60)];
    let workloads = models.map(|(name, model, calls)| Workload {
        name: format!("events in {name}, 16 callers"),
        question: Question::new(model, 2_048),
        callers: 16,
        calls,
        units: EVENTS,
    });
    print_closed(provider, "streams", &Kind::ALL, &workloads).await
}

/// Calls of a document, beside other gateways.
pub(crate) async fn print_peers(provider: &Provider) -> Result<(), BoxError> {
    let (installed, missing): (Vec<Peer>, Vec<Peer>) =
        Peer::ALL.into_iter().partition(|peer| peer.program().is_some());
    for peer in missing {
        println!("not installed: {}", peer.name());
    }
    let kinds: Vec<Kind> = Kind::ALL.into_iter().chain(installed.into_iter().map(Kind::Peer)).collect();
    let workload = Workload {
        name: "2 KiB, 16 callers".to_owned(),
        question: Question::new(Model::Document, 2_048).with_text_only(),
        callers: 16,
        calls: 500,
        units: 1,
    };
    print_closed(provider, "peers", &kinds, &[workload]).await
}

async fn print_closed(
    provider: &Provider,
    title: &str,
    kinds: &[Kind],
    workloads: &[Workload],
) -> Result<(), BoxError> {
    let subjects = start_all(provider, kinds).await?;
    println!(
        "\n| {title} | | units/s | CPU per unit, us | p50, us | p99, us | units/s, of streaming | CPU, of streaming | CPU, of collecting |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for workload in workloads {
        let mut samples: Vec<Vec<Sample>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..=ROUNDS {
            for (subject, samples) in subjects.iter().zip(&mut samples) {
                let sample = measure(subject, workload).await?;
                // The first round warms up.
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        for (subject, of_subject) in subjects.iter().zip(&samples) {
            let of = |base: usize, value: fn(&Sample) -> f64| {
                median(of_subject.iter().zip(&samples[base]).map(|(one, base)| value(one) / value(base)))
            };
            let cpu = |sample: &Sample| sample.cpu.as_secs_f64() * 1e6;
            println!(
                "| {} | {} | {:.0} | {:.2} | {} | {} | {:.2} | {:.2} | {:.2} |",
                workload.name,
                subject.kind.name(),
                median(of_subject.iter().map(|sample| sample.rate)),
                median(of_subject.iter().map(cpu)),
                percentile(of_subject, 50),
                percentile(of_subject, 99),
                of(0, |sample| sample.rate),
                of(0, |sample| sample.cpu.as_secs_f64()),
                of(1, |sample| sample.cpu.as_secs_f64()),
            );
        }
    }
    Ok(())
}

/// A request every millisecond.
pub(crate) async fn print_pace(provider: &Provider) -> Result<(), BoxError> {
    let subjects = start_all(provider, &Kind::ALL).await?;
    let question = Question::new(Model::Document, 2_048);
    let mut samples: Vec<Vec<Sample>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            let times = open_loop(subject.addr, &question, 1_000).await?;
            if round > 0 {
                samples.push(Sample { rate: 0.0, cpu: Duration::ZERO, times });
            }
        }
    }
    println!("\n| 1 000 requests a second | p50, us | p99, us |\n|---|---|---|");
    for (subject, samples) in subjects.iter().zip(&samples) {
        println!("| {} | {} | {} |", subject.kind.name(), percentile(samples, 50), percentile(samples, 99));
    }
    Ok(())
}

async fn measure(subject: &Subject, workload: &Workload) -> Result<Sample, BoxError> {
    let (start, cpu) = (Instant::now(), subject.cpu_time()?);
    let times = closed_loop(subject.addr, &workload.question, workload.callers, workload.calls).await?;
    let units = times.len() * workload.units;
    let cpu = subject.cpu_time()?.saturating_sub(cpu) / u32::try_from(units)?;
    Ok(Sample { rate: units as f64 / start.elapsed().as_secs_f64(), cpu, times })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median over the rounds of a percentile, in microseconds.
fn percentile(samples: &[Sample], per_cent: usize) -> u128 {
    let mut of_rounds: Vec<u128> = samples
        .iter()
        .map(|sample| {
            let mut times: Vec<u128> = sample.times.iter().map(Duration::as_micros).collect();
            times.sort_unstable();
            times[(times.len() - 1) * per_cent / 100]
        })
        .collect();
    of_rounds.sort_unstable();
    of_rounds[of_rounds.len() / 2]
}
