use bytes::{Buf, Bytes, BytesMut};
use tidegate_core::{NotContinuable, StreamSplicer};
use tidegate_providers::stream::{Dialect, DialectGuess, Event, SseFramer};

use super::anthropic::MessagesState;
use super::chat::ChatState;
use super::delivered::Delivered;
use super::request;

/// Splits a stream into events and records the delivered text; after a switch of target, rewrites the events
/// of the continuing stream as events of the first one.
#[derive(Default)]
pub(crate) struct Splicer {
    /// The incomplete event at the end of the received bytes.
    partial: BytesMut,
    /// The number of bytes of `partial` that the framer has read.
    framed: usize,
    framer: SseFramer,
    /// Complete events from the first failure event on. They are discarded if another target continues the
    /// stream.
    withheld: BytesMut,
    state: DialectState,
    /// Whether the received events come from the continuing target.
    is_continuing: bool,
}

/// The dialect of the stream, with what was delivered in it.
#[derive(Default)]
enum DialectState {
    /// No event has identified the dialect yet.
    #[default]
    Undetermined,
    Chat(ChatState),
    Messages(MessagesState),
    /// A dialect, or a stream, that cannot be continued.
    Unsupported,
}

/// The maximum size of a buffered event. A larger event passes in pieces, and the stream can no longer be
/// continued.
const MAX_EVENT: usize = 256 * 1024;

impl DialectState {
    fn delivered(&mut self) -> Option<&mut Delivered> {
        match self {
            Self::Chat(chat) => Some(&mut chat.delivered),
            Self::Messages(messages) => Some(&mut messages.delivered),
            Self::Undetermined | Self::Unsupported => None,
        }
    }

    fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Chat(_) => Some(Dialect::Chat),
            Self::Messages(_) => Some(Dialect::Anthropic),
            Self::Undetermined | Self::Unsupported => None,
        }
    }

    /// Records an event. Returns `false` if the event reports a failure.
    fn observe(&mut self, event: Event<'_>) -> bool {
        if event.data.is_empty() {
            return !event.is_error;
        }
        if event.is_cut {
            *self = Self::Unsupported;
        }
        if matches!(self, Self::Undetermined) {
            *self = match DialectGuess::of(event) {
                DialectGuess::Known(Dialect::Chat) => Self::Chat(ChatState::default()),
                DialectGuess::Known(Dialect::Anthropic) => Self::Messages(MessagesState::default()),
                DialectGuess::Known(_) | DialectGuess::Unknown => Self::Unsupported,
                DialectGuess::Undecided => return !event.is_error,
            };
        }
        if event.is_error || self.dialect().is_some_and(|dialect| dialect.read(event).error.is_some()) {
            return false;
        }
        match self {
            Self::Chat(chat) => chat.observe(event.data),
            Self::Messages(messages) => messages.observe(event),
            Self::Undetermined | Self::Unsupported => {}
        }
        true
    }

    /// Writes an event of the continuing stream to `out`. Returns `false` if the event reports a failure.
    fn rewrite(
        &mut self,
        event: Event<'_>,
        whole: &[u8],
        out: &mut BytesMut,
    ) -> Result<bool, NotContinuable> {
        if event.data.is_empty() && !event.is_error {
            out.extend_from_slice(whole);
            return Ok(true);
        }
        if event.is_error || self.dialect().is_some_and(|dialect| dialect.read(event).error.is_some()) {
            return Ok(false);
        }
        match (DialectGuess::of(event), self.dialect()) {
            _ if event.is_cut => return Err(NotContinuable),
            (DialectGuess::Known(received), Some(own)) if received == own => {}
            (DialectGuess::Undecided, Some(_)) => {}
            _ => return Err(NotContinuable),
        }
        let is_written = match self {
            Self::Chat(chat) => chat.rewrite(event.data, out),
            Self::Messages(messages) => messages.rewrite(event, out),
            Self::Undetermined | Self::Unsupported => return Err(NotContinuable),
        };
        if !is_written {
            out.extend_from_slice(whole);
        }
        Ok(true)
    }
}

impl Splicer {
    /// Records bytes without withholding any. After a failure event, or an event above the size limit, the
    /// stream counts as unsupported.
    pub(crate) fn observe(&mut self, bytes: &Bytes) {
        if matches!(self.state, DialectState::Unsupported) {
            return;
        }
        self.forward(bytes);
        if !self.withheld.is_empty() || self.is_too_large() {
            self.state = DialectState::Unsupported;
            self.abandon();
        }
    }

