//! The files of `vectors/` are what this code writes, and what an implementation in another language reads.
//!
//! `UPDATE_VECTORS=1 cargo test -p claim vectors` writes them anew; a change to one is a change of a format.

use std::process::Command;

use claim::binding::{binding, boot_x, challenge_x, nonce_text, session_x};
use claim::bootlog::{BootId, ControlRecord, batch_hash};
use claim::evidence::{BootEvidence, Evidence, SoftwareEvidence};
use claim::hashes::{bundle_hash, catalog_hash, drift_digest, request_payload_hash};
use claim::json::{Json, parse};
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::profile::Profile;
use claim::{Digest, b64u};

use crate::common::session::{START, arguments};
use crate::common::{SEED, Session, key, vector};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let session = Session::new(START);
    let pretty = |value: &Json| {
        let mut text = serde_json::to_vec_pretty(value).unwrap();
        text.push(b'\n');
        text
    };
    vec![
        ("canonical.json", pretty(&canonical())),
        ("hashes.json", pretty(&hashes(&session))),
        ("claim.json", session.claim(Profile::TraceV02).bytes()),
        ("claim-v01.json", session.claim(Profile::TraceV01).bytes()),
        ("bundle.json", session.bundle().sorted_ascii().into_bytes()),
        ("record.json", session.record(Some(b64u::encode(b"a caller's challenge"))).bytes().unwrap()),
        ("operator.json", pretty(&operator())),
        ("evidence.json", pretty(&evidence(&session))),
        ("segment.bin", session.segment(10 << 10)),
    ]
}

/// What an operator signs, by the key of the other vectors.
fn operator() -> Json {
    let key = OperatorKey::from_seed(SEED);
    let hash = Digest::of(b"a bundle");
    let blocked = Json::from([("subject", "agent-7".into()), ("issuer", "https://login.example".into())]);
    let controls = Json::from([
        ("epoch", Json::Int(3)),
        ("blocked", Json::Array(vec![blocked])),
        ("revoked_keys", Json::Array(vec![Digest::of(b"a key").prefixed().into()])),
        ("min_policy_version", "1.10.0".into()),
    ]);
    let signed = controls.clone().with("signature", key.sign_controls(&controls).into());
    let loaded = ControlRecord::PolicyLoad {
        at: START,
        bundle_hash: hash,
        version: "1.10.0".to_owned(),
        signed_by: key.public().key_id(),
    };
    let provisioned = ControlRecord::SecretProvisioned {
        at: START,
        name: "crm-token".to_owned(),
        server: "https://crm.example/mcp".to_owned(),
    };
    Json::from([
        ("key_id", key.public().key_id().prefixed().into()),
        ("policy", Json::from([("bundle_hash", hash.prefixed().into()), ("signature", key.sign_policy(hash).into())])),
        ("controls", signed),
        ("provision", provision(&key)),
        ("policy_load", parse(&loaded.bytes().unwrap()).unwrap()),
        ("secret_provisioned", parse(&provisioned.bytes().unwrap()).unwrap()),
    ])
}

/// An order with its signature.
fn provision(key: &OperatorKey) -> Json {
    let order = ProvisionOrder {
        boot_id: BootId(*b"boot-of-a-vector"),
        name: "crm-token".to_owned(),
        value_sha256: Digest::of(b"a secret"),
        server: "https://crm.example/mcp".to_owned(),
        pin: "SHA256:pin".to_owned(),
    };
    let signature = key.sign_provision(&order);
    Json::from([
        ("boot_id", order.boot_id.to_string().into()),
        ("name", order.name.into()),
        ("value_sha256", order.value_sha256.prefixed().into()),
        ("server", order.server.into()),
        ("pin", order.pin.into()),
        ("signature", signature.into()),
    ])
}

/// The document of a certificate, its extension, and evidence over a challenge.
fn evidence(session: &Session) -> Json {
    let boot = claim::binding::BootBinding {
        tls_spki: vec![Digest::of(b"certificate (a)"), Digest::of(b"certificate (b)")],
        ..session.boot.binding()
    };
    let thumbprint = key().public().thumbprint();
    let x = boot_x(&boot).unwrap();
    let over = |x| SoftwareEvidence::new(&key(), Digest::of(b"an enclave"), &binding(&thumbprint, &x));
    let document = BootEvidence { boot, public_key: key().public().x(), evidence: Evidence::Software(over(x)) };
    let nonce = *b"a caller's nonce";
    Json::from([
        ("document", parse(&document.bytes().unwrap()).unwrap()),
        ("extension_hex", claim::hex::encode(&document.extension().unwrap()).into()),
        ("nonce", b64u::encode(&nonce).into()),
        ("challenge_evidence", claim::json::to_json(&Evidence::Software(over(challenge_x(&x, &nonce)))).unwrap()),
    ])
}

