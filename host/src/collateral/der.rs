//! As much of certificates as finding their issuers takes. Nothing is believed here, so nothing is parsed either: what is
//! looked for is found by its bytes, and who verifies reads for themselves.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// 1.3.6.1.5.5.7.48.2, and the tag of a URL: where an issuer's certificate is (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86";

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The certificates in PEM, with whatever is around them: a quote has it among its own bytes.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let start = bytes.windows(BEGIN.len()).position(|window| window == BEGIN).unwrap_or_default();
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes.get(start..).unwrap_or_default()).collect();
    let all = all.map_err(|error| format!("not PEM: {error}"))?;
    if all.is_empty() {
        Err("no certificate in PEM".to_owned())
    } else {
        Ok(all.into_iter().map(|one| one.to_vec()).collect())
    }
}

/// Whether this can be a certificate: a SEQUENCE of this length that begins with another.
pub(super) fn is_certificate(bytes: &[u8]) -> bool {
    is_sequence(bytes) && bytes.get(4) == Some(&0x30)
}

/// Whether this is a SEQUENCE whose length is written in two bytes and true.
pub(super) fn is_sequence(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x82, high, low, rest @ ..] => rest.len() == usize::from(u16::from_be_bytes([*high, *low])),
        [0x30, 0x81, length, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, 0x83, high, middle, low, rest @ ..] => {
            Ok(rest.len()) == usize::try_from(u32::from_be_bytes([0, *high, *middle, *low]))
        }
        _ => false,
    }
}

/// Where a certificate says that its issuer's is.
pub(super) fn issuer_places(certificate: &[u8]) -> Vec<String> {
    let (mut places, mut rest) = (Vec::new(), certificate);
    while let Some(found) = after(rest, CA_ISSUERS) {
        rest = found;
        let place = found.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
        places.extend(place.and_then(|place| String::from_utf8(place.to_vec()).ok()));
    }
    places
}

/// What follows the first occurrence.
pub(super) fn after<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let place = bytes.windows(wanted.len()).position(|window| window == wanted)?;
    bytes.get(place + wanted.len()..)
}
