//! Finds a target that is called by its name alone: its service was to address the request, and did not.

use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, Request};
use tidegate_providers::{ModelField, Provider};

use super::request_headers::ACCOUNT_HEADERS;
use crate::rejected::record_rejection;
use crate::{Error, ErrorCode, Gate, Payload, Rejection, RejectionReason};

/// A request for a provider with the key of the caller, as the chain has handed it to a target that no
/// provider of the table is named by. In the extensions of the request.
#[derive(Clone, Debug)]
struct HandedOver {
    target: Arc<str>,
    recipient: Recipient,
}

/// What distinguishes one recipient of a request from another.
#[derive(Clone, PartialEq, Eq)]
struct Recipient {
    host: Authority,
    credentials: Vec<HeaderValue>,
    model: Option<String>,
}

/// The service of a target has not addressed a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {rejection}: a request for `{target}` would be sent to {host}")]
struct NotAddressed {
    target: Arc<str>,
    host: Authority,
    /// The request was not sent, and another target may take it.
    #[source]
    rejection: Rejection,
}

/// Marks a request that the service of `target` has to address.
pub(crate) fn mark(mut request: Request<Payload>, target: &Arc<str>) -> Request<Payload> {
    let recipient = Recipient::of(&request).filter(|recipient| {
        // A client may have a key of its own, and any other host may be one that it has chosen.
        !recipient.credentials.is_empty() && Provider::at_host(recipient.host.host()) != Provider::Other
    });
    match recipient {
        Some(recipient) => {
            request.extensions_mut().insert(HandedOver { target: Arc::clone(target), recipient });
        }
        None => _ = request.extensions_mut().remove::<HandedOver>(),
    }
    request
}

/// Checks a request that is about to be sent.
///
/// # Errors
///
/// It is marked, and would be sent as it was handed over.
pub(crate) fn check(request: &Request<Payload>) -> Result<(), Error> {
    let Some(HandedOver { target, recipient }) = request.extensions().get() else { return Ok(()) };
    if Recipient::of(request).as_ref() != Some(recipient) {
        return Ok(());
    }
    let rejection =
        Rejection::new(Gate::Translate, ErrorCode::InvalidRequest).because(RejectionReason::NotAddressed);
    let rejection = record_rejection(rejection, target, None, request.extensions());
    Err(Error::new(NotAddressed { target: Arc::clone(target), host: recipient.host.clone(), rejection }))
}

impl Recipient {
    fn of(request: &Request<Payload>) -> Option<Self> {
        let host = request.uri().authority()?.clone();
        let credentials = ACCOUNT_HEADERS.iter().flat_map(|name| request.headers().get_all(name)).cloned();
        let field = request.body().bytes().and_then(|body| ModelField::read(body).ok());
        Some(Self {
            host,
            credentials: credentials.collect(),
            model: field.map(|field| field.model().to_owned()),
        })
    }
}

// The credentials are not shown.
partial_debug!([] Recipient, "Recipient", host, model);
