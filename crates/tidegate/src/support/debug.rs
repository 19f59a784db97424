//! `Debug` of what cannot show all of its fields, or need not.

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
