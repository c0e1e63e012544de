use std::path::{Path, PathBuf};

use claim::Digest;
use claim::profile::TaggedDigest;
use serde_json::{Value, json};
use wire::{BootRefusal, Document, RefusalCode};

use super::{
    Attestation, AuthMode, Catalog, ClaimProfile, Config, Durability, EnforcementMode, ProviderChoice, Scope, Severity,
    parse,
};

/// Set to write the schema instead of comparing it.
const UPDATE: &str = "UPDATE_CONFIG_SCHEMA";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn config(text: &Value) -> Result<Config, BootRefusal> {
    parse(text.to_string().as_bytes()).map(|(config, _)| config)
}

/// Code, field and found of the refusal.
fn refused(text: &Value) -> (RefusalCode, String, String) {
    let refused = config(text).unwrap_err();
    assert_eq!(refused.document, Document::Config);
    (refused.code, refused.field.0, refused.found.0)
}

fn with(extra: &Value) -> Value {
    let mut base = json!({"policy_bundle_path": "./policies/", "catalog_path": "./catalog.json"});
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

fn hash(token: &str) -> String {
    Digest::of(token).prefixed()
}

/// An `auth` section with these tokens.
fn auth(tokens: &Value) -> Value {
    json!({"auth": {"mode": "bearer", "tokens": tokens}})
}

/// X25519's base point, which is somebody's public key.
const AUDITOR_KEY: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn examples() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("policies"), root().join("docs"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("cmcp-config.yaml")) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, serde_saphyr::from_str(&text).unwrap()));
            }
        }
    }
    found
}

#[test]
fn the_quickstart_is_read() {
    let seed = json!({
        "attestation": {"provider": "auto", "enforcement_mode": "advisory"},
        "policy_bundle_path": "./policies/",
        "catalog_path": "./catalog.json",
    });
    let text = seed.to_string();
    let (config, hash) = parse(text.as_bytes()).unwrap();
    assert_eq!(
        config.attestation,
        Attestation { enforcement_mode: EnforcementMode::Advisory, ..Attestation::default() }
    );
    assert_eq!(config.listen_addr.to_string(), "127.0.0.1:8443");
    let sorted = concat!(
        r#"{"attestation":{"enforcement_mode":"advisory","provider":"auto"},"#,
        r#""catalog_path":"./catalog.json","policy_bundle_path":"./policies/"}"#
    );
    assert_eq!(hash, Digest::of(sorted));
}

#[test]
fn defaults_are_the_safe_ones() {
    let config = config(&with(&json!({}))).unwrap();
    assert_eq!(config.attestation.enforcement_mode, EnforcementMode::Enforcing);
    assert_eq!(config.audit.durability, Durability::Strict);
    assert_eq!(config.audit.store_path, "./audit-store");
    assert_eq!(config.audit.auditor(), Ok(None));
    let Catalog { drift_policy, unanswered_list, recheck_seconds } = config.catalog;
    assert_eq!((drift_policy, unanswered_list, recheck_seconds), (Severity::FailClosed, Severity::FailClosed, 300));
    assert_eq!(config.claim_profile, ClaimProfile::TraceV02);
    assert!(!config.claim.entries);
    assert_eq!(config.model, None);
    assert!(config.listen_addr.ip().is_loopback());
    assert_eq!((config.auth.mode, config.scope()), (AuthMode::None, Scope::Session));
    assert_eq!(config.operator.token_sha256, None);
    assert_eq!(config.max_sessions_per_identity(), config.limits.max_sessions);
}

