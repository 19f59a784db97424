use std::fmt;

use http::{HeaderName, Request};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::rendezvous::AffinityKey;
use crate::Tenant;
use crate::body::bytes_of;
use crate::defaults::first_messages_digest;

/// Which calls belong to one conversation, and stay with one member as long as it is healthy.
///
/// The caches of prompts are kept per account or deployment, so that the next call of a conversation costs
/// less at the member that took the last one. In a configuration it is a string: `"header:<name>"`,
/// `"tenant"` or `"messages"`. A call without that header, tenant or message belongs to none, and takes any
/// member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity(ConversationSource);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ConversationSource {
    Header(HeaderName),
    Tenant,
    Messages,
}

const EXPECTED: &str = "\"header:<name>\", \"tenant\" or \"messages\"";

impl Affinity {
    /// The calls with the same value of this header.
    #[must_use]
    pub const fn header(name: HeaderName) -> Self {
        Self(ConversationSource::Header(name))
    }

    /// The calls of the same [`Tenant`].
    #[must_use]
    pub const fn tenant() -> Self {
        Self(ConversationSource::Tenant)
    }

    /// The calls that begin with the same messages: the instructions of the system, and the messages to the
    /// end of the first one of the user. Read from a body in memory that is a [`Payload`](crate::Payload), in
    /// the dialects of OpenAI, Anthropic and Gemini; the feature `providers` is needed.
    #[must_use]
    pub const fn messages() -> Self {
        Self(ConversationSource::Messages)
    }

    /// The header, if it is one.
    #[must_use]
    pub const fn header_name(&self) -> Option<&HeaderName> {
        match &self.0 {
            ConversationSource::Header(name) => Some(name),
            ConversationSource::Tenant | ConversationSource::Messages => None,
        }
    }

    /// The conversation of a request.
    pub(super) fn key<B: 'static>(&self, request: &Request<B>) -> Option<AffinityKey> {
        match &self.0 {
            ConversationSource::Header(name) => {
                let value = request.headers().get(name).filter(|value| !value.is_empty())?;
                Some(AffinityKey::of(&[value.as_bytes()]))
            }
            ConversationSource::Tenant => {
                let Tenant(tenant) = request.extensions().get()?;
                Some(AffinityKey::of(&[tenant.as_bytes()]))
            }
            ConversationSource::Messages => {
                let body = bytes_of(request)?;
                first_messages_digest(body).map(|digest| AffinityKey::of(&[&digest.to_le_bytes()]))
            }
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ConversationSource::Header(name) => write!(f, "header:{name}"),
            ConversationSource::Tenant => f.write_str("tenant"),
            ConversationSource::Messages => f.write_str("messages"),
        }
    }
}

impl Serialize for Affinity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Affinity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Affinity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Affinity, E> {
                let header = text.strip_prefix("header:").and_then(|name| name.parse().ok());
                match (text, header) {
                    ("tenant", _) => Ok(Affinity::tenant()),
                    ("messages", _) => Ok(Affinity::messages()),
                    (_, Some(name)) => Ok(Affinity::header(name)),
                    (_, None) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Affinity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Affinity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(tenant|messages|header:.+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    fn request(header: &str, tenant: &str, body: &'static str) -> Request<Payload> {
        let request = Request::builder().header("x-conversation", header).extension(Tenant(tenant.into()));
        request.body(Payload::from(body)).unwrap()
    }

    #[test]
    fn each_kind_depends_on_its_part_of_the_request() {
        let header = Affinity::header(HeaderName::from_static("x-conversation"));
        let same = |affinity: &Affinity, one: &Request<Payload>, other: &Request<Payload>| {
            affinity.key(one).is_some() && affinity.key(one) == affinity.key(other)
        };
        let hello = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
        let bye = r#"{"messages":[{"role":"user","content":"bye"}]}"#;
        let one = request("a", "t", hello);
        assert!(
            same(&header, &one, &request("a", "u", bye)) && !same(&header, &one, &request("b", "t", hello))
        );
        let tenant = Affinity::tenant();
        assert!(
            same(&tenant, &one, &request("b", "t", bye)) && !same(&tenant, &one, &request("a", "u", hello))
        );
        if cfg!(feature = "providers") {
            let messages = Affinity::messages();
            assert!(same(&messages, &one, &request("b", "u", hello)));
            assert!(!same(&messages, &one, &request("a", "t", bye)));
        }
        let none = Request::new(Payload::from("{}"));
        for affinity in [header, tenant, Affinity::messages()] {
            assert_eq!(affinity.key(&none), None, "{affinity}");
        }
    }

    #[test]
    fn it_is_a_string_in_a_configuration() {
        for text in ["tenant", "messages", "header:x-conversation"] {
            let affinity: Affinity = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&affinity).unwrap(), text);
        }
        for bad in ["", "header:", "header:a b", "Tenant", "model"] {
            let error = serde_json::from_value::<Affinity>(bad.into()).unwrap_err().to_string();
            assert!(error.contains(EXPECTED), "{bad}: {error}");
        }
    }
}
