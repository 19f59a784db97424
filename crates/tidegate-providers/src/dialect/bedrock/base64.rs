//! Decoder for the base64 that Amazon uses: the standard alphabet, padded or not.

/// Decodes `text` into `bytes`, and returns whether all of it was valid.
pub(crate) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let end = text.iter().rposition(|&b| b != b'=').map_or(0, |last| last + 1);
    for group in text[..end].chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let Some(value) = value(digit) else { return false };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        // Four digits encode three bytes; the last group may be shorter.
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len().max(1)]);
    }
    true
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_standard_alphabet() {
        for (text, expected) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("fn5+Pz8/", "~~~???"),
        ] {
            let mut bytes = vec![7];
            assert!(decode(text.as_bytes(), &mut bytes), "{text}");
            assert_eq!(bytes, expected.as_bytes(), "{text}");
        }
        assert!(!decode(b"Zm9-", &mut Vec::new()));
    }
}
