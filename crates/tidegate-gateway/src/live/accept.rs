use http::HeaderMap;
use http::header::ACCEPT;

/// Whether a client accepts HTML by its name, and not less than plain text: a browser does, and no client
/// library does.
pub(super) fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut text) = (0.0, 0.0);
    for value in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for (media_type, quality) in value.split(',').map(media_range) {
            match media_type {
                _ if media_type.eq_ignore_ascii_case("text/html") => html = quality,
                _ if media_type.eq_ignore_ascii_case("text/plain") => text = quality,
                _ => {}
            }
        }
    }
    html > 0.0 && html >= text
}

/// The media type and the quality in a media range (RFC 9110, 12.5.1). A quality that is not a number from 0
/// to 1 is 0.
fn media_range(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    let is_quality = |quality: &f32| (0.0..=1.0).contains(quality);
    (media_type, quality.map_or(1.0, |quality| quality.parse().ok().filter(is_quality).unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn html_is_for_clients_that_name_it() {
        for (values, expected) in [
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"][..], true),
            (&["TEXT/HTML ; charset=utf-8 ; Q=0.5, */*"], true),
            (&["application/json", "text/html"], true),
            (&["text/plain;q=0.5, text/html;q=0.5"], true),
            (&["text/plain, text/html;q=0.5"], false),
            (&["text/html;q=0, */*"], false),
            (&["text/html;q=x"], false),
            (&["text/html;q=2"], false),
            (&["text/html;q=NaN"], false),
            (&["*/*"], false),
            (&["text/*"], false),
            (&["application/json"], false),
            (&["text/htmlx"], false),
            (&[""], false),
            (&[], false),
        ] {
            let lines = values.iter().map(|value| (ACCEPT, HeaderValue::from_static(value)));
            assert_eq!(prefers_html(&lines.collect()), expected, "{values:?}");
        }
    }
}
