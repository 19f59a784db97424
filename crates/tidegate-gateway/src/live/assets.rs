use axum::body::Body;
use axum::response::IntoResponse;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, Response};

/// A file of the page, as a part of the program.
#[derive(Debug)]
pub(super) struct AssetFile {
    pub(super) path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

/// Nothing is loaded from another host, no script or style is inline, and no text becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($path:literal, $content_type:expr, $file:literal) => {
        AssetFile {
            path: $path,
            content_type: $content_type,
            content: include_str!(concat!("assets/", $file)),
        }
    };
}

/// The page itself.
pub(super) static PAGE: AssetFile = file!("/", "text/html; charset=utf-8", "page.html");

/// What the page loads.
pub(super) static FILES: &[AssetFile] = &[
    file!("/live/page.css", CSS, "page.css"),
    file!("/live/page.js", JAVASCRIPT, "page.js"),
    file!("/live/stream.js", JAVASCRIPT, "stream.js"),
    file!("/live/elements.js", JAVASCRIPT, "elements.js"),
    file!("/live/format.js", JAVASCRIPT, "format.js"),
    file!("/live/targets.js", JAVASCRIPT, "targets.js"),
    file!("/live/actions.js", JAVASCRIPT, "actions.js"),
    file!("/live/transitions.js", JAVASCRIPT, "transitions.js"),
    file!("/live/calls.js", JAVASCRIPT, "calls.js"),
    file!("/live/trail.js", JAVASCRIPT, "trail.js"),
    file!("/live/charts.js", JAVASCRIPT, "charts.js"),
    file!("/live/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/live/uplot.js", JAVASCRIPT, "uplot/uPlot.iife.min.js"),
    file!("/live/uplot.css", CSS, "uplot/uPlot.min.css"),
    file!("/live/uplot-license.txt", "text/plain; charset=utf-8", "uplot/LICENSE"),
];

impl AssetFile {
    pub(super) fn response(&'static self) -> Response<Body> {
        let headers = [
            (CONTENT_TYPE, self.content_type),
            // After an update of the gateway its page must not be that of the version before.
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "no-referrer"),
            (RESOURCE_POLICY, "same-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.content).into_response()
    }
}
