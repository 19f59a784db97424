use super::Config;

impl Config {
    /// Replaces the settings that a running gateway cannot change by those of `running`, and returns the
    /// names of those that differ. A certificate that the file does not name any more is read again, and is
    /// the same as before if it cannot be read.
    pub(crate) fn keep_restart_only(&mut self, running: &Self) -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut keep = |name, is_same: bool| {
            if !is_same {
                names.push(name);
            }
        };
        keep("listen", self.listen == running.listen);
        keep("max_connections", self.max_connections == running.max_connections);
        keep("idle_timeout", self.idle_timeout == running.idle_timeout);
        keep("notice", self.notice == running.notice);
        keep("drain", self.drain == running.drain);
        keep("log", self.log == running.log);
        keep("otlp", self.otlp == running.otlp);
        keep("tls", self.tls.is_some() == running.tls.is_some());
        (self.listen, self.max_connections) = (running.listen, running.max_connections);
        self.idle_timeout = running.idle_timeout;
        (self.notice, self.drain, self.log) = (running.notice, running.drain, running.log);
        self.tls = match (self.tls.take(), &running.tls) {
            (Some(tls), Some(_)) => Some(tls),
            (None, Some(running)) => Some(running.read_again().unwrap_or_else(|_| running.clone())),
            (_, None) => None,
        };
        self.otlp.clone_from(&running.otlp);
        names
    }
}
