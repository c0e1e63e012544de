//! Quotes.

use verify::evidence::Report;
use verify::evidence::tpm::pcrs::Values;
use verify::evidence::tpm::{self, Signed};

use crate::machine::{Ak, Attest, SHA1, SHA256, SHA384};
use crate::{NONCE, accepted, refused, values};

fn judge(message: &[u8], signature: &[u8], pcrs: &Values, ak: &Ak) -> Report {
    let mut report = Report::default();
    let quote = Signed { message, signature, pcrs };
    tpm::appraise(&quote, &ak.key(), Some(&NONCE), &mut report);
    report
}

#[test]
fn quotes_by_keys_of_both_kinds_are_accepted() {
    for ak in [Ak::ecc(), Ak::rsa()] {
        // Often enough for numbers with zeros in front.
        for clock in 0..64 {
            let mut attest = Attest::over(&values(), &NONCE);
            attest.clock = clock;
            let message = attest.bytes();
            accepted(&judge(&message, &ak.sign(&message), &values(), &ak), "quote");
        }
    }
}

#[test]
fn each_fault_of_a_signed_quote_has_its_own_reason() {
    type Change = fn(&mut Attest);
    let cases: &[(&str, &str, Change)] = &[
        ("TPM_NOT_GENERATED", "magic", |quote| quote.magic = 0xff54_4346),
        ("TPM_NOT_A_QUOTE", "certification of a key", |quote| quote.kind = 0x8017),
        ("TPM_ATTEST_MALFORMED", "a byte behind", |quote| quote.behind = vec![0]),
        ("TPM_ATTEST_MALFORMED", "another quote behind", |quote| quote.behind = quote.bytes()),
        ("TPM_ATTEST_MALFORMED", "safe is 2", |quote| quote.safe = 2),
        ("TPM_ATTEST_MALFORMED", "long name", |quote| quote.signer = vec![0; 69]),
        ("TPM_ATTEST_MALFORMED", "long nonce", |quote| quote.extra = vec![0; 67]),
        ("TPM_ATTEST_MALFORMED", "long digest", |quote| quote.digest = vec![0; 65]),
        ("TPM_ATTEST_MALFORMED", "many selections", |quote| quote.selections = vec![(SHA256, vec![]); 17]),
        ("TPM_ATTEST_MALFORMED", "long selection", |quote| quote.selections = vec![(SHA256, vec![0xff; 5])]),
        ("TPM_PCR_SELECTION", "no selection", |quote| quote.selections.clear()),
        ("TPM_PCR_SELECTION", "empty selection", |quote| quote.selections = vec![(SHA256, vec![0; 3])]),
        ("TPM_PCR_SELECTION", "PCR 16 alone", |quote| quote.selections = vec![(SHA256, vec![0, 0, 1])]),
        ("TPM_PCR_SELECTION", "others relabelled", |quote| quote.selections = vec![(SHA256, vec![0, 0xff, 0xff])]),
        ("TPM_PCR_SELECTION", "all but one", |quote| quote.selections = vec![(SHA256, vec![0xff, 0xff, 0x7f])]),
        ("TPM_PCR_SELECTION", "a longer bitmap", |quote| quote.selections = vec![(SHA256, vec![0xff, 0xff, 0xff, 0])]),
        ("TPM_PCR_SELECTION", "the bank twice", |quote| quote.selections.push((SHA256, vec![0xff; 3]))),
        ("TPM_PCR_SELECTION", "the bank in two halves", |quote| {
            quote.selections = vec![(SHA256, vec![0, 0xff, 0xff]), (SHA256, vec![0xff, 0, 0])];
        }),
        ("TPM_PCR_SELECTION", "SHA-1 bank", |quote| quote.selections = vec![(SHA1, vec![0xff; 3])]),
        ("TPM_PCR_SELECTION", "SHA-384 bank", |quote| quote.selections = vec![(SHA384, vec![0xff; 3])]),
        ("TPM_PCR_DIGEST", "another digest", |quote| quote.digest[0] ^= 1),
        ("TPM_PCR_DIGEST", "a shorter digest", |quote| quote.digest.truncate(31)),
        ("TPM_NONCE_MISMATCH", "another nonce", |quote| quote.extra[31] ^= 1),
        ("TPM_NONCE_MISMATCH", "half a nonce", |quote| quote.extra.truncate(16)),
        ("TPM_NONCE_MISMATCH", "no nonce", |quote| quote.extra.clear()),
        ("TPM_NONCE_MISMATCH", "more than the nonce", |quote| quote.extra.push(0)),
    ];
    let ak = Ak::ecc();
    for (reason, name, change) in cases {
        let mut attest = Attest::over(&values(), &NONCE);
        change(&mut attest);
        let message = attest.bytes();
        refused(&judge(&message, &ak.sign(&message), &values(), &ak), reason, name);
    }
}

