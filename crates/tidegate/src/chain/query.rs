//! The query of a request that is forwarded.

/// Parameters with which some APIs accept a credential.
const CREDENTIALS: [&str; 7] = ["key", "api_key", "api-key", "apikey", "access_token", "token", "x-api-key"];

/// The caller's query without its credentials. `None` if nothing is left.
///
/// A name with an escape is not forwarded, because it may encode the name of a credential. No API uses one.
pub(super) fn forwarded(query: &str) -> Option<String> {
    let is_forwarded = |parameter: &&str| {
        let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
        !name.is_empty()
            && !name.contains(['%', '+'])
            && !CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential))
    };
    let parameters: Vec<&str> = query.split('&').filter(is_forwarded).collect();
    (!parameters.is_empty()).then(|| parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_forwarded_without_credentials() {
        for (query, expected) in [
            ("beta=true", Some("beta=true")),
            ("api-version=2024-10-21&x=%20", Some("api-version=2024-10-21&x=%20")),
            ("a&b=&c=1=2", Some("a&b=&c=1=2")),
            ("key=secret", None),
            ("beta=true&API_KEY=secret&access_token=secret&limit=1", Some("beta=true&limit=1")),
            ("k%65y=secret&beta=true", Some("beta=true")),
            ("", None),
            ("&&", None),
        ] {
            assert_eq!(forwarded(query).as_deref(), expected, "{query}");
        }
    }
}
