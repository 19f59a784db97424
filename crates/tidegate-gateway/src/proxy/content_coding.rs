//! Compressed request bodies.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use tidegate::ErrorCode;
use tokio::time::Instant;

use super::GatewayError;
use super::body_budget::{BudgetExceeded, HeldBytes};
use super::unpack_permits::occupied;

/// The codings that are unpacked, as a header lists them.
const SUPPORTED: HeaderValue = HeaderValue::from_static("gzip, zstd, br");

/// The most codings of one body.
const MAX_CODINGS: usize = 3;

/// The longest part of an unknown coding, in characters, that an error message repeats.
const MAX_NAME: usize = 40;

/// The largest window of a zstd frame that is accepted: 8 MiB, as RFC 9659 requires of HTTP clients.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The low bits of the first byte of a brotli stream with a large window, which is no part of RFC 7932.
const BROTLI_LARGE_WINDOW: u8 = 0b001_0001;

/// The most members of a gzip body, and the most frames of a zstd body. Each costs time, even if it has no
/// content.
const MAX_PARTS: usize = 1000;

/// The bytes that are unpacked at once.
const PIECE: usize = 64 * 1024;

/// The bytes that are unpacked between two checks of the time.
const INPUT_PIECE: usize = 4 * 1024;

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
        if codings.len() > MAX_CODINGS {
            Err(Box::new(GatewayError::new(
                ErrorCode::InvalidRequest,
                format_args!("body has more than {MAX_CODINGS} content codings"),
            )))
        } else {
            Ok(codings)
        }
    }

    /// Unpacks a body until `deadline`. No more than `limit` bytes may result, which are added to `held`.
    ///
    /// # Errors
    ///
    /// The body is not in this coding, or too long, or does not fit the budget, or takes too much time.
    pub(super) fn unpack(
        self,
        body: &[u8],
        limit: usize,
        deadline: Instant,
        held: &mut HeldBytes,
    ) -> Result<Vec<u8>, UnpackError> {
        let mut input = TimedInput { rest: body, deadline };
        let (mut unpacked, mut piece) = (Vec::new(), vec![0; PIECE]);
        for _ in 0..MAX_PARTS {
            let mut decoder = self.decoder(&mut input).map_err(|error| self.error(&error))?;
            loop {
                let length = decoder.read(&mut piece).map_err(|error| self.error(&error))?;
                if length == 0 {
                    break;
                }
                if length > limit - unpacked.len() {
                    return Err(UnpackError::TooLong);
                }
                held.grow(length).map_err(UnpackError::Budget)?;
                unpacked.extend_from_slice(&piece[..length]);
            }
            drop(decoder);
            if input.rest.is_empty() || self == Self::Brotli {
                unpacked.shrink_to_fit();
                return Ok(unpacked);
            }
        }
        Err(UnpackError::TooManyParts(self))
    }

    /// Unpacks the next part of `input`.
    fn decoder<'a>(self, input: &'a mut TimedInput<'_>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Brotli if input.rest.first().is_some_and(|first| first & 0x7f == BROTLI_LARGE_WINDOW) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Self::Brotli => Box::new(brotli::Decompressor::new(input, INPUT_PIECE)),
        })
    }

    fn error(self, error: &io::Error) -> UnpackError {
        match error.kind() {
            io::ErrorKind::TimedOut => UnpackError::TooSlow,
            _ => UnpackError::Malformed(self),
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
    TooManyParts(ContentCoding),
    /// It takes too much time.
    TooSlow,
    Budget(BudgetExceeded),
}

/// A packed body, up to a deadline.
struct TimedInput<'a> {
    rest: &'a [u8],
    deadline: Instant,
}

impl BufRead for TimedInput<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if Instant::now() > self.deadline {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(&self.rest[..self.rest.len().min(INPUT_PIECE)])
        }
    }

    fn consume(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }
}

