//! Claims and trust records: what is signed, and that any change is found.

use claim::gateway::{ClaimError, ClaimFault, SignedClaim};
use claim::json::{Json, JsonError, parse};
use claim::key::{PublicKey, SignatureError};
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::profile::{Platform, Profile};
use claim::record::SignedRecord;
use claim::{Digest, b64u};

use crate::common::session::START;
use crate::common::{SEED, Session, key, other_key};

/// Every document that one leaf's change makes: another value of the same type, and none at all.
fn changed(value: &Json) -> Vec<Json> {
    let members = |object: &std::collections::BTreeMap<String, Json>| -> Vec<Json> {
        let replaced = object.iter().flat_map(|(key, member)| {
            changed(member).into_iter().map(|member| value.clone().with(key, member)).chain([value.without(key)])
        });
        replaced.chain([value.clone().with("surplus", Json::Bool(true))]).collect()
    };
    match value {
        Json::Null => vec![Json::Bool(false)],
        Json::Bool(flag) => vec![Json::Bool(!flag)],
        Json::Int(number) => vec![Json::Int(number + 1), Json::Int(-1 - number), Json::from(number.to_string())],
        Json::UInt(_) | Json::Float(_) => unreachable!("not in signed documents"),
        Json::String(text) => {
            vec![Json::from(format!("{text}0")), Json::from(text.chars().rev().collect::<String>() + "x")]
        }
        Json::Array(items) => {
            let replaced = items.iter().enumerate().flat_map(|(index, item)| {
                changed(item).into_iter().map(move |other| {
                    let mut items = items.clone();
                    items[index] = other;
                    Json::Array(items)
                })
            });
            replaced.chain([Json::Array([items.as_slice(), &[Json::from("more")]].concat())]).collect()
        }
        Json::Object(object) => members(object),
    }
}

fn claim_is_good(document: Json) -> bool {
    SignedClaim::from_json(document).is_ok_and(|claim| claim.verify_self().is_ok())
}

fn record_is_good(document: Json) -> bool {
    SignedRecord::from_json(document).is_ok_and(|record| record.verify_self().is_ok())
}

#[test]
fn claims_verify_and_any_changed_leaf_is_found() {
    let session = Session::new(START);
    for profile in [Profile::TraceV02, Profile::TraceV01] {
        let claim = session.claim(profile);
        assert!(claim_is_good(claim.document().clone()));
        let variants = changed(claim.document());
        assert!(variants.len() > 150);
        for document in variants {
            assert!(!claim_is_good(document.clone()), "{}", document.sorted_ascii());
        }
    }
}

#[test]
fn records_verify_and_any_changed_leaf_is_found() {
    let record = Session::new(START).record(Some("Y2hhbGxlbmdl".to_owned()));
    assert!(record_is_good(record.document().clone()));
    for document in changed(record.document()) {
        assert!(!record_is_good(document.clone()), "{}", document.sorted_ascii());
    }
}

#[test]
fn every_flipped_bit_of_a_claim_is_found() {
    let bytes = Session::new(START).claim(Profile::TraceV02).bytes();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!parse(&changed).is_ok_and(claim_is_good), "bit {bit}: {}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn formatting_changes_nothing() {
    let claim = Session::new(START).claim(Profile::TraceV02);
    let pretty = serde_json::to_vec_pretty(claim.document()).unwrap();
    let read = SignedClaim::parse(&pretty).unwrap();
    assert_eq!(read, claim);
    assert_eq!(read.hash(), claim.hash());
    read.verify_self().unwrap();
}

type Verifier<'a> = &'a dyn Fn(&[u8; 64]) -> Result<(), SignatureError>;

