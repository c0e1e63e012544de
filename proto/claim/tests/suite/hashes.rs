//! Hashes and bindings.

use claim::binding::{BootBinding, binding, boot_x, challenge_x, nonce_text, session_x};
use claim::hashes::{EntriesHasher, bundle_hash, catalog_hash, drift_digest, sorted_ascii_hash};
use claim::json::{Json, JsonError, parse};
use claim::{Digest, Hasher, b64u};
use proptest::prelude::*;

use crate::common::session::START;
use crate::common::{Session, key, values};

fn json(text: &str) -> Json {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn digests_have_two_spellings_and_no_third() {
    let digest = Digest::of("");
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!((digest.hex(), digest.prefixed()), (hex.to_owned(), format!("sha256:{hex}")));
    assert_eq!(Digest::parse(hex), Ok(digest));
    assert_eq!(Digest::parse(&digest.prefixed()), Ok(digest));
    for text in [
        &hex.to_uppercase(),
        &hex[1..],
        &format!("{hex}0"),
        &format!("sha384:{hex}"),
        &format!(" {hex}"),
        &format!("{hex}:sha256"),
    ] {
        assert!(Digest::parse(text).is_err(), "{text}");
    }
    assert!(Digest::parse_hex(&digest.prefixed()).is_err() && Digest::parse_prefixed(hex).is_err());
}

#[test]
fn line_ends_of_policies_do_not_count_and_the_signature_is_left_out() {
    let manifest = json(r#"{"version":"1","authored_at":"x","author_identity":"y","commit_sha":"z"}"#);
    let hash =
        |manifest: &Json, policy: &str, schema: &str| bundle_hash(manifest, [("a.cedar", policy)], schema).unwrap();
    let plain = hash(&manifest, "permit(\n);\n", "{}\n");
    assert_eq!(hash(&manifest, "permit(\r\n);\r", "{}\r\n"), plain);
    assert_eq!(hash(&manifest.clone().with("signature", "any".into()), "permit(\n);\n", "{}\n"), plain);
    assert_ne!(hash(&manifest, "permit(\n);\n\n", "{}\n"), plain);
    assert_ne!(hash(&manifest.clone().with("version", "2".into()), "permit(\n);\n", "{}\n"), plain);
    let twice = bundle_hash(&manifest, [("b.cedar", "x"), ("a.cedar", "y")], "{}");
    assert_eq!(twice, bundle_hash(&manifest, [("a.cedar", "y"), ("b.cedar", "x")], "{}"));
    assert_eq!(bundle_hash(&manifest.with("weight", Json::Float(1.5)), [], ""), Err(JsonError::Float));
}

#[test]
fn a_catalog_is_hashed_in_the_order_of_its_names() {
    let entries = [json(r#"{"tool_name":"b","x":1}"#), json(r#"{"tool_name":"a","x":2}"#)];
    let sorted = json(r#"[{"tool_name":"a","x":2},{"tool_name":"b","x":1}]"#);
    assert_eq!(catalog_hash(&entries), sorted_ascii_hash(&sorted));
    assert_eq!(catalog_hash(&[]), Digest::of("[]"));
}

#[test]
fn drift_ignores_how_a_missing_schema_is_missing() {
    let full =
        drift_digest(&json(r#"{"name":"n","description":"d","inputSchema":{},"outputSchema":null,"title":null}"#));
    assert_eq!(drift_digest(&json(r#"{"description":"d"}"#)), full);
    assert_eq!(full, sorted_ascii_hash(&json(r#"{"description":"d","input_schema":{},"output_schema":null}"#)));
    assert_ne!(drift_digest(&json("{}")), full);
    assert_ne!(drift_digest(&json(r#"{"description":"d","title":""}"#)), full);
    assert_ne!(drift_digest(&json(r#"{"description":"d","annotations":{}}"#)), full);
}

#[test]
fn a_binding_is_the_thumbprint_and_what_is_bound() {
    let thumbprint = key().public().thumbprint();
    let x = session_x(&Digest::of("root"));
    let bytes = binding(&thumbprint, &x);
    assert_eq!((&bytes[..32], &bytes[32..]), (&thumbprint.bytes()[..], &x.bytes()[..]));
    assert_eq!(nonce_text(&bytes).len(), 86);
    assert_eq!(b64u::decode_array(&nonce_text(&bytes)), Some(bytes));
}

#[test]
fn every_member_of_a_boot_is_bound() {
    let boot = Session::new(START).boot.binding();
    let x = boot_x(&boot).unwrap();
    let document = claim::json::to_json(&boot).unwrap();
    let changes: [(&str, Json); 9] = [
        ("boot_id", "00".repeat(16).into()),
        ("tls_spki", Json::Array(vec![Digest::of("spki").prefixed().into()])),
        ("bundle_hash", Digest::of("").prefixed().into()),
        ("catalog_hash", Digest::of("").prefixed().into()),
        ("config_hash", Digest::of("").prefixed().into()),
        ("controls_hash", Digest::of("").prefixed().into()),
        ("isolation", "vm".into()),
        ("dev", false.into()),
        ("time_source", "elsewhere".into()),
    ];
    assert_eq!(document.as_object().unwrap().len(), changes.len());
    for (member, value) in changes {
        let other: BootBinding = claim::json::from_json(&document.clone().with(member, value)).unwrap();
        assert_ne!(boot_x(&other).unwrap(), x, "{member}");
    }
}

#[test]
fn a_challenge_is_hashed_under_its_own_label() {
    let boot = Digest::of("boot");
    assert_ne!(challenge_x(&boot, b"0123456789abcdef"), challenge_x(&boot, b"0123456789abcdeg"));
    assert_ne!(challenge_x(&boot, b"0123456789abcdef"), challenge_x(&Digest::of("other"), b"0123456789abcdef"));
}

proptest! {
    #[test]
    fn hashing_entries_one_by_one_is_hashing_the_array(entries in prop::collection::vec(values::value(), 0..5)) {
        let mut hasher = EntriesHasher::new();
        for entry in &entries {
            hasher.push(entry.sorted_ascii().as_bytes());
        }
        prop_assert_eq!(hasher.finish(), sorted_ascii_hash(&Json::Array(entries)));
    }

    #[test]
    fn hashing_pieces_is_hashing_the_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..5)) {
        let mut hasher = Hasher::new();
        for piece in &pieces {
            hasher.update(piece);
        }
        prop_assert_eq!(hasher.finish(), Digest::of(pieces.concat()));
    }

    #[test]
    fn base64url_reads_back_and_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..70), text in "[A-Za-z0-9_=-]{0,8}") {
        prop_assert_eq!(b64u::decode(&b64u::encode(&bytes)), Some(bytes));
        if let Some(bytes) = b64u::decode(&text) {
            prop_assert_eq!(b64u::encode(&bytes), text);
        }
    }
}
