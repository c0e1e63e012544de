//! Secrets of tool servers: brought by the operator, signed for one server and one boot, shown to that server and to nobody else.

use std::path::Path;

use claim::bootlog::BootId;
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::{Digest, b64u};
use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::store::{assert_verifies, cmcp_verify};
use tests::tls::Ca;
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};
use tests::wait_for;

use crate::booked;

const NAME: &str = "crm";
const SECRET: &str = "s3cret-5f2b90c1";

fn key() -> OperatorKey {
    OperatorKey::from_seed([9; 32])
}

/// A tool server in TLS and a gateway whose catalog has a secret for it.
struct Case {
    tool: Upstream,
    front: TlsFront,
    pin: String,
    setup: Setup,
}

fn case(secret: &Value) -> Case {
    let (tool, identity) = (Upstream::plain(), Identity::own(&["127.0.0.1"]));
    let front = TlsFront::start(tool.address, &identity);
    let setup = setup(&front.url(), &identity.key_pin(), secret);
    Case { tool, front, pin: identity.key_pin(), setup }
}

fn setup(url: &str, pin: &str, secret: &Value) -> Setup {
    let mut setup = Setup::governed(url, &[]).pinned("key-pinned", pin);
    setup.catalog[0]["server"]["secret"] = secret.clone();
    setup.operated().operated_by(&key())
}

fn bearer() -> Value {
    json!({"name": NAME, "use": "bearer"})
}

fn boot_id(gateway: &Gateway) -> BootId {
    let answer = gateway.get("/attestation?nonce=AAECAwQFBgcICQoLDA0ODw").json();
    let digits = answer["boot"]["boot_id"].as_str().expect("a boot id").to_owned();
    BootId(std::array::from_fn(|place| u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).expect("hex")))
}

fn order(boot_id: BootId, value: &[u8], server: &str, pin: &str) -> Value {
    let (name, server, pin) = (NAME.to_owned(), server.to_owned(), pin.to_owned());
    let signed = ProvisionOrder { boot_id, name, value_sha256: Digest::of(value), server, pin };
    let signature = key().sign_provision(&signed);
    json!({"value": b64u::encode(value), "server": signed.server, "pin": signed.pin, "signature": signature})
}

fn put(gateway: &Gateway, caller: &str, order: &Value) -> Message {
    gateway.caller(caller).request("PUT", &format!("/secrets/{NAME}"), &[], order.to_string().as_bytes())
}

fn provision(gateway: &Gateway, case: &Case, value: &[u8]) {
    let order = order(boot_id(gateway), value, &case.front.url(), &case.pin);
    let answer = put(gateway, "operator", &order);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"name": NAME, "server": case.front.url()}));
}

fn missing(gateway: &Gateway, session: &str) {
    let answer = gateway.call(session, CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "SECRET_NOT_PROVISIONED"), "{}", answer.text());
    let call = booked(gateway, session, 1).remove(0);
    assert_eq!((call.decision.as_str(), call.code.as_str()), ("fault", "SECRET_NOT_PROVISIONED"));
    assert_eq!(call.entry["detail"]["forwarded"], false);
}

/// What of a secret must be nowhere: itself, and whatever it could be guessed from.
fn traces(secret: &str) -> Vec<String> {
    let digest = Digest::of(secret);
    vec![secret.to_owned(), b64u::encode(secret.as_bytes()), digest.hex(), b64u::encode(digest.bytes())]
}

fn assert_holds_none(folder: &Path, secret: &str) {
    for found in std::fs::read_dir(folder).expect("a folder").flatten() {
        if found.file_type().expect("a type").is_dir() {
            assert_holds_none(&found.path(), secret);
            continue;
        }
        let Ok(bytes) = std::fs::read(found.path()) else { continue };
        for trace in traces(secret) {
            let held = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
            assert!(!held, "{} has {trace}", found.path().display());
        }
    }
}

