use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use tidegate::fallback::AnswerCache;
use tidegate::{ReqwestService, ResilienceBuilder, ResilienceConfig};

use crate::config::{ANY, Config, ConfigError, LastResort, Provider, Route, TargetName};
use crate::pages::{self, Board, Gates};
use crate::proxy::{Chain, Proxy, Stack, Table, Target, target};
use crate::server::{self, Running};

/// A gateway that is ready to listen.
///
/// ```
/// use tidegate_gateway::{Config, Gateway};
/// use tidegate_testkit::Provider;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = Provider::openai().start().await?;
/// let config = format!(
///     r#"
///     listen = "127.0.0.1:0"
///     providers.scripted = {{ base_url = "{}", dialect = "openai" }}
///     routes = [{{ path = "/v1/chat/completions", chain = ["scripted/llama"] }}]
///     "#,
///     provider.base_url(),
/// );
/// let gateway = Gateway::new(Config::parse(&config, |_| None)?)?.bind().await?;
///
/// let url = format!("http://{}/v1/chat/completions", gateway.addr());
/// let answer = reqwest::Client::new().post(url).body(r#"{"model":"any"}"#).send().await?;
/// assert_eq!(answer.headers()["x-tidegate-target"], "scripted/llama");
/// gateway.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    board: Arc<Board>,
}

/// Makes the stacks: one for each target and policy, so that routes that share both share the state.
struct Stacks<'a> {
    config: &'a Config,
    client: Client,
    /// What was answered to whom; one for all routes, since the question names its model.
    cache: AnswerCache,
    made: BTreeMap<(Arc<str>, String), Stack>,
}

impl Gateway {
    /// A gateway made of `config`.
    ///
    /// # Errors
    ///
    /// A number in a policy is out of its range, or no TLS can be had.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let mut stacks =
            Stacks { config: &config, client: client()?, cache: config.cache.cache(), made: BTreeMap::new() };
        let mut table = Table::default();
        let mut chains = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let chain = Arc::new(stacks.chain(route)?);
            table.insert(route.endpoint, &route.model, Arc::clone(&chain));
            chains.push((&route.policy, chain));
        }
        let gates = stacks.made.iter().map(|((target, policy), stack)| {
            let begin_here =
                chains.iter().filter(|(under, chain)| *under == policy && chain.first() == target);
            let chains = begin_here.map(|(_, chain)| chain.handle()).collect();
            Gates { policy: policy.clone(), signals: stack.signals(), chains }
        });
        let board = Board {
            gates: gates.collect(),
            models: models(&config.routes),
            is_draining: AtomicBool::new(false),
            proxy: Proxy { table, body_limit: config.body_limit },
        };
        Ok(Self { config, board: Arc::new(board) })
    }

    /// Listens, and answers from now on.
    ///
    /// # Errors
    ///
    /// If the address cannot be had.
    pub async fn bind(self) -> io::Result<Running> {
        let router = pages::router(Arc::clone(&self.board));
        server::bind(self.config.listen, self.config.drain, router, self.board).await
    }
}

/// One for all providers; all it does is to send.
fn client() -> Result<Client, ConfigError> {
    Client::builder()
        // A redirect would take the key to who knows where.
        .redirect(Policy::none())
        // The layers count attempts; there are to be none that they do not see.
        .retry(reqwest::retry::never())
        // Who is asked is what the file says, whatever `HTTP_PROXY` says.
        .no_proxy()
        // Nobody takes that long to say that he is there; the next target may be quicker.
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|_| ConfigError::new("", "no TLS can be had for talking to providers"))
}

impl Stacks<'_> {
    fn chain(&mut self, route: &Route) -> Result<Chain, ConfigError> {
        let policy = self.config.policies.get(&route.policy).cloned().unwrap_or_default();
        let targets = route.chain.iter().map(|name| self.target(name, route, &policy));
        let mut targets = targets.collect::<Result<Vec<_>, _>>()?.into_iter();
        let first = targets.next().ok_or_else(|| ConfigError::new("routes", "a chain is empty"))?;
        let fallback = policy.fallback.layer().map_err(|error| error.within("fallback"))?;
        let fallback = fallback.models(self.config.models.clone());
        let fallback = route.resorts.iter().fold(fallback, |chain, resort| match resort {
            LastResort::Cached => chain.then_cached(self.cache.clone()),
            LastResort::Simplified => chain.then_simplified(),
            LastResort::Static => chain.then_static(),
        });
        Ok(Chain::new(route.endpoint, first, targets, fallback, policy.bounds()?))
    }

    fn target(
        &mut self,
        name: &TargetName,
        route: &Route,
        policy: &ResilienceConfig,
    ) -> Result<(Arc<str>, Target), ConfigError> {
        let stack = match self.made.entry((Arc::clone(&name.name), route.policy.clone())) {
            Entry::Occupied(made) => made.get().clone(),
            Entry::Vacant(vacant) => {
                let builder = ResilienceBuilder::from_config(policy)?.name(&name.name);
                vacant.insert(builder.service(ReqwestService::new(self.client.clone()))).clone()
            }
        };
        let missing = || ConfigError::new("providers", format!("`{}` is missing", name.provider));
        let provider = self.config.providers.get(&name.provider).ok_or_else(missing)?;
        let is_mixed = route.chain.iter().any(|other| {
            let speaks = self.config.providers.get(&other.provider).map(Provider::dialect);
            speaks == Some(route.endpoint.dialect())
        });
        Ok((Arc::clone(&name.name), target(name, route.endpoint, provider, is_mixed, stack)?))
    }
}

/// What callers can ask for: the models of the routes; where any will do, those of the chain.
fn models(routes: &[Route]) -> Vec<String> {
    let mut models: Vec<String> = Vec::new();
    for route in routes {
        let names: Vec<&str> = match &*route.model {
            ANY => route.chain.iter().map(|target| &*target.name).collect(),
            model => vec![model],
        };
        for name in names {
            if !models.iter().any(|known| known == name) {
                models.push(name.to_owned());
            }
        }
    }
    models
}
