//! The TPM software stack on the same bytes: what ours accepts it accepts and reads alike, and where ours is stricter the
//! reason is one of a few.

use tss_esapi::structures::{Attest as Theirs, AttestInfo, Signature as TheirSignature};
use tss_esapi::traits::UnMarshall;
use verify::evidence::tpm::{Attest, AttestError, Signature, SignatureFormatError};

use crate::support::{Seeded, fixture, pem_key, read, rsassa, sample};

/// Mutants of each quote.
const MUTANTS: usize = 4_000;

fn messages() -> Vec<Vec<u8>> {
    let published = sample("quote.bin");
    let recorded = [
        "azure-snp/trustee-v2/quote.msg",
        "azure-snp/cmcp-envelope/quote.msg",
        "tpm/own-qemu-ovmf-swtpm-uki/quote64.msg",
        "tpm/dstack-tpms-attest/tpm_quote_sample.bin",
    ];
    let mut messages = vec![published[0x110..0x110 + 0x7a].to_vec()];
    messages.extend(recorded.iter().filter_map(|path| fixture(path)).map(read));
    messages
}

fn alike(ours: &Attest, theirs: &Theirs) -> bool {
    let AttestInfo::Quote { info } = theirs.attested() else { return false };
    let clock = theirs.clock_info();
    ours.extra_data == theirs.extra_data().value()
        && ours.qualified_signer == theirs.qualified_signer().value()
        && ours.firmware_version == theirs.firmware_version()
        && ours.clock.milliseconds == clock.clock()
        && (ours.clock.reset_count, ours.clock.restart_count) == (clock.reset_count(), clock.restart_count())
        && ours.clock.safe == clock.safe()
        && ours.pcr_digest == info.pcr_digest().value()
        && info.pcr_selection().len() == ours.selections.len()
}

#[test]
fn quotes_are_read_as_the_tpm_software_stack_reads_them() {
    let mut counts = [0_usize; 3];
    let mut seeded = Seeded(1);
    for message in messages() {
        for _ in 0..MUTANTS {
            let mutant = seeded.mutate(&message);
            let (ours, theirs) = (Attest::parse(&mutant), Theirs::unmarshall(&mutant));
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert!(alike(ours, theirs), "{ours:?} {theirs:?}");
                    counts[0] += 1;
                }
                (Err(_), Err(_)) => counts[1] += 1,
                // They leave it to their caller whether anything follows, and what kind of attestation it is.
                (Err(AttestError::Trailing(_) | AttestError::NotAQuote(_)), Ok(_)) => counts[2] += 1,
                // They read selections into fixed sets of banks and PCRs; ours are compared with the one that is right.
                (Ok(ours), Err(_)) => assert!(!ours.selects_all(), "{ours:?}"),
                (Err(error), Ok(theirs)) => panic!("{error}: {theirs:?}"),
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

#[test]
fn signatures_are_read_as_the_tpm_software_stack_reads_them() {
    let (mut seeded, mut agreed) = (Seeded(2), [0_usize; 2]);
    let rsa = rsassa(&sample("quote.bin")[8..264]);
    let numbers: Vec<u8> = [&[0, 0x20][..], &[0x5a; 32], &[0, 0x20], &[0xa5; 32]].concat();
    let ecdsa = [&[0, 0x18, 0, 0x0b][..], &numbers].concat();
    for signature in [rsa, ecdsa] {
        for _ in 0..MUTANTS {
            let mutant = seeded.mutate(&signature);
            match (Signature::parse(&mutant), TheirSignature::unmarshall(&mutant)) {
                (Ok(Signature::RsaSsa(ours)), Ok(TheirSignature::RsaSsa(theirs))) => {
                    assert_eq!(ours, theirs.signature().value());
                    agreed[0] += 1;
                }
                (Ok(Signature::RsaPss(ours)), Ok(TheirSignature::RsaPss(theirs))) => {
                    assert_eq!(ours, theirs.signature().value());
                }
                (Ok(Signature::Ecdsa(r, s)), Ok(TheirSignature::EcDsa(theirs))) => {
                    assert_eq!(
                        (r.as_slice(), s.as_slice()),
                        (theirs.signature_r().value(), theirs.signature_s().value())
                    );
                    agreed[0] += 1;
                }
                (Err(_), Err(_)) => agreed[1] += 1,
                // Other algorithms and hashes; what follows.
                (Err(SignatureFormatError::Algorithm { .. } | SignatureFormatError::Trailing(_)), Ok(_)) => {}
                (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
            }
        }
    }
    assert!(agreed.iter().all(|count| *count > 100), "{agreed:?}");
}

/// A TPM salts RSAPSS with as many bytes as the hash has, or as many as fit.
#[test]
fn rsapss_is_verified_with_either_salt() {
    let folder = std::env::temp_dir().join(format!("cmcp-oracles-pss-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let openssl =
        |args: &[&str]| std::process::Command::new("openssl").args(args).output().is_ok_and(|it| it.status.success());
    std::fs::write(file("message"), b"a quote").unwrap();
    if !openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &file("key")]) {
        return;
    }
    assert!(openssl(&["pkey", "-in", &file("key"), "-pubout", "-out", &file("public")]));
    let key = pem_key(&read(file("public")));
    for (salt, right) in [("rsa_pss_saltlen:32", true), ("rsa_pss_saltlen:max", true), ("rsa_pss_saltlen:20", false)] {
        let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", salt];
        let (key_file, to, message) = (file("key"), file("signature"), file("message"));
        let args = [&["dgst", "-sha256", "-sign", &key_file][..], &padding, &["-out", &to, &message]].concat();
        assert!(openssl(&args));
        let signature = read(file("signature"));
        let bytes = [&[0, 0x16, 0, 0x0b, 1, 0][..], &signature].concat();
        let signature = Signature::parse(&bytes).unwrap();
        assert_eq!(signature.verifies(&key, b"a quote"), right, "{salt}");
        assert!(!signature.verifies(&key, b"another quote"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
