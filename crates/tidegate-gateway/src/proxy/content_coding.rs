//! Compressed request bodies.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate::ErrorCode;

use super::GatewayError;
use super::body_budget::{BudgetExceeded, HeldBytes};

/// The codings that are unpacked, as a header lists them.
const SUPPORTED: HeaderValue = HeaderValue::from_static("gzip, zstd, br");

/// The most codings of one body.
const MAX_CODINGS: usize = 3;

/// The longest part of an unknown coding, in characters, that an error message repeats.
const MAX_NAME: usize = 40;

/// The largest window of a zstd frame that is accepted: 8 MiB, as RFC 9659 requires of HTTP clients.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The bytes that are unpacked at once.
const PIECE: usize = 64 * 1024;

/// A content coding (RFC 9110, 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Gzip,
    Zstd,
    Brotli,
}

impl ContentCoding {
    /// The codings of a body, in the order in which they were applied.
    pub(super) fn all(headers: &HeaderMap) -> Result<Vec<Self>, Box<GatewayError>> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in String::from_utf8_lossy(value.as_bytes()).split(',').map(str::trim) {
                match &*name.to_ascii_lowercase() {
                    "" | "identity" => {}
                    "gzip" | "x-gzip" => codings.push(Self::Gzip),
                    "zstd" => codings.push(Self::Zstd),
                    "br" => codings.push(Self::Brotli),
                    _ => return Err(Box::new(unsupported(name))),
                }
            }
        }
        match codings.len() > MAX_CODINGS {
            true => Err(Box::new(GatewayError::new(
                ErrorCode::InvalidRequest,
                format_args!("body has more than {MAX_CODINGS} content codings"),
            ))),
            false => Ok(codings),
        }
    }

    /// Unpacks a body, of which no more than `limit` bytes may result. They are added to `held`.
    ///
    /// # Errors
    ///
    /// The body is not in this coding, or too long, or does not fit the budget.
    pub(super) fn unpack(
        self,
        body: &[u8],
        limit: usize,
        held: &mut HeldBytes,
    ) -> Result<Vec<u8>, UnpackError> {
        let mut decoder: Box<dyn Read> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(body)),
            Self::Brotli => Box::new(brotli::Decompressor::new(body, 4096)),
            Self::Zstd => Box::new(zstd(body).map_err(|_| UnpackError::Malformed(self))?),
        };
        let (mut unpacked, mut piece) = (Vec::new(), vec![0; PIECE]);
        loop {
            let length = decoder.read(&mut piece).map_err(|_| UnpackError::Malformed(self))?;
            if length == 0 {
                unpacked.shrink_to_fit();
                return Ok(unpacked);
            }
            if length > limit - unpacked.len() {
                return Err(UnpackError::TooLong);
            }
            held.grow(length).map_err(UnpackError::Budget)?;
            unpacked.extend_from_slice(&piece[..length]);
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }
}

/// Why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnpackError {
    Malformed(ContentCoding),
    TooLong,
    Budget(BudgetExceeded),
}

fn zstd(body: &[u8]) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::Decoder::new(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn unsupported(name: &str) -> GatewayError {
    let name: String = name.chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    let message = format_args!("content coding `{name}` is not supported; supported are gzip, zstd and br");
    GatewayError::new(ErrorCode::InvalidRequest, message)
        .status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .header(ACCEPT_ENCODING, SUPPORTED)
}

impl From<UnpackError> for GatewayError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Malformed(coding) => {
                Self::new(ErrorCode::InvalidRequest, format_args!("body is not valid {}", coding.name()))
            }
            UnpackError::TooLong => Self::new(ErrorCode::RequestTooLarge, "unpacked body is too large"),
            UnpackError::Budget(exceeded) => exceeded.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::body_budget::BodyBudget;
    use super::*;

    const BODY: &[u8] = br#"{"model":"m","messages":[]}"#;
    fn unpack(coding: ContentCoding, body: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
        coding.unpack(body, limit, &mut BodyBudget::new(usize::MAX).hold())
    }

    const CODINGS: [ContentCoding; 3] = [ContentCoding::Gzip, ContentCoding::Zstd, ContentCoding::Brotli];

    fn packed(coding: ContentCoding, body: &[u8]) -> Vec<u8> {
        match coding {
            ContentCoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            ContentCoding::Zstd => zstd::encode_all(body, 1).unwrap(),
            ContentCoding::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 20);
                encoder.write_all(body).unwrap();
                encoder.into_inner()
            }
        }
    }

    #[test]
    fn each_coding_is_unpacked_up_to_the_limit() {
        for coding in CODINGS {
            let packed = packed(coding, BODY);
            assert_eq!(unpack(coding, &packed, BODY.len()).unwrap(), BODY);
            assert_eq!(unpack(coding, &packed, BODY.len() - 1), Err(UnpackError::TooLong));
            for cut in 0..packed.len() {
                assert_eq!(
                    unpack(coding, &packed[..cut], 1024),
                    Err(UnpackError::Malformed(coding)),
                    "{cut}"
                );
            }
            assert_eq!(unpack(coding, BODY, 1024), Err(UnpackError::Malformed(coding)));
        }
    }

    /// A few kilobytes may unpack to gigabytes.
    #[test]
    fn no_more_than_the_limit_is_unpacked() {
        let zeros = vec![0; 16 * 1024 * 1024];
        for coding in CODINGS {
            let packed = packed(coding, &zeros);
            assert!(packed.len() < zeros.len() / 100);
            assert_eq!(unpack(coding, &packed, 1024), Err(UnpackError::TooLong));
            let mut held = BodyBudget::new(1024 * 1024).hold();
            let exceeded = coding.unpack(&packed, zeros.len(), &mut held);
            assert_eq!(exceeded, Err(UnpackError::Budget(BudgetExceeded)));
        }
    }

    #[test]
    fn codings_are_read_in_their_order_and_unknown_ones_are_named() {
        let all = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            ContentCoding::all(&headers).map_err(|error| format!("{error:?}"))
        };
        assert_eq!(all(&[]), Ok(vec![]));
        assert_eq!(all(&["identity"]), Ok(vec![]));
        assert_eq!(all(&["GZIP, zstd", "br"]), Ok(CODINGS.to_vec()));
        assert!(all(&["deflate"]).unwrap_err().contains("`deflate` is not supported"));
        assert!(all(&["gzip, gzip, gzip, gzip"]).unwrap_err().contains("more than 3"));
    }
}
