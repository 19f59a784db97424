//! Builds Amazon's binary events from lines with a name and a JSON. `!` before the name makes the event an
//! exception, and `*` wraps the JSON as `InvokeModel` does. The checksums are left empty.

pub(crate) fn stream(lines: &str) -> Vec<u8> {
    lines.lines().flat_map(line).collect()
}

fn line(line: &str) -> Vec<u8> {
    let (name, json) = line.split_once(' ').unwrap();
    match name.as_bytes()[0] {
        b'!' => message("exception", ":exception-type", &name[1..], json.as_bytes()),
        b'*' => {
            let wrapped = format!(r#"{{"bytes":"{}","p":"abcd"}}"#, base64(json.as_bytes()));
            message("event", ":event-type", &name[1..], wrapped.as_bytes())
        }
        _ => message("event", ":event-type", name, json.as_bytes()),
    }
}

pub(crate) fn message(kind: &str, key: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    // A timestamp and a flag, which are not read.
    headers.extend(b"\x05:date\x08\0\0\0\0\0\0\0\0\x03:ok\x00");
    for (key, value) in [(key, name), (":content-type", "application/json"), (":message-type", kind)] {
        headers.push(key.len() as u8);
        headers.extend(key.as_bytes());
        headers.push(7);
        headers.extend((value.len() as u16).to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let mut message = Vec::new();
    message.extend(((16 + headers.len() + payload.len()) as u32).to_be_bytes());
    message.extend((headers.len() as u32).to_be_bytes());
    message.extend([0; 4]);
    message.extend(headers);
    message.extend(payload);
    message.extend([0; 4]);
    message
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let is_padding = digit > group.len();
            text.push(if is_padding {
                '='
            } else {
                DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char
            });
        }
    }
    text
}
