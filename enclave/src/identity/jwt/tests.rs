use claim::b64u;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Claims, Refusal, Rules};
use crate::config::{self, Jwt};

const ISSUER: &str = "https://login.bank.example/";
const AUDIENCE: &str = "https://gateway.bank.example/mcp";
const NOW: i64 = 1_800_000_000;

/// RFC 7515 appendices A.2 and A.3, RFC 8037 appendix A.4: keys, and what they signed.
const RFC_JWKS: &str = r#"{"keys": [
  {"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
  {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
  {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;
const RFC_TOKENS: [&str; 3] = [
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
];

fn jwt(jwks: &Value) -> Jwt {
    serde_json::from_value(json!({"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks})).unwrap()
}

fn rules(jwks: &Value) -> Rules {
    Rules::of(&jwt(jwks)).unwrap()
}

fn key(name: u8) -> SigningKey {
    SigningKey::from_bytes(&[name; 32])
}

fn jwk(name: u8) -> Value {
    let x = b64u::encode(key(name).verifying_key().as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": format!("key-{name}")})
}

/// A token of these texts, signed.
fn signed(header: &str, claims: &str) -> String {
    let input = format!("{}.{}", b64u::encode(header.as_bytes()), b64u::encode(claims.as_bytes()));
    let signature = b64u::encode(&key(1).sign(input.as_bytes()).to_bytes());
    format!("{input}.{signature}")
}

fn header(members: &Value) -> Value {
    let mut header = json!({"alg": "EdDSA", "kid": "key-1"});
    header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    header
}

/// Good claims with changes; null takes a claim out.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "agent", "exp": NOW + 300});
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

fn check(header_changes: &Value, claim_changes: &Value) -> Result<Claims, Refusal> {
    let token = signed(&header(header_changes).to_string(), &claims(claim_changes).to_string());
    rules(&json!({"keys": [jwk(1), jwk(2)]})).check(&token, NOW)
}

#[test]
fn what_the_rfcs_signed_is_signed() {
    let rules = rules(&serde_json::from_str(RFC_JWKS).unwrap());
    // All three are signed by the key that fits; none is a token for us: two of another issuer, one not even JSON.
    let refusals = RFC_TOKENS.map(|token| rules.check(token, NOW).unwrap_err());
    assert_eq!(refusals, [Refusal::Issuer, Refusal::Issuer, Refusal::Claims]);
    for token in RFC_TOKENS {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let bytes = b64u::decode(signature).unwrap();
        for (place, bit) in [(0, 1), (bytes.len() / 2, 16), (bytes.len() - 1, 128)] {
            let mut forged = bytes.clone();
            forged[place] ^= bit;
            let forged = format!("{input}.{}", b64u::encode(&forged));
            assert_eq!(rules.check(&forged, NOW), Err(Refusal::Signature), "{place}");
        }
        for other in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
            let forged = format!("{input}.{}", b64u::encode(other));
            assert_eq!(rules.check(&forged, NOW), Err(Refusal::Signature));
        }
        let changed = token.replacen("iZ", "iY", 1).replacen("joe", "jof", 1);
        assert!(rules.check(&changed, NOW).is_err());
    }
}

#[test]
fn tokens_of_another_implementation_count() {
    let fixture: Value = serde_json::from_str(include_str!("pyjwt.json")).unwrap();
    let rules = rules(&fixture["jwks"]);
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = fixture["tokens"][algorithm].as_str().unwrap();
        let claims = rules.check(token, NOW).unwrap();
        assert_eq!((claims.subject.as_str(), claims.until), ("agent-1|bank", 1_800_003_660), "{algorithm}");
        assert_eq!(claims.groups, ["tellers", "Gesch\u{e4}ftsf\u{fc}hrung"]);
        assert_eq!(rules.check(token, 1_800_003_660), Err(Refusal::Expired));
        assert_eq!(rules.check(token, NOW - 61), Err(Refusal::NotYet));
        // Another key's token under this key's name.
        for other in ["RS256", "ES256", "EdDSA"].into_iter().filter(|other| *other != algorithm) {
            let (_, rest) = fixture["tokens"][other].as_str().unwrap().split_once('.').unwrap();
            let (head, _) = token.split_once('.').unwrap();
            assert_eq!(rules.check(&format!("{head}.{rest}"), NOW), Err(Refusal::Signature), "{algorithm} {other}");
        }
    }
}

#[test]
fn good_tokens_in_all_their_shapes() {
    let agent = |groups: &[&str], until: i64| Claims {
        subject: "agent".to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        until: until + 60,
    };
    for (head, body, expected) in [
        (json!({}), json!({}), agent(&[], NOW + 300)),
        (json!({"typ": "JWT"}), json!({}), agent(&[], NOW + 300)),
        (json!({"typ": "at+jwt"}), json!({"aud": [AUDIENCE]}), agent(&[], NOW + 300)),
        (json!({"typ": "application/at+JWT"}), json!({"aud": ["a", AUDIENCE]}), agent(&[], NOW + 300)),
        (json!({"jku": "https://evil.example/jwks", "x5c": ["AA"], "jwk": jwk(3)}), json!({}), agent(&[], NOW + 300)),
        (json!({}), json!({"exp": NOW - 59}), agent(&[], NOW - 59)),
        (json!({}), json!({"nbf": NOW + 60}), agent(&[], NOW + 300)),
        (json!({}), json!({"exp": i64::MAX}), agent(&[], 253_402_300_799 - 60)),
        (json!({}), json!({"nbf": i64::MIN}), agent(&[], NOW + 300)),
        (json!({}), json!({"groups": []}), agent(&[], NOW + 300)),
        (json!({}), json!({"groups": ["a b", "/c"]}), agent(&["a b", "/c"], NOW + 300)),
        (json!({}), json!({"scope": "x", "nested": {"iss": "y"}}), agent(&[], NOW + 300)),
    ] {
        assert_eq!(check(&head, &body), Ok(expected), "{head} {body}");
    }
}

#[test]
fn each_rule_refuses_with_its_own_reason() {
    for (header, expected) in [
        (json!({"alg": "none"}), Refusal::Algorithm),
        (json!({"alg": "None"}), Refusal::Algorithm),
        (json!({"alg": ""}), Refusal::Algorithm),
        (json!({"alg": "HS256"}), Refusal::Algorithm),
        (json!({"alg": "PS256"}), Refusal::Algorithm),
        (json!({"alg": "eddsa"}), Refusal::Algorithm),
        (json!({"alg": null}), Refusal::Header),
        (json!({"alg": ["EdDSA"]}), Refusal::Header),
        (json!({"alg": "RS256"}), Refusal::KeyAlgorithm),
        (json!({"alg": "ES256"}), Refusal::KeyAlgorithm),
        (json!({"kid": "key-3"}), Refusal::UnknownKey),
        (json!({"kid": ""}), Refusal::UnknownKey),
        (json!({"kid": "../key-1"}), Refusal::UnknownKey),
        (json!({"kid": 1}), Refusal::Header),
        (json!({"kid": "key-2"}), Refusal::Signature),
        (json!({"crit": ["exp"], "exp": 1}), Refusal::Critical),
        (json!({"crit": []}), Refusal::Critical),
        (json!({"crit": null}), Refusal::Critical),
        (json!({"typ": "dpop+jwt"}), Refusal::Type),
        (json!({"typ": "logout+jwt"}), Refusal::Type),
        (json!({"typ": 1}), Refusal::Header),
    ] {
        assert_eq!(check(&header, &json!({})), Err(expected), "{header}");
    }
    for (claims, expected) in [
        (json!({"iss": null}), Refusal::Issuer),
        (json!({"iss": "https://login.bank.example"}), Refusal::Issuer),
        (json!({"iss": "https://LOGIN.bank.example/"}), Refusal::Issuer),
        (json!({"iss": [ISSUER]}), Refusal::Issuer),
        (json!({"aud": null}), Refusal::Audience),
        (json!({"aud": "https://gateway.bank.example/mcp/"}), Refusal::Audience),
        (json!({"aud": []}), Refusal::Audience),
        (json!({"aud": ["a", "b"]}), Refusal::Audience),
        (json!({"aud": [AUDIENCE, 1]}), Refusal::Audience),
        (json!({"aud": {"a": AUDIENCE}}), Refusal::Audience),
        (json!({"exp": null}), Refusal::NoExpiry),
        (json!({"exp": NOW - 60}), Refusal::Expired),
        (json!({"exp": 0}), Refusal::Expired),
        (json!({"exp": i64::MIN}), Refusal::Expired),
        (json!({"exp": "1900000000"}), Refusal::Time),
        (json!({"exp": 1.9e9}), Refusal::Time),
        (json!({"exp": u64::MAX}), Refusal::Time),
        (json!({"nbf": NOW + 61}), Refusal::NotYet),
        (json!({"nbf": i64::MAX}), Refusal::NotYet),
        (json!({"nbf": true}), Refusal::Time),
        (json!({"sub": null}), Refusal::Subject),
        (json!({"sub": ""}), Refusal::Subject),
        (json!({"sub": 7}), Refusal::Subject),
        (json!({"sub": "a b"}), Refusal::Subject),
        (json!({"sub": "a\u{0}"}), Refusal::Subject),
        (json!({"sub": "\u{e4}"}), Refusal::Subject),
        (json!({"sub": "anonymous"}), Refusal::Subject),
        (json!({"sub": "a".repeat(257)}), Refusal::Subject),
        (json!({"groups": "admin"}), Refusal::Groups),
        (json!({"groups": ["a", 1]}), Refusal::Groups),
        (json!({"groups": [""]}), Refusal::Groups),
        (json!({"groups": ["a\n"]}), Refusal::Groups),
        (json!({"groups": ["a".repeat(257)]}), Refusal::Groups),
        (json!({"groups": (0..257).map(|n| n.to_string()).collect::<Vec<_>>()}), Refusal::Groups),
        (json!({"cnf": {"jkt": "x"}}), Refusal::Bound),
    ] {
        assert_eq!(check(&json!({}), &claims), Err(expected), "{claims}");
    }
    let (head, body) = (header(&json!({})).to_string(), claims(&json!({})).to_string());
    let rules = rules(&json!({"keys": [jwk(1)]}));
    for (head, body, expected) in [
        (head.replace('{', r#"{"alg":"EdDSA","#), body.clone(), Refusal::Header),
        ("[]".to_owned(), body.clone(), Refusal::Header),
        (format!("{head}x"), body.clone(), Refusal::Header),
        (String::new(), body.clone(), Refusal::Header),
        ("[".repeat(3000), body.clone(), Refusal::Header),
        (head.clone(), body.replace('{', r#"{"sub":"other","#), Refusal::Claims),
        (head.clone(), body.replace('{', r#"{"\u0073ub":"other","#), Refusal::Claims),
        (head.clone(), "\"text\"".to_owned(), Refusal::Claims),
        (head.clone(), String::new(), Refusal::Claims),
    ] {
        assert_eq!(rules.check(&signed(&head, &body), NOW), Err(expected), "{head} {body}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let rules = rules(&json!({"keys": [jwk(1)]}));
    let good = signed(&header(&json!({})).to_string(), &claims(&json!({})).to_string());
    assert!(rules.check(&good, NOW).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts.as_slice() else { panic!() };
    for (token, expected) in [
        (String::new(), Refusal::Shape),
        ("..".to_owned(), Refusal::Header),
        (format!("{head}.{body}"), Refusal::Shape),
        (format!("{head}.{body}."), Refusal::Signature),
        (format!("{good}."), Refusal::Shape),
        (format!("{good}.{signature}"), Refusal::Shape),
        (format!("{good}="), Refusal::Shape),
        (format!("{head}=.{body}.{signature}"), Refusal::Header),
        (format!("{head}.{body}=.{signature}"), Refusal::Signature),
        (format!(" {good}"), Refusal::Header),
        (format!("{body}.{head}.{signature}"), Refusal::Algorithm),
        (format!("{head}.{body}.{}", "A".repeat(9000)), Refusal::TooLong),
    ] {
        assert_eq!(rules.check(&token, NOW), Err(expected), "{token}");
    }
}

#[test]
fn a_token_without_kid_needs_a_key_that_alone_fits() {
    let token = signed(r#"{"alg":"EdDSA"}"#, &claims(&json!({})).to_string());
    let fixture: Value = serde_json::from_str(include_str!("pyjwt.json")).unwrap();
    let others: Vec<Value> = fixture["jwks"]["keys"].as_array().unwrap()[..2].to_vec();
    let with = |mut keys: Vec<Value>| {
        keys.extend(others.clone());
        rules(&json!({"keys": keys})).check(&token, NOW).map(|claims| claims.subject)
    };
    assert_eq!(with(vec![jwk(1)]), Ok("agent".to_owned()));
    assert_eq!(with(vec![jwk(1), jwk(2)]), Err(Refusal::NoKeyId));
    assert_eq!(with(vec![]), Err(Refusal::KeyAlgorithm));
}

#[test]
fn details_fit_into_a_quoted_field() {
    for refusal in [Refusal::Shape, Refusal::Subject, Refusal::Groups, Refusal::Bound, Refusal::TooLong] {
        let detail = refusal.detail();
        assert!(detail.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && !b"\"\\".contains(&byte)), "{detail}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_where_they_are() {
    let rfc: Value = serde_json::from_str(RFC_JWKS).unwrap();
    let [rsa, ec, okp] = rfc["keys"].as_array().unwrap().as_slice() else { panic!() };
    let with = |jwk: &Value, member: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[member] = value;
        jwk
    };
    let short = b64u::encode(&[&[0x80_u8][..], &[1; 254]].concat());
    let small = b64u::encode(&[&[0x7f_u8][..], &[0xff; 255]].concat());
    let huge = b64u::encode(&[0xff; 1025]);
    let padded = b64u::encode(&[&[0_u8][..], &b64u::decode(rsa["n"].as_str().unwrap()).unwrap()].concat());
    for (jwk, field) in [
        (json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}), "k"),
        (json!({"kty": "oct"}), "kty"),
        (json!({"kty": "AKP", "alg": "ML-DSA-44"}), "kty"),
        (with(okp, "crv", json!("Ed448")), "kty"),
        (with(okp, "crv", json!("X25519")), "kty"),
        (with(ec, "crv", json!("P-384")), "kty"),
        (with(ec, "crv", json!(null)), "kty"),
        (with(ec, "kty", json!("rsa")), "kty"),
        (with(okp, "d", json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")), "d"),
        (with(rsa, "p", json!(7)), "p"),
        (with(rsa, "oth", json!([])), "oth"),
        (with(rsa, "alg", json!("RS512")), "alg"),
        (with(rsa, "alg", json!("PS256")), "alg"),
        (with(rsa, "alg", json!("none")), "alg"),
        (with(ec, "alg", json!("RS256")), "alg"),
        (with(rsa, "use", json!("enc")), "use"),
        (with(rsa, "key_ops", json!(["sign"])), "key_ops"),
        (with(rsa, "kid", json!("")), "kid"),
        (with(rsa, "kid", json!("\n")), "kid"),
        (with(rsa, "n", json!(short)), "n"),
        (with(rsa, "n", json!(small)), "n"),
        (with(rsa, "n", json!(huge)), "n"),
        (with(rsa, "n", json!(padded)), "n"),
        (with(rsa, "n", json!("")), "n"),
        (with(rsa, "n", json!(null)), "n"),
        (with(rsa, "n", json!("AQAB==")), "n"),
        (with(rsa, "e", json!("AQ")), "e"),
        (with(rsa, "e", json!("Ag")), "e"),
        (with(rsa, "e", json!("")), "e"),
        (with(rsa, "e", json!("AQAAAAAB")), "e"),
        (with(ec, "y", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")), ""),
        (with(ec, "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE")), "x"),
        (with(ec, "y", json!(null)), "y"),
        (with(okp, "x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUQ")), "x"),
    ] {
        let refused = Rules::of(&jwt(&json!({"keys": [rsa, jwk]}))).map(|_| ()).unwrap_err();
        let at = format!("auth.jwt.jwks.keys[1]{}{field}", if field.is_empty() { "" } else { "." });
        assert_eq!(refused.field.0, at, "{jwk}: {refused:?}");
        assert!(!format!("{refused:?}").contains("nWGxne"), "a private key is repeated");
    }
    assert_eq!(Rules::of(&jwt(&json!({"keys": []}))).map(|_| ()).unwrap_err().field.0, "auth.jwt.jwks.keys");
    let twice = json!({"keys": [jwk(1), with(&jwk(2), "kid", json!("key-1"))]});
    assert_eq!(Rules::of(&jwt(&twice)).map(|_| ()).unwrap_err().code, wire::RefusalCode::Duplicate);
    let extra = with(&with(okp, "x5t", json!("AA")), "use", json!("sig"));
    assert!(Rules::of(&jwt(&json!({"keys": [extra]}))).is_ok(), "unknown members do not matter");
}

#[test]
fn settings_are_checked() {
    let parse = |auth: Value| {
        let config = json!({"policy_bundle_path": "p", "catalog_path": "c", "auth": auth});
        config::parse(config.to_string().as_bytes()).map(|_| ()).map_err(|refused| refused.field.0)
    };
    let good = json!({"issuer": ISSUER, "audience": AUDIENCE, "jwks": {"keys": [jwk(1)]}});
    let with = |member: &str, value: Value| {
        let mut jwt = good.clone();
        jwt[member] = value;
        parse(json!({"mode": "jwt", "jwt": jwt}))
    };
    assert_eq!(with("tolerance_seconds", json!(300)), Ok(()));
    for (member, value, field) in [
        ("tolerance_seconds", json!(301), "auth.jwt.tolerance_seconds"),
        ("issuer", json!(""), "auth.jwt.issuer"),
        ("issuer", json!(null), "auth.jwt.issuer"),
        ("audience", json!("a\n"), "auth.jwt.audience"),
        ("subject_claim", json!(""), "auth.jwt.subject_claim"),
        ("jwks", json!({"keys": [{"kty": "oct"}]}), "auth.jwt.jwks.keys[0].kty"),
        ("jwks", json!({"keys": [], "other": 1}), "auth.jwt.jwks.other"),
        ("jwks_uri", json!("https://login.bank.example/jwks"), "auth.jwt.jwks_uri"),
    ] {
        assert_eq!(with(member, value), Err(field.to_owned()));
    }
    assert_eq!(parse(json!({"mode": "bearer", "jwt": good})), Err("auth.mode".to_owned()));
    assert_eq!(parse(json!({"jwt": good})), Err("auth.mode".to_owned()));
    let token = json!({"subject": "a", "token_sha256": claim::Digest::of("a").prefixed()});
    assert_eq!(parse(json!({"mode": "jwt", "jwt": good, "tokens": [token]})), Err("auth.mode".to_owned()));
}

proptest! {
    /// Nothing but what was signed counts, whatever is changed in a good token.
    #[test]
    fn no_change_of_a_token_counts(place in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f, cut in any::<bool>()) {
        let good = signed(&header(&json!({})).to_string(), &claims(&json!({"groups": ["a"]})).to_string());
        let mut bytes = good.clone().into_bytes();
        let place = place.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] = byte }
        let changed = String::from_utf8(bytes).unwrap();
        prop_assume!(changed != good);
        let refused = rules(&json!({"keys": [jwk(1)]})).check(&changed, NOW).is_err();
        prop_assert!(refused, "{changed}");
    }

    #[test]
    fn no_bytes_make_it_panic(token in "[A-Za-z0-9_.-]{0,200}", claims in "\\PC{0,80}") {
        let rules = rules(&json!({"keys": [jwk(1)]}));
        prop_assert!(rules.check(&token, NOW).is_err());
        let refused = rules.check(&signed(&header(&json!({})).to_string(), &claims), NOW).is_err();
        prop_assert!(refused, "{claims}");
    }
}
