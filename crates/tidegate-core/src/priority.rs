use http::Extensions;

/// The scheduling class of a request: interactive or batch.
///
/// The priority is an extension of the request. Where calls have to queue, interactive calls go first, and
/// batch calls get a guaranteed share, so that neither class starves. Without contention the priority has no
/// effect.
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
    /// A user is waiting for the response. The default.
    #[default]
    Interactive,
    /// The response may be delayed: evaluations, embeddings of a corpus, nightly jobs.
    Batch,
}

impl Priority {
    /// The priority of this request; [`Interactive`](Self::Interactive) if none is set.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    /// The name used in events and metrics: `interactive`, `batch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}