    /// What was delivered so far; `None` if the dialect is undetermined or unsupported.
    pub(crate) fn delivered(&mut self) -> Option<&mut Delivered> {
        self.state.delivered()
    }

    /// Records bytes and returns the received bytes unchanged up to the end of the last complete event.
    fn forward(&mut self, bytes: &Bytes) -> Bytes {
        let was_empty = self.partial.is_empty();
        if !was_empty {
            self.partial.extend_from_slice(bytes);
        }
        let source: &[u8] = if was_empty { bytes } else { &self.partial };
        let (start, mut passed, mut read) = (self.framed, 0, 0);
        let framed = self.framer.split(&source[start..], |event, end| {
            let whole = &source[read..start + end];
            read = start + end;
            if self.state.observe(event) && self.withheld.is_empty() {
                passed = read;
            } else {
                self.withheld.extend_from_slice(whole);
            }
        });
        self.framed = start + framed - read;
        if was_empty {
            self.partial.extend_from_slice(&bytes[read..]);
            return bytes.slice(..passed);
        }
        let out = self.partial.split_to(read).freeze();
        out.slice(..passed)
    }

    /// Rewrites bytes of the continuing stream as events of the first stream.
    fn rewrite(&mut self, bytes: &[u8]) -> Result<Bytes, NotContinuable> {
        self.partial.extend_from_slice(bytes);
        let (mut out, mut result) = (BytesMut::new(), Ok(()));
        let (start, mut read) = (self.framed, 0);
        let framed = self.framer.split(&self.partial[start..], |event, end| {
            let whole = &self.partial[read..start + end];
            read = start + end;
            if result.is_err() {
                return;
            }
            match self.withheld.is_empty().then(|| self.state.rewrite(event, whole, &mut out)) {
                Some(Ok(true)) => {}
                Some(Ok(false)) | None => self.withheld.extend_from_slice(whole),
                Some(Err(not_continuable)) => result = Err(not_continuable),
            }
        });
        self.framed = start + framed - read;
        self.partial.advance(read);
        result.map(|()| out.freeze())
    }

    fn is_too_large(&self) -> bool {
        self.partial.len() + self.withheld.len() > MAX_EVENT
    }

    fn take_partial(&mut self) -> BytesMut {
        (self.framer, self.framed) = (SseFramer::new(), 0);
        std::mem::take(&mut self.partial)
    }
}

impl StreamSplicer for Splicer {
    fn push(&mut self, bytes: &Bytes) -> Result<Bytes, NotContinuable> {
        if self.is_continuing {
            let rewritten = self
                .rewrite(bytes)
                .and_then(|out| if self.is_too_large() { Err(NotContinuable) } else { Ok(out) });
            if rewritten.is_err() {
                self.take_partial();
                self.withheld.clear();
            }
            return rewritten;
        }
        let out = self.forward(bytes);
        if !self.is_too_large() {
            return Ok(out);
        }
        self.state = DialectState::Unsupported;
        let kept = self.abandon();
        Ok([out, kept].concat().into())
    }

    fn finish(&mut self) -> Bytes {
        if !self.is_continuing || self.partial.is_empty() {
            return self.abandon();
        }
        // The last event may lack its terminating empty line.
        let out = self.rewrite(b"\n\n").unwrap_or_default();
        [out, self.abandon()].concat().into()
    }

    fn abandon(&mut self) -> Bytes {
        let mut kept = std::mem::take(&mut self.withheld);
        let partial = self.take_partial();
        // An incomplete event of the continuing stream is discarded.
        if !self.is_continuing {
            kept.unsplit(partial);
        }
        kept.freeze()
    }

    fn continuation_request(&self, target: &str, request: &[u8]) -> Option<Bytes> {
        match &self.state {
            DialectState::Chat(chat) => request::chat(request, &chat.delivered),
            DialectState::Messages(messages) if !messages.is_within_other_block() => {
                request::messages(target, request, &messages.delivered)
            }
            DialectState::Messages(_) | DialectState::Undetermined | DialectState::Unsupported => None,
        }
    }

    fn switch_to(&mut self, target: &str) -> Bytes {
        self.is_continuing = true;
        self.take_partial();
        self.withheld.clear();
        if let Some(delivered) = self.state.delivered() {
            delivered.pending_marker = Some(target.to_owned());
        }
        if let DialectState::Messages(messages) = &mut self.state {
            messages.begin_continuation();
        }
        format!(": continued by {target}\n\n").into()
    }
}