#[test]
fn every_setting_is_read() {
    let config = config(&with(&json!({
        "attestation": {
            "provider": "software-only", "enforcement_mode": "silent", "validity_seconds": 60, "staleness_policy": "warn_only",
            "expected_measurement": format!("sha384:{}", "0a".repeat(48)),
        },
        "listen_addr": "[::1]:9000",
        "catalog": {"drift_policy": "warn_only", "unanswered_list": "warn_only", "recheck_seconds": 86400},
        "audit": {"store_path": "/var/lib/store", "durability": "process", "auditor_key": AUDITOR_KEY},
        "claim_profile": "trace-v0.1",
        "claim": {"entries": true},
        "model": {"provider": "anthropic", "model_id": "claude"},
        "auth": {"mode": "bearer", "tokens": [
            {"subject": "spiffe://bank/teller", "issuer": "Bank IT", "groups": ["tellers"], "token_sha256": hash("a")},
        ]},
        "operator": {"token_sha256": hash("b")},
        "sensitivity": {"scope": "session"},
        "limits": {"max_sessions": 7, "store_timeout_ms": 100},
    })))
    .unwrap();
    assert_eq!(config.attestation.provider, ProviderChoice::SoftwareOnly);
    assert_eq!(config.attestation.expected(), Some(TaggedDigest::Sha384([0x0a; 48])));
    assert_eq!((config.attestation.validity_seconds, config.attestation.staleness_policy), (60, Severity::WarnOnly));
    assert_eq!(config.catalog.drift_policy, Severity::WarnOnly);
    assert_eq!(config.catalog.unanswered_list, Severity::WarnOnly);
    assert_eq!(config.catalog.recheck_seconds, 86_400);
    assert_eq!(config.audit.durability.as_str(), "process");
    assert_eq!(config.claim_profile, ClaimProfile::TraceV01);
    assert_eq!(config.model.as_ref().unwrap().model_id, "claude");
    assert_eq!((config.limits.max_sessions, config.limits.store_timeout_ms), (7, 100));
    assert_eq!(config.limits.max_headers, 100);
    let token = config.auth.tokens.first().unwrap();
    assert_eq!((token.subject.as_str(), token.groups.len()), ("spiffe://bank/teller", 1));
    assert_eq!(token.token_sha256.digest(), Some(Digest::of("a")));
    assert_eq!(config.operator.token_sha256.unwrap().digest(), Some(Digest::of("b")));
    assert_eq!((config.sensitivity.scope, config.max_sessions_per_identity()), (Some(Scope::Session), 1000));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_one() {
    let refused = config(&with(&json!({"attestation": {"provder": "auto"}}))).unwrap_err();
    assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::UnknownKey, "attestation.provder"));
    assert_eq!(refused.found.0, "provder");
    assert!(refused.expected.0.contains("did you mean provider?"), "{}", refused.expected.0);
    assert!(refused.expected.0.contains("enforcement_mode"), "{}", refused.expected.0);

    let refused = config(&with(&json!({"colour": 1}))).unwrap_err();
    assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::UnknownKey, "colour"));
    assert!(!refused.expected.0.contains("did you mean"), "{}", refused.expected.0);
}

#[test]
fn lost_indentation_gets_the_fix() {
    let refused = config(&with(&json!({"attestation": null, "provider": "auto", "enforcement_mode": "advisory"})));
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::UnknownKey, "provider"));
    let fix = "attestation:\n  provider: auto\n  enforcement_mode: advisory";
    assert!(refused.expected.0.ends_with(fix), "{}", refused.expected.0);

    let refused = config(&with(&json!({"max_sessions": 5}))).unwrap_err();
    assert!(refused.expected.0.ends_with("limits:\n  max_sessions: 5"), "{}", refused.expected.0);
}