/// Texts, and what each canonical form makes of them; null where JCS refuses.
fn canonical() -> Json {
    let texts = [
        r#"{ "b" : [ true , false , null ] , "a" : { } }"#,
        r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
        r#""\u0000\u0008\t\n\u000b\f\r\u001f \u007e\u007f\u0080\u2028\uffff\ud800\udc00\/\\\"""#,
        "[0,-1,9007199254740991,-9007199254740991]",
        "[9007199254740992,18446744073709551615]",
        "[1.0,-0.0,1e16,1E15,0.0001,0.00001,1.5e300,5e-324,98877024444222.11819604]",
    ];
    let case = |text: &str| {
        let value = parse(text.as_bytes()).unwrap();
        let jcs = value.jcs().map_or(Json::Null, Json::from);
        Json::from([("text", text.into()), ("sorted_ascii", value.sorted_ascii().into()), ("jcs", jcs)])
    };
    let refused = [
        r#"{"a":1,"\u0061":2}"#,
        "[-0]",
        "[18446744073709551616]",
        "[1e400]",
        "[NaN]",
        r#"["\ud800"]"#,
        "[1] 2",
        "\u{feff}[]",
        "[01]",
        "[1,]",
    ];
    assert!(refused.iter().all(|text| parse(text.as_bytes()).is_err()));
    let refused = refused.map(Json::from).to_vec();
    Json::from([("accepted", Json::Array(texts.map(case).to_vec())), ("refused", Json::Array(refused))])
}

/// Each hash of SPEC.md with what it is taken over.
fn hashes(session: &Session) -> Json {
    let entry = |name: &str| Json::from([("tool_name", name.into()), ("sensitivity_level", "public".into())]);
    let catalog = [entry("b"), entry("a")];
    let manifest = Json::from([("version", "0.1.0".into()), ("signature", "left out".into())]);
    let (policy, schema) = ("permit (principal, action, resource);\r\n", "{}\n");
    let titled = r#"{"name":"n","title":"t","description":"d","inputSchema":{"type":"object"},"outputSchema":{"a":1},"annotations":{"readOnlyHint":true}}"#;
    let titled = parse(titled.as_bytes()).unwrap();
    let boot = session.boot.binding();
    let x = boot_x(&boot).unwrap();
    let nonce: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let thumbprint = key().public().thumbprint();
    let session_binding = binding(&thumbprint, &session_x(&session.chain.root().unwrap()));
    let batches = session.batches();
    Json::from([
        (
            "key",
            Json::from([
                ("seed_hex", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".into()),
                ("x", key().public().x().into()),
                ("kid", key().public().kid().into()),
                ("subject", key().public().subject().into()),
                ("thumbprint", thumbprint.hex().into()),
            ]),
        ),
        (
            "request_payload_hash",
            Json::from([("arguments", arguments()), ("hash", request_payload_hash(&arguments()).prefixed().into())]),
        ),
        (
            "catalog_hash",
            Json::from([
                ("entries", Json::Array(catalog.to_vec())),
                ("hash", catalog_hash(&catalog).prefixed().into()),
            ]),
        ),
        (
            "drift_digest",
            Json::from([
                ("description", "d".into()),
                ("hash", drift_digest(&Json::from([("description", "d".into())])).prefixed().into()),
                ("titled", titled.clone()),
                ("titled_hash", drift_digest(&titled).prefixed().into()),
            ]),
        ),
        (
            "bundle_hash",
            Json::from([
                ("manifest", manifest.clone()),
                ("policy_files", Json::from([("sub/a.cedar", policy.into())])),
                ("schema", schema.into()),
                ("hash", bundle_hash(&manifest, [("sub/a.cedar", policy)], schema).unwrap().prefixed().into()),
            ]),
        ),
        ("boot_binding", Json::from([("boot", claim::json::to_json(&boot).unwrap()), ("x", x.hex().into())])),
        (
            "challenge_binding",
            Json::from([
                ("boot", x.hex().into()),
                ("nonce", b64u::encode(&nonce).into()),
                ("x", challenge_x(&x, &nonce).hex().into()),
            ]),
        ),
        (
            "session_binding",
            Json::from([
                ("root", session.chain.root().unwrap().hex().into()),
                ("nonce", nonce_text(&session_binding).into()),
            ]),
        ),
        ("batches", Json::Array(batches.iter().map(|batch| batch_hash(batch).hex().into()).collect())),
        ("prev_claim_hash", session.claim(Profile::TraceV02).hash().prefixed().into()),
    ])
}

#[test]
fn vectors_are_what_the_code_writes() {
    for (name, bytes) in files() {
        let path = vector(name);
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let stored = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            stored == bytes,
            "{name}: the code writes {} and the file has {}",
            Digest::of(&bytes),
            Digest::of(&stored)
        );
    }
}

/// `vectors/check.py` knows SPEC.md and nothing of this code.
#[test]
fn another_implementation_reads_the_vectors() {
    let output = Command::new("python3").arg(vector("check.py")).output().expect("python3 is needed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
