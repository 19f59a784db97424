use http_body::Body;

/// Whether the body has no further frames. An HTTP/1 writer stops polling once it has the announced length,
/// so the `None` after the last frame may never be polled.
pub(crate) fn has_ended(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}