#[test]
fn values_are_those_of_the_quote_in_their_order() {
    let ak = Ak::ecc();
    let message = Attest::over(&values(), &NONCE).bytes();
    let mut swapped = values();
    swapped.swap(4, 16);
    refused(&judge(&message, &ak.sign(&message), &swapped, &ak), "TPM_PCR_DIGEST", "PCR 16 shown as PCR 4");
}

#[test]
fn signatures_are_by_the_key_over_these_bytes_and_nothing_follows() {
    let (ak, other, rsa) = (Ak::ecc(), Ak::ecc(), Ak::rsa());
    let message = Attest::over(&values(), &NONCE).bytes();
    for by in [&other, &rsa] {
        refused(&judge(&message, &by.sign(&message), &values(), &ak), "TPM_SIGNATURE_INVALID", "swapped key");
    }
    for ak in [&ak, &rsa] {
        let good = ak.sign(&message);
        let longer = [good.as_slice(), &[0]].concat();
        refused(&judge(&message, &longer, &values(), ak), "TPM_SIGNATURE_MALFORMED", "a byte behind");
        for hash in [SHA1, SHA384] {
            let mut signature = good.clone();
            signature[2..4].copy_from_slice(&hash.to_be_bytes());
            refused(&judge(&message, &signature, &values(), ak), "TPM_SIGNATURE_MALFORMED", "another hash");
        }
        for length in 0..good.len() {
            refused(&judge(&message, &good[..length], &values(), ak), "TPM_SIGNATURE_MALFORMED", "cut signature");
        }
        let mut huge = good.clone();
        huge[4..6].copy_from_slice(&[0xff, 0xff]);
        refused(&judge(&message, &huge, &values(), ak), "TPM_SIGNATURE_MALFORMED", "size overflow");
    }
}

#[test]
fn no_cut_and_no_bit_of_a_quote_is_accepted() {
    let ak = Ak::ecc();
    let message = Attest::over(&values(), &NONCE).bytes();
    let signature = ak.sign(&message);
    for length in 0..message.len() {
        let cut = &message[..length];
        refused(&judge(cut, &ak.sign(cut), &values(), &ak), "TPM_ATTEST_MALFORMED", "cut, and signed again");
    }
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&flipped, &signature, &values(), &ak).reason().is_some(), "bit {bit}");
    }
    for bit in 0..signature.len() * 8 {
        let mut flipped = signature.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&message, &flipped, &values(), &ak).reason().is_some(), "bit {bit} of the signature");
    }
}

#[test]
fn quotes_of_one_boot_agree_in_key_and_counters() {
    type Change = fn(&mut Attest);
    let cases: &[(bool, Change)] = &[
        (true, |_| ()),
        (true, |quote| quote.clock += 1),
        (true, |quote| quote.extra[0] ^= 1),
        (false, |quote| quote.resets += 1),
        (false, |quote| quote.restarts += 1),
        (false, |quote| quote.firmware += 1),
        (false, |quote| quote.signer[5] ^= 1),
    ];
    for (same, change) in cases {
        let first = Attest::over(&values(), &NONCE);
        let mut second = first.clone();
        change(&mut second);
        let [first, second] = [first, second].map(|attest| tpm::Attest::parse(&attest.bytes()).unwrap());
        assert_eq!(first.boot() == second.boot(), *same);
    }
}
