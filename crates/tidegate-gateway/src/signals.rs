//! The signals of the process.

use std::io;

#[cfg(unix)]
pub(crate) use self::unix::{HangUps, StopSignals};

#[cfg(unix)]
mod unix {
    use std::future::pending;
    use std::time::Duration;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::io;

    /// The shortest time between two log lines about ignored signals.
    const LOG_INTERVAL: Duration = Duration::from_secs(1);

    /// The signals that stop the process: SIGTERM, SIGINT and SIGQUIT. While it exists, other signals that would end
    /// the process by default are logged and ignored.
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

    struct IgnoredSignals {
        hangup: Option<HangUps>,
        alarm: Signal,
        user_1: Signal,
        user_2: Signal,
        io: Signal,
        /// A file, such as that of the log, has reached its limit: the write fails, which is enough.
        file_size: Signal,
    }

    impl IgnoredSignals {
        fn new(ignores_hangup: bool) -> io::Result<Self> {
            Ok(Self {
                hangup: ignores_hangup.then(HangUps::new).transpose()?,
                alarm: signal(SignalKind::alarm())?,
                user_1: signal(SignalKind::user_defined1())?,
                user_2: signal(SignalKind::user_defined2())?,
                io: signal(SignalKind::io())?,
                file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            })
        }

        async fn log(mut self) {
            loop {
                let name = tokio::select! {
                    () = next(&mut self.hangup) => "SIGHUP",
                    _ = self.alarm.recv() => "SIGALRM",
                    _ = self.user_1.recv() => "SIGUSR1",
                    _ = self.user_2.recv() => "SIGUSR2",
                    _ = self.io.recv() => "SIGIO",
                    _ = self.file_size.recv() => "SIGXFSZ",
                };
                tracing::info!(layer = "gateway", signal = name, "signal ignored");
                tokio::time::sleep(LOG_INTERVAL).await;
            }
        }
    }

    async fn next(hangups: &mut Option<HangUps>) {
        match hangups {
            Some(hangups) => hangups.next().await,
            None => pending().await,
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
