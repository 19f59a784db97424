use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};
use tidegate_core::{BodyRewritten, Untranslatable};
use tidegate_providers::{ModelField, ModelFieldError, ModelSpan, Provider};
use tidegate_translate::max_output_tokens;

use super::{Endpoint, ProviderSettings, request_headers};
use crate::fallback::OutputCap;
use crate::{Error, ErrorCode, Gate, Payload, Rejection, RejectionReason};

/// What is replaced in a request for one target: the URL, the key and the model.
#[derive(Clone)]
pub struct TargetAddress(Arc<AddressInner>);

struct AddressInner {
    target: Arc<str>,
    /// The part of the target after the first slash.
    model: Box<str>,
    kind: Provider,
    settings: ProviderSettings,
    credentials: Option<(HeaderName, HeaderValue)>,
    /// The path below the endpoint.
    path: &'static str,
    /// The URIs without a query of the caller, in the order of [`Endpoint::ALL`].
    uris: [Option<Uri>; Endpoint::ALL.len()],
    scope: Scope,
    /// Why no request can be sent to the provider.
    problem: Option<String>,
}

/// Which requests are addressed.
#[derive(Clone, Debug)]
enum Scope {
    All,
    /// Those whose URI has the host of another known provider. Any other host may be one that the client has
    /// chosen.
    Elsewhere {
        /// Further hosts of known providers.
        moved: Box<[Authority]>,
    },
}

/// What is replaced in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    Nothing,
    Model,
    All,
}

impl TargetAddress {
    /// The address of `target`, such as `openai/gpt-4o`, at the provider with these settings.
    #[must_use]
    pub fn new(target: &str, settings: &ProviderSettings) -> Self {
        Self::of_member(target, target, settings)
    }

    /// The address of `target` for a member of a group with the name `name`.
    #[must_use]
    pub fn of_member(name: &str, target: &str, settings: &ProviderSettings) -> Self {
        let (provider, model) = target.split_once('/').unwrap_or(("", target));
        Self(Arc::new(AddressInner {
            target: name.into(),
            model: model.into(),
            kind: settings.kind_of(provider),
            credentials: settings.credentials(),
            settings: settings.clone(),
            path: "",
            uris: uris(settings, model, ""),
            scope: Scope::All,
            problem: settings.missing_variable().map(|variable| format!("{variable} is not set")),
        }))
    }

    /// The address for requests that name the host of another known provider; the hosts of `moved` are known
    /// as well. A request that names the host of this one gets the model alone, and any other is not changed.
    pub(super) fn of_requests_elsewhere(
        target: &str,
        settings: &ProviderSettings,
        moved: Box<[Authority]>,
        problem: Option<String>,
    ) -> Self {
        let Self(mut inner) = Self::new(target, settings);
        let address = Arc::get_mut(&mut inner).expect("not shared yet");
        address.scope = Scope::Elsewhere { moved };
        address.problem = problem.or(address.problem.take());
        Self(inner)
    }

    /// The address of a resource below the endpoints, such as `/count_tokens`.
    #[must_use]
    pub fn below(&self, path: &'static str) -> Self {
        let AddressInner { target, model, kind, settings, credentials, scope, problem, .. } = &*self.0;
        Self(Arc::new(AddressInner {
            target: target.clone(),
            model: model.clone(),
            kind: *kind,
            settings: settings.clone(),
            credentials: credentials.clone(),
            path,
            uris: uris(settings, model, path),
            scope: scope.clone(),
            problem: problem.clone(),
        }))
    }

