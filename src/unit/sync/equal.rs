//! Conditions that only the very same value passes, whatever the server takes for equal besides.

use super::plan::Placed;
use crate::model::Result;
use crate::model::value::Value;
use crate::schema::ColumnKind;
use crate::schema::literal::write_hex;

/// `name <=> value` in a form that only the very same value passes.
pub(super) fn write_equal(
    out: &mut Vec<u8>,
    name: &str,
    column: &Placed,
    value: &Value<'_>,
) -> Result<()> {
    let name = name.as_bytes();
    let mut wrapped = |before: &[u8], after: &[u8], value_before: &[u8], value_after: &[u8]| {
        out.extend_from_slice(before);
        out.extend_from_slice(name);
        out.extend_from_slice(after);
        out.extend_from_slice(b" <=> ");
        out.extend_from_slice(value_before);
        let written = column.write(out, value);
        out.extend_from_slice(value_after);
        written
    };
    match (value, &column.kind) {
        // Not every type can be compared with NULL.
        (Value::Null, _) => {
            out.extend_from_slice(name);
            out.extend_from_slice(b" IS NULL");
            Ok(())
        }
        // Equal to the server, and not the same.
        (_, ColumnKind::Float | ColumnKind::Double)
            if column.has_signed_zeros && zero(value).is_some() =>
        {
            let is_negative = zero(value) == Some(Sign::Negative);
            out.push(b'(');
            out.extend_from_slice(name);
            out.extend_from_slice(b" <=> 0e0 AND LEFT(");
            out.extend_from_slice(name);
            out.extend_from_slice(if is_negative {
                b", 1) = '-')"
            } else {
                b", 1) <> '-')"
            });
            Ok(())
        }
        // A FLOAT is compared as a DOUBLE: the shortest digits of the one are another DOUBLE.
        (Value::Float(float), _) => {
            out.extend_from_slice(name);
            out.extend_from_slice(format!(" <=> {:e}", f64::from(*float)).as_bytes());
            Ok(())
        }
        (Value::Bit(bits), _) => {
            let number = bits
                .iter()
                .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            out.extend_from_slice(name);
            out.extend_from_slice(format!(" + 0 <=> {number}").as_bytes());
            Ok(())
        }
        // As text: documents count as equal when just their numbers do, such as 1 and 1.0.
        (_, ColumnKind::Json) => {
            wrapped(b"CAST(", b" AS CHAR)", b"CAST(CAST(", b" AS JSON) AS CHAR)")
        }
        // By number: the invalid member and an empty one read alike.
        (Value::Enum(index), kind @ ColumnKind::Enum { .. })
            if *index == 0 || *kind == column.source.kind =>
        {
            write_number(out, name, u64::from(*index));
            Ok(())
        }
        (Value::Set(members), kind) if *kind == column.source.kind => {
            write_number(out, name, *members);
            Ok(())
        }
        // As they lie there: some character sets have two codes for one character, or one that is none.
        (Value::Bytes(bytes), ColumnKind::Text { .. }) if column.has_same_bytes => {
            out.extend_from_slice(b"CAST(");
            out.extend_from_slice(name);
            out.extend_from_slice(b" AS BINARY) <=> ");
            match std::str::from_utf8(bytes) {
                Ok(_) if is_utf8(column) => {
                    out.extend_from_slice(b"CAST(");
                    column.write(out, value)?;
                    out.extend_from_slice(b" AS BINARY)");
                }
                _ => write_hex(out, bytes),
            }
            Ok(())
        }
        // Bytes of one character set, so that neither collation nor trailing spaces make two equal.
        (_, ColumnKind::Text { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. }) => wrapped(
            b"CAST(CONVERT(",
            b" USING utf8mb4) AS BINARY)",
            b"CAST(CONVERT(",
            b" USING utf8mb4) AS BINARY)",
        ),
        (_, ColumnKind::Geometry | ColumnKind::Vector) => {
            wrapped(b"CAST(", b" AS BINARY)", b"", b"")
        }
        _ => wrapped(b"", b"", b"", b""),
    }
}

/// `+ 0` would give a SET's highest bit a sign, and a cast would warn of it.
fn write_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.push(b'(');
    out.extend_from_slice(name);
    out.extend_from_slice(format!(" | 0) <=> {number}").as_bytes());
}

/// A zero's sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Positive,
    Negative,
}

/// The sign of a floating zero; `None` for all else.
fn zero(value: &Value<'_>) -> Option<Sign> {
    let number = match value {
        Value::Float(float) => f64::from(*float),
        Value::Double(double) => *double,
        _ => return None,
    };
    let sign = if number.is_sign_negative() {
        Sign::Negative
    } else {
        Sign::Positive
    };
    (number == 0.0).then_some(sign)
}

/// Whether the column's text is UTF-8 at the source.
fn is_utf8(column: &Placed) -> bool {
    matches!(
        column.source.charset.as_deref(),
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii")
    )
}
