//! Visits the leaves of a JSON document.
//!
//! Nothing is built and nothing is allocated: each leaf is passed on with the keys that lead to it, and the
//! dialects select leaves by pattern. No field is expected to have a certain type, so an unexpected type
//! affects one leaf only. The leaves before the end of a truncated document are visited, and its last string
//! as far as it was received.

use memchr::memchr2;

/// A value, or the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf<'a> {
    /// A string as it is written, with its escapes.
    Text(&'a str),
    /// A number without a sign and a fraction other than zero, or zero.
    Number(u64),
    /// Any other number.
    Decimal,
    /// An object begins; its leaves follow.
    Object,
    /// An array begins; its leaves follow.
    Array,
}

impl Leaf<'_> {
    /// Whether it is a string of at least one character.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text(text) if !text.is_empty())
    }

    /// Whether it is a number.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Number(_) | Self::Decimal)
    }

    /// Whether it is a value: a number that is not zero, or a text that is not empty. An object in which all
    /// fields are null has none.
    pub(crate) fn is_value(self) -> bool {
        self.is_text() || matches!(self, Self::Number(1..) | Self::Decimal)
    }
}

/// Maximum number of keys in a path. Deeper leaves are passed on with the first of their keys.
const MAX_KEYS: usize = 8;

/// Maximum nesting. What is nested deeper is passed over.
const MAX_DEPTH: u32 = 64;

/// Passes each leaf to `each` with the keys that lead to it. The elements of an array have the path of the
/// array. Returns whether the document was complete.
pub(crate) fn walk<'a>(json: &'a [u8], mut each: impl FnMut(&[&'a str], Leaf<'a>)) -> bool {
    walk_while(json, |path, leaf| {
        each(path, leaf);
        true
    })
}

/// Like [`walk`], until `each` returns false. A number at the very end of a truncated document may lack
/// digits, and is not passed on.
pub(crate) fn walk_while<'a>(json: &'a [u8], mut each: impl FnMut(&[&'a str], Leaf<'a>) -> bool) -> bool {
    visit(json, |path, visited| match visited {
        Visited::Leaf(leaf) => each(path, leaf),
        Visited::Key(_) => true,
    })
}

/// What is visited in a document.
pub(crate) enum Visited<'a> {
    Leaf(Leaf<'a>),
    /// A key as it is written, with the keys that lead to its object.
    Key(&'a str),
}

/// Like [`walk_while`], with the keys themselves.
pub(crate) fn visit<'a>(json: &'a [u8], mut visitor: impl FnMut(&[&'a str], Visited<'a>) -> bool) -> bool {
    let mut rest = json;
    let mut keys = [""; MAX_KEYS];
    let mut open = Nesting::default();
    let mut is_key_next = false;
    loop {
        rest = rest.trim_ascii_start();
        let Some((&first, after)) = rest.split_first() else { return false };
        rest = after;
        let path = &keys[..open.objects.min(MAX_KEYS)];
        let mut proceed = true;
        match first {
            b'"' => {
                let (text, end) = string(after);
                match open.objects {
                    0 => proceed = visitor(path, Visited::Leaf(Leaf::Text(text))),
                    depth if is_key_next => {
                        proceed = visitor(&keys[..(depth - 1).min(MAX_KEYS)], Visited::Key(text));
                        if let Some(key) = keys.get_mut(depth - 1) {
                            *key = text;
                        }
                    }
                    _ => proceed = visitor(path, Visited::Leaf(Leaf::Text(text))),
                }
                is_key_next = false;
                let Some(end) = end else { return false };
                rest = &after[end..];
            }
            b'{' | b'[' if open.depth == MAX_DEPTH => {
                let Some(after) = after_nested(after) else { return false };
                (rest, is_key_next) = (after, false);
            }
            b'{' | b'[' => {
                is_key_next = first == b'{';
                let leaf = if is_key_next { Leaf::Object } else { Leaf::Array };
                proceed = visitor(path, Visited::Leaf(leaf));
                open.enter(is_key_next);
            }
            b'}' | b']' => {
                if open.depth == 0 || open.is_in_object() != (first == b'}') {
                    return false;
                }
                open.leave();
                is_key_next = false;
            }
            b',' => is_key_next = open.is_in_object(),
            b':' => {}
            _ => {
                let is_end =
                    |b: &u8| matches!(b, b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"' | b'\t'..=b' ');
                let end = after.iter().position(is_end).unwrap_or(after.len());
                let is_cut = end == after.len() && open.depth > 0;
                let digits = &json[json.len() - after.len() - 1..][..=end];
                if !is_cut && matches!(first, b'-' | b'0'..=b'9') {
                    let leaf = number(digits).map_or(Leaf::Decimal, Leaf::Number);
                    proceed = visitor(path, Visited::Leaf(leaf));
                }
                rest = &after[end..];
            }
        }
        if !proceed {
            return false;
        }
        if open.depth == 0 {
            return rest.trim_ascii().is_empty();
        }
    }
}

/// The string after an opening quote, and the position after its closing quote, unless the string is
/// truncated.
fn string(json: &[u8]) -> (&str, Option<usize>) {
    let mut end = 0;
    loop {
        match memchr2(b'"', b'\\', &json[end..]) {
            Some(at) if json[end + at] == b'"' => return (text(&json[..end + at]), Some(end + at + 1)),
            Some(at) if end + at + 2 <= json.len() => end += at + 2,
            _ => return (text(json), None),
        }
    }
}

/// What follows an object or an array of which the opening bracket was read; `None` if it is truncated.
fn after_nested(json: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut open) = (json, 1_usize);
    while open > 0 {
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
        let byte = rest[at];
        rest = &rest[at + 1..];
        match byte {
            b'"' => rest = &rest[string(rest).1?..],
            b'{' | b'[' => open += 1,
            _ => open -= 1,
        }
    }
    Some(rest)
}

/// A whole number that fits into 64 bits. Some clients write it with a fraction of zero or an exponent.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let whole = digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    });
    whole.or_else(|| whole_number(std::str::from_utf8(digits).ok()?))
}