#[test]
fn wrong_values_are_refused_where_they_are() {
    use RefusalCode::{InvalidValue, Missing};
    for (extra, code, field, found) in [
        (json!({"attestation": {"provider": "sgx"}}), InvalidValue, "attestation.provider", r#""sgx""#),
        (json!({"attestation": {"provider": "intel-tdx"}}), InvalidValue, "attestation.provider", r#""intel-tdx""#),
        (
            json!({"attestation": {"expected_measurement": "SHA256:00"}}),
            InvalidValue,
            "attestation.expected_measurement",
            r#""SHA256:00""#,
        ),
        (json!({"attestation": {"validity_seconds": 59}}), InvalidValue, "attestation.validity_seconds", "59"),
        (
            json!({"attestation": {"validity_seconds": 2_592_001}}),
            InvalidValue,
            "attestation.validity_seconds",
            "2592001",
        ),
        (
            json!({"attestation": {"staleness_policy": "ignore"}}),
            InvalidValue,
            "attestation.staleness_policy",
            r#""ignore""#,
        ),
        (json!({"attestation": {"provider": 7}}), InvalidValue, "attestation.provider", "7"),
        (json!({"attestation": null}), InvalidValue, "attestation", "null"),
        (json!({"attestation": ["auto"]}), InvalidValue, "attestation", r#"["auto"]"#),
        (
            json!({"attestation": {"enforcement_mode": "Enforcing"}}),
            InvalidValue,
            "attestation.enforcement_mode",
            r#""Enforcing""#,
        ),
        (json!({"listen_addr": "localhost"}), InvalidValue, "listen_addr", r#""localhost""#),
        (json!({"audit": {"durability": "none"}}), InvalidValue, "audit.durability", r#""none""#),
        (json!({"audit": {"store_path": ""}}), InvalidValue, "audit.store_path", r#""""#),
        (json!({"claim": {"entries": "yes"}}), InvalidValue, "claim.entries", r#""yes""#),
        (json!({"claim_profile": "v2"}), InvalidValue, "claim_profile", r#""v2""#),
        (json!({"model": {"provider": "x"}}), Missing, "model.model_id", "nothing"),
        (json!({"model": {"provider": "x", "model_id": "a\nb"}}), InvalidValue, "model.model_id", r#""a\nb""#),
        (json!({"policy_bundle_path": 1}), InvalidValue, "policy_bundle_path", "1"),
        (json!({"limits": {"max_sessions": -1}}), InvalidValue, "limits.max_sessions", "-1"),
        (json!({"limits": {"max_sessions": 1.5}}), InvalidValue, "limits.max_sessions", "1.5"),
        (json!({"limits": {"max_sessions": 0}}), InvalidValue, "limits.max_sessions", "0"),
        (json!({"limits": {"max_headers": 1001}}), InvalidValue, "limits.max_headers", "1001"),
        (json!({"limits": {"max_body_bytes": 1023}}), InvalidValue, "limits.max_body_bytes", "1023"),
    ] {
        assert_eq!(refused(&with(&extra)), (code, field.to_owned(), found.to_owned()), "{extra}");
    }
    let missing = json!({"policy_bundle_path": "./policies/"});
    assert_eq!(refused(&missing), (Missing, "catalog_path".into(), "nothing".into()));
    assert_eq!(refused(&json!([])).0, InvalidValue);
}

#[test]
fn names_and_tokens_that_could_be_mistaken_are_refused() {
    use RefusalCode::{Duplicate, InvalidValue, Missing};
    let one = |subject: &str, token: &str| json!({"subject": subject, "token_sha256": hash(token)});
    let with_operator = |tokens: Value, token: &str| {
        let mut config = auth(&tokens);
        config["operator"] = json!({"token_sha256": hash(token)});
        config
    };
    for (name, extra, code, field) in [
        ("another mode", json!({"auth": {"mode": "basic"}}), InvalidValue, "auth.mode"),
        ("no domain", json!({"auth": {"mode": "mtls"}}), Missing, "auth.mtls"),
        ("no issuer", json!({"auth": {"mode": "jwt"}}), Missing, "auth.jwt"),
        ("no mode", json!({"auth": {"tokens": [one("a", "a")]}}), InvalidValue, "auth.mode"),
        ("no tokens", json!({"auth": {"mode": "bearer"}}), Missing, "auth.tokens"),
        ("no hash", auth(&json!([{"subject": "a"}])), Missing, "auth.tokens[0].token_sha256"),
        ("no subject", auth(&json!([{"token_sha256": hash("a")}])), Missing, "auth.tokens[0].subject"),
        ("same subject", auth(&json!([one("a", "a"), one("a", "b")])), Duplicate, "auth.tokens[1].subject"),
        ("same token", auth(&json!([one("a", "a"), one("b", "a")])), Duplicate, "auth.tokens[1].token_sha256"),
        ("operator's token", with_operator(json!([one("a", "a")]), "a"), Duplicate, "operator.token_sha256"),
        ("empty subject", auth(&json!([one("", "a")])), InvalidValue, "auth.tokens[0].subject"),
        ("anonymous", auth(&json!([one("anonymous", "a")])), InvalidValue, "auth.tokens[0].subject"),
        ("space", auth(&json!([one("a b", "a")])), InvalidValue, "auth.tokens[0].subject"),
        ("ampersand", auth(&json!([one("a&b", "a")])), InvalidValue, "auth.tokens[0].subject"),
        ("not ASCII", auth(&json!([one("\u{e4}", "a")])), InvalidValue, "auth.tokens[0].subject"),
        ("long", auth(&json!([one(&"a".repeat(257), "a")])), InvalidValue, "auth.tokens[0].subject"),
    ] {
        let refused = config(&with(&extra)).unwrap_err();
        assert_eq!((refused.code, refused.field.0.as_str()), (code, field), "{name}");
    }
    for (member, value) in [("issuer", json!("a\nb")), ("groups", json!(["a", ""]))] {
        let mut token = one("a", "a");
        token[member] = value;
        assert_eq!(config(&with(&auth(&json!([token])))).unwrap_err().code, InvalidValue, "{member}");
    }
    let many: Vec<_> = (0..1001).map(|n| one(&n.to_string(), &n.to_string())).collect();
    assert_eq!(refused(&with(&auth(&json!(many)))), (InvalidValue, "auth.tokens".to_owned(), "1001".to_owned()));
}

#[test]
fn what_stands_in_place_of_a_hash_is_not_repeated() {
    let secret = "tokens-do-not-belong-into-the-configuration";
    for extra in [
        auth(&json!([{"subject": "a", "token_sha256": secret}])),
        json!({"operator": {"token_sha256": secret}}),
        json!({"operator": {"token_sha256": Digest::of("a").hex()}}),
        json!({"operator": {"token_sha256": hash("a").to_uppercase()}}),
    ] {
        let refused = config(&with(&extra)).unwrap_err();
        assert_eq!(refused.code, RefusalCode::InvalidValue);
        assert!(refused.field.0.ends_with("token_sha256"), "{refused:?}");
        assert!(refused.expected.0.contains("sha256sum") && !format!("{refused:?}").contains(secret), "{refused:?}");
    }
}

#[test]
fn expected_says_how_to_get_there() {
    for (extra, expected) in [
        (json!({"attestation": {"provider": "intel-tdx"}}), "tdx, which is what intel-tdx is called here; or auto"),
        (json!({"attestation": {"provider": "sgx"}}), "one of auto, azure, tpm, sev-snp, tdx, software-only"),
        (json!({"attestation": {"validity_seconds": 0}}), "60 to 2592000: at least a minute, at most 30 days"),
        (json!({"attestation": {"enforcement_mode": "off"}}), "one of enforcing, advisory, silent"),
        (json!({"limits": {"max_sessions": "many"}}), "a whole number"),
        (json!({"limits": {"max_headers": 5}}), "10 to 1000: common clients send about ten"),
        (json!({"auth": {"mode": "basic"}}), "one of none, bearer, jwt, mtls"),
        (
            json!({"auth": {"tokens": [{"subject": "a", "token_sha256": hash("a")}]}}),
            "bearer, because auth.tokens has tokens",
        ),
    ] {
        assert_eq!(config(&with(&extra)).unwrap_err().expected.0, expected);
    }
}

#[test]
fn bad_json_is_refused() {
    for (text, code) in [
        (&b"{"[..], RefusalCode::Malformed),
        (b"\xff", RefusalCode::Malformed),
        (b"{} {}", RefusalCode::Malformed),
        (br#"{"catalog_path": "a", "catalog_path": "b"}"#, RefusalCode::Duplicate),
        (br#"{"catalog_path": "a", "c\u0061talog_path": "b"}"#, RefusalCode::Duplicate),
    ] {
        assert_eq!(parse(text).unwrap_err().code, code);
    }
    let deep = "[".repeat(1_000_000);
    assert_eq!(parse(deep.as_bytes()).unwrap_err().code, RefusalCode::Malformed);
}

#[test]
fn the_hash_is_of_what_was_sent() {
    let (_, plain) = parse(with(&json!({})).to_string().as_bytes()).unwrap();
    let (_, explicit) = parse(with(&json!({"claim": {"entries": false}})).to_string().as_bytes()).unwrap();
    let (_, spaced) =
        parse(br#" { "policy_bundle_path" : "./policies/" , "catalog_path" : "./catalog.json" } "#).unwrap();
    assert_ne!(plain, explicit);
    assert_eq!(plain, spaced);
}

#[test]
fn sections_name_the_keys_that_exist() {
    let schema = schema();
    for (section, keys) in super::SECTIONS {
        let name = schema["properties"][section]["$ref"]
            .as_str()
            .or_else(|| schema["properties"][section]["anyOf"][0]["$ref"].as_str());
        let definition = &schema["$defs"][name.unwrap().rsplit('/').next().unwrap()];
        let properties = definition["properties"].as_object().unwrap();
        for key in keys {
            assert!(properties.contains_key(*key), "{section}.{key}");
        }
        // `model.provider` is left to the section that the seed uses.
        let left = properties.len() - keys.len();
        assert_eq!(left, usize::from(section == "model"), "{section}");
    }
}

fn schema() -> Value {
    serde_json::to_value(schemars::schema_for!(Config)).unwrap()
}

#[test]
fn the_published_schema_is_the_types() {
    let path = root().join("docs/cmcp-config.schema.json");
    let generated = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == generated, "run the test with {UPDATE}=1 and commit {}", path.display());
}

#[test]
fn schema_and_parser_agree() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let examples = examples();
    assert!(!examples.is_empty());
    for (path, example) in examples {
        assert!(validator.is_valid(&example), "{}: {:?}", path.display(), validator.validate(&example).err());
        config(&example).unwrap_or_else(|refused| panic!("{}: {refused:?}", path.display()));
    }
    for wrong in [
        json!({"attestation": {"provder": "auto"}}),
        json!({"attestation": {"provider": "intel-tdx"}}),
        json!({"attestation": {"validity_seconds": 1}}),
        json!({"attestation": {"expected_measurement": "sha256:00"}}),
        json!({"provider": "auto"}),
        json!({"limits": {"max_sessions": 0}}),
        json!({"limits": {"max_sessions": 1_000_001}}),
        json!({"limits": {"max_sessions": "1"}}),
        json!({"model": {"provider": "x"}}),
        json!({"audit": {"durability": "none"}}),
        json!({"claim_profile": "v2"}),
        json!({"auth": {"mode": "basic"}}),
        json!({"auth": {"mode": "jwt", "jwt": {"issuer": "a", "audience": "b"}}}),
        json!({"operator": {"token_sha256": "secret"}}),
        json!({"sensitivity": {"scope": "user"}}),
    ] {
        let wrong = with(&wrong);
        assert!(!validator.is_valid(&wrong), "{wrong}");
        assert!(config(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_auditor_is_a_key_that_can_be_sealed_to() {
    let audit = |key: &str| with(&json!({"audit": {"auditor_key": key}}));
    let key = config(&audit(AUDITOR_KEY)).unwrap().audit.auditor().unwrap().unwrap();
    assert_eq!(key.text(), AUDITOR_KEY);
    let cases = [
        ("", "32 bytes"),
        ("CQ", "32 bytes"),
        ("not base64", "32 bytes"),
        ("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", "32 bytes"),
        ("CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA", "canonical encoding"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "low order"),
        ("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "low order"),
    ];
    for (text, why) in cases {
        let refused = config(&audit(text)).unwrap_err();
        assert_eq!(
            (refused.code, refused.field.0.as_str()),
            (RefusalCode::InvalidValue, "audit.auditor_key"),
            "{text}"
        );
        assert!(refused.expected.0.contains(why), "{text}: {}", refused.expected.0);
        assert!(refused.expected.0.contains("cmcp-verify auditor new-key"), "{}", refused.expected.0);
    }
}

#[test]
fn outside_dev_mode_there_is_an_auditor() {
    let nobody = config(&with(&json!({}))).unwrap().audit;
    let dev = crate::evidence::dev_mode();
    nobody.require_auditor(Some(&dev)).unwrap();
    let refused = nobody.require_auditor(None).unwrap_err();
    assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::Missing, "audit.auditor_key"));
    assert!(refused.expected.0.contains("cmcp-verify auditor new-key --out FILE"), "{}", refused.expected.0);
    let somebody = config(&with(&json!({"audit": {"auditor_key": AUDITOR_KEY}}))).unwrap().audit;
    somebody.require_auditor(None).unwrap();
}
