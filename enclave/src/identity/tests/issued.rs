//! Identities that show themselves at run time.

use claim::b64u;
use claim::time::Timestamp;
use ed25519_dalek::{Signer, SigningKey};
use hyper::HeaderMap;
use serde_json::{Value, json};

use super::{OPERATOR, access_at, bearer, config, hash};
use crate::identity::jwt::Refusal;
use crate::identity::{Access, Caller, Denied};
use crate::labels::{Label, Labels};

const NOW: i64 = 1_800_000_000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn access(max: usize) -> Access {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64u::encode(key().verifying_key().as_bytes())});
    let auth = json!({
        "mode": "jwt",
        "resource": "https://gateway.example/mcp",
        "jwt": {"issuer": "https://login.example", "audience": "gateway", "jwks": {"keys": [jwk]}},
    });
    let members =
        json!({"auth": auth, "operator": {"token_sha256": hash(OPERATOR)}, "limits": {"max_identities": max}});
    access_at(&config(&members.to_string()), Timestamp::from_seconds(NOW))
}

fn token(subject: &str, changes: &Value) -> HeaderMap {
    let mut claims = json!({"iss": "https://login.example", "aud": "gateway", "sub": subject, "exp": NOW + 300});
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let parts = [r#"{"alg":"EdDSA"}"#.to_owned(), claims.to_string()].map(|part| b64u::encode(part.as_bytes()));
    let input = parts.join(".");
    bearer(&format!("{input}.{}", b64u::encode(&key().sign(input.as_bytes()).to_bytes())))
}

#[test]
fn tokens_of_a_subject_are_one_identity_with_the_groups_of_each() {
    let access = access(10);
    let admin = access.agent(&token("a", &json!({"groups": ["admin"]}))).unwrap();
    let plain = access.agent(&token("a", &json!({}))).unwrap();
    assert_eq!(admin.identity.number, plain.identity.number);
    assert_eq!((admin.groups.as_slice(), plain.groups.len()), (&["admin".to_owned()][..], 0));
    assert_eq!((plain.identity.subject(), plain.identity.issuer()), (Some("a"), Some("https://login.example")));
    assert_eq!(plain.until, Some(Timestamp::from_seconds(NOW + 360)));
    assert_ne!(access.agent(&token("b", &json!({}))).unwrap().identity.number, plain.identity.number);
    assert!(matches!(access.caller(&bearer(OPERATOR)), Ok(Caller::Operator)));
    assert_eq!(access.agent(&bearer(OPERATOR)).unwrap_err(), Denied::NotAgent);
    assert_eq!(access.operator(&token("a", &json!({}))), Err(Denied::NotOperator));
}

#[test]
fn refusals_say_what_to_mend_and_where_tokens_come_from() {
    let access = access(10);
    let metadata = r#"resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp""#;
    let challenge = |headers: &HeaderMap| {
        let denied = access.caller(headers).unwrap_err();
        (denied, access.challenge(denied).unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(challenge(&HeaderMap::new()), (Denied::NoToken, format!(r#"Bearer realm="cmcp", {metadata}"#)));
    for (headers, refusal) in [
        (token("a", &json!({"exp": NOW - 60})), Refusal::Expired),
        (token("a", &json!({"aud": "other"})), Refusal::Audience),
        (super::headers(&["Basic x"]), Refusal::Shape),
        (bearer("a.b"), Refusal::Shape),
        (bearer("short"), Refusal::Shape),
    ] {
        let description = refusal.detail();
        let text =
            format!(r#"Bearer realm="cmcp", error="invalid_token", error_description="{description}", {metadata}"#);
        assert_eq!(challenge(&headers), (Denied::Token(refusal), text));
    }
    assert!(access.identity("a").is_none(), "no place is taken by who was turned away");
}

#[test]
fn a_full_registry_refuses_newcomers_and_keeps_who_holds_something() {
    let access = access(2);
    let enter = |subject: &str| access.agent(&token(subject, &json!({})));
    let a = enter("a").unwrap();
    a.identity.join(Labels::of(Label::Pii));
    let number = a.identity.number;
    drop(a);
    // Its session, say, keeps the second known.
    let b = enter("b").unwrap();
    assert_eq!(enter("c").unwrap_err(), Denied::Full);
    assert_eq!(enter("a").unwrap().identity.number, number);
    drop(b);
    assert_eq!(enter("c").unwrap_err(), Denied::Full, "room is looked for once a second");
    std::thread::sleep(crate::limits::SWEEP_INTERVAL);
    assert!(enter("c").is_ok(), "in the place of b, who holds nothing");
    assert!(access.identity("b").is_none());
    assert_eq!(enter("a").unwrap().identity.labels(), Labels::of(Label::Pii), "labels are not forgotten");
    assert_eq!(enter("d").unwrap_err(), Denied::Full);
}

#[test]
fn whom_the_operator_names_is_known_before_it_calls() {
    let access = access(2);
    assert!(access.identity("a").is_none());
    let named = access.named("a").unwrap().unwrap();
    assert_eq!(access.agent(&token("a", &json!({}))).unwrap().identity.number, named.number);
    assert!(access.named("anonymous").unwrap().is_none() && access.named("a b").unwrap().is_none());
}
