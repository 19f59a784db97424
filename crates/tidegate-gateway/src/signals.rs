//! The signals of the process.

use std::io;

#[cfg(unix)]
pub(crate) use self::unix::{HangUps, StopSignals};

#[cfg(unix)]
mod unix {
    use std::future::poll_fn;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use rustix::process;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::io;

    /// The shortest time between two log lines about ignored signals.
    const LOG_INTERVAL: Duration = Duration::from_secs(1);

    /// The signals that stop the process: SIGTERM, SIGINT and SIGQUIT. While it exists, other signals that
    /// would end the process by default are logged and ignored.
    pub(crate) struct StopSignals {
        terminate: Signal,
        interrupt: Signal,
        quit: Signal,
        ignored: tokio::task::JoinHandle<()>,
    }

    /// The signal SIGHUP, which requests a reload.
    pub(crate) struct HangUps(Signal);

    impl HangUps {
        /// Installs the handler.
        pub(crate) fn new() -> io::Result<Self> {
            signal(SignalKind::hangup()).map(Self)
        }

        /// Waits for the next signal.
        pub(crate) async fn next(&mut self) {
            self.0.recv().await;
        }
    }

    impl StopSignals {
        /// Installs the handlers. SIGHUP is ignored unless it is handled elsewhere.
        pub(crate) fn new(ignores_hangup: bool) -> io::Result<Self> {
            let ignored = IgnoredSignals::new(ignores_hangup)?;
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                ignored: tokio::spawn(ignored.log()),
            })
        }

        /// Waits for the next signal.
        pub(crate) async fn next(&mut self) {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
            }
        }
    }

    impl Drop for StopSignals {
        fn drop(&mut self) {
            self.ignored.abort();
        }
    }

    /// Signals that have no meaning for the gateway, beside SIGHUP. Without a handler each of them would end
    /// the process. At SIGXFSZ a file, such as that of the log, has reached its limit: the write fails, which
    /// is enough.
    const IGNORED: &[(&str, process::Signal)] = &[
        ("SIGALRM", process::Signal::ALARM),
        ("SIGUSR1", process::Signal::USR1),
        ("SIGUSR2", process::Signal::USR2),
        ("SIGIO", process::Signal::IO),
        ("SIGPROF", process::Signal::PROF),
        ("SIGVTALRM", process::Signal::VTALARM),
        ("SIGXCPU", process::Signal::XCPU),
        ("SIGXFSZ", process::Signal::XFSZ),
        #[cfg(target_os = "linux")]
        ("SIGPWR", process::Signal::POWER),
        #[cfg(target_os = "linux")]
        ("SIGSTKFLT", process::Signal::STKFLT),
    ];

    /// The real-time signals of Linux. The system's C library may keep the first for itself.
    const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

    /// The handlers of ignored signals, with their names.
    struct IgnoredSignals(Vec<(&'static str, Signal)>);

    impl IgnoredSignals {
        fn new(ignores_hangup: bool) -> io::Result<Self> {
            let hangup = ignores_hangup.then_some(("SIGHUP", process::Signal::HUP));
            let signals = hangup
                .iter()
                .chain(IGNORED)
                .map(|&(name, number)| Ok((name, signal(SignalKind::from_raw(number.as_raw()))?)));
            let mut signals: Vec<_> = signals.collect::<io::Result<_>>()?;
            let real_time = REAL_TIME.filter(|_| cfg!(target_os = "linux"));
            let real_time = real_time.filter_map(|number| signal(SignalKind::from_raw(number)).ok());
            signals.extend(real_time.map(|signal| ("a real-time signal", signal)));
            Ok(Self(signals))
        }

        async fn log(mut self) {
            loop {
                let signal = poll_fn(|cx| self.poll_next(cx)).await;
                tracing::info!(layer = "gateway", signal, "signal ignored");
                tokio::time::sleep(LOG_INTERVAL).await;
            }
        }

        /// The name of the next signal.
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
            let received =
                self.0.iter_mut().find_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
            received.map_or(Poll::Pending, Poll::Ready)
        }
    }
}

/// The signal that stops the process: Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    pub(crate) fn new(_: bool) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// No signal requests a reload.
#[cfg(not(unix))]
pub(crate) struct HangUps;

#[cfg(not(unix))]
impl HangUps {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        std::future::pending().await
    }
}
