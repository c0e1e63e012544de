//! Lower-case hexadecimal.

/// The two digits of a byte.
pub const fn pair(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 15)]
}

/// Without a table, the compiler writes many digits at once.
const fn digit(nibble: u8) -> u8 {
    nibble.wrapping_add(if nibble < 10 { b'0' } else { b'a' - 10 })
}

/// The 64 digits of 32 bytes, without allocation.
pub(crate) fn digits(bytes: &[u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    write(bytes, &mut digits);
    digits
}

/// The digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len().saturating_mul(2)];
    write(bytes, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}

fn write(bytes: &[u8], digits: &mut [u8]) {
    for (places, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *places = pair(*byte);
    }
}

/// Exactly `N` bytes from lower-case digits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (value(*high)? << 4) | value(*low)?;
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
