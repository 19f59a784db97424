use super::GatewayConfigError;

/// Checks that no text is in the list `key` twice.
///
/// # Errors
///
/// The texts that are.
pub(super) fn no_duplicates(key: &str, list: &[impl AsRef<str>]) -> Result<(), GatewayConfigError> {
    let texts = list.iter().map(AsRef::as_ref);
    GatewayConfigError::all(texts.enumerate().map(|(index, text)| {
        match list[..index].iter().any(|before| before.as_ref().eq_ignore_ascii_case(text)) {
            true => Err(GatewayConfigError::new(
                format!("{key}[{index}]"),
                format!("`{text}` is in the list already"),
            )),
            false => Ok(()),
        }
    }))
}
