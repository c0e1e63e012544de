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
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (digits, exponent) = shortest(value.abs());
    let written = match exponent {
        0..=15 => with_point(&digits, usize::try_from(exponent).unwrap_or_default()),
        -4..=-1 => format!("0.{}{digits}", "0".repeat(usize::try_from(-1 - exponent).unwrap_or_default())),
        _ => scientific(&digits, exponent),
    };
    format!("{sign}{written}")
}

/// The shortest digits `d1 d2 ...` and the exponent `e` such that `d1.d2... * 10^e` reads back as `value`. Where two are
/// equally near, serde_json takes the even one, as Python does; the standard library does not.
fn shortest(value: f64) -> (String, i32) {
    let text = serde_json::to_string(&value).unwrap_or_default();
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading_zeros = all.len().saturating_sub(digits.len());
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return ("0".to_owned(), 0);
    }
    let places = |length: usize| i32::try_from(length).unwrap_or_default();
    let exponent = power.parse::<i32>().unwrap_or_default() + places(whole.len()) - 1 - places(leading_zeros);
    (digits.to_owned(), exponent)
}

/// `digits` with a point after the first `exponent + 1`.
fn with_point(digits: &str, exponent: usize) -> String {
    let whole = exponent.saturating_add(1);
    match digits.split_at_checked(whole) {
        Some((whole, fraction)) if !fraction.is_empty() => format!("{whole}.{fraction}"),
        _ => format!("{digits:0<whole$}.0"),
    }
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs())
}
