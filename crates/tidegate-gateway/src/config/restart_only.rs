use super::{Config, GatewayConfigError};

impl Config {
    /// Replaces the settings that a running gateway cannot change by those of `running`, and returns the names of those
    /// that differ. The certificate is read again if the file does not name it any more.
    ///
    /// # Errors
    ///
    /// That certificate is not valid.
    pub(crate) fn keep_restart_only(
        &mut self,
        running: &Self,
    ) -> Result<Vec<&'static str>, GatewayConfigError> {
        let mut names = Vec::new();
        let mut keep = |name, is_same: bool| {
            if !is_same {
                names.push(name);
            }
        };
        keep("listen", self.listen == running.listen);
        keep("max_connections", self.max_connections == running.max_connections);
        keep("notice", self.notice == running.notice);
        keep("drain", self.drain == running.drain);
        keep("log", self.log == running.log);
        keep("otlp", self.otlp == running.otlp);
        keep("tls", self.tls.is_some() == running.tls.is_some());
        (self.listen, self.max_connections) = (running.listen, running.max_connections);
        (self.notice, self.drain, self.log) = (running.notice, running.drain, running.log);
        self.tls = match (self.tls.take(), &running.tls) {
            (Some(tls), Some(_)) => Some(tls),
            (None, Some(running)) => Some(running.read_again()?),
            (_, None) => None,
        };
        self.otlp.clone_from(&running.otlp);
        Ok(names)
    }
}
