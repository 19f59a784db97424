use bytes::Bytes;
use serde_json::Value;

/// How the events of a stream are told apart on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// A JSON array that comes element by element: Google's, where `alt=sse` is not asked for.
    Array,
    /// Amazon's binary event stream.
    Amazon,
}

/// One event of a stream, before it has a frame. Names and data may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Event {
    /// Nothing but a sign of life.
    Comment(&'static str),
    /// One with something to say.
    Said { name: String, data: String },
    /// One that its frame calls an error, as Amazon's can.
    Exception { name: String, data: String },
}

impl Event {
    /// Without a name.
    pub(super) fn data(value: &Value) -> Self {
        Self::text(value.to_string())
    }

    /// Without a name, and perhaps no JSON.
    pub(super) fn text(data: impl Into<String>) -> Self {
        Self::Said { name: String::new(), data: data.into() }
    }

    /// Named by the `type` of its data, which stands first, where providers put it.
    pub(super) fn typed(mut value: Value) -> Self {
        let kind = value.as_object_mut().and_then(|fields| fields.remove("type"));
        let kind = kind.unwrap_or_else(|| "message".into());
        let rest = value.to_string();
        let rest = rest.strip_prefix('{').unwrap_or("}");
        let comma = if rest == "}" { "" } else { "," };
        let data = format!("{{\"type\":{kind}{comma}{rest}");
        Self::Said { name: kind.as_str().unwrap_or_default().to_owned(), data }
    }

    /// Named by its frame alone.
    pub(super) fn named(name: &str, value: &Value) -> Self {
        Self::Said { name: name.to_owned(), data: value.to_string() }
    }
}

/// Puts the events of one stream into frames.
#[derive(Debug)]
pub(in crate::provider) struct Framer {
    framing: Framing,
    has_begun: bool,
}

impl Framer {
    pub(in crate::provider) const fn new(framing: Framing) -> Self {
        Self { framing, has_begun: false }
    }

    pub(in crate::provider) fn frame(&mut self, event: Event) -> Bytes {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        match (self.framing, event) {
            (Framing::Sse, Event::Comment(text)) => format!(": {text}\n\n").into(),
            (Framing::Sse, Event::Said { name, data } | Event::Exception { name, data }) => {
                let mut text = String::new();
                for (field, value) in [("event", name), ("data", data)] {
                    if !value.is_empty() {
                        text += &format!("{field}: {value}\n");
                    }
                }
                (text + "\n").into()
            }
            (Framing::Array, Event::Comment(_)) => {
                self.has_begun = has_begun;
                Bytes::from_static(b"\n")
            }
            (Framing::Array, Event::Said { data, .. } | Event::Exception { data, .. }) => {
                format!("{}{data}", if has_begun { ",\r\n" } else { "[" }).into()
            }
            (Framing::Amazon, Event::Comment(_)) => amazon("event", ":event-type", "ping", "{}"),
            (Framing::Amazon, Event::Said { name, data }) => amazon("event", ":event-type", &name, &data),
            (Framing::Amazon, Event::Exception { name, data }) => {
                amazon("exception", ":exception-type", &name, &data)
            }
        }
    }

    /// A sign of life, which may come again and again: between two elements of an array only space can.
    pub(in crate::provider) fn ping(&mut self, ping: Event) -> Bytes {
        match self.framing {
            Framing::Array => self.frame(Event::Comment("")),
            Framing::Sse | Framing::Amazon => self.frame(ping),
        }
    }

    /// What follows the last event.
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

/// A message of Amazon's: two lengths and their checksum, headers, payload, and the checksum of all.
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

/// The checksum of Ethernet and zip, bit by bit: tests are in no hurry.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frames(framing: Framing, events: impl IntoIterator<Item = Event>) -> Vec<Bytes> {
        let mut framer = Framer::new(framing);
        let frames: Vec<_> = events.into_iter().map(|event| framer.frame(event)).collect();
        frames.into_iter().chain(framer.end()).collect()
    }

    #[test]
    fn an_event_of_the_web_has_the_fields_that_it_has() {
        let named = |name: &str, data: &str| Event::Said { name: name.into(), data: data.into() };
        let events = [
            Event::Comment("here"),
            Event::text("1"),
            named("a", "1"),
            named("keepalive", ""),
            Event::typed(json!({"a": 1, "type": "z"})),
            Event::typed(json!({"type": "z"})),
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
    fn an_array_is_one_json_text_whatever_comes_in_between() {
        let events = [Event::Comment(""), Event::text("1"), Event::Comment(""), Event::text("2")];
        let text = frames(Framing::Array, events).concat();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), json!([1, 2]));
        assert_eq!(frames(Framing::Array, []), ["[]"]);
    }

    #[test]
    fn a_message_of_amazons_has_its_lengths_and_checksums() {
        // The check value of this polynomial in every catalogue.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let message = amazon("event", ":event-type", "metadata", "{}");
        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, message.len());
        assert_eq!(word(8), crc32(&message[..8]));
        assert_eq!(word(message.len() - 4), crc32(&message[..message.len() - 4]));
        assert!(message[12 + word(4) as usize..].starts_with(b"{}"));
    }
}
