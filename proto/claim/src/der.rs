//! DER (X.690), as far as it is written here: one value at a time.

/// Tag, length in the fewest bytes, value (section 10.1).
pub fn encode(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let digits = length.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    let mut out = vec![tag];
    if value.len() >= 0x80 {
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
    }
    out.extend(digits);
    out.extend_from_slice(value);
    out
}
