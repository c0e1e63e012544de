//! The gateway's own certificate: its key, and the evidence in its extension id-pe-cmw (RFC 9999).
//!
//! Nothing else of a certificate means anything here: it is signed by its own key, and evidence says whose key that is.

use claim::evidence::{BootEvidence, CMW_EVIDENCE, MAX_EXTENSION, MEDIA_TYPE};
use claim::json::{Json, from_json, parse};
use claim::{Digest, b64u};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, Utf8StringRef};
use der::{Decode, Encode, Sequence};

use super::Reason;
use super::evidence;
use super::report::Finding;

/// [`claim::evidence::CMW_EXTENSION`].
const CMW: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.35");

/// What of the certificate is judged.
pub(super) struct Leaf {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) key: Digest,
    /// The text in the extension.
    pub(super) evidence: String,
}

/// RFC 5280, section 4.1, down to what is read.
#[derive(Sequence)]
struct Certificate<'a> {
    body: Body<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct Body<'a> {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: u8,
    serial: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: AnyRef<'a>,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct Extension<'a> {
    id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, if it is a certificate.
pub fn tls_key(certificate: &[u8]) -> Option<Digest> {
    key(&Certificate::from_der(certificate).ok()?)
}

fn key(certificate: &Certificate<'_>) -> Option<Digest> {
    certificate.body.key.to_der().ok().map(Digest::of)
}

/// The key and the evidence.
pub(super) fn read(der: &[u8]) -> Result<Leaf, Finding> {
    let malformed = |found: String| Finding::new(Reason::CertificateMalformed, "an X.509 certificate", found);
    let certificate = Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let key = key(&certificate).ok_or_else(|| malformed("no key".into()))?;
    let extensions = certificate.body.extensions.iter().flatten();
    let values: Vec<_> =
        extensions.filter(|extension| extension.id == CMW).map(|found| found.value.as_bytes()).collect();
    let expected = "one extension id-pe-cmw with the evidence of a boot";
    match values.as_slice() {
        [value] => Ok(Leaf { key, evidence: text(value)? }),
        [] => Err(Finding::new(Reason::ExtensionMissing, expected, "none")),
        several => Err(Finding::new(Reason::ExtensionTwice, expected, several.len().to_string())),
    }
}

/// The choice `json` of the extension's value.
fn text(value: &[u8]) -> Result<String, Finding> {
    if value.len() > MAX_EXTENSION {
        let expected = format!("at most {MAX_EXTENSION} bytes");
        return Err(Finding::new(Reason::ExtensionTooLong, expected, format!("{} bytes", value.len())));
    }
    let text = Utf8StringRef::from_der(value);
    text.map(|text| text.as_str().to_owned()).map_err(|error| not_a_record(error.to_string()))
}

/// The boot's document in the CMW record.
pub(super) fn document(leaf: &Leaf) -> Result<BootEvidence, Finding> {
    let record = parse(leaf.evidence.as_bytes()).map_err(|error| not_a_record(error.to_string()))?;
    let Some([media_type, value, indicator]) = record.as_array() else {
        return Err(not_a_record("no array of three elements"));
    };
    if media_type.as_str() != Some(MEDIA_TYPE) || indicator.as_u64() != Some(CMW_EVIDENCE) {
        return Err(not_a_record(format!("{} of kind {}", media_type.sorted_ascii(), indicator.sorted_ascii())));
    }
    let bytes = value.as_str().and_then(b64u::decode).ok_or_else(|| not_a_record("no base64url"))?;
    let malformed = |found: String| Finding::new(Reason::DocumentMalformed, "the document of a boot", found);
    let document = parse(&bytes).map_err(|error| malformed(error.to_string()))?;
    evidence::read(document.get("evidence").unwrap_or(&Json::Null))?;
    from_json(&document).map_err(|error| malformed(error.to_string()))
}

fn not_a_record(found: impl Into<String>) -> Finding {
    let expected = format!("a CMW record in JSON: [\"{MEDIA_TYPE}\", document, {CMW_EVIDENCE}]");
    Finding::new(Reason::ExtensionMalformed, expected, found)
}

#[cfg(test)]
mod tests {
    use der::asn1::ObjectIdentifier;

    #[test]
    fn the_extension_is_the_one_that_enclaves_write() {
        let arcs: Vec<u64> = super::CMW.arcs().map(u64::from).collect();
        assert_eq!(arcs, claim::evidence::CMW_EXTENSION);
        assert_ne!(super::CMW, ObjectIdentifier::new_unwrap("2.23.133.5.4.9"));
    }
}
