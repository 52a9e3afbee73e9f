//! Numbers, dates and times as the servers write them in text.

use super::cursor::Cursor;
use super::damaged;
use crate::model::Result;
use crate::model::value::{Date, Decimal, Time, UnixTime};

/// Appends a number in decimal digits.
pub fn write_uint(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut length = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// Appends a number in decimal digits, with its sign.
pub fn write_int(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    write_uint(out, number.unsigned_abs());
}

/// Appends a number in at least `width` digits.
fn write_padded(out: &mut Vec<u8>, number: u64, width: u32) {
    let mut limit = 10u64.saturating_pow(width.saturating_sub(1));
    while limit > number.max(1) {
        out.push(b'0');
        limit /= 10;
    }
    write_uint(out, number);
}

/// The most bytes a DECIMAL takes: 65 digits, 30 of them behind the point, take 30.
const DECIMAL_BYTES: usize = 32;
/// Decimal digits that one group of four bytes holds.
const GROUP_DIGITS: u8 = 9;
/// The bytes of a group that is not full, for 0 to 8 digits.
const PART_BYTES: [u8; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

/// Appends a DECIMAL's digits.
pub fn write_decimal(out: &mut Vec<u8>, value: &Decimal<'_>) -> Result<()> {
    let Some((first, rest)) = value.bytes.split_first() else {
        return Err(damaged("a DECIMAL without bytes"));
    };
    // The top bit is set for what is not negative; negative numbers have all their bits inverted.
    let negative = first & 0x80 == 0;
    let mask = if negative { 0xff } else { 0 };
    let mut plain = [0; DECIMAL_BYTES];
    let length = rest.len() + 1;
    let Some(bytes) = plain.get_mut(..length) else {
        return Err(damaged(format!("a DECIMAL of {length} bytes")));
    };
    for (to, from) in bytes.iter_mut().zip(value.bytes) {
        *to = from ^ mask;
    }
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    let mut cursor = Cursor::new(bytes);
    let mut group = |digits: u8| -> Result<u64> {
        let bytes = PART_BYTES.get(usize::from(digits)).copied().unwrap_or(4);
        let number = cursor.uint_be(usize::from(bytes))?;
        if number >= 10u64.pow(u32::from(digits)) {
            return Err(damaged("a DECIMAL with more digits than it has"));
        }
        Ok(number)
    };
    if negative {
        out.push(b'-');
    }
    let whole = value.precision.saturating_sub(value.scale);
    let mut begun = false;
    let first_digits = whole % GROUP_DIGITS;
    let groups = (first_digits > 0)
        .then_some(first_digits)
        .into_iter()
        .chain(std::iter::repeat_n(
            GROUP_DIGITS,
            usize::from(whole / GROUP_DIGITS),
        ));
    for digits in groups {
        let number = group(digits)?;
        if begun {
            write_padded(out, number, u32::from(digits));
        } else if number != 0 {
            write_uint(out, number);
            begun = true;
        }
    }
    if !begun {
        out.push(b'0');
    }
    if value.scale > 0 {
        out.push(b'.');
        for _ in 0..value.scale / GROUP_DIGITS {
            let number = group(GROUP_DIGITS)?;
            write_padded(out, number, u32::from(GROUP_DIGITS));
        }
        let last = value.scale % GROUP_DIGITS;
        if last > 0 {
            let number = group(last)?;
            write_padded(out, number, u32::from(last));
        }
    }
    Ok(())
}

/// Appends `2024-02-29`.
pub fn write_date(out: &mut Vec<u8>, date: &Date) {
    write_padded(out, u64::from(date.year), 4);
    out.push(b'-');
    write_padded(out, u64::from(date.month), 2);
    out.push(b'-');
    write_padded(out, u64::from(date.day), 2);
}

/// Appends `-838:59:59.999`, with as many digits behind the second as the column has.
pub fn write_time(out: &mut Vec<u8>, time: &Time) {
    if time.negative {
        out.push(b'-');
    }
    write_padded(out, u64::from(time.hours), 2);
    out.push(b':');
    write_padded(out, u64::from(time.minutes), 2);
    out.push(b':');
    write_padded(out, u64::from(time.seconds), 2);
    write_fraction(out, time.micros, time.digits);
}

fn write_fraction(out: &mut Vec<u8>, micros: u32, digits: u8) {
    if digits > 0 {
        out.push(b'.');
        let unit = 10u32.pow(6u32.saturating_sub(u32::from(digits)));
        write_padded(out, u64::from(micros / unit), u32::from(digits.min(6)));
    }
}

const DAY: u64 = 86_400;

/// Appends a TIMESTAMP as UTC; all zero is the zero date.
pub fn write_unix_time(out: &mut Vec<u8>, time: &UnixTime) {
    let date = if time.seconds == 0 && time.micros == 0 {
        Date::default()
    } else {
        civil_date(time.seconds / DAY)
    };
    write_date(out, &date);
    out.push(b' ');
    let second = time.seconds % DAY;
    write_time(
        out,
        &Time {
            negative: false,
            hours: (second / 3600) as u16,
            minutes: (second / 60 % 60) as u8,
            seconds: (second % 60) as u8,
            micros: time.micros,
            digits: time.digits,
        },
    );
}

/// The calendar date of a number of days since 1970-01-01, by whole eras of 400 years, which all
/// have the same number of days, in years that begin with March.
fn civil_date(days: u64) -> Date {
    const ERA_DAYS: u64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    let shifted = days.saturating_add(EPOCH);
    let (era, day) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    Date {
        year: (era * 400 + year + u64::from(month <= 2)) as u16,
        month: month as u8,
        day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
    }
}

/// Powers of ten up to this one are written without an exponent by MySQL.
const PLAIN_DIGITS: i32 = 15;

/// Appends a double as MySQL writes it in a JSON document: the fewest digits that read back as the
/// same number, and always with a point or an exponent.
pub fn write_json_double(out: &mut Vec<u8>, number: f64) {
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Where the point stands, counted from the first digit.
    let point = exponent + 1;
    if number != 0.0 && !(-PLAIN_DIGITS < point && point <= PLAIN_DIGITS) {
        out.extend_from_slice(shortest.as_bytes());
        return;
    }
    let plain = format!("{number}");
    out.extend_from_slice(plain.as_bytes());
    if !plain.contains('.') {
        out.extend_from_slice(b".0");
    }
    debug_assert!(!digits.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals() {
        for (precision, scale, bytes, digits) in [
            (
                14,
                4,
                &[0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2][..],
                "1234567890.1234",
            ),
            (
                14,
                4,
                &[0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d],
                "-1234567890.1234",
            ),
            (3, 3, &[0x80, 0x05], "0.005"),
            (2, 0, &[0x80], "0"),
            (10, 0, &[0x80, 0, 0, 0, 7], "7"),
        ] {
            let value = Decimal {
                precision,
                scale,
                bytes,
            };
            assert_eq!(text(|out| write_decimal(out, &value).unwrap()), digits);
        }
        let short = Decimal {
            precision: 14,
            scale: 4,
            bytes: &[0x81],
        };
        assert!(write_decimal(&mut Vec::new(), &short).is_err());
    }

    #[test]
    fn moments() {
        for (seconds, shown) in [
            (0, "0000-00-00 00:00:00"),
            (1, "1970-01-01 00:00:01"),
            (951_782_400, "2000-02-29 00:00:00"),
            (4_102_444_799, "2099-12-31 23:59:59"),
            (4_294_967_295, "2106-02-07 06:28:15"),
        ] {
            let time = UnixTime {
                seconds,
                micros: 0,
                digits: 0,
            };
            assert_eq!(text(|out| write_unix_time(out, &time)), shown);
        }
        let time = Time {
            negative: true,
            hours: 1,
            minutes: 2,
            seconds: 3,
            micros: 400_000,
            digits: 1,
        };
        assert_eq!(text(|out| write_time(out, &time)), "-01:02:03.4");
    }

    #[test]
    fn doubles_in_documents() {
        for (number, shown) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1e15"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1.5e300, "1.5e300"),
            (1e-20, "1e-20"),
        ] {
            assert_eq!(text(|out| write_json_double(out, number)), shown);
        }
    }
}
