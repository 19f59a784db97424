use bytes::Bytes;
use serde_json::Value;

use crate::provider::framing::Framing;

/// One event of a stream, before framing. Names and data may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum WireEvent {
    /// A comment, used as a ping.
    Comment(&'static str),
    /// An event with data.
    Message { name: String, data: String },
    /// An event that is framed as an error, which Amazon's framing supports.
    Exception { name: String, data: String },
}

impl WireEvent {
    /// An event without a name.
    pub(super) fn data(value: &Value) -> Self {
        Self::text(value.to_string())
    }

    /// An event without a name. The data need not be JSON.
    pub(super) fn text(data: impl Into<String>) -> Self {
        Self::Message { name: String::new(), data: data.into() }
    }

    /// An event named by the `type` of its data. The type is the first field, as providers send it.
    pub(super) fn typed(mut value: Value) -> Self {
        let kind = value.as_object_mut().and_then(|fields| fields.remove("type"));
        let kind = kind.unwrap_or_else(|| "message".into());
        let rest = value.to_string();
        let rest = rest.strip_prefix('{').unwrap_or("}");
        let comma = if rest == "}" { "" } else { "," };
        let data = format!("{{\"type\":{kind}{comma}{rest}");
        Self::Message { name: kind.as_str().unwrap_or_default().to_owned(), data }
    }

    /// An event that is named by its frame alone.
    pub(super) fn named(name: &str, value: &Value) -> Self {
        Self::Message { name: name.to_owned(), data: value.to_string() }
    }
}

/// Frames the events of one stream.
#[derive(Debug)]
pub(in crate::provider) struct EventFramer {
    framing: Framing,
    has_begun: bool,
}

impl EventFramer {
    pub(in crate::provider) const fn new(framing: Framing) -> Self {
        Self { framing, has_begun: false }
    }

    pub(in crate::provider) fn frame(&mut self, event: WireEvent) -> Bytes {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        match (self.framing, event) {
            (Framing::Sse, WireEvent::Comment(text)) => format!(": {text}\n\n").into(),
            (Framing::Sse, WireEvent::Message { name, data } | WireEvent::Exception { name, data }) => {
                let mut text = String::new();
                for (field, value) in [("event", name), ("data", data)] {
                    if !value.is_empty() {
                        text += &format!("{field}: {value}\n");
                    }
                }
                (text + "\n").into()
            }
            (Framing::Array, WireEvent::Comment(_)) => {
                self.has_begun = has_begun;
                Bytes::from_static(b"\n")
            }
            (Framing::Array, WireEvent::Message { data, .. } | WireEvent::Exception { data, .. }) => {
                format!("{}{data}", if has_begun { ",\r\n" } else { "[" }).into()
            }
            (Framing::Amazon, WireEvent::Comment(_)) => amazon("event", ":event-type", "ping", "{}"),
            (Framing::Amazon, WireEvent::Message { name, data }) => {
                amazon("event", ":event-type", &name, &data)
            }
            (Framing::Amazon, WireEvent::Exception { name, data }) => {
                amazon("exception", ":exception-type", &name, &data)
            }
        }
    }

    /// Frames a ping, which may be repeated. Between two elements of an array only white space is allowed.
    pub(in crate::provider) fn ping(&mut self, ping: WireEvent) -> Bytes {
        match self.framing {
            Framing::Array => self.frame(WireEvent::Comment("")),
            Framing::Sse | Framing::Amazon => self.frame(ping),
        }
    }

    /// The bytes after the last event.
    pub(in crate::provider) fn end(&self) -> Option<Bytes> {
        let end: &[u8] = if self.has_begun { b"]" } else { b"[]" };
        (self.framing == Framing::Array).then(|| Bytes::from_static(end))
    }
}

impl Framing {
    pub(in crate::provider) const fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Array => "application/json",
            Self::Amazon => "application/vnd.amazon.eventstream",
        }
    }
}

/// Encodes an Amazon message: two lengths and their checksum, headers, payload, and the checksum of the
/// whole.
fn amazon(kind: &str, key: &str, name: &str, payload: &str) -> Bytes {
    const TEXT: u8 = 7;
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut headers = Vec::new();
    for (key, value) in [(key, name), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        headers.extend(key.as_bytes());
        headers.push(TEXT);
        headers.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let mut message = Vec::new();
    message.extend(word(16 + headers.len() + payload.len()));
    message.extend(word(headers.len()));
    message.extend(crc32(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.as_bytes());
    message.extend(crc32(&message).to_be_bytes());
    message.into()
}

/// CRC-32 as in Ethernet and zip, bit by bit, since tests do not need speed.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frames(framing: Framing, events: impl IntoIterator<Item = WireEvent>) -> Vec<Bytes> {
        let mut framer = EventFramer::new(framing);
        let frames: Vec<_> = events.into_iter().map(|event| framer.frame(event)).collect();
        frames.into_iter().chain(framer.end()).collect()
    }

    #[test]
    fn a_server_sent_event_has_only_its_own_fields() {
        let named = |name: &str, data: &str| WireEvent::Message { name: name.into(), data: data.into() };
        let events = [
            WireEvent::Comment("here"),
            WireEvent::text("1"),
            named("a", "1"),
            named("keepalive", ""),
            WireEvent::typed(json!({"a": 1, "type": "z"})),
            WireEvent::typed(json!({"type": "z"})),
        ];
        assert_eq!(
            frames(Framing::Sse, events),
            [
                ": here\n\n",
                "data: 1\n\n",
                "event: a\ndata: 1\n\n",
                "event: keepalive\n\n",
                "event: z\ndata: {\"type\":\"z\",\"a\":1}\n\n",
                "event: z\ndata: {\"type\":\"z\"}\n\n",
            ]
        );
    }

    #[test]
    fn an_array_with_pings_is_one_json_text() {
        let events =
            [WireEvent::Comment(""), WireEvent::text("1"), WireEvent::Comment(""), WireEvent::text("2")];
        let text = frames(Framing::Array, events).concat();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), json!([1, 2]));
        assert_eq!(frames(Framing::Array, []), ["[]"]);
    }

    #[test]
    fn an_amazon_message_has_its_lengths_and_checksums() {
        // The standard check value of this polynomial.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let message = amazon("event", ":event-type", "metadata", "{}");
        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, message.len());
        assert_eq!(word(8), crc32(&message[..8]));
        assert_eq!(word(message.len() - 4), crc32(&message[..message.len() - 4]));
        assert!(message[12 + word(4) as usize..].starts_with(b"{}"));
    }
}
