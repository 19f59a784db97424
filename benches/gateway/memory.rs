//! Memory of open streams, idle connections and large bodies.

use std::time::Duration;

use tidegate::BoxError;
use tokio::time::sleep;

use crate::callers::{Caller, Question, closed_loop};
use crate::provider::{Model, Provider};
use crate::subject::{Kind, Subject, build_gateway};

const CONNECTIONS: usize = 1_000;

/// Bodies that are sent at once.
const BODIES: usize = 16;
const BODY: usize = 8 * 1024 * 1024;

/// The time after which the memory of what has ended is measured. Calls go on meanwhile, as they do in a
/// service.
const SETTLING: Duration = Duration::from_secs(5);

pub(crate) async fn print(provider: &Provider) -> Result<(), BoxError> {
    build_gateway()?;
    println!(
        "\n| memory | at start, KiB | per idle connection, KiB | per open stream, KiB | at the peak of sixteen 8 MiB bodies, MiB | kept afterwards, MiB |"
    );
    println!("|---|---|---|---|---|---|");
    for kind in Kind::ALL {
        let subject = Subject::start(kind, provider, &[]).await?;
        let usual = Question::new(Model::Document, 2_048);
        closed_loop(subject.addr, &usual, 4, 100).await?;
        let start = subject.resident()?;

        let mut callers = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let mut caller = Caller::connect(subject.addr).await?;
            caller.ask(&usual).await?;
            callers.push(caller);
        }
        let idle = subject.resident()?;

        let stream = Question::new(Model::Open, 2_048);
        let mut streams = Vec::with_capacity(CONNECTIONS);
        for caller in &mut callers {
            streams.push(caller.open(&stream).await?);
        }
        let open = subject.resident()?;
        drop((streams, callers));

        // A new process, so that what the streams have left is not counted.
        drop(subject);
        let subject = Subject::start(kind, provider, &[]).await?;
        closed_loop(subject.addr, &usual, 4, 100).await?;
        let before = subject.resident()?;
        let (peak, ()) = tokio::try_join!(peak(&subject), async {
            closed_loop(subject.addr, &Question::new(Model::Document, BODY), BODIES, 1).await.map(drop)
        })?;
        let end = tokio::time::Instant::now() + SETTLING;
        while tokio::time::Instant::now() < end {
            closed_loop(subject.addr, &usual, 1, 10).await?;
            sleep(Duration::from_millis(50)).await;
        }
        let kept = subject.resident()?.saturating_sub(before);
        let per = |more: u64, less: u64| more.saturating_sub(less) as f64 / CONNECTIONS as f64;
        println!(
            "| {} | {start} | {:.1} | {:.1} | {} | {} |",
            kind.name(),
            per(idle, start),
            per(open, idle),
            peak / 1024,
            kept / 1024
        );
    }
    Ok(())
}

/// The most resident memory, until it has not grown for a while.
async fn peak(subject: &Subject) -> Result<u64, BoxError> {
    let mut peak = 0;
    for _ in 0..200 {
        peak = peak.max(subject.resident()?);
        sleep(Duration::from_millis(10)).await;
    }
    Ok(peak)
}
