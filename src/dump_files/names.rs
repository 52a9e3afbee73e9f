//! What the files of a dump are called.
//!
//! Databases and tables may have any character in their names, files may not, and the dot separates
//! the parts of a file's name. Such bytes are written as `%` and two hexadecimal digits, which is how
//! TiDB's tools read them too.

use crate::model::{Packing, TableName};

/// The manifest: written last, so its presence says that the dump is whole.
pub const MANIFEST: &str = "manifest.json";

/// The position and the servers, in the form other loaders look for.
pub const METADATA: &str = "metadata";

/// The longest name of a part that is written out; longer ones are cut and told apart by a hash.
/// A file's name has at most 255 bytes on Linux, and ours holds two parts and up to 30 bytes more.
const LONGEST_PART: usize = 110;

/// The file that creates a database.
pub fn schema_file(schema: &str) -> String {
    format!("{}-schema-create.sql", encode(schema))
}

/// The file that creates a table.
pub fn table_file(table: &TableName) -> String {
    format!(
        "{}.{}-schema.sql",
        encode(&table.schema),
        encode(&table.name)
    )
}

/// The file with a part of a table's rows; parts are numbered from 1.
pub fn data_file(table: &TableName, number: u32, packing: Packing) -> String {
    format!(
        "{}.{}.{number:09}.sql{}",
        encode(&table.schema),
        encode(&table.name),
        packing.suffix()
    )
}

/// The file that creates a view.
pub fn view_file(view: &TableName) -> String {
    format!(
        "{}.{}-schema-view.sql",
        encode(&view.schema),
        encode(&view.name)
    )
}

/// The file that creates a table's triggers.
pub fn triggers_file(table: &TableName) -> String {
    format!(
        "{}.{}-schema-triggers.sql",
        encode(&table.schema),
        encode(&table.name)
    )
}

/// The file that creates a database's routines and events.
pub fn programs_file(schema: &str) -> String {
    format!("{}-schema-post.sql", encode(schema))
}

/// What the names of all files with rows of the table begin with, up to their number.
pub fn data_prefix(table: &TableName) -> String {
    format!("{}.{}.", encode(&table.schema), encode(&table.name))
}

/// One part of a file's name: letters, digits, `_`, `$`, `-` and everything beyond ASCII stay.
pub fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric()
            || matches!(c, '_' | '$' | '-')
            || (!c.is_ascii() && !c.is_control())
        {
            text.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push('%');
                text.push(hex_digit(byte >> 4));
                text.push(hex_digit(byte & 15));
            }
        }
    }
    if text.len() <= LONGEST_PART {
        return text;
    }
    let hash = hash(name);
    let mut end = LONGEST_PART - 17;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    format!("{text}~{hash:016x}")
}

/// Reads one part of a file's name back; `None` where it was cut or is not of our form.
pub fn decode(part: &str) -> Option<String> {
    if part.contains('~') {
        return None;
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// FNV-1a, 64 bits: it must only tell long names apart, the same way in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_read_back() {
        for name in [
            "orders",
            "a.b",
            "a`b",
            "50%",
            "x/y\\z",
            "naïve 😀",
            "..",
            "a-schema",
            "tab\t",
        ] {
            let encoded = encode(name);
            assert!(!encoded.contains(['.', '/', ' ', '\t', '`']), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Some(name));
        }
        let table = TableName::new("a.b", "t");
        assert_eq!(
            data_file(&table, 7, Packing::Gzip),
            "a%2Eb.t.000000007.sql.gz"
        );
        assert_eq!(view_file(&table), "a%2Eb.t-schema-view.sql");
        assert_eq!(data_prefix(&table), "a%2Eb.t.");
    }

    #[test]
    fn long_names_fit_and_differ() {
        let a = "é`".repeat(32);
        let b = format!("{}x", "é`".repeat(31));
        let file = data_file(
            &TableName::new(a.clone(), a.clone()),
            u32::MAX,
            Packing::Zstd,
        );
        assert!(file.len() <= 255, "{}", file.len());
        assert_ne!(encode(&a), encode(&b));
        assert_eq!(decode(&encode(&a)), None);
    }
}
