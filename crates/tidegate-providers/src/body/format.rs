use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// How the body of a response is to be read, according to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFormat {
    /// The body is compressed, so nothing can be read from it.
    Compressed,
    /// One JSON document: `application/json`.
    Json,
    /// Server-sent events: `text/event-stream`.
    Events,
    /// Amazon's binary events: `application/vnd.amazon.eventstream`.
    AmazonEvents,
    /// Any other media type, or none.
    Other,
}

const MEDIA_TYPES: [(&str, BodyFormat); 3] = [
    ("application/json", BodyFormat::Json),
    ("text/event-stream", BodyFormat::Events),
    ("application/vnd.amazon.eventstream", BodyFormat::AmazonEvents),
];

impl BodyFormat {
    /// The format that `content-encoding` and `content-type` declare.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        if headers.is_empty() {
            return Self::Other;
        }
        let coding = headers.get(CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
        if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Self::Compressed;
        }
        let media = match headers.get(CONTENT_TYPE) {
            // As nearly every response has it, without a parameter.
            Some(media) if media == "application/json" => return Self::Json,
            media => media.and_then(|media| media.to_str().ok()?.split(';').next()),
        };
        let media = media.unwrap_or_default().trim();
        let known = MEDIA_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(media));
        known.map_or(Self::Other, |&(_, format)| format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_from_the_encoding_and_the_media_type() {
        let of = |coding: Option<&'static str>, media: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            coding.map(|coding| headers.insert(CONTENT_ENCODING, coding.parse().unwrap()));
            media.map(|media| headers.insert(CONTENT_TYPE, media.parse().unwrap()));
            BodyFormat::of(&headers)
        };
        assert_eq!(of(None, Some("application/json")), BodyFormat::Json);
        assert_eq!(of(Some("Identity"), Some("Text/Event-Stream ; charset=utf-8")), BodyFormat::Events);
        assert_eq!(of(None, Some("application/vnd.amazon.eventstream")), BodyFormat::AmazonEvents);
        assert_eq!(of(None, Some("text/html")), BodyFormat::Other);
        assert_eq!(of(None, None), BodyFormat::Other);
        assert_eq!(of(Some("gzip"), Some("application/json")), BodyFormat::Compressed);
        assert_eq!(of(Some("br"), None), BodyFormat::Compressed);
    }
}
