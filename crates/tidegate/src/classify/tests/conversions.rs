//! The thread on which an answer is converted, and the time that its call waits for it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt;
use tidegate_core::{AnswerForm, ExpectedAnswer, Scan, ScanProgress, StreamState};
use tower::Layer;

use crate::classify::ClassifyLayer;
use crate::offload::LONG_DOCUMENT;
use crate::testing::{call, strict};
use crate::{BodyProbe, Classifier, Elapsed, Outcome, TimeoutLayer};

/// Converts every answer to this form, and calls the function meanwhile.
#[derive(Clone)]
struct Converter {
    form: AnswerForm,
    on_convert: Arc<dyn Fn() + Send + Sync>,
}

impl Classifier for Converter {
    fn needs_body(&self, _: &Parts) -> bool {
        false
    }

    fn classify(&self, _: &Parts, _: &[u8], _: SystemTime) -> Outcome {
        Outcome::Success
    }

    fn expected_answer(&self, _: &Uri, _: &HeaderMap, _: Option<&[u8]>) -> Option<ExpectedAnswer> {
        Some(ExpectedAnswer::new(self.form))
    }

    fn probe_answer(&self, _: &Parts, _: ExpectedAnswer, beginning: &[u8]) -> BodyProbe {
        match self.form {
            _ if beginning.is_empty() => BodyProbe::Unclear,
            AnswerForm::Document => BodyProbe::Events,
            _ => BodyProbe::Success,
        }
    }

    fn scan_answer(&self, _: &mut Parts, _: ExpectedAnswer, _: &[u8]) -> Option<Box<dyn Scan>> {
        Some(Box::new(Complete(StreamState {
            has_started: true,
            has_finished: true,
            ..StreamState::default()
        })))
    }

    fn events_to_document(&self, _: &[u8]) -> Option<Bytes> {
        (self.on_convert)();
        Some("document".into())
    }

    fn document_to_events(&self, _: &[u8]) -> Option<Bytes> {
        (self.on_convert)();
        Some("events".into())
    }
}

/// The scan of a complete stream.
struct Complete(StreamState);

impl Scan for Complete {
    fn push(&mut self, _: &[u8]) -> ScanProgress {
        ScanProgress::default()
    }

    fn finish(&mut self) -> ScanProgress {
        ScanProgress::default()
    }

    fn state(&self) -> &StreamState {
        &self.0
    }
}

const FORMS: [(AnswerForm, &str); 2] = [(AnswerForm::Document, "document"), (AnswerForm::Events, "events")];

#[tokio::test(start_paused = true)]
async fn a_large_answer_is_converted_on_another_thread() {
    for (form, converted) in FORMS {
        for (length, is_here) in [(LONG_DOCUMENT - 1, true), (LONG_DOCUMENT, false)] {
            let (inner, provider) = strict();
            provider.answer(200).frame(vec![b'x'; length]);
            let (record, threads) = std::sync::mpsc::channel();
            let on_convert = Arc::new(move || record.send(thread::current().id()).unwrap());
            let mut service = ClassifyLayer::new(Converter { form, on_convert }).layer(inner);
            let response = call(&mut service).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), converted);
            assert_eq!(threads.recv().unwrap() == thread::current().id(), is_here, "{form:?} {length}");
        }
    }
}

/// The thread of the runtime is free, so that the timer of the attempt elapses.
#[tokio::test(start_paused = true)]
async fn a_conversion_does_not_outlast_the_time_of_its_attempt() {
    for (form, _) in FORMS {
        let (inner, provider) = strict();
        provider.answer(200).frame(vec![b'x'; LONG_DOCUMENT]);
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Mutex::new(ended);
        let on_convert = Arc::new(move || {
            begin.send(()).unwrap();
            // The test drops its end once the call has failed.
            assert!(ended.lock().unwrap().recv().is_err());
        });
        let limit = Duration::from_secs(60);
        let layer = (TimeoutLayer::new(limit), ClassifyLayer::new(Converter { form, on_convert }));
        let mut service = layer.layer(inner);
        let (error, ()) = tokio::join!(async { call(&mut service).await.err() }, async {
            begun.recv().await.unwrap();
            tokio::time::advance(limit).await;
        });
        drop(end);
        assert!(error.is_some_and(|error| error.is::<Elapsed>()), "{form:?}");
        assert_eq!(provider.live_bodies(), 0);
    }
}
