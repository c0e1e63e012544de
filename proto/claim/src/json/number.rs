//! Numbers: which literals are accepted, and how each form writes them.

use super::{Json, JsonError, MAX_SAFE_INTEGER};

/// Refuses literals that implementations read differently. `literal` is a run of number characters; the grammar is the
/// parser's business.
pub(super) fn check_literal(literal: &[u8]) -> Result<(), JsonError> {
    let text = String::from_utf8_lossy(literal);
    let portable = if literal.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        text.parse::<f64>().is_ok_and(f64::is_finite)
    } else {
        text != "-0" && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok())
    };
    if portable { Ok(()) } else { Err(JsonError::Number(text.chars().take(64).collect())) }
}

/// Refuses integers beyond [`MAX_SAFE_INTEGER`].
pub(super) fn require_safe(value: &Json) -> Result<(), JsonError> {
    match value {
        Json::Int(number) if number.unsigned_abs() > MAX_SAFE_INTEGER.unsigned_abs() => {
            Err(JsonError::UnsafeInteger(i128::from(*number)))
        }
        Json::UInt(number) => Err(JsonError::UnsafeInteger(i128::from(*number))),
        _ => Ok(()),
    }
}

/// Writes a float as Python's `repr` does: shortest digits that read back the same, positional for exponents from -4 to
/// 15. [`super::parse`] makes no other floats than finite ones; the others are written as Python spells them.
pub(super) fn write_float(value: f64, out: &mut Vec<u8>) {
    let text = match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => finite(value),
    };
    out.extend_from_slice(text.as_bytes());
}

fn finite(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..=15 => positional(value),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs()),
    }
}

fn positional(value: f64) -> String {
    let text = format!("{value}");
    if text.contains('.') { text } else { text + ".0" }
}
