//! Controls and versions.

use claim::Digest;
use claim::bootlog::BootId;
use claim::json::{Json, from_json, parse};
use claim::key::SignatureError;
use claim::operator::{Controls, OperatorKey, ProvisionOrder, Version};
use proptest::prelude::*;

const CONTROLS: &str = r#"{"epoch":7,"blocked":[{"subject":"a"},{"subject":"b","issuer":"i"}],
    "revoked_keys":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"min_policy_version":"1.2"}"#;

fn signed(text: &str) -> (OperatorKey, Json) {
    let key = OperatorKey::from_seed([5; 32]);
    let controls = parse(text.as_bytes()).unwrap();
    let signature = key.sign_controls(&controls);
    (key, controls.with("signature", signature.into()))
}

#[test]
fn signed_controls_verify_and_any_change_is_found() {
    let (key, controls) = signed(CONTROLS);
    assert_eq!(key.public().verify_controls(&controls), Ok(()));
    // Signing anew does not sign the old signature.
    assert_eq!(Json::from(key.sign_controls(&controls)), *controls.get("signature").unwrap());
    for (member, value) in [
        ("epoch", Json::Int(8)),
        ("blocked", Json::Array(vec![])),
        ("revoked_keys", Json::Array(vec![])),
        ("min_policy_version", "1.2.0".into()),
        ("more", Json::Null),
    ] {
        let changed = controls.clone().with(member, value);
        assert_eq!(key.public().verify_controls(&changed), Err(SignatureError::Mismatch), "{member}");
    }
    assert_eq!(key.public().verify_controls(&controls.without("epoch")), Err(SignatureError::Mismatch));
    assert_eq!(key.public().verify_controls(&controls.without("signature")), Err(SignatureError::Kind));
    let other = OperatorKey::from_seed([6; 32]).public();
    assert_eq!(other.verify_controls(&controls), Err(SignatureError::Mismatch));
}

#[test]
fn an_order_is_for_one_boot_one_secret_and_one_server() {
    let key = OperatorKey::from_seed([5; 32]);
    let order = ProvisionOrder {
        boot_id: BootId([1; 16]),
        name: "n".to_owned(),
        value_sha256: Digest::of(b"value"),
        server: "https://s.example/mcp".to_owned(),
        pin: "SHA256:x".to_owned(),
    };
    let signature = key.sign_provision(&order);
    assert_eq!(key.public().verify_provision(&order, &signature), Ok(()));
    let changed = [
        ProvisionOrder { boot_id: BootId([2; 16]), ..order.clone() },
        ProvisionOrder { name: "m".to_owned(), ..order.clone() },
        ProvisionOrder { value_sha256: Digest::of(b"other"), ..order.clone() },
        ProvisionOrder { server: "https://s.example".to_owned(), ..order.clone() },
        ProvisionOrder { pin: String::new(), ..order.clone() },
        // Nothing slides from one member into the next.
        ProvisionOrder { server: "https://s.example/mcp\",\"x\":\"".to_owned(), ..order.clone() },
    ];
    for other in changed {
        assert_eq!(key.public().verify_provision(&other, &signature), Err(SignatureError::Mismatch), "{other:?}");
    }
    let other = OperatorKey::from_seed([6; 32]).public();
    assert_eq!(other.verify_provision(&order, &signature), Err(SignatureError::Mismatch));
}

#[test]
fn controls_are_closed() {
    let read = |text: &str| from_json::<Controls>(&parse(text.as_bytes()).unwrap());
    let controls = read(CONTROLS).unwrap();
    assert_eq!((controls.epoch, controls.blocked.len(), controls.revoked_keys.len()), (7, 2, 1));
    assert_eq!(read(r#"{"epoch":1}"#).unwrap().min_policy_version, None);
    for text in [
        "{}",
        r#"{"epoch":-1}"#,
        r#"{"epoch":1,"block":[]}"#,
        r#"{"epoch":1,"blocked":[{"subject":"a","group":"g"}]}"#,
        r#"{"epoch":1,"blocked":[{"issuer":"i"}]}"#,
        r#"{"epoch":1,"revoked_keys":["aaaa"]}"#,
        r#"{"epoch":1,"min_policy_version":"v1"}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn versions_are_numbers_with_dots() {
    let read = |text| Version::parse(text).unwrap_or_else(|| panic!("{text}"));
    assert!(read("1.10.0") > read("1.9.9"));
    assert!(read("1.10") > read("1.9"));
    assert!(read("2") > read("1.99.99"));
    assert!(read("0.0.1") > read("0"));
    assert_eq!(read("1.2"), read("1.2.0"));
    for text in [
        "",
        ".",
        "1.",
        ".1",
        "1..2",
        "v1",
        "1.0-rc1",
        "1.0+b",
        "01",
        "1.00",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.x",
        "18446744073709551616",
        "١",
    ] {
        assert!(Version::parse(text).is_none(), "{text:?}");
    }
}

proptest! {
    /// The order of versions is that of their numbers, padded with zeros.
    #[test]
    fn versions_are_ordered_as_their_numbers(a in prop::collection::vec(0_u64..4, 1..5), b in prop::collection::vec(0_u64..4, 1..5)) {
        let text = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        let padded = |numbers: &[u64]| std::array::from_fn::<u64, 5, _>(|index| numbers.get(index).copied().unwrap_or(0));
        let (left, right) = (Version::parse(&text(&a)).unwrap(), Version::parse(&text(&b)).unwrap());
        prop_assert_eq!(left.cmp(&right), padded(&a).cmp(&padded(&b)));
        prop_assert_eq!(left == right, padded(&a) == padded(&b));
    }
}
