//! Bytes for terminals and for JSON.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// On one line, and unambiguous: control characters, backslashes and what is not UTF-8 are escaped.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                control if control.is_control() => {
                    let mut utf8 = [0; 4];
                    hex(&mut out, control.encode_utf8(&mut utf8).as_bytes());
                }
                other => out.push(other),
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "\\x{byte:02x}").expect("a String takes everything");
    }
}

/// Puts `name` and `name_encoding` into an object.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    let (text, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (STANDARD.encode(bytes), "base64"),
    };
    object.insert(name.to_owned(), text.into());
    object.insert(format!("{name}_encoding"), encoding.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_bytes_can_be_told_apart() {
        assert_eq!(escaped("Zoë 🙂".as_bytes()), "Zoë 🙂");
        assert_eq!(escaped(b"a\tb\nc\\d\re"), "a\\tb\\nc\\\\d\\re");
        assert_eq!(escaped(b"\xff\x00\x1b[31m"), "\\xff\\x00\\x1b[31m");
        assert_eq!(escaped("\u{85}".as_bytes()), "\\xc2\\x85");
        assert_ne!(escaped(b"\\xff"), escaped(b"\xff"));
    }

    #[test]
    fn json_says_how_bytes_are_written() {
        let mut object = Map::new();
        put_bytes(&mut object, "key", b"k\"");
        put_bytes(&mut object, "value", b"\xff\xfe");
        let json = Value::Object(object).to_string();
        assert_eq!(json, r#"{"key":"k\"","key_encoding":"utf-8","value":"//4=","value_encoding":"base64"}"#);
    }
}
