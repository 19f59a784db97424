use tidegate_core::Untranslatable;

/// The error for a field that the other dialect cannot express and that must not be dropped.
pub(crate) const fn unsupported(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "has no counterpart in the dialect of the target")
}

/// The error for a field that violates the schema of its own dialect.
pub(crate) const fn malformed(field: &'static str) -> Untranslatable {
    Untranslatable::new(field, "is not in the form of its dialect")
}
