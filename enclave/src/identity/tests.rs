use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{Access, Caller, Denied};
use crate::config::{self, Config, Scope};
use crate::evidence::dev_mode;
use crate::gateway::Clock;
use crate::labels::{Label, Labels};

const A: &str = "a-token-of-at-least-thirty-two-characters";
const B: &str = "another-token-with-as-many-characters-as-needed";
const OPERATOR: &str = "the-operator-has-a-token-of-its-own-which-calls-nothing";

fn hash(token: &str) -> String {
    claim::Digest::of(token).prefixed()
}

/// The smallest configuration, with these members.
pub(crate) fn config(members: &str) -> Config {
    let mut config = json!({"policy_bundle_path": "p", "catalog_path": "c"});
    let members: Value = serde_json::from_str(members).unwrap();
    config.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    config::parse(config.to_string().as_bytes()).unwrap().0
}

pub(crate) fn access(config: &Config) -> Access {
    access_at(config, claim::time::Timestamp::default())
}

pub(crate) fn access_at(config: &Config, now: claim::time::Timestamp) -> Access {
    Access::new(config, Some(&dev_mode()), Clock::starting_at(now)).unwrap()
}

/// Two agents, an operator, and other members.
pub(crate) fn two(members: &str) -> String {
    let tokens = json!([
        {"subject": "a", "issuer": "bank", "groups": ["tellers"], "token_sha256": hash(A)},
        {"subject": "b", "token_sha256": hash(B)},
    ]);
    let comma = if members.is_empty() { "" } else { "," };
    let operator = json!({"token_sha256": hash(OPERATOR)});
    format!(r#"{{"auth": {{"mode": "bearer", "tokens": {tokens}}}, "operator": {operator}{comma}{members}}}"#)
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[&format!("Bearer {token}")])
}

#[test]
fn each_token_is_its_own_identity() {
    let access = access(&config(&two("")));
    let a = access.agent(&bearer(A)).unwrap();
    assert_eq!((a.identity.subject(), a.identity.issuer()), (Some("a"), Some("bank")));
    assert_eq!(a.groups, ["tellers"]);
    let b = access.agent(&headers(&[&format!("bEARER   {B} ")])).unwrap();
    assert_eq!((b.identity.subject(), b.identity.issuer()), (Some("b"), Some("")));
    assert_ne!(a.identity.number, b.identity.number);
    assert_eq!(access.agent(&bearer(OPERATOR)).unwrap_err(), Denied::NotAgent);
    assert_eq!(access.operator(&bearer(OPERATOR)), Ok(()));
    assert_eq!(access.operator(&bearer(A)), Err(Denied::NotOperator));
    assert!(access.identity("a").is_some() && access.identity("anonymous").is_none());
}

#[test]
fn what_is_no_token_is_nobody() {
    let short = "a-token-of-only-thirty-one-byte";
    assert_eq!(short.len(), 31);
    let access = access(&config(&two("")));
    let (long, spaced) = (format!("Bearer {}", "x".repeat(1025)), format!("Bearer {A} {A}"));
    let good = format!("Bearer {A}");
    for wrong in [
        &["Bearer"][..],
        &["Bearer "],
        &[""],
        &["Basic YTpi"],
        &[A],
        &[&format!("Token {A}")],
        &[&format!("Bearer {}", A.to_uppercase())],
        &[&format!("Bearer {}", hash(A))],
        &[&format!("Bearer {A}x")],
        &[&format!("Bearer,{A}")],
        &[&format!("Bearer {A}\u{e9}")],
        &[&long],
        &[&spaced],
        &[&good, &good],
        &[&good, "Bearer x"],
    ] {
        assert_eq!(access.caller(&headers(wrong)).unwrap_err(), Denied::BadToken, "{wrong:?}");
    }
    assert_eq!(access.caller(&HeaderMap::new()).unwrap_err(), Denied::NoToken);
    let weak = config(&two("").replace(&hash(A), &hash(short)));
    assert_eq!(self::access(&weak).caller(&bearer(short)).unwrap_err(), Denied::BadToken, "can be guessed");
}

#[test]
fn without_authentication_everybody_is_anonymous_but_the_operator() {
    let open = access(&config("{}"));
    for headers in [HeaderMap::new(), bearer(A), headers(&["Basic x"])] {
        assert_eq!(open.agent(&headers).unwrap().identity.subject(), None);
        assert_eq!(open.operator(&headers), Err(Denied::NoOperator));
    }
    let operated = access(&config(&json!({"operator": {"token_sha256": hash(OPERATOR)}}).to_string()));
    assert!(matches!(operated.caller(&bearer(OPERATOR)), Ok(Caller::Operator)));
    assert_eq!(operated.agent(&bearer(A)).unwrap().identity.subject(), None);
    assert_eq!(operated.operator(&bearer(A)), Err(Denied::NotOperator));
    assert_eq!(operated.operator(&HeaderMap::new()), Err(Denied::NotOperator));
}

#[test]
fn labels_reach_as_far_as_the_scope() {
    let pii = Labels::of(Label::Pii);
    for (text, scope, reach) in [
        ("{}".to_owned(), Scope::Session, Labels::PUBLIC),
        (two(""), Scope::Identity, pii),
        (two(r#""sensitivity": {"scope": "session"}"#), Scope::Session, Labels::PUBLIC),
        (r#"{"sensitivity": {"scope": "identity"}}"#.to_owned(), Scope::Identity, pii),
    ] {
        let identity = access(&config(&text)).agent(&bearer(A)).unwrap().identity.clone();
        assert_eq!(identity.scope(), scope);
        identity.join(pii);
        assert_eq!(identity.labels(), reach);
        identity.clear();
        assert_eq!(identity.labels(), Labels::PUBLIC);
    }
}

mod issued;
