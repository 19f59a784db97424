//! Reading of JSON without building it.

pub(crate) mod exact_numbers;
pub(crate) mod fast_path;
pub(crate) mod members;
pub(crate) mod walk;

use memchr::{memchr_iter, memchr2, memchr2_iter};

/// The most objects and arrays of a document that is parsed as a whole. Each takes memory of its own, up to 3
/// KiB, however short it is. An answer has some hundred, and a long conversation some thousand.
pub(crate) const MAX_NODES: usize = 64 * 1024;

/// How many values a document may have for each of these objects and arrays. A number takes 32 bytes, even if
/// it has a single digit, and a field about three times as much.
const VALUES_PER_NODE: usize = 8;

/// Whether a document has too many objects, arrays and other values to be parsed as a whole.
#[must_use]
pub fn has_too_many_nodes(json: &[u8]) -> bool {
    has_more_nodes(json, MAX_NODES) && is_more(count(json), MAX_NODES)
}

/// Whether there may be more than `max` objects and arrays, or more values than so many have. Brackets and
/// commas in texts count as well.
pub(crate) fn has_more_nodes(json: &[u8], max: usize) -> bool {
    let counts = || (memchr2_iter(b'{', b'[', json).count(), memchr_iter(b',', json).count());
    json.len() > max && is_more(counts(), max)
}

fn is_more((nodes, commas): (usize, usize), max: usize) -> bool {
    nodes > max || commas > max * VALUES_PER_NODE
}

/// The opening brackets and the commas outside of texts.
fn count(json: &[u8]) -> (usize, usize) {
    let (mut nodes, mut commas, mut at) = (0, 0, 0);
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => nodes += 1,
            b',' => commas += 1,
            b'"' => {
                while let Some(next) = memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
                    at += next + 1;
                    if json[at - 1] == b'"' {
                        break;
                    }
                    at += 1;
                }
            }
            _ => {}
        }
    }
    (nodes, commas)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: an array of numbers was one node, and took 16 times its length.
    #[test]
    fn objects_arrays_and_other_values_are_bounded() {
        let units = [("[],", MAX_NODES), ("{}", MAX_NODES), ("0,", 8 * MAX_NODES), ("\"\",", 8 * MAX_NODES)];
        for (unit, max) in units {
            assert!(!has_too_many_nodes(unit.repeat(max).as_bytes()), "{unit}");
            assert!(has_too_many_nodes(unit.repeat(max + 1).as_bytes()), "{unit}");
        }
    }

    #[test]
    fn what_is_within_a_text_is_no_value() {
        let text = r#"{[,\"\\"#.repeat(9 * MAX_NODES);
        assert!(!has_too_many_nodes(format!("[\"{text}\"]").as_bytes()));
        for end in ["", "\\", "\\\""] {
            assert!(!has_too_many_nodes(format!("[\"{text}{end}").as_bytes()));
        }
        assert!(has_too_many_nodes(format!("[\"{text}\",{}", "[".repeat(MAX_NODES)).as_bytes()));
    }
}
