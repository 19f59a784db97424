use http::Uri;
use http::uri::Scheme;

/// The URL of a server that the gateway posts to. The message does not contain it, since its path and its
/// query are often secret. Credentials in it would not be sent, and libraries may log it: they belong in
/// `setting`.
pub(super) fn http_uri(url: &str, setting: &str) -> Result<Uri, String> {
    let is_http = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let uri =
        url.parse().ok().filter(|uri: &Uri| is_http(uri) && uri.host().is_some_and(|host| !host.is_empty()));
    let uri = uri.ok_or_else(|| "expected an http or https URL".to_owned())?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("expected a URL without credentials, they belong in {setting}"));
    }
    Ok(uri)
}
