use bytes::{Bytes, BytesMut};
use tidegate_core::{NotContinuable, Stop, StreamSplicer};

use super::anthropic::Messages;
use super::chat::Chat;
use super::event::Cutter;
use super::{event, request};
use crate::stream::{Dialect, Event, Guess};

/// Follows a stream event by event, and retells those of another as if they were its own.
#[derive(Default)]
pub(crate) struct Follower {
    /// The beginning of an event whose end has not come.
    half: BytesMut,
    cutter: Cutter,
    /// Whole events, from the one that tells of a failure on: nobody needs to read it if another goes on.
    failed: BytesMut,
    voice: Voice,
    /// Whether the events are another's already.
    is_other: bool,
}

/// In which dialect, and what has been said in it.
#[derive(Default)]
enum Voice {
    /// Nothing has been said yet.
    #[default]
    Silent,
    Chat(Chat),
    Messages(Messages),
    /// Not one that can be continued.
    Strange,
}

/// What a model has told so far, as far as another has to know it.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// Events that carried text: about as many tokens.
    pub(super) tokens: u64,
    /// There is something besides text that is more than a comment on it: nobody else can go on with that.
    pub(crate) is_beyond: bool,
    /// The model has said why it stopped.
    pub(crate) stop: Option<Stop>,
    /// White space that was delivered and that the request for the rest has lost: who goes on may repeat it.
    pub(super) owed: String,
    /// Who goes on, until it has been told.
    pub(super) mark: Option<String>,
}

/// A larger event is not waited for: it passes in pieces, and the stream can no longer be continued.
const MAX_EVENT: usize = 256 * 1024;

/// No longer text is handed over.
const MAX_TEXT: usize = 1024 * 1024;

impl Told {
    pub(super) fn add(&mut self, text: &str) {
        if self.text.len() + text.len() > MAX_TEXT {
            self.is_beyond = true;
        } else {
            self.text.push_str(text);
        }
        self.tokens += 1;
    }

    /// The same for a piece of the text of who goes on; what is left of it may be told.
    pub(super) fn add_more(&mut self, text: &mut String) {
        let repeated = self.owed.chars().zip(text.chars()).take_while(|(owed, told)| owed == told);
        let length: usize = repeated.map(|(owed, _)| owed.len_utf8()).sum();
        text.drain(..length);
        self.owed.drain(..length);
        if !text.is_empty() {
            self.owed.clear();
            self.add(text);
        }
    }
}

impl Voice {
    fn told(&mut self) -> Option<&mut Told> {
        match self {
            Self::Chat(chat) => Some(&mut chat.told),
            Self::Messages(messages) => Some(&mut messages.told),
            Self::Silent | Self::Strange => None,
        }
    }

    fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Chat(_) => Some(Dialect::Chat),
            Self::Messages(_) => Some(Dialect::Anthropic),
            Self::Silent | Self::Strange => None,
        }
    }

    /// Takes note of an event. `false`: it tells of a failure.
    fn hear(&mut self, event: Event<'_>) -> bool {
        if event.data.is_empty() {
            return !event.is_error;
        }
        if matches!(self, Self::Silent) {
            *self = match Guess::of(event) {
                Guess::Known(Dialect::Chat) => Self::Chat(Chat::default()),
                Guess::Known(Dialect::Anthropic) => Self::Messages(Messages::default()),
                Guess::Known(_) | Guess::Stranger => Self::Strange,
                Guess::Open => return !event.is_error,
            };
        }
        if event.is_error || self.dialect().is_some_and(|dialect| dialect.tells_of_failure(event)) {
            return false;
        }
        match self {
            Self::Chat(chat) => chat.hear(event.data),
            Self::Messages(messages) => messages.hear(event.data),
            Self::Silent | Self::Strange => {}
        }
        true
    }

    /// Tells an event of who goes on. `false`: it tells of a failure.
    fn retell(&mut self, event: Event<'_>, whole: &[u8], out: &mut BytesMut) -> Result<bool, NotContinuable> {
        if event.data.is_empty() && !event.is_error {
            out.extend_from_slice(whole);
            return Ok(true);
        }
        if event.is_error || self.dialect().is_some_and(|dialect| dialect.tells_of_failure(event)) {
            return Ok(false);
        }
        match (Guess::of(event), self.dialect()) {
            (Guess::Known(told), Some(own)) if told == own => {}
            (Guess::Open, Some(_)) => {}
            _ => return Err(NotContinuable),
        }
        let is_told = match self {
            Self::Chat(chat) => chat.retell(event.data, out),
            Self::Messages(messages) => messages.retell(event.data, out),
            Self::Silent | Self::Strange => return Err(NotContinuable),
        };
        if !is_told {
            out.extend_from_slice(whole);
        }
        Ok(true)
    }
}

