//! The members of a JSON object, of which nothing is built.
//!
//! The whole document is checked against the grammar (RFC 8259), so that a server that is less strict does
//! not read another object. Long strings cost next to nothing.

use std::ops::Range;

use memchr::memchr2;

/// Passes each member at the top level of an object to `each`: its key as it is written, without quotes, and
/// the range of its value. `None` if `json` is not one object and nothing else, or not valid.
pub(crate) fn members<'a>(json: &'a [u8], mut each: impl FnMut(&'a [u8], Range<usize>)) -> Option<()> {
    let mut reader = Reader { json, at: 0 };
    reader.expect(b'{')?;
    if !reader.skip(b'}') {
        loop {
            let key = reader.key()?;
            std::str::from_utf8(key).ok()?;
            reader.peek()?;
            let start = reader.at;
            reader.value()?;
            each(key, start..reader.at);
            if reader.skip(b'}') {
                break;
            }
            reader.expect(b',')?;
        }
    }
    reader.peek().is_none().then_some(())
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads white space, and returns the byte after it.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.json.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Whether the next byte is `byte`, which is read then.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let key = self.string()?;
        self.expect(b':')?;
        Some(key)
    }

    /// Reads a value, however deeply it is nested.
    fn value(&mut self) -> Option<()> {
        // The ends of the objects and arrays that are open.
        let mut ends = Vec::new();
        loop {
            match self.next()? {
                b'{' if self.skip(b'}') => {}
                b'[' if self.skip(b']') => {}
                b'{' => {
                    ends.push(b'}');
                    self.key()?;
                    continue;
                }
                b'[' => {
                    ends.push(b']');
                    continue;
                }
                b'"' => drop(self.string()?),
                b't' => self.literal(b"rue")?,
                b'f' => self.literal(b"alse")?,
                b'n' => self.literal(b"ull")?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                _ => return None,
            }
            // A value is complete, and perhaps what is around it.
            loop {
                let Some(&end) = ends.last() else { return Some(()) };
                if self.skip(end) {
                    ends.pop();
                    continue;
                }
                self.expect(b',')?;
                if end == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Reads a string after its opening quote, and returns it without the closing one.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            let rest = &self.json[self.at..];
            let length = memchr2(b'"', b'\\', rest)?;
            // The least byte is found by vector instructions; `any` looks at single bytes.
            if rest[..length].iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ' {
                return None;
            }
            self.at += length + 1;
            if rest[length] == b'"' {
                return Some(&self.json[start..self.at - 1]);
            }
            match self.json.get(self.at)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                b'u' => {
                    let digits = self.json.get(self.at + 1..self.at + 5)?;
                    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    self.at += 5;
                }
                _ => return None,
            }
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.json[self.at..].starts_with(rest).then_some(())?;
        self.at += rest.len();
        Some(())
    }

    /// Reads a number after its first byte.
    fn number(&mut self, first: u8) -> Option<()> {
        let first = if first == b'-' { self.byte_in(b"0123456789")? } else { first };
        if first != b'0' {
            self.digits();
        }
        if self.byte_in(b".").is_some() {
            self.byte_in(b"0123456789")?;
            self.digits();
        }
        if self.byte_in(b"eE").is_some() {
            let _sign = self.byte_in(b"+-");
            self.byte_in(b"0123456789")?;
            self.digits();
        }
        Some(())
    }

    /// Reads the next byte if it is one of these.
    fn byte_in(&mut self, bytes: &[u8]) -> Option<u8> {
        let byte = *self.json.get(self.at)?;
        bytes.contains(&byte).then(|| {
            self.at += 1;
            byte
        })
    }

    fn digits(&mut self) {
        self.at += self.json[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(json: &str) -> Option<Vec<(String, String)>> {
        let mut read = Vec::new();
        members(json.as_bytes(), |key, value| {
            read.push((String::from_utf8_lossy(key).into_owned(), json[value].to_owned()));
        })?;
        Some(read)
    }

    #[test]
    fn members_are_passed_with_their_values() {
        let json = " { \"a\" : [1, {\"b\": \"]}\"}] ,\"c\\n\":\"d\\\"\",\"\":{}, \"e\":-0.5e+7,\"f\":null}\n";
        let expected = [
            ("a", "[1, {\"b\": \"]}\"}]"),
            ("c\\n", "\"d\\\"\""),
            ("", "{}"),
            ("e", "-0.5e+7"),
            ("f", "null"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read(json), Some(expected.to_vec()));
        assert_eq!(read("{}"), Some(Vec::new()));
    }

    #[test]
    fn a_value_may_be_nested_to_any_depth() {
        let (open, close) = ("[{\"a\":".repeat(10_000), "}]".repeat(10_000));
        assert!(read(&format!("{{\"x\":{open}1{close}}}")).is_some());
        assert!(read(&format!("{{\"x\":{open}1{}}}", &close[1..])).is_none());
    }

    /// Fragments that are likely to meet, in any order.
    fn fragments() -> impl Strategy<Value = String> {
        let parts = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "a",
            "\"a\"",
            "\"a\":",
            "0",
            "1",
            "-",
            ".",
            "e",
            "E+",
            "12.5e-3",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\n",
            "\u{b}",
            "\\u00e9",
            "\\u00g9",
            "\\n",
            "\\x",
            "\u{1}",
            "é",
            "{}",
            "[]",
            "[1,2]",
            "{\"a\":1}",
        ];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..16).prop_map(|parts| parts.concat())
    }

    /// A parser that builds everything agrees; it also rejects halves of surrogate pairs, which no fragment
    /// has.
    fn agrees(json: &str) -> Result<(), TestCaseError> {
        let expected = serde_json::from_str::<Value>(json).is_ok_and(|value| value.is_object());
        prop_assert_eq!(read(json).is_some(), expected, "{:?}", json);
        Ok(())
    }

    proptest! {
        #[test]
        fn accepts_exactly_the_objects_that_a_full_parser_accepts(inner in fragments(), any in fragments()) {
            agrees(&any)?;
            agrees(&format!("{{{inner}}}"))?;
            agrees(&format!("{{\"x\":{inner}}}"))?;
            agrees(&format!("{{\"x\":\"{inner}\"}}"))?;
        }

        #[test]
        fn an_object_with_one_byte_less_or_another_one_is_judged_alike(
            at in any::<prop::sample::Index>(), byte in b' '..=b'~',
        ) {
            let json = r#"{"a":[1,-2.5e3,{"b":"c\"\\u00e9 "}],"d":{"e":[],"f":{}},"g":true,"h":null}"#;
            let at = at.index(json.len());
            agrees(&[&json[..at], &json[at + 1..]].concat())?;
            agrees(&[&json[..at], (byte as char).encode_utf8(&mut [0; 4]), &json[at + 1..]].concat())?;
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = members(&bytes, |_, _| {});
        }
    }
}
