use std::fmt::{self, Write};

use super::{ANY, Config, Route};

impl Config {
    /// The stack of each route and target: its layers in protocol order, outermost first, and each setting with its
    /// origin: the environment, the file, a preset or the default.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for route in &self.routes {
            // Writing to a string does not fail.
            let _ = self.explain_route(route, &mut text);
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