/// A whole number in any form.
#[cold]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within the bounds")]
fn whole_number(digits: &str) -> Option<u64> {
    let is_json = |digits: &&str| digits.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let number: f64 = digits.parse().ok().filter(|_| is_json(&digits))?;
    (number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&number)).then_some(number as u64)
}

/// Above it a float does not have every whole number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Bytes that are not UTF-8 are replaced by a string that matches no known value.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

/// The objects and arrays that are open.
#[derive(Default)]
struct Nesting {
    depth: u32,
    objects: usize,
    /// One bit for each, the innermost in the lowest bit. A set bit is an object.
    kinds: u64,
}

impl Nesting {
    fn enter(&mut self, is_object: bool) {
        self.depth += 1;
        self.kinds = self.kinds << 1 | u64::from(is_object);
        self.objects += usize::from(is_object);
    }

    fn leave(&mut self) {
        self.objects -= usize::from(self.is_in_object());
        self.depth -= 1;
        self.kinds >>= 1;
    }

    fn is_in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Leaf::{Array, Decimal, Number, Object, Text};
    use super::*;

    fn visited(json: &str) -> (Vec<String>, bool) {
        let mut visited = Vec::new();
        let is_whole = walk(json.as_bytes(), |path, leaf| {
            visited.push(match leaf {
                Text(text) => format!("{}={text}", path.join(".")),
                Number(number) => format!("{}={number}", path.join(".")),
                Decimal => format!("{}=~", path.join(".")),
                Object => format!("{}{{", path.join(".")),
                Array => format!("{}[", path.join(".")),
            });
        });
        (visited, is_whole)
    }

    #[test]
    fn visits_each_leaf_with_the_keys_that_lead_to_it() {
        let json = r#" {"a":"1" , "b":[{"c":2,"d":{}},{"c":"x\"},{"}],"e":null,"f":-1.5,"h":1e9,"i":99999999999999999999,"g":["y",[7]],"":0} "#;
        let leaves = [
            "{",
            "a=1",
            "b[",
            "b{",
            "b.c=2",
            "b.d{",
            "b{",
            r#"b.c=x\"},{"#,
            "f=~",
            "h=1000000000",
            "i=~",
            "g[",
            "g=y",
            "g[",
            "g=7",
            "=0",
        ];
        assert_eq!(visited(json), (leaves.map(str::to_owned).to_vec(), true));
    }

    #[test]
    fn the_leaves_before_a_cut_are_visited() {
        assert_eq!(visited(r#"{"a":1,"b":"te"#), (vec!["{".into(), "a=1".into(), "b=te".into()], false));
        assert_eq!(visited(r#"{"a":"x\"#), (vec!["{".into(), r"a=x\".into()], false));
        assert_eq!(visited(r#"{"a":12,"b":34"#), (vec!["{".into(), "a=12".into()], false));
        assert_eq!(visited(r#"{"a":1]"#), (vec!["{".into(), "a=1".into()], false));
        assert_eq!(visited(r#"{"a":1} {"b":2}"#), (vec!["{".into(), "a=1".into()], false));
    }

    #[test]
    fn agrees_with_a_full_parser_on_complete_documents() {
        for (json, is_whole) in [
            ("", false),
            ("  ", false),
            ("[DONE]", true), // Not JSON, and never passed to `walk`.
            ("7", true),
            (r#""x""#, true),
            ("{}", true),
            ("[]", true),
            ("{", false),
            ("}", false),
            (r#"{"a":[}"#, false),
        ] {
            assert_eq!(visited(json).1, is_whole, "{json}");
        }
    }

    /// Regression: a value that is nested too deeply ended the walk, so that everything after it was hidden.
    #[test]
    fn what_is_nested_too_deeply_is_passed_over() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        let count = |depth: usize| visited(&nested(depth)).0.len();
        assert_eq!((count(31), count(32), count(33), count(400)), (63, 65, 64, 64));
        for deep in
            [nested(400), nested(33), format!("{}{{\"]\":\"}}\\\"\"}}{}", "[".repeat(70), "]".repeat(70))]
        {
            let (leaves, is_whole) = visited(&format!(r#"{{"x":{deep},"b":[7]}}"#));
            assert_eq!((leaves.last().map(String::as_str), is_whole), (Some("b=7"), true), "{deep}");
            assert!(!visited(&deep[..deep.len() - 1]).1);
        }
        let (leaves, _) = visited(&nested(12));
        assert_eq!(leaves.last().map(String::as_str), Some("a.a.a.a.a.a.a.a=1"));
    }
}
