//! What a boot shows in its certificate.

use claim::attachment::{Attachment, Collateral};
use claim::b64u::Octets;
use claim::binding::{BootBinding, binding, boot_x};
use claim::evidence::{
    AzureEvidence, BootEvidence, Evidence, ExtensionError, MAX_EXTENSION, Pcrs, Settings, SignedAttest, SnpEvidence,
    SoftwareEvidence, TdxEvidence, TpmEvidence, TpmQuote,
};
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

fn hardware() -> Vec<Evidence> {
    let octets = |text: &str| Octets(text.as_bytes().to_vec());
    let pcrs = Pcrs(std::array::from_fn(|index| [u8::try_from(index).unwrap(); 32]));
    let quote = || TpmQuote { message: octets("m"), signature: octets("s"), pcrs: pcrs.clone() };
    let key_quote = SignedAttest { message: octets("km"), signature: octets("ks") };
    vec![
        Evidence::Azure(AzureEvidence { hcl_report: octets("h"), quote: quote(), ak_certificate: None }),
        Evidence::Tpm(TpmEvidence {
            ak_public: octets("p"),
            quote: quote(),
            key_quote,
            ak_certificate: Some(octets("c")),
        }),
        Evidence::SevSnp(SnpEvidence { report: octets("r"), certificates: None }),
        Evidence::Tdx(TdxEvidence { quote: octets("q") }),
    ]
}

#[test]
fn evidence_of_hardware_comes_back_as_it_was() {
    for evidence in hardware() {
        let text = to_json(&evidence).unwrap().sorted_ascii();
        assert_eq!(read::<Evidence>(text.as_bytes()).unwrap(), evidence);
        let more = text.replacen('{', r#"{"more":1,"#, 1);
        assert!(read::<Evidence>(more.as_bytes()).is_err(), "{more}");
    }
    let quote = to_json(&hardware()[0]).unwrap().sorted_ascii();
    let pcr = claim::hex::encode(&[5; 32]);
    for wrong in ["", "05", &pcr[..62], &pcr.replace("05", "0G"), &pcr.to_uppercase().replace("05", "AA")] {
        assert!(read::<Evidence>(quote.replace(&pcr, wrong).as_bytes()).is_err(), "{wrong}");
    }
    let short = quote.replace(&format!("\"{pcr}\","), "");
    assert!(short.len() < quote.len() && read::<Evidence>(short.as_bytes()).is_err());
}

#[test]
fn the_settings_digest_is_its_formula() {
    let [bundle_hash, catalog_hash, config_hash, controls_hash] = [b"a", b"b", b"c", b"d"].map(Digest::of);
    let settings = Settings { bundle_hash, catalog_hash, config_hash, controls_hash };
    // printf 'cmcp-settings-v1|{"bundle_hash":"sha256:...",...}' | sha256sum
    assert_eq!(settings.digest().hex(), "372723c52e55688207a605f1ada0e804f7fb06ec825a331c1153e2573e4ab0e6");
}

#[test]
fn attachments_come_back_as_they_were_and_other_versions_do_not() {
    let boot = document(boot());
    let attachment = Attachment {
        version: 1,
        boot,
        settings: Vec::new(),
        session_start: None,
        session: hardware().pop(),
        event_log: Some(Octets(vec![1, 2, 3])),
        collateral: Some(Collateral { crls: vec![Octets(vec![4])], ..Collateral::default() }),
    };
    let bytes = attachment.bytes().unwrap();
    assert_eq!(Attachment::parse(&bytes).unwrap(), attachment);
    let other = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
    assert!(Attachment::parse(other.as_bytes()).is_err());
}
