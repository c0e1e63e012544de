//! What a boot shows in its certificate.

use claim::binding::{BootBinding, binding, boot_x};
use claim::evidence::{BootEvidence, Evidence, ExtensionError, MAX_EXTENSION, SoftwareEvidence};
use claim::json::{read, to_json};
use claim::key::SignatureError;
use claim::{Digest, b64u};

use crate::common::session::START;
use crate::common::{Session, key, other_key};

fn document(boot: BootBinding) -> BootEvidence {
    let bytes = binding(&key().public().thumbprint(), &boot_x(&boot).unwrap());
    let evidence = Evidence::Software(SoftwareEvidence::new(&key(), Digest::of(b"an enclave"), &bytes));
    BootEvidence { boot, public_key: key().public().x(), evidence }
}

fn boot() -> BootBinding {
    Session::new(START).boot.binding()
}

#[test]
fn software_evidence_is_for_one_key_and_one_binding() {
    let bytes = [7; 64];
    let evidence = SoftwareEvidence::new(&key(), Digest::of(b"an enclave"), &bytes);
    assert_eq!(b64u::decode_array(&evidence.binding), Some(bytes));
    assert_eq!(key().public().verify_software_evidence(&bytes, &evidence.signature), Ok(()));
    for (public, bytes) in [(key().public(), [8; 64]), (other_key().public(), bytes)] {
        let verdict = public.verify_software_evidence(&bytes, &evidence.signature);
        assert_eq!(verdict, Err(SignatureError::Mismatch));
    }
}

#[test]
fn evidence_of_another_type_is_not_read() {
    let text = to_json(&document(boot()).evidence).unwrap().sorted_ascii();
    assert!(read::<Evidence>(text.as_bytes()).is_ok());
    for other in
        [text.replace("software", "snp"), text.replace("software", "Software"), text.replace("\"artifact", "\"a")]
    {
        assert!(read::<Evidence>(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn an_extension_says_its_length_and_has_a_longest() {
    // The fewest bytes that say the length: one up to 127, then their number and they.
    let document_of = |keys: usize| document(BootBinding { tls_spki: vec![Digest::of(b"key"); keys], ..boot() });
    for keys in [0, 2, 300] {
        let value = document_of(keys).extension().unwrap();
        assert_eq!(value[..2], [0x0c, 0x82]);
        assert_eq!(usize::from(u16::from_be_bytes([value[2], value[3]])), value.len() - 4);
        assert!(value.len() <= MAX_EXTENSION);
    }
    let refused = document_of(400).extension();
    assert!(matches!(refused, Err(ExtensionError::TooLong(length)) if length > MAX_EXTENSION));
}