impl Follower {
    /// Takes note of what passes, and keeps nothing back. After a failure, or an event too large to be waited for, the
    /// stream is not understood any more.
    pub(crate) fn hear(&mut self, bytes: &Bytes) {
        if matches!(self.voice, Voice::Strange) {
            return;
        }
        self.follow(bytes);
        if !self.failed.is_empty() || self.is_too_large() {
            self.voice = Voice::Strange;
            self.give_up();
        }
    }

    /// What has been told so far, if it is understood.
    pub(crate) fn told(&mut self) -> Option<&mut Told> {
        self.voice.told()
    }

    /// The stream as it came, up to the end of the last whole event.
    fn follow(&mut self, bytes: &Bytes) -> Bytes {
        let is_fresh = self.half.is_empty();
        if !is_fresh {
            self.half.extend_from_slice(bytes);
        }
        let (mut passed, mut read) = (0, 0);
        {
            let source: &[u8] = if is_fresh { bytes } else { &self.half };
            while let Some(length) = self.cutter.length(&source[read..]) {
                let whole = &source[read..read + length];
                read += length;
                let is_fine = event::read(whole, |event| self.voice.hear(event));
                if is_fine && self.failed.is_empty() {
                    passed = read;
                } else {
                    self.failed.extend_from_slice(whole);
                }
            }
        }
        if is_fresh {
            self.half.extend_from_slice(&bytes[read..]);
            return bytes.slice(..passed);
        }
        let out = self.half.split_to(read).freeze();
        out.slice(..passed)
    }

    /// The stream of another, in the words of the first.
    fn retell(&mut self, bytes: &[u8]) -> Result<Bytes, NotContinuable> {
        self.half.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        while let Some(length) = self.cutter.length(&self.half) {
            let whole = self.half.split_to(length);
            let is_fine = self.failed.is_empty()
                && event::read(&whole, |event| self.voice.retell(event, &whole, &mut out))?;
            if !is_fine {
                self.failed.extend_from_slice(&whole);
            }
        }
        Ok(out.freeze())
    }

    fn is_too_large(&self) -> bool {
        self.half.len() + self.failed.len() > MAX_EVENT
    }

    fn take_half(&mut self) -> BytesMut {
        self.cutter = Cutter::default();
        std::mem::take(&mut self.half)
    }
}

impl StreamSplicer for Follower {
    fn pass(&mut self, bytes: &Bytes) -> Result<Bytes, NotContinuable> {
        if self.is_other {
            let told = self
                .retell(bytes)
                .and_then(|out| if self.is_too_large() { Err(NotContinuable) } else { Ok(out) });
            if told.is_err() {
                self.take_half();
                self.failed.clear();
            }
            return told;
        }
        let out = self.follow(bytes);
        if !self.is_too_large() {
            return Ok(out);
        }
        self.voice = Voice::Strange;
        let kept = self.give_up();
        Ok([out, kept].concat().into())
    }

    fn finish(&mut self) -> Bytes {
        if !self.is_other || self.half.is_empty() {
            return self.give_up();
        }
        // The last event may lack its empty line.
        let out = self.retell(b"\n\n").unwrap_or_default();
        [out, self.give_up()].concat().into()
    }

    fn give_up(&mut self) -> Bytes {
        let mut kept = std::mem::take(&mut self.failed);
        let half = self.take_half();
        // Half an event of another is nobody's.
        if !self.is_other {
            kept.unsplit(half);
        }
        kept.freeze()
    }

    fn ask(&self, target: &str, request: &[u8]) -> Option<Bytes> {
        match &self.voice {
            Voice::Chat(chat) => request::chat(target, request, &chat.told),
            Voice::Messages(messages) => request::messages(target, request, &messages.told),
            Voice::Silent | Voice::Strange => None,
        }
    }

    fn go_on(&mut self, target: &str) -> Bytes {
        self.is_other = true;
        self.take_half();
        self.failed.clear();
        let mut out = BytesMut::from(format!(": continued by {target}\n\n").as_bytes());
        if let Some(told) = self.voice.told() {
            told.mark = Some(target.to_owned());
        }
        if let Voice::Messages(messages) = &mut self.voice {
            messages.turn(&mut out);
        }
        out.freeze()
    }
}
