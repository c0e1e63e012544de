//! base64url without padding, one canonical spelling per value (RFC 4648, sections 3.5 and 5).

use base64ct::{Base64UrlUnpadded, Encoding};

/// The text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// The bytes of `text`, if it is the canonical spelling.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
    // The re-encoding makes canonicity independent of the decoder's strictness.
    (encode(&bytes) == text).then_some(bytes)
}

/// Exactly `N` bytes, if `text` is their canonical spelling.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}