/// Each message kind against each verifier: the diagonal verifies, nothing else does.
#[test]
fn no_signature_of_one_kind_verifies_as_another() {
    let session = Session::new(START);
    let (claim, record) = (session.claim(Profile::TraceV02), session.record(None));
    let digest = Digest::of(b"whatever");
    // The operator's kinds by the same key: in the worst case somebody uses one key for both.
    let operator = OperatorKey::from_seed(SEED);
    let controls = Json::from([("epoch", Json::Int(1))]);
    let order = ProvisionOrder {
        boot_id: session.boot.boot_id,
        name: "n".to_owned(),
        value_sha256: digest,
        server: "https://s.example".to_owned(),
        pin: String::new(),
    };
    let signatures: [[u8; 64]; 8] = [
        b64u::decode_array(claim.document().get("signature").and_then(Json::as_str).unwrap()).unwrap(),
        b64u::decode_array(record.document().get("signature").and_then(Json::as_str).unwrap()).unwrap(),
        b64u::decode_array(&key().sign_bundle_digest(digest)).unwrap(),
        key().sign_batch(digest),
        b64u::decode_array(&operator.sign_policy(digest)).unwrap(),
        b64u::decode_array(&operator.sign_controls(&controls)).unwrap(),
        b64u::decode_array(&key().sign_software_evidence(&[7; 64])).unwrap(),
        b64u::decode_array(&operator.sign_provision(&order)).unwrap(),
    ];
    let public = key().public();
    assert_eq!(operator.public(), public);
    let verifiers: [Verifier<'_>; 8] = [
        &|signature| public.verify_claim(&claim.document().clone().with("signature", b64u::encode(signature).into())),
        &|signature| public.verify_record(&record.document().clone().with("signature", b64u::encode(signature).into())),
        &|signature| public.verify_bundle(digest, &b64u::encode(signature)),
        &|signature| public.verify_batch(digest, signature),
        &|signature| public.verify_policy(digest, &b64u::encode(signature)),
        &|signature| public.verify_controls(&controls.clone().with("signature", b64u::encode(signature).into())),
        &|signature| public.verify_software_evidence(&[7; 64], &b64u::encode(signature)),
        &|signature| public.verify_provision(&order, &b64u::encode(signature)),
    ];
    for (made_as, signature) in signatures.iter().enumerate() {
        for (read_as, verify) in verifiers.iter().enumerate() {
            assert_eq!(verify(signature).is_ok(), made_as == read_as, "{made_as} as {read_as}");
        }
    }
    // The whole documents, too: a record is no claim although its signature is over the same form.
    assert_eq!(public.verify_claim(record.document()), Err(SignatureError::Kind));
    assert_eq!(public.verify_record(claim.document()), Err(SignatureError::Kind));
}

/// The policy signature is made by others, over a labelled text.
#[test]
fn policy_signatures() {
    use ed25519_dalek::{Signer, SigningKey};
    let signing = SigningKey::from_bytes(&[3; 32]);
    let public = PublicKey::from_bytes(signing.verifying_key().to_bytes());
    let hash = Digest::of(b"bundle");
    let signature = b64u::encode(&signing.sign(format!("cmcp-policy-bundle-v1|{hash}").as_bytes()).to_bytes());
    assert_eq!(public.verify_policy(hash, &signature), Ok(()));
    assert_eq!(public.verify_policy(Digest::of(b"other"), &signature), Err(SignatureError::Mismatch));
    assert_eq!(key().public().verify_policy(hash, &signature), Err(SignatureError::Mismatch));
    let unlabelled = b64u::encode(&signing.sign(hash.prefixed().as_bytes()).to_bytes());
    assert_eq!(public.verify_policy(hash, &unlabelled), Err(SignatureError::Mismatch));
}

#[test]
fn base64url_has_one_spelling() {
    let public = key().public();
    let digest = Digest::of(b"whatever");
    let good = key().sign_bundle_digest(digest);
    assert_eq!(public.verify_bundle(digest, &good), Ok(()));
    // 64 bytes leave four unused bits in the last character.
    let last = good.chars().last().unwrap();
    let sloppy = ('A'..='z').filter(|other| other.is_ascii_alphanumeric() && *other != last);
    for other in sloppy {
        let text = format!("{}{other}", &good[..85]);
        assert!(public.verify_bundle(digest, &text).is_err(), "{text}");
    }
    for text in
        [format!("{good}=="), format!("{good} "), good.replace(['-', '_'], "+"), good[..84].to_owned(), String::new()]
    {
        assert!(text == good || public.verify_bundle(digest, &text).is_err(), "{text}");
    }
    assert_eq!(PublicKey::from_x(&format!("{}=", public.x())), Err(SignatureError::Key));
}

#[test]
fn small_order_keys_sign_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert_eq!(
        PublicKey::from_bytes(identity).verify_batch(Digest::of(b""), &signature),
        Err(SignatureError::Mismatch)
    );
}

