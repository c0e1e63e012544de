//! What others made, from the folder `shared`: it must hash and verify here as it does there.

use claim::entry::{Chain, Entry, EntryError, GENESIS, entry_hash};
use claim::gateway::SignedClaim;
use claim::hashes::sorted_ascii_hash;
use claim::json::{Json, JsonError, parse};
use claim::key::PublicKey;
use claim::record::SignedRecord;

use crate::common::{load, shared};

fn check_bundle(bundle: &Json, claim: &SignedClaim) {
    let entries = bundle.get("entries").unwrap();
    let mut chain = Chain::new();
    for entry in entries.as_array().unwrap() {
        chain.accept(&Entry::parse(entry).unwrap()).unwrap();
    }
    let stated = &claim.claim().gateway.audit_chain;
    assert_eq!((chain.root(), chain.tip()), (Some(stated.root.digest()), Some(stated.tip.digest())));
    assert_eq!(chain.length(), stated.length);
    let signature = bundle.get("bundle_signature").and_then(Json::as_str).unwrap();
    claim.claim().trace.cnf.jwk.key().verify_bundle(sorted_ascii_hash(entries), signature).unwrap();
}

#[test]
fn claims_of_other_gateways_verify() {
    for name in
        ["claim_dev", "synthetic_claim_snp", "synthetic_claim_tdx", "synthetic_claim_tpm", "synthetic_claim_azure"]
    {
        let Some(path) = shared(&format!("fixtures/peer/{name}.json")) else { return };
        let document = load(path);
        let claim = SignedClaim::from_json(document.clone()).unwrap();
        claim.verify_self().unwrap();
        // Our types lose nothing that is signed.
        let rendered = claim::json::to_json(claim.claim()).unwrap();
        assert_eq!(rendered.sorted_ascii(), document.without("signature").sorted_ascii(), "{name}");
    }
}

#[test]
fn the_bundle_of_another_gateway_verifies() {
    let Some(bundle) = shared("fixtures/peer/audit_dev.json") else { return };
    let claim = SignedClaim::from_json(load(bundle.with_file_name("claim_dev.json"))).unwrap();
    check_bundle(&load(bundle), &claim);
}

/// Its entries have one member more than ours: the hashes and the signature hold, our strict reading refuses it.
#[test]
fn a_bundle_with_a_surplus_member_hashes_but_is_refused() {
    let Some(path) = shared("fixtures/peer/synthetic_bundle.json") else { return };
    let claim = SignedClaim::from_json(load(path.with_file_name("synthetic_claim_snp.json"))).unwrap();
    let bundle = load(path);
    let entries = bundle.get("entries").unwrap();
    let mut previous = GENESIS.to_owned();
    for entry in entries.as_array().unwrap() {
        let text = |key: &str| entry.get(key).and_then(Json::as_str).unwrap().to_owned();
        assert_eq!(text("prev_entry_hash"), previous);
        assert_eq!(entry_hash(entry).hex(), text("entry_hash"));
        previous = text("entry_hash");
    }
    let signature = bundle.get("bundle_signature").and_then(Json::as_str).unwrap();
    claim.claim().trace.cnf.jwk.key().verify_bundle(sorted_ascii_hash(entries), signature).unwrap();
    let refused =
        entries.as_array().unwrap().iter().any(|entry| matches!(Entry::parse(entry), Err(EntryError::Shape(_))));
    assert!(refused);
}

/// The standard's vectors for canonical form: signed records on which lesser serialisers fail.
#[test]
fn the_canonicalization_vectors_of_the_standard() {
    let Some(folder) = shared("fixtures/trace") else { return };
    let mut seen = 0;
    for part in ["canonicalization", "canonicalization-boundary"] {
        for file in std::fs::read_dir(folder.join(part)).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            check_vector(&load(&file), &file);
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

fn check_vector(vector: &Json, file: &std::path::Path) {
    let record = vector.get("record").unwrap();
    if let Some(canonical) = vector.get("canonical_input_utf8").and_then(Json::as_str) {
        assert_eq!(record.without("signature").jcs().unwrap(), canonical, "{}", file.display());
    }
    let x = record.get("cnf").and_then(|cnf| cnf.get("jwk")?.get("x")?.as_str()).unwrap();
    let verdict = PublicKey::from_x(x).unwrap().verify_record(record);
    let outcome = vector.get("expected").and_then(|expected| expected.get("outcome")).or(vector.get("expected_tr_sig"));
    let expected = matches!(outcome.and_then(Json::as_str).unwrap(), "verified" | "PASS");
    assert_eq!(verdict.is_ok(), expected, "{}: {verdict:?}", file.display());
}

#[test]
fn signed_records_of_the_standard_verify() {
    for name in ["signed_root", "signed_delegated_hop"] {
        let Some(path) = shared(&format!("fixtures/trace/{name}.json")) else { return };
        let record = load(path);
        let x = record.get("cnf").and_then(|cnf| cnf.get("jwk")?.get("x")?.as_str()).unwrap();
        PublicKey::from_x(x).unwrap().verify_record(&record).unwrap();
    }
    let Some(path) = shared("fixtures/trace/signed_root.json") else { return };
    SignedRecord::from_json(load(path)).unwrap().verify_self().unwrap();
}

#[test]
fn what_the_standard_refuses_is_refused() {
    let Some(folder) = shared("fixtures/trace") else { return };
    let read = |name: &str| parse(&std::fs::read(folder.join(name)).unwrap());
    assert!(matches!(read("invalid_canonical_lone_surrogate.json"), Err(JsonError::Syntax(_))));
    assert!(read("invalid_canonical_non_finite_float.json").is_err());
    for name in ["invalid_canonical_integer_out_of_range.json", "invalid_canonical_plain_trace.json"] {
        assert!(matches!(read(name), Err(JsonError::Number(_))), "{name}");
    }
}
