use http::Uri;
use http::uri::{Authority, Scheme};

/// The URI of an HTTP server in a setting. The message does not contain the URL, which may be a secret, or
/// have one in its path or query. Credentials in it would not be sent, and libraries may log it: they belong
/// in the setting `credentials`. `example` is a valid URL.
///
/// ```
/// use tidegate::config::http_uri;
///
/// let uri = |url| http_uri(url, "https://hooks.example/alerts", "webhook_token_env");
/// assert!(uri("http://localhost:8080/alerts").is_ok());
/// let problem = uri("http://localhost:80800/alerts").unwrap_err();
/// assert_eq!(problem, "expected a port from 1 to 65535");
/// ```
///
/// # Errors
///
/// What is expected in place of the URL.
pub fn http_uri(url: &str, example: &str, credentials: &str) -> Result<Uri, String> {
    let expected = || format!("expected a URL such as {example}");
    let uri: Uri = url.parse().map_err(|_| expected())?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(expected)?;
    if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
        return Err("expected a URL that begins with http:// or https://".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err(format!("expected a URL without credentials, they belong in {credentials}"));
    }
    if !has_valid_port(authority) {
        return Err("expected a port from 1 to 65535".to_owned());
    }
    Ok(uri)
}

/// Whether the port is absent or can be connected to. One that is no number is absent for [`Uri::port_u16`],
/// and clients would connect to that of the scheme.
fn has_valid_port(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    matches!(port, "" | ":") || authority.port_u16().is_some_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a port with a digit too many was read as that of the scheme.
    #[test]
    fn a_port_is_a_number_that_can_be_connected_to() {
        for (authority, is_valid) in [
            ("host", true),
            ("host:", true),
            ("host:1", true),
            ("host:65535", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("host:0", false),
            ("host:65536", false),
            ("127.0.0.2:80800", false),
            ("[::1]:80800", false),
            ("host:8o80", false),
        ] {
            let problem = http_uri(&format!("http://{authority}/v1"), "", "").err();
            let expected = (!is_valid).then(|| "expected a port from 1 to 65535".to_owned());
            assert_eq!(problem, expected, "{authority}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_rejected_without_it() {
        for url in ["", "/v1", "http://", "http://:80/", "http://a b", "http://[::1"] {
            let problem = http_uri(url, "https://hooks.example", "").unwrap_err();
            assert_eq!(problem, "expected a URL such as https://hooks.example", "{url}");
        }
        for url in ["s3cret", "host:80", "ftp://s3cret"] {
            let problem = http_uri(url, "https://hooks.example", "").unwrap_err();
            assert_eq!(problem, "expected a URL that begins with http:// or https://", "{url}");
        }
    }
}
