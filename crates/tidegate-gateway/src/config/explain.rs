use std::fmt::{self, Write};

use serde_json::json;

use super::{ANY, AlertSettings, Config, Route, RouteGroup, WeightedTarget};
use crate::access::{Caller, is_loopback};

impl Config {
    /// The stack of each route and target: its layers in protocol order, outermost first, and each setting
    /// with its origin: the environment, the file, a preset or the default. Then what each caller may use,
    /// the access to the pages of operators, the alerts, the host that traces are exported to, and the store.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for route in &self.routes {
            // Writing to a string does not fail.
            let _ = self.explain_route(route, &mut text);
        }
        for caller in &self.callers {
            let _ = explain_caller(caller, &mut text);
        }
        let _ = self.explain_operation(&mut text);
        text
    }

    /// Without the secrets: the key, and the path and the query of the webhook and the collector.
    fn explain_operation(&self, text: &mut String) -> fmt::Result {
        let pages = match (&self.admin_key, is_loopback(self.listen.ip()), self.callers.is_empty()) {
            (Some(_), ..) => "need the admin key",
            (None, false, _) => "are refused, since there is no admin key",
            (None, true, false) => "are open to callers with a key",
            (None, true, true) => "are open",
        };
        writeln!(text, "admin: the pages of operators {pages}")?;
        let Some(AlertSettings { thresholds, webhook }) = &self.alerts else {
            writeln!(text, "alerts: off")?;
            self.explain_traces(text)?;
            return self.explain_store(text);
        };
        match webhook {
            Some(webhook) => {
                let token = if webhook.token.is_some() { " with a token" } else { "" };
                writeln!(
                    text,
                    "alerts: logged, and posted to {}{token}",
                    webhook.uri.host().unwrap_or_default()
                )?;
            }
            None => writeln!(text, "alerts: logged")?,
        }
        for (key, value) in json!(thresholds).as_object().into_iter().flatten() {
            writeln!(text, "  {key}  {value}")?;
        }
        self.explain_traces(text)?;
        self.explain_store(text)
    }

    fn explain_traces(&self, text: &mut String) -> fmt::Result {
        match &self.otlp {
            Some(otlp) => writeln!(text, "traces: exported to {}", otlp.endpoint.host().unwrap_or_default()),
            None => writeln!(text, "traces: off"),
        }
    }

    fn explain_store(&self, text: &mut String) -> fmt::Result {
        let Some(settings) = &self.store else {
            return writeln!(text, "store: off");
        };
        let server = settings.server().unwrap_or_default();
        writeln!(text, "store: limits are shared through {server}, prefix {}", settings.prefix)?;
        for (key, value) in json!(settings.store).as_object().into_iter().flatten() {
            writeln!(text, "  {key}  {value}")?;
        }
        Ok(())
    }

    fn explain_route(&self, route: &Route, text: &mut String) -> fmt::Result {
        let model = if route.model == ANY { "any model" } else { &*route.model };
        writeln!(text, "{} for {model}", route.endpoint)?;
        for group in &route.chain {
            self.explain_group(group, route, text)?;
        }
        for resort in &route.resorts {
            writeln!(text, "  {}", resort.name())?;
        }
        Ok(())
    }
}

impl Config {
    /// A target, or a group with its members: several targets, or the keys of one.
    fn explain_group(&self, group: &RouteGroup, route: &Route, text: &mut String) -> fmt::Result {
        let members: Vec<_> = group.members.iter().flat_map(|member| self.explained(member)).collect();
        let is_group = members.len() > 1;
        if is_group {
            write!(text, "  group {}, {} members", group.name, members.len())?;
            match &group.affinity {
                Some(affinity) => writeln!(text, ", affinity {affinity}")?,
                None => writeln!(text)?,
            }
        }
        let indent = if is_group { "    " } else { "  " };
        for (name, member) in members {
            let dialect = self.providers.get(&member.target.provider).map(|it| it.dialect().name());
            let dialect = dialect.unwrap_or_default();
            let weight = if is_group { format!(", weight {}", member.weight) } else { String::new() };
            let policy = &route.policy;
            writeln!(text, "{indent}{name}{weight}, called in the dialect {dialect}, policy {policy}")?;
            for line in self.explanations.get(policy).iter().flat_map(|explanation| explanation.lines()) {
                writeln!(text, "{indent}  {line}")?;
            }
        }
        Ok(())
    }

    /// The target, or its keys by their numbers.
    fn explained<'a>(&self, member: &'a WeightedTarget) -> Vec<(String, &'a WeightedTarget)> {
        let by_key = self.providers.get(&member.target.provider).map(|it| it.by_key(&member.target.name));
        by_key.into_iter().flatten().map(|(name, _)| (name, member)).collect()
    }
}

fn explain_caller(caller: &Caller, text: &mut String) -> fmt::Result {
    let rules = &caller.rules;
    let routes = rules.routes.as_ref().map_or("every route".to_owned(), |routes| routes.join(", "));
    writeln!(text, "caller {}, {}, may use {routes}", caller.name, rules.priority.name())?;
    let limits = [("rate_limiter", json!(rules.rate_limiter)), ("backpressure", json!(rules.backpressure))];
    for (part, limit) in limits {
        match limit.as_object() {
            None => writeln!(text, "  {part}: off")?,
            Some(settings) => {
                for (key, value) in settings {
                    writeln!(text, "  {part}.{key}  {value}")?;
                }
            }
        }
    }
    Ok(())
}
