//! TLS fingerprints: `SHA256:` and the base64 of 32 bytes.

use std::fmt;

use base64ct::{Base64, Encoding};

use super::RotationMode;

/// What stands in a catalog where nothing is pinned yet.
const PLACEHOLDER: [u8; 32] = [0; 32];

/// What a tool server has to show in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What it is the hash of.
    pub mode: RotationMode,
    /// SHA-256 of the leaf certificate's SubjectPublicKeyInfo, or of the certificate, in DER.
    pub sha256: [u8; 32],
}

impl Pin {
    /// Nothing for the placeholder.
    pub(super) fn new(mode: RotationMode, sha256: [u8; 32]) -> Option<Self> {
        (sha256 != PLACEHOLDER).then_some(Self { mode, sha256 })
    }

    /// What it is the hash of, in words.
    pub const fn of(&self) -> &'static str {
        match self.mode {
            RotationMode::KeyPinned => "key",
            RotationMode::CertPinned => "certificate",
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SHA256:{}", Base64::encode_string(&self.sha256))
    }
}

/// Whether a text says the same as the catalog: the pin's hash; without a pin nothing, or the placeholder.
pub fn says(text: &str, pin: Option<Pin>) -> bool {
    match pin {
        None => text.is_empty() || parse(text) == Some(PLACEHOLDER),
        Some(pin) => parse(text) == Some(pin.sha256),
    }
}

/// Reads a fingerprint, with or without padding.
pub(super) fn parse(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("SHA256:")?;
    let digits = digits.strip_suffix('=').unwrap_or(digits);
    let mut bytes = Vec::with_capacity(32);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        bits = (bits << 6 | u32::from(value(digit)?)) & 0x3fff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    // Four bits are left over after 43 digits; one spelling per fingerprint means that they are zero.
    if digits.len() != 43 || bits & ((1 << held) - 1) != 0 {
        return None;
    }
    bytes.try_into().ok()
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Pin, parse};
    use crate::catalog::RotationMode;

    #[test]
    fn one_spelling_is_read() {
        let mut bytes = [0; 32];
        bytes[31] = 1;
        assert_eq!(parse("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), Some([0; 32]));
        assert_eq!(parse("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="), Some(bytes));
        assert_eq!(parse("SHA256://////////////////////////////////////////8"), Some([0xff; 32]));
    }

    #[test]
    fn a_pin_is_written_as_it_is_read() {
        let text = "SHA256:/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
        let pin = Pin::new(RotationMode::KeyPinned, parse(text).unwrap()).unwrap();
        assert_eq!(pin.to_string(), text);
        assert_eq!(Pin::new(RotationMode::KeyPinned, [0; 32]), None);
    }

    #[test]
    fn others_are_not() {
        for text in [
            "",
            "SHA256:",
            "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "SHA256:AAAAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
