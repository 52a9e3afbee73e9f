//! JSON documents as literals that keep the digits of their DECIMALs.
//!
//! MySQL's documents may hold exact numbers, which its text shows like any others. Read back from the
//! text they would be DOUBLEs: `1.50` would be `1.5`, and digits behind the seventeenth would be lost. A
//! number whose digits no DOUBLE is shown by can only be a DECIMAL, and is put in as one. Of one whose
//! digits are a DOUBLE's too, as `1.5`, the text does not tell which it was; its digits are kept either
//! way.

/// A number that only a DECIMAL can be: its path in the document, and its digits.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: Vec<u8>,
    digits: Vec<u8>,
    precision: usize,
    scale: usize,
}

/// Appends `document`, the text of a JSON document, by `write_text` for each text in it.
pub(super) fn write(out: &mut Vec<u8>, document: &[u8], write_text: impl Fn(&mut Vec<u8>, &[u8])) {
    let found = if may_have_any(document) {
        find(document)
    } else {
        Vec::new()
    };
    if found.is_empty() {
        write_text(out, document);
        return;
    }
    out.extend_from_slice(b"JSON_REPLACE(");
    write_text(out, document);
    for decimal in found {
        out.push(b',');
        write_text(out, &decimal.path);
        out.extend_from_slice(b",CAST('");
        out.extend_from_slice(&decimal.digits);
        let kind = format!("' AS DECIMAL({},{}))", decimal.precision, decimal.scale);
        out.extend_from_slice(kind.as_bytes());
    }
    out.push(b')');
}

/// A look that most documents end with: neither a point nor a number too long for an integer.
fn may_have_any(document: &[u8]) -> bool {
    memchr::memchr(b'.', document).is_some()
        || document
            .split(|byte| !byte.is_ascii_digit())
            .any(|digits| digits.len() >= 19)
}

/// Where a value stands: by the raw text of its name, or by its number.
enum Leg<'a> {
    Name(&'a [u8]),
    Index(usize),
}

fn find(document: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut legs: Vec<Leg<'_>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = document.get(at) {
        match byte {
            b'{' => legs.push(Leg::Name(b"")),
            b'[' => legs.push(Leg::Index(0)),
            b'}' | b']' => {
                legs.pop();
            }
            b',' => {
                if let Some(Leg::Index(index)) = legs.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = end_of_string(document, at);
                let rest = document.get(end..).unwrap_or_default().trim_ascii_start();
                if rest.first() == Some(&b':')
                    && let Some(Leg::Name(name)) = legs.last_mut()
                {
                    *name = document.get(at..end).unwrap_or_default();
                }
                at = end;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let rest = document.get(at..).unwrap_or_default();
                let length = rest
                    .iter()
                    .position(|b| !(b.is_ascii_digit() || b"+-.eE".contains(b)))
                    .unwrap_or(rest.len());
                let number = rest.get(..length).unwrap_or_default();
                if let Some((precision, scale)) = decimal(number) {
                    found.push(Found {
                        path: path(&legs),
                        digits: number.to_vec(),
                        precision,
                        scale,
                    });
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn path(legs: &[Leg<'_>]) -> Vec<u8> {
    let mut path = b"$".to_vec();
    for leg in legs {
        match leg {
            Leg::Name(name) => {
                path.push(b'.');
                path.extend_from_slice(name);
            }
            Leg::Index(index) => path.extend_from_slice(format!("[{index}]").as_bytes()),
        }
    }
    path
}

/// Behind the quote that ends the string begun at `at`.
fn end_of_string(document: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = document
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if document.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    document.len()
}

/// Precision and scale of a number that only a DECIMAL can be.
fn decimal(number: &[u8]) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(number).ok()?;
    if text.contains(['e', 'E']) {
        return None;
    }
    let digits = text.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = if fraction.is_empty() {
        // An integer of JSON fits into 64 bits.
        text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
    } else {
        let shortest = text.parse::<f64>().ok()?.to_string();
        // The server shows the DOUBLE 1 as `1.0`.
        shortest != text && format!("{shortest}.0") != text
    };
    let whole = whole.trim_start_matches('0');
    let precision = (whole.len() + fraction.len()).max(1);
    // Beyond what the type has, it was none.
    (is_decimal && precision <= 65 && fraction.len() <= 30).then_some((precision, fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(document: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, document.as_bytes(), |out, text| {
            out.push(b'\'');
            out.extend_from_slice(text);
            out.push(b'\'');
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn other_documents_stay_as_they_are() {
        for document in [
            "1.5",
            "1.0",
            "-0.1",
            "1e15",
            "1.5e-14",
            "18446744073709551615",
            "-9223372036854775808",
            r#"{"1.50": "2.50", "a": [1.25, {"b": 123456789012345.0}]}"#,
        ] {
            assert_eq!(literal(document), format!("'{document}'"));
        }
    }

    #[test]
    fn digits_that_no_double_has_are_put_in() {
        let document = r#"{"a\"b": [1, {"c": 1.50}, -0.10], "d": 123456789012345678901234567890}"#;
        assert_eq!(
            literal(document),
            format!(
                r#"JSON_REPLACE('{document}','$."a\"b"[1]."c"',CAST('1.50' AS DECIMAL(3,2)),'$."a\"b"[2]',CAST('-0.10' AS DECIMAL(2,2)),'$."d"',CAST('123456789012345678901234567890' AS DECIMAL(30,0)))"#
            )
        );
        assert_eq!(
            literal("0.30000000000000000001"),
            "JSON_REPLACE('0.30000000000000000001','$',CAST('0.30000000000000000001' AS DECIMAL(20,20)))"
        );
    }
}