#[test]
fn the_signer_refuses_what_a_verifier_would() {
    let session = Session::new(START);
    let good = session.facts().claim(Profile::TraceV02, &key().public());
    assert_eq!(other_key().sign_claim(&good), Err(ClaimError::OtherKey));

    let mut unicode = good.clone();
    unicode.gateway.session_id = "caf\u{e9}".to_owned();
    assert!(matches!(key().sign_claim(&unicode), Err(ClaimError::Json(JsonError::NotPrintable(_)))));

    let mut unsafe_integer = good.clone();
    unsafe_integer.gateway.audit_chain.length = 1 << 53;
    assert!(matches!(key().sign_claim(&unsafe_integer), Err(ClaimError::Json(JsonError::UnsafeInteger(_)))));

    let mut early = good.clone();
    early.trace.iat = 1_699_999_999;
    assert_eq!(key().sign_claim(&early), Err(ClaimFault::IssuedTooEarly.into()));

    let mut mixed = good.clone();
    mixed.trace.eat_profile = Profile::TraceV01;
    assert_eq!(key().sign_claim(&mixed), Err(ClaimFault::ChainSpelling.into()));

    let mut unnumbered = good;
    unnumbered.gateway.sequence_number = None;
    assert_eq!(key().sign_claim(&unnumbered), Err(ClaimFault::MissingMember.into()));
}

/// The superseded profile, member for member as the quickstart shows it.
#[test]
fn trace_v01_has_the_members_of_the_quickstart() {
    let mut facts = Session::new(START).facts();
    facts.entries = None;
    let claim = facts.claim(Profile::TraceV01, &key().public());
    let document = claim::json::to_json(&claim).unwrap();
    let keys = |path: &[&str]| -> Vec<String> {
        let object = path.iter().fold(&document, |value, key| value.get(key).unwrap());
        object.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        keys(&["trace"]),
        ["cnf", "data_class", "eat_profile", "iat", "policy", "runtime", "subject", "tool_transcript"]
    );
    assert_eq!(
        keys(&["gateway"]),
        [
            "attestation_generated_at",
            "attestation_stale",
            "attestation_validity_seconds",
            "audit_chain",
            "call_summary",
            "catalog",
            "session_id"
        ]
    );
    assert_eq!(keys(&["trace", "runtime"]), ["firmware_version", "measurement", "platform"]);
    assert_eq!(keys(&["trace", "tool_transcript"]), ["call_count", "hash"]);
    assert_eq!(
        keys(&["gateway", "call_summary", "call_graph_summary"]),
        ["compliance_domains_touched", "cross_boundary_events"]
    );
    assert_eq!(claim.trace.runtime.platform, Platform::Tpm2);
    assert_eq!(claim.gateway.attestation_generated_at.text(), "2026-06-05T00:00:00Z");
    let root = document.get("gateway").and_then(|gateway| gateway.get("audit_chain")?.get("root")?.as_str());
    assert!(root.unwrap().starts_with("sha256:"));
}

#[test]
fn documents_of_the_wrong_kind_are_refused_by_name() {
    let document = Session::new(START).claim(Profile::TraceV02).document().clone();
    let trace = document.get("trace").unwrap().clone();
    let with_trace =
        |key: &str, value: Json| SignedClaim::from_json(document.clone().with("trace", trace.clone().with(key, value)));
    assert!(matches!(with_trace("data_class", Json::Null), Err(ClaimError::Json(JsonError::Null))));
    assert!(matches!(with_trace("data_class", Json::Float(1.5)), Err(ClaimError::Json(JsonError::Float))));
    assert!(matches!(with_trace("appraisal", Json::from("none")), Err(ClaimError::Json(JsonError::Shape(_)))));
    assert_eq!(with_trace("subject", Json::from("urn:x")), Err(ClaimFault::Subject.into()));
    assert_eq!(SignedClaim::from_json(document.without("signature")), Err(ClaimError::Unsigned));

    let cnf = |member: &str| {
        let jwk = trace.get("cnf").and_then(|cnf| cnf.get("jwk")).unwrap().clone().with(member, "secret".into());
        with_trace("cnf", Json::from([("jwk", jwk)]))
    };
    for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        assert!(matches!(cnf(member), Err(ClaimError::Json(JsonError::Shape(_)))), "{member}");
    }
    assert!(cnf("use").is_ok());
}
