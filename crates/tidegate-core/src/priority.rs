use http::Extensions;

/// Who waits for the answer: a person, or nobody in particular.
///
/// It travels in the extensions of the request. Where calls have to queue, interactive ones go first, and
/// batch calls get a guaranteed share, so that neither starves; without contention it changes nothing.
///
/// ```
/// use http::Request;
/// use tidegate_core::Priority;
///
/// let nightly = Request::post("/v1/embeddings").extension(Priority::Batch).body(())?;
/// assert_eq!(Priority::of(nightly.extensions()), Priority::Batch);
/// assert_eq!(Priority::of(Request::new(()).extensions()), Priority::Interactive);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for it. The default.
    #[default]
    Interactive,
    /// It may wait: evaluations, embeddings of a corpus, what runs at night.
    Batch,
}

impl Priority {
    /// The priority of this request; [`Interactive`](Self::Interactive) if it says nothing.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    /// The name in events and metrics: `interactive`, `batch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}
