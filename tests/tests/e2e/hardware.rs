//! On a TPM, in software: evidence of sessions from the first call to the claim, and what becomes of calls when the TPM does
//! not answer.

use std::path::Path;
use std::time::Duration;

use claim::binding::{binding, session_x};
use claim::key::PublicKey;
use claim::{Digest, b64u};
use serde_json::{Value, json};
use tests::gateway::{Gateway, Named};
use tests::http::Message;
use tests::setup::{CONTACTS, Setup};
use tests::store::{Auditor, cmcp_verify};
use tests::swtpm::{Between, Said, Swtpm};
use tests::upstream::Upstream;
use tests::wait_for;

const QUOTE: u32 = 0x158;
/// The shortest validity that a configuration may ask for.
const VALIDITY: u64 = 60;

/// A configuration that starts without dev mode.
fn production(url: &str, auditor: &Auditor) -> Setup {
    let provider = json!("tpm");
    Setup::quickstart(url).agents(&["alice", "bob"]).sealed_to(&auditor.key).with("/attestation/provider", provider)
}

fn got(agent: &Named<'_>, path: &str) -> Value {
    let answer = agent.get(path);
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

fn attachment(agent: &Named<'_>, session: &str) -> Value {
    got(agent, &format!("/session/{session}/evidence"))
}

fn types(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["entry_type"].as_str().expect("a type")).collect()
}

fn outcome(answer: &Message) -> (u16, String) {
    let code = answer.json()["error"]["data"]["error_code"].as_str().unwrap_or_default().to_owned();
    (answer.status(), code)
}

/// `sha256:` of a JSON document in its sorted-ASCII form.
fn digest(value: &Value) -> String {
    let value = claim::json::parse(value.to_string().as_bytes()).expect("JSON");
    Digest::of(value.sorted_ascii()).prefixed()
}

fn octets(value: &Value) -> Vec<u8> {
    b64u::decode(value.as_str().expect("text")).expect("base64url")
}

