use tidegate::config::redacted;

use super::GatewayConfigError;

/// Checks that no text is in the list `key` twice, by `is_same`.
///
/// # Errors
///
/// The texts that are.
pub(super) fn no_duplicates(
    key: &str,
    list: &[impl AsRef<str>],
    is_same: impl Fn(&str, &str) -> bool,
) -> Result<(), GatewayConfigError> {
    let texts = list.iter().map(AsRef::as_ref);
    GatewayConfigError::all(texts.enumerate().map(|(index, text)| {
        if list[..index].iter().any(|before| is_same(before.as_ref(), text)) {
            Err(GatewayConfigError::new(
                format!("{key}[{index}]"),
                format!("`{}` is in the list already", redacted(text)),
            ))
        } else {
            Ok(())
        }
    }))
}
