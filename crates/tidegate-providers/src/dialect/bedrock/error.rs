use http::HeaderMap;

/// The exception in the header of an error response: `ThrottlingException:http://...`.
pub(super) fn exception(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("x-amzn-errortype")?.to_str().ok()?;
    value.split(':').next()?.rsplit('#').next()
}
