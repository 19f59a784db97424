use std::fmt::{self, Write};

use serde_json::json;

use super::{ANY, Config, Route};
use crate::access::Caller;

impl Config {
    /// The stack of each route and target: its layers in protocol order, outermost first, and each setting with its
    /// origin: the environment, the file, a preset or the default. Then what each caller may use.
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
        text
    }

    fn explain_route(&self, route: &Route, text: &mut String) -> fmt::Result {
        let model = if route.model == ANY { "any model" } else { &*route.model };
        writeln!(text, "{} for {model}", route.endpoint)?;
        for target in &route.chain {
            let dialect = self.providers.get(&target.provider).map(|provider| provider.dialect().name());
            let dialect = dialect.unwrap_or_default();
            writeln!(text, "  {}, called in the dialect {dialect}, policy {}", target.name, route.policy)?;
            for line in
                self.explanations.get(&route.policy).iter().flat_map(|explanation| explanation.lines())
            {
                writeln!(text, "    {line}")?;
            }
        }
        for resort in &route.resorts {
            writeln!(text, "  {}", resort.name())?;
        }
        Ok(())
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