    /// The name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.0.target
    }

    /// The rules for the provider.
    #[must_use]
    pub fn kind(&self) -> Provider {
        self.0.kind
    }

    /// How the provider is called.
    pub(super) fn settings(&self) -> &ProviderSettings {
        &self.0.settings
    }

    /// The model, behind the name of the provider whose rules apply to it.
    pub(super) fn model_of_kind(&self) -> String {
        format!("{}/{}", self.0.kind.name(), self.0.model)
    }

    /// Whether a request to `uri` is one in another dialect than that of the provider.
    pub(super) fn is_translated(&self, uri: &Uri) -> bool {
        self.replaced(uri) == Replaced::All
            && Endpoint::of_path(uri.path()).is_some_and(|endpoint| {
                endpoint.at_provider(self.0.settings.dialect()).is_some_and(|other| other != endpoint)
            })
    }

    /// The most output tokens that a translated request has.
    pub(crate) fn output_cap(&self) -> OutputCap {
        let (address, most) = (self.clone(), max_output_tokens(&self.model_of_kind()));
        OutputCap(Arc::new(move |uri| most.filter(|_| address.is_translated(uri))))
    }

    /// What is replaced in a request to `uri`.
    pub(super) fn replaced(&self, uri: &Uri) -> Replaced {
        let AddressInner { settings, scope, .. } = &*self.0;
        let Scope::Elsewhere { moved } = scope else { return Replaced::All };
        match uri.authority() {
            None => Replaced::Nothing,
            // One host may have several providers, each below a path of its own.
            Some(authority) if moved.contains(authority) => {
                if settings.has_uri(uri) {
                    Replaced::Model
                } else {
                    Replaced::All
                }
            }
            Some(authority) if settings.has_host(authority.host()) => Replaced::Model,
            Some(authority) if Provider::at_host(authority.host()) != Provider::Other => Replaced::All,
            Some(_) => Replaced::Nothing,
        }
    }

    /// Replaces the URL, the key and the model of `request`, and removes the key and the account of the
    /// caller.
    ///
    /// The body is in the dialect of the provider already; the path of the request is still that of the
    /// caller.
    ///
    /// # Errors
    ///
    /// The path is that of no [`Endpoint`], or of one that the provider does not have in its dialect; the
    /// body is not in memory, is no JSON object, or has several models; the variable of the key or of the URL
    /// is not set or invalid.
    pub fn address(&self, request: &mut Request<Payload>) -> Result<(), Error> {
        match self.replaced(request.uri()) {
            Replaced::Nothing => return Ok(()),
            Replaced::Model => return self.set_model(request),
            Replaced::All => {}
        }
        if let Some(problem) = &self.0.problem {
            return Err(Error::new(NotCallable::new(problem)));
        }
        let AddressInner { settings, credentials, path, model, uris, .. } = &*self.0;
        let endpoint = Endpoint::of_path(request.uri().path()).ok_or_else(unknown_path)?;
        let at_provider = endpoint.at_provider(settings.dialect()).ok_or_else(no_such_endpoint)?;
        let is_translated = at_provider != endpoint;
        let body = self.body(request.body(), request.extensions(), is_translated)?;
        // The query of a caller is meant for its own dialect.
        let query =
            request.uri().query().filter(|_| !is_translated).and_then(request_headers::forwarded_query);
        let uri = match query {
            None => uris[at_provider as usize].clone(),
            Some(query) => settings.uri(at_provider, model, path, Some(&query)),
        };
        *request.uri_mut() = uri.ok_or_else(unknown_path)?;
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        request_headers::strip(headers, settings.dialect(), settings.allowed_headers());
        add_missing(headers, settings.default_headers());
        if let Some((name, value)) = credentials {
            headers.insert(name, value.clone());
        }
        set_body(request, body);
        Ok(())
    }

    /// Replaces the model alone, of a request that is addressed to this provider already.
    fn set_model(&self, request: &mut Request<Payload>) -> Result<(), Error> {
        let body = self.body(request.body(), request.extensions(), false)?;
        set_body(request, body);
        Ok(())
    }

    /// The body with the model of this target.
    fn body(&self, body: &Payload, extensions: &Extensions, is_translated: bool) -> Result<Bytes, Error> {
        let Some(bytes) = body.bytes() else {
            let rejection = Rejection::new(Gate::Translate, ErrorCode::RequestTooLarge);
            return Err(rejection.because(RejectionReason::BodyTooLong).into());
        };
        // A position that was found before is that of the caller's own body.
        let span = extensions
            .get::<ModelSpan>()
            .filter(|_| !is_translated && extensions.get::<BodyRewritten>().is_none());
        match span.and_then(|span| span.replace(bytes, &self.0.model)) {
            Some(body) => Ok(body),
            None => ModelField::set(bytes, &self.0.model).map_err(|error| Error::new(no_model(error))),
        }
    }
}

/// A variable of the environment with the key or the base URL of a provider is not set, or is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
struct NotCallable {
    problem: String,
    /// The request was not sent, and another target may take it.
    #[source]
    rejection: Rejection,
}

impl NotCallable {
    fn new(problem: &str) -> Self {
        let rejection = Rejection::new(Gate::Translate, ErrorCode::Authentication);
        Self { problem: problem.to_owned(), rejection }
    }
}

fn uris(settings: &ProviderSettings, model: &str, path: &str) -> [Option<Uri>; Endpoint::ALL.len()] {
    Endpoint::ALL.map(|endpoint| settings.uri(endpoint, model, path, None))
}

fn set_body(request: &mut Request<Payload>, body: Bytes) {
    if request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    }
    *request.body_mut() = body.into();
}

fn add_missing(headers: &mut HeaderMap, defaults: &HeaderMap) {
    for (name, value) in defaults {
        headers.entry(name).or_insert_with(|| value.clone());
    }
}

fn unknown_path() -> Error {
    Error::new(Untranslatable::new(
        "path",
        "does not end in /chat/completions, /embeddings, /responses or /messages",
    ))
}

fn no_such_endpoint() -> Error {
    Error::new(Untranslatable::new(
        "path",
        "is that of an endpoint without a counterpart in the dialect of the target",
    ))
}

fn no_model(error: ModelFieldError) -> Untranslatable {
    match error {
        ModelFieldError::ModelTwice => Untranslatable::new("model", "is there more than once"),
        ModelFieldError::ModelInOtherCase => Untranslatable::new("model", "is there in another case"),
        ModelFieldError::ModelNotText => Untranslatable::new("model", "is not a string"),
        _ => Untranslatable::new("body", "is not a JSON object"),
    }
}

/// The key is not shown.
impl fmt::Debug for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetAddress")
            .field("target", &self.0.target)
            .field("kind", &self.0.kind)
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}
