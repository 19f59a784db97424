//! `Debug` of what cannot show all of its fields, or need not.

use std::fmt;

use http::HeaderMap;

/// Shows the names of headers, since their values may be credentials.
pub(crate) struct HeaderNames<'a>(pub(crate) &'a HeaderMap);

impl fmt::Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Implements `Debug` with the fields that are named: `partial_debug!([T: Debug] Type<T>, "Type", field)`.
macro_rules! partial_debug {
    ([$($generics:tt)*] $type:ty, $name:literal $(, $field:ident)*) => {
        impl<$($generics)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct($name)$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, header};

    use super::*;
    use crate::RequestHead;
    use crate::attempt::ResponseHead;

    const SECRET: &str = "s3cret";

    fn headers() -> HeaderMap {
        [(header::COOKIE, HeaderValue::from_static(SECRET))].into_iter().collect()
    }

    fn check(shown: impl fmt::Debug, expected: &str) {
        for text in [format!("{shown:?}"), format!("{shown:#?}")] {
            assert!(text.contains(expected) && !text.contains(SECRET), "{text}");
        }
    }

    #[test]
    fn the_head_of_a_message_is_shown_without_its_credentials() {
        let mut request = Request::new(());
        *request.uri_mut() = format!("https://me:{SECRET}@host.test/v1/chat?key={SECRET}").parse().unwrap();
        *request.headers_mut() = headers();
        check(RequestHead::of(&request), "/v1/chat");
        check(RequestHead::of(&request), "cookie");
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.headers = headers();
        check(ResponseHead::of(&head), "cookie");
    }

    #[cfg(all(feature = "config", feature = "translate"))]
    #[test]
    fn a_provider_is_shown_without_its_credentials() {
        use crate::FallbackChain;
        use crate::chain::{Addressed, ProviderSettings, Providers, TargetAddress};

        let settings = ProviderSettings::openai(format!("https://me:{SECRET}@host.test/v1/{SECRET}"))
            .query(format!("key={SECRET}"))
            .header(header::COOKIE, HeaderValue::from_static(SECRET))
            .api_key(SECRET);
        let address = TargetAddress::new("mine/m", &settings);
        let providers = Providers::new().with("mine", settings.clone());
        for expected in ["host.test", "cookie"] {
            check(&settings, expected);
            check(&address, expected);
            check(Addressed::new((), address.clone()), expected);
            check(&providers, expected);
            check(FallbackChain::new(["mine/m"]).providers(providers.clone()), expected);
        }
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_client_is_shown_without_its_headers() {
        let client = reqwest::Client::builder().default_headers(headers()).build().unwrap();
        check(crate::ReqwestService::new(client), "ReqwestService");
    }
}