/// Claim and audit bundle of a session, which `cmcp-verify` accepts as each other's.
fn verified(agent: &Named<'_>, session: &str) -> (Value, Vec<Value>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let save = |name: &str, path: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, got(agent, path).to_string()).expect("a file");
        file.to_string_lossy().into_owned()
    };
    let claim = save("claim.json", &format!("/session/{session}/claim"));
    let bundle = save("bundle.json", &format!("/audit/export?session_id={session}"));
    let output = cmcp_verify(&[&claim, "--audit-bundle", &bundle, "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("a verdict");
    assert_eq!(verdict["audit_bundle"]["verified"], true, "{verdict:#}");
    let read = |file: &str| serde_json::from_slice::<Value>(&std::fs::read(file).expect("a file")).expect("JSON");
    let entries = read(&bundle)["entries"].as_array().expect("entries").clone();
    (read(&claim), entries)
}

#[test]
fn a_claim_rests_on_evidence_of_its_session() {
    let (tpm, tool, auditor) = (Swtpm::start(), Upstream::plain(), Auditor::new());
    let gateway = Gateway::start_on_tpm(&production(&tool.url(), &auditor), &tpm.path(), &[]);
    let alice = gateway.caller("alice");
    assert_eq!(alice.call("s", CONTACTS).status(), 200);
    assert_eq!(alice.call("s", CONTACTS).status(), 200);
    let entries = alice.entries("s");
    assert_eq!(types(&entries), ["session_start", "attestation_refresh", "tool_call", "tool_call"]);
    let shown = attachment(&alice, "s");
    assert_eq!((&shown["version"], &shown["session_start"]), (&json!(1), &entries[0]));
    let named = &entries[1]["detail"];
    assert_eq!(named["session_evidence"], digest(&shown["session"]));
    assert_eq!(named["boot_evidence"], digest(&shown["boot"]));
    assert_eq!(shown["settings"].as_array().expect("settings").len(), 1);
    let (claim, _) = verified(&alice, "s");
    is_bound(&claim, &shown);
    assert_eq!(alice.get("/session/s/claim").json(), claim, "the same again");
    assert_eq!(gateway.caller("bob").get("/session/s/evidence").status(), 404);
    assert_eq!(alice.get("/session/other/evidence").status(), 404);
    let closed = alice.post("/sessions/s/close", b"");
    assert_eq!(closed.status(), 200, "{}", closed.text());
    assert_eq!(attachment(&alice, "s"), shown, "read back after the session has left memory");
    verified(&alice, "s");
    let (store, key) = (gateway.store(), auditor.file());
    let store = cmcp_verify(&["store", "verify", &store.to_string_lossy(), "--key", &key]);
    assert!(store.status.success(), "{}", String::from_utf8_lossy(&store.stdout));
}

/// The quotes are over this key and this chain, and the claim has them in the deployed layout.
fn is_bound(claim: &Value, shown: &Value) {
    let key = PublicKey::from_x(claim["trace"]["cnf"]["jwk"]["x"].as_str().expect("a key")).expect("a key");
    let root = Digest::parse_hex(claim["gateway"]["audit_chain"]["root"].as_str().expect("a root")).expect("a digest");
    let bound = binding(&key.thumbprint(), &session_x(&root));
    let quoted = |message: &Value, data: &Digest| {
        let message = octets(message);
        message.windows(34).any(|window| window[..2] == [0, 32] && window[2..] == *data.bytes())
    };
    assert!(quoted(&shown["session"]["quote"]["message"], &Digest::of(bound)), "all 64 bytes, hashed");
    assert!(quoted(&shown["session"]["key_quote"]["message"], &key.thumbprint()), "the thumbprint alone");
    let evidence = &claim["gateway"]["attestation_evidence"];
    assert_eq!(evidence["raw_evidence"], shown["session"]["key_quote"]["message"]);
    assert_eq!(evidence["quote_signature"], shown["session"]["key_quote"]["signature"]);
    assert!(evidence.get("cert_chain").is_none(), "nobody certified the key");
    let pcrs = shown["session"]["quote"]["pcrs"].as_array().expect("PCRs");
    let firmware: Vec<u8> = pcrs[..8]
        .iter()
        .flat_map(|pcr| *Digest::parse_hex(pcr.as_str().expect("digits")).expect("a PCR").bytes())
        .collect();
    let runtime = &claim["trace"]["runtime"];
    assert_eq!(
        (&runtime["platform"], &runtime["measurement"]),
        (&json!("tpm2"), &json!(Digest::of(firmware).prefixed()))
    );
    assert_eq!(claim["gateway"]["attestation_stale"], false);
}

#[test]
fn collateral_is_attached_to_claims() {
    let (tpm, tool, auditor) = (Swtpm::start(), Upstream::plain(), Auditor::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("collateral.json");
    let certificates = ["MAMCAQE", "MAMCAQI"];
    let collateral = json!({"certificates": certificates, "crls": ["MAMCAQM"], "tdx": {"tcb_info": "{}"}});
    std::fs::write(&file, collateral.to_string()).expect("a file");
    let more = ["--collateral", &file.to_string_lossy()];
    let gateway = Gateway::start_on_tpm(&production(&tool.url(), &auditor), &tpm.path(), &more);
    let alice = gateway.caller("alice");
    assert_eq!(alice.call("s", CONTACTS).status(), 200);
    wait_for("collateral", Duration::from_secs(10), || {
        (attachment(&alice, "s")["collateral"] == collateral).then_some(())
    });
    let claim = got(&alice, "/session/s/claim");
    let chain = octets(&claim["gateway"]["attestation_evidence"]["cert_chain"]);
    let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    assert_eq!(String::from_utf8(chain).expect("PEM"), pem("MAMCAQE=") + &pem("MAMCAQI="));
}

/// A gateway whose TPM can be silenced, and its parts.
struct Silenced {
    _tpm: Swtpm,
    between: Between,
    _tool: Upstream,
    gateway: Gateway,
}

impl Silenced {
    fn start(policy: &str) -> Self {
        let (tpm, tool, auditor) = (Swtpm::start(), Upstream::plain(), Auditor::new());
        let between = Between::new(&tpm);
        let setup = production(&tool.url(), &auditor)
            .with("/attestation/validity_seconds", json!(VALIDITY))
            .with("/attestation/staleness_policy", json!(policy));
        let gateway = Gateway::start_on_tpm(&setup, Path::new(&between.path()), &[]);
        Self { _tpm: tpm, between, _tool: tool, gateway }
    }
}

/// Both policies at once: it takes a validity to see.
#[test]
fn a_tpm_that_does_not_answer_is_what_the_policy_says() {
    let (closed, warned) = (Silenced::start("fail_closed"), Silenced::start("warn_only"));
    for silenced in [&closed, &warned] {
        assert_eq!(silenced.gateway.caller("alice").call("old", CONTACTS).status(), 200);
        silenced.between.answer(QUOTE, Said::Closed);
    }
    failed_at_once(&closed.gateway);
    warned_at_once(&warned.gateway);
    let alice = closed.gateway.caller("alice");
    let stale = wait_for("the end of the validity", Duration::from_secs(VALIDITY + 20), || {
        std::thread::sleep(Duration::from_millis(500));
        let answer = alice.call("old", CONTACTS);
        (answer.status() != 200).then_some(answer)
    });
    assert_eq!(outcome(&stale), (503, "ATTESTATION_STALE".to_owned()), "{}", stale.text());
    wait_for("the report", Duration::from_secs(20), || {
        closed.gateway.log().contains("the evidence has outlived its validity").then_some(())
    });
    warned_when_stale(&warned.gateway);
    for silenced in [&closed, &warned] {
        silenced.between.be_honest();
    }
    recovered(&closed.gateway);
    renewed(&warned.gateway);
}

/// Fail closed: a session without evidence has no calls; others go on while the boot's evidence counts.
fn failed_at_once(gateway: &Gateway) {
    let alice = gateway.caller("alice");
    let refused = alice.call("new", CONTACTS);
    assert_eq!(outcome(&refused), (503, "ATTESTATION_FAILED".to_owned()), "{}", refused.text());
    let entries = alice.entries("new");
    assert_eq!(types(&entries), ["session_start", "tool_call"]);
    let (decision, detail) = (&entries[1]["policy_decision"], &entries[1]["detail"]);
    assert_eq!((decision, &detail["error_code"]), (&json!("fault"), &json!("ATTESTATION_FAILED")));
    assert_eq!((&detail["forwarded"], &entries[1]["tool_name"]), (&json!(false), &json!(CONTACTS)));
    assert_eq!(alice.call("old", CONTACTS).status(), 200);
}

/// Only warn: the call goes on, and chain and claim say what is missing.
fn warned_at_once(gateway: &Gateway) {
    let alice = gateway.caller("alice");
    assert_eq!(alice.call("new", CONTACTS).status(), 200);
    assert_eq!(alice.call("new", CONTACTS).status(), 200);
    let (claim, entries) = verified(&alice, "new");
    assert_eq!(types(&entries), ["session_start", "attestation_stale", "tool_call", "tool_call"]);
    assert_eq!(entries[1]["detail"]["error_code"], "ATTESTATION_FAILED");
    assert_eq!(claim["gateway"]["attestation_stale"], true);
    assert!(claim["gateway"].get("attestation_evidence").is_none());
    assert!(attachment(&alice, "new").get("session").is_none());
}

fn warned_when_stale(gateway: &Gateway) {
    let alice = gateway.caller("alice");
    wait_for("staleness", Duration::from_secs(20), || {
        assert_eq!(alice.call("old", CONTACTS).status(), 200);
        types(&alice.entries("old")).contains(&"attestation_stale").then_some(())
    });
    assert_eq!(alice.call("old", CONTACTS).status(), 200);
    let (claim, entries) = verified(&alice, "old");
    assert_eq!(types(&entries).iter().filter(|name| **name == "attestation_stale").count(), 1, "said once");
    assert_eq!(claim["gateway"]["attestation_stale"], true);
}

/// By itself, within the longest pause between two attempts.
fn recovered(gateway: &Gateway) {
    let alice = gateway.caller("alice");
    wait_for("calls that go on", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(200));
        (alice.call("old", CONTACTS).status() == 200).then_some(())
    });
    assert_eq!(alice.call("new", CONTACTS).status(), 200);
    wait_for("the report", Duration::from_secs(5), || gateway.log().contains("the evidence is renewed").then_some(()));
    let (claim, entries) = verified(&alice, "new");
    assert_eq!(types(&entries), ["session_start", "tool_call", "attestation_refresh", "tool_call"]);
    assert_eq!(claim["gateway"]["attestation_stale"], false);
    let (claim, entries) = verified(&alice, "old");
    assert_eq!(claim["gateway"]["attestation_stale"], false);
    assert_eq!(types(&entries).last(), Some(&"attestation_refresh"), "older than half of the validity: made again");
    let shown = attachment(&alice, "old");
    assert_eq!(entries.last().expect("an entry")["detail"]["session_evidence"], digest(&shown["session"]));
    assert_eq!(entries.last().expect("an entry")["detail"]["boot_evidence"], digest(&shown["boot"]), "the renewed one");
    assert_ne!(entries[1]["detail"]["boot_evidence"], digest(&shown["boot"]));
    let faulted = &claim["gateway"]["call_summary"]["tool_calls_faulted"];
    assert!(faulted.as_u64().expect("a number") >= 1, "{claim:#}");
}

fn renewed(gateway: &Gateway) {
    let alice = gateway.caller("alice");
    for session in ["old", "new"] {
        assert_eq!(alice.call(session, CONTACTS).status(), 200);
        wait_for("evidence that counts", Duration::from_secs(20), || {
            std::thread::sleep(Duration::from_millis(200));
            let (claim, entries) = verified(&alice, session);
            let fresh = claim["gateway"]["attestation_stale"] == false;
            let of_evidence = types(&entries).into_iter().rfind(|name| name.starts_with("attestation_"));
            assert_eq!(fresh, of_evidence == Some("attestation_refresh"), "{entries:#?}");
            fresh.then_some(())
        });
    }
}
