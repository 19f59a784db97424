//! What a body is, by its first bytes.

/// What the first bytes of a body that is not empty show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBytes<'a> {
    /// Nothing but white space, or the beginning of a field name.
    Unclear,
    /// JSON, from its first brace or bracket.
    Json(&'a [u8]),
    /// A line of server-sent events.
    Events,
    /// Anything else, such as a web page or a sentence.
    Other,
}

/// The beginnings of lines of server-sent events. Some servers report errors in a field of their own.
const FIELDS: [&[u8]; 6] = [b"data", b"event", b"id", b"retry", b"error", b":"];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<'a> FirstBytes<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Self {
        if BYTE_ORDER_MARK.starts_with(body) {
            return Self::Unclear;
        }
        let body = trim_start(body);
        match body.first() {
            None => Self::Unclear,
            Some(b'{' | b'[') => Self::Json(body),
            Some(b':') => Self::Events,
            Some(_) if FIELDS.iter().any(|field| field.starts_with(body)) => Self::Unclear,
            Some(_) if FIELDS.iter().any(|field| is_field(body, field)) => Self::Events,
            Some(_) => Self::Other,
        }
    }
}

/// The body without a byte order mark and blanks before it.
pub(crate) fn trim_start(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii_start()
}

/// Whether a line begins with the field: a colon or the end of the line follows its name.
fn is_field(line: &[u8], field: &[u8]) -> bool {
    line.strip_prefix(field).is_some_and(|rest| matches!(rest.first(), Some(b':' | b'\n' | b'\r')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_that_are_not_blank_decide() {
        for (body, is) in [
            ("", FirstBytes::Unclear),
            (" \r\n\t", FirstBytes::Unclear),
            ("\u{feff}", FirstBytes::Unclear),
            ("dat", FirstBytes::Unclear),
            ("\u{feff} {}", FirstBytes::Json(b"{}")),
            ("\n[1]", FirstBytes::Json(b"[1]")),
            ("data:x", FirstBytes::Events),
            ("\n\ndata: x", FirstBytes::Events),
            ("event: error", FirstBytes::Events),
            (": ping", FirstBytes::Events),
            ("error: {\"code\":400}", FirstBytes::Events),
            ("database", FirstBytes::Other),
            ("error: ", FirstBytes::Events),
            ("error while loading", FirstBytes::Other),
            ("<!doctype html>", FirstBytes::Other),
            ("upstream is busy", FirstBytes::Other),
            ("\"text\"", FirstBytes::Other),
        ] {
            assert_eq!(FirstBytes::of(body.as_bytes()), is, "{body:?}");
            // A result for a beginning holds for the whole.
            for cut in 0..body.len() {
                let of_beginning = FirstBytes::of(&body.as_bytes()[..cut]);
                let is_same = std::mem::discriminant(&of_beginning) == std::mem::discriminant(&is);
                assert!(of_beginning == FirstBytes::Unclear || is_same, "{cut} of {body:?}");
            }
        }
    }
}