impl Read for TimedInput<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buf)?;
        self.consume(length);
        Ok(length)
    }
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
            UnpackError::TooManyParts(coding) => {
                let message = format_args!("body has more than {MAX_PARTS} parts of {}", coding.name());
                Self::new(ErrorCode::InvalidRequest, message)
            }
            // Or the processors are occupied by others.
            UnpackError::TooSlow => occupied(),
            UnpackError::Budget(exceeded) => exceeded.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::super::body_budget::BodyBudget;
    use super::*;

    const BODY: &[u8] = br#"{"model":"m","messages":[]}"#;

    fn unpack(coding: ContentCoding, body: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
        coding.unpack(body, limit, deadline(), &mut BodyBudget::new(usize::MAX).hold())
    }

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(60)
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
            let exceeded = coding.unpack(&packed, zeros.len(), deadline(), &mut held);
            assert_eq!(exceeded, Err(UnpackError::Budget(BudgetExceeded)));
        }
    }

    /// Regression: a few hundred bytes, gzipped three times, were millions of empty members.
    #[test]
    fn the_parts_of_a_body_are_counted() {
        for coding in [ContentCoding::Gzip, ContentCoding::Zstd] {
            for part in [b"".as_slice(), b"part"] {
                let packed = packed(coding, part);
                let unpacked = unpack(coding, &packed.repeat(MAX_PARTS), 4 * MAX_PARTS);
                assert_eq!(unpacked.unwrap(), part.repeat(MAX_PARTS));
                let unpacked = unpack(coding, &packed.repeat(MAX_PARTS + 1), usize::MAX);
                assert_eq!(unpacked, Err(UnpackError::TooManyParts(coding)));
            }
            let trailing = [packed(coding, BODY), b"trailing".to_vec()].concat();
            assert_eq!(unpack(coding, &trailing, 1024), Err(UnpackError::Malformed(coding)));
        }
        // Frames that have no content by definition.
        let skippable = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(MAX_PARTS + 1);
        let unpacked = unpack(ContentCoding::Zstd, &skippable, 1024);
        assert_eq!(unpacked, Err(UnpackError::TooManyParts(ContentCoding::Zstd)));
    }

    /// Blocks without content cost time as well, and may be as many as fit into a body.
    #[test]
    fn unpacking_has_a_deadline() {
        for coding in CODINGS {
            let (packed, mut held) = (packed(coding, BODY), BodyBudget::new(usize::MAX).hold());
            let past = Instant::now() - Duration::from_millis(1);
            let unpacked = coding.unpack(&packed, 1024, past, &mut held);
            assert_eq!(unpacked, Err(UnpackError::TooSlow));
        }
        // Blocks of deflate without content, in one member.
        let blocks = b"\0\0\0\xff\xff".repeat(10_000_000);
        let packed = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice(), &blocks].concat();
        let (soon, mut held) = (Instant::now() + Duration::from_millis(1), BodyBudget::new(0).hold());
        let unpacked = ContentCoding::Gzip.unpack(&packed, 1024, soon, &mut held);
        assert_eq!(unpacked, Err(UnpackError::TooSlow));
    }

    /// The window of such a stream is up to 1 GiB, and in no budget.
    #[test]
    fn a_large_window_of_brotli_is_not_accepted() {
        let with_window = |large_window, lgwin| {
            let params =
                brotli::enc::BrotliEncoderParams { quality: 5, lgwin, large_window, ..Default::default() };
            let mut packed = Vec::new();
            brotli::BrotliCompress(&mut &*BODY, &mut packed, &params).unwrap();
            unpack(ContentCoding::Brotli, &packed, 1024)
        };
        for lgwin in 10..=24 {
            assert_eq!(with_window(false, lgwin).unwrap(), BODY, "{lgwin}");
        }
        assert_eq!(with_window(true, 26), Err(UnpackError::Malformed(ContentCoding::Brotli)));
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
