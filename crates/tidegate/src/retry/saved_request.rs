use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use crate::Payload;

/// A copy of a request for a later attempt. Most calls need none.
///
/// The headers are copied into one buffer. A clone of a `HeaderMap` allocates its tables and once per value.
pub(super) struct SavedRequest {
    method: Method,
    uri: Uri,
    version: Version,
    headers: SavedHeaders,
    extensions: Extensions,
    body: Payload,
}

/// Headers in the order of their map, each in four parts: its mark, the lengths of its name and its value,
/// both texts.
#[derive(Default)]
struct SavedHeaders(Vec<u8>);

const LENGTH: usize = size_of::<usize>();

/// The buffer grows for headers that are larger on average.
const USUAL_SIZE: usize = 64;

impl SavedRequest {
    pub(super) fn new(head: &Parts, body: Payload) -> Self {
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: SavedHeaders::of(&head.headers),
            extensions: head.extensions.clone(),
            body,
        }
    }

    pub(super) fn into_request(self) -> Request<Payload> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.to_map();
        *request.extensions_mut() = self.extensions;
        request
    }
}

impl SavedHeaders {
    fn of(headers: &HeaderMap) -> Self {
        if headers.is_empty() {
            return Self::default();
        }
        let mut bytes = Vec::with_capacity(headers.len() * USUAL_SIZE);
        for (name, value) in headers {
            let name = name.as_str();
            bytes.push(value.is_sensitive().into());
            bytes.extend_from_slice([name.len(), value.len()].map(usize::to_ne_bytes).as_flattened());
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        Self(bytes)
    }

    fn to_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut bytes = &self.0[..];
        while let Some((name, value)) = next_header(&mut bytes) {
            headers.append(name, value);
        }
        headers
    }
}

/// Reads one header, and leaves those behind it in `bytes`.
fn next_header(bytes: &mut &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let is_sensitive = *bytes.split_off_first()? != 0;
    let [name, value] = [next_length(bytes)?, next_length(bytes)?];
    let name = HeaderName::from_bytes(bytes.split_off(..name)?).ok()?;
    let mut value = HeaderValue::from_bytes(bytes.split_off(..value)?).ok()?;
    value.set_sensitive(is_sensitive);
    Some((name, value))
}

fn next_length(bytes: &mut &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    *bytes = rest;
    Some(usize::from_ne_bytes(*length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_are_restored_in_their_order(
            fields in prop::collection::vec(("[a-c]{1,2}|accept|host", "[ -~]{0,9}", any::<bool>()), 0..12)
        ) {
            let mut headers = HeaderMap::new();
            for (name, value, is_sensitive) in fields {
                let mut value = HeaderValue::try_from(value).unwrap();
                value.set_sensitive(is_sensitive);
                headers.append(HeaderName::try_from(name).unwrap(), value);
            }
            let restored = SavedHeaders::of(&headers).to_map();
            let list = |headers: &HeaderMap| -> Vec<_> {
                headers.iter().map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive())).collect()
            };
            prop_assert_eq!(list(&restored), list(&headers));
        }
    }

    #[test]
    fn every_part_of_a_request_is_restored() {
        #[derive(Clone, PartialEq, Debug)]
        struct Mark(u8);
        let request = Request::put("https://api.example:8443/v1?a=b")
            .version(Version::HTTP_2)
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\xfe").unwrap())
            .extension(Mark(7))
            .body(Payload::from("{}"))
            .unwrap();
        let (head, body) = request.into_parts();
        let restored = SavedRequest::new(&head, body).into_request();
        assert_eq!((restored.method(), restored.uri()), (&head.method, &head.uri));
        assert_eq!((restored.version(), restored.headers()), (head.version, &head.headers));
        assert_eq!(restored.extensions().get(), Some(&Mark(7)));
        assert_eq!(restored.body().bytes().unwrap(), "{}");
    }
}
