use http_body::Body;

/// Whether there is nothing more to come. HTTP/1 writers stop polling once they have all that was announced, so waiting
/// for `None` is not enough.
pub(crate) fn has_ended(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}