#[test]
fn a_secret_is_shown_to_its_server_and_is_nowhere_else() {
    let case = case(&bearer());
    let gateway = Gateway::start_tls(&case.setup);
    missing(&gateway, "before");
    assert_eq!(case.front.connections(), 0, "nothing is sent before");

    provision(&gateway, &case, SECRET.as_bytes());
    // The agent's own words of the kind do not reach the tool server, let alone in place of the secret.
    let body = rpc(1, "tools/call", &call_params(CONTACTS, "after"));
    let own = [("authorization", "Bearer agent"), ("x-api-key", "agent"), ("content-type", "application/json")];
    let answer = gateway.connect().request("POST", "/mcp", &own[1..], &body).expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let call = case.tool.calls().pop().expect("a call");
    let shown: Vec<_> =
        call.headers.iter().filter(|(name, _)| name == "authorization" || name == "x-api-key").collect();
    assert_eq!(shown, [&("authorization".to_owned(), format!("Bearer {SECRET}"))]);

    let claim = gateway.get("/session/after/claim").text();
    let bundle = gateway.get("/audit/export?session_id=after").text();
    let others = [answer.text(), claim, bundle, gateway.log(), gateway.get("/tools/list").text()];
    for trace in traces(SECRET) {
        assert!(others.iter().all(|text| !text.contains(&trace)), "{trace}");
    }
    let (_, folder) = gateway.stop();
    assert_holds_none(folder.path(), SECRET);
    let store = folder.path().join("audit-store");
    assert_verifies(&store);
    let verified = cmcp_verify(&["store", "verify", &store.to_string_lossy()]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(text.contains(&format!("secret {NAME} provisioned for {}", case.front.url())), "{text}");
}

#[test]
fn a_header_of_the_catalog_s_choice_cannot_be_doubled() {
    let case = case(&json!({"name": NAME, "use": "header", "header": "X-Api-Key"}));
    let gateway = Gateway::start_tls(&case.setup);
    provision(&gateway, &case, SECRET.as_bytes());
    let body = rpc(1, "tools/call", &call_params(CONTACTS, "header"));
    let own = [("x-api-key", "agent"), ("X-API-Key", "agent"), ("content-type", "application/json")];
    assert_eq!(gateway.connect().request("POST", "/mcp", &own, &body).expect("an answer").status(), 200);
    let call = case.tool.calls().pop().expect("a call");
    let shown: Vec<&str> =
        call.headers.iter().filter(|(name, _)| name == "x-api-key").map(|(_, value)| value.as_str()).collect();
    assert_eq!(shown, [SECRET]);

    provision(&gateway, &case, b"another");
    assert_eq!(gateway.call("replaced", CONTACTS).status(), 200);
    assert_eq!(
        case.tool.calls().pop().and_then(|call| call.header("x-api-key").map(str::to_owned)),
        Some("another".to_owned())
    );
}

#[test]
fn only_the_operator_s_signature_for_this_server_and_boot_counts() {
    let case = case(&bearer());
    let gateway = Gateway::start_tls(&case.setup);
    let (boot, url) = (boot_id(&gateway), case.front.url());
    let good = order(boot, SECRET.as_bytes(), &url, &case.pin);
    let with = |member: &str, value: &str| {
        let mut order = good.clone();
        order[member] = json!(value);
        order
    };
    let elsewhere = TlsFront::start(case.tool.address, &Identity::own(&["127.0.0.1"]));
    for (why, order) in [
        ("signature", with("value", &b64u::encode(b"another"))),
        ("signature", with("server", &elsewhere.url())),
        ("signature", with("pin", "")),
        ("signature", order(BootId([0; 16]), SECRET.as_bytes(), &url, &case.pin)),
        ("no server with", order(boot, SECRET.as_bytes(), &elsewhere.url(), &case.pin)),
        ("no server with", order(boot, SECRET.as_bytes(), &url, "")),
        ("bearer token", order(boot, b"two words", &url, &case.pin)),
        ("expected", json!({})),
    ] {
        let answer = put(&gateway, "operator", &order);
        assert_eq!((answer.status(), answer.error_code().as_str()), (403, "SECRET_REFUSED"), "{}", answer.text());
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
        assert!(!answer.text().contains(SECRET) && !answer.text().contains(&b64u::encode(SECRET.as_bytes())));
    }
    assert_eq!(put(&gateway, "somebody", &good).error_code(), "OPERATOR_REQUIRED");
    let agent = gateway.connect().request("PUT", "/secrets/crm", &[], good.to_string().as_bytes()).expect("an answer");
    assert_eq!((agent.status(), agent.error_code().as_str()), (403, "OPERATOR_REQUIRED"));
    assert_eq!(gateway.caller("operator").get("/secrets/crm").status(), 405, "nobody reads secrets");
    missing(&gateway, "refused");

    assert_eq!(put(&gateway, "operator", &good).status(), 200);
    assert_eq!(gateway.call("taken", CONTACTS).status(), 200);
    // Whatever answers in the server's place is not shown the secret.
    case.front.show(&Identity::own(&["127.0.0.1"]));
    case.front.hang_up();
    let seen = case.tool.calls().len();
    let fault = || Some(gateway.call("impostor", CONTACTS)).filter(|answer| answer.error_code() == "UPSTREAM_TLS");
    wait_for("a refused handshake", std::time::Duration::from_secs(10), fault);
    assert_eq!(case.tool.calls().len(), seen);
}

#[test]
fn a_restart_forgets_and_an_old_order_is_worth_nothing() {
    let case = case(&bearer());
    let gateway = Gateway::start_tls(&case.setup);
    let old = order(boot_id(&gateway), SECRET.as_bytes(), &case.front.url(), &case.pin);
    assert_eq!(put(&gateway, "operator", &old).status(), 200);
    assert_eq!(gateway.call("first-boot", CONTACTS).status(), 200);
    gateway.kill_enclave();
    let before = case.tool.calls().len();
    gateway.wait_ready();
    wait_for("the next boot", std::time::Duration::from_secs(20), || {
        (gateway.call("probe", CONTACTS).error_code() == "SECRET_NOT_PROVISIONED").then_some(())
    });
    missing(&gateway, "second-boot");
    assert_eq!(put(&gateway, "operator", &old).error_code(), "SECRET_REFUSED");
    assert_eq!(case.tool.calls().len(), before);
    provision(&gateway, &case, SECRET.as_bytes());
    assert_eq!(gateway.call("again", CONTACTS).status(), 200);
}

#[test]
fn a_client_certificate_is_shown_in_the_handshake() {
    let (tool, identity, clients) = (Upstream::plain(), Identity::own(&["127.0.0.1"]), Ca::default());
    let front = TlsFront::start_asking(tool.address, &identity, &clients);
    let setup = setup(&front.url(), &identity.key_pin(), &json!({"name": NAME, "use": "client-certificate"}));
    let case = Case { pin: identity.key_pin(), tool, front, setup };
    let gateway = Gateway::start_tls(&case.setup);
    missing(&gateway, "before");
    provision(&gateway, &case, Identity::issued(&Ca::default(), &["gateway.example"], 2099).pem_with_key().as_bytes());
    let refused = gateway.call("stranger", CONTACTS);
    assert_eq!(refused.status(), 502, "{}", refused.text());
    assert_eq!(case.tool.calls().len(), 0);

    let known = Identity::issued(&clients, &["gateway.example"], 2099).pem_with_key();
    provision(&gateway, &case, known.as_bytes());
    let answer = gateway.call("known", CONTACTS);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(case.tool.calls().len(), 1);
    let (_, folder) = gateway.stop();
    let key = known.split("-----BEGIN PRIVATE KEY-----\n").nth(1).expect("a key").lines().next().expect("a line");
    assert_holds_none(folder.path(), key);
}

#[test]
fn a_secret_needs_somebody_who_can_bring_it() {
    let mut setup =
        Setup::governed("https://crm.example/mcp", &[]).pinned("key-pinned", &Identity::own(&["a"]).key_pin());
    setup.catalog[0]["server"]["secret"] = bearer();
    for (setup, field) in [
        (setup.clone().operated(), "operator.public_key"),
        (setup.clone().operated_by(&key()), "operator.token_sha256"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        setup.write(folder.path());
        let output = std::process::Command::new(tests::bin::path("host"))
            .args(["check", "--config", "cmcp-config.yaml"])
            .current_dir(folder.path())
            .output()
            .expect("the host runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(field), "{text}");
    }
}
