//! Numbers as JSON Schema compares them: `1` and `1.0` are the same.

use std::cmp::Ordering;

use claim::json::Json;

/// Integers up to here are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a value is a whole number.
pub(super) fn is_whole(value: &Json) -> bool {
    match value {
        Json::Int(_) | Json::UInt(_) => true,
        Json::Float(number) => number.fract() == 0.0,
        _ => false,
    }
}

fn integer(value: &Json) -> Option<i128> {
    match value {
        Json::Int(number) => Some(i128::from(*number)),
        Json::UInt(number) => Some(i128::from(*number)),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bound that is a float is compared as one")]
fn float(value: &Json) -> Option<f64> {
    match value {
        Json::Float(number) => Some(*number),
        other => integer(other).map(|number| number as f64),
    }
}

/// How two numbers compare; nothing if one is no number.
pub(super) fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => float(a)?.partial_cmp(&float(b)?),
    }
}

/// Whether a number is a multiple; quotients that miss a whole number by a rounding error count as whole.
pub(super) fn is_multiple(value: &Json, of: &Json) -> bool {
    if let (Some(value), Some(of)) = (integer(value), integer(of)) {
        return value.checked_rem(of) == Some(0);
    }
    let (Some(value), Some(of)) = (float(value), float(of)) else { return true };
    let near = |number: f64| (number - number.round()).abs() <= f64::EPSILON * number.abs().max(1.0);
    // Every whole number is a multiple of a tenth, a hundredth, and so on, however large it is.
    if value.fract() == 0.0 && near(of.recip()) {
        return true;
    }
    let quotient = value / of;
    if quotient.abs() >= EXACT {
        return value % of == 0.0;
    }
    near(quotient)
}

/// Whether two values are equal.
pub(super) fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((name, a), (other, b))| name == other && equal(a, b))
        }
        _ => a == b || compare(a, b) == Some(Ordering::Equal),
    }
}

/// A value in one spelling: equal values have equal texts.
pub(super) fn canonical(value: &Json) -> Json {
    match value {
        Json::Float(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            format!("{number:.0}").parse().map_or_else(|_| value.clone(), |number: i64| Json::Int(number))
        }
        Json::Array(items) => Json::Array(items.iter().map(canonical).collect()),
        Json::Object(members) => {
            Json::Object(members.iter().map(|(key, value)| (key.clone(), canonical(value))).collect())
        }
        other => other.clone(),
    }
}
