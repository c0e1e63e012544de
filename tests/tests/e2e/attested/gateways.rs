//! A real gateway over TLS: verified, called through, and brought what its host must not see.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use claim::Digest;
use claim::operator::OperatorKey;
use serde_json::{Value, json};
use tests::bin;
use tests::gateway::Gateway;
use tests::impostor::{Boot, Impostor};
use tests::setup::{CONTACTS, Setup, bearer, call_params, rpc};
use tests::tls::{self, Ca, Trust};
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};

use super::{INITIALIZE, Listening, Party, Spawned, json_of, told_nothing};

/// A gateway over TLS, its relying party, and its tool server.
struct Served {
    gateway: Gateway,
    party: Party,
    tool: Upstream,
}

impl Served {
    fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let tool = Upstream::plain();
        let gateway = Gateway::start_tls(&change(Setup::quickstart(&tool.url())));
        let party = Party::approving(&references(gateway.folder()));
        Self { gateway, party, tool }
    }

    fn url(&self) -> String {
        format!("https://{}", self.gateway.address)
    }

    fn provision(&self, words: &[&str]) -> Output {
        let url = self.url();
        let mut command = self.party.command(&["provision", &url, "--dangerous-accept-software"]);
        command.arg("--token-file").arg(self.party.file("operator-token")).args(words);
        command.output().expect("it runs")
    }
}

/// What a relying party approves that has read the configuration and built the program: nothing of it is asked of the gateway.
fn references(folder: &Path) -> Value {
    let mut check = Command::new(bin::path("host"));
    check.args(["check", "--json", "--config"]).arg(folder.join("cmcp-config.yaml"));
    let checked: Value = serde_json::from_slice(&check.output().expect("host runs").stdout).expect("JSON");
    let enclave = std::fs::read(bin::path("enclave")).expect("the program");
    json!({
        "version": 1,
        "images": [{"type": "software", "artifact": Digest::of(enclave)}],
        "config_hashes": [checked["config_hash"]],
        "bundle_hashes": [checked["policy_bundle_hash"]],
        "catalog_hashes": [checked["tool_catalog_hash"]],
    })
}

#[test]
fn the_gateway_that_was_approved_is_verified() {
    let served = Served::start(|setup| setup);
    let output = served.party.connect(&served.url(), &[]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("RESULT: partially_verified") && text.contains("hardware"), "{text}");
    let output = served.party.connect(&served.url(), &["--json"]).output().expect("it runs");
    let verdict = json_of(&output.stdout);
    let boot = served.gateway.get(&format!("/attestation?nonce={}", "A".repeat(43))).json()["boot"].clone();
    assert_eq!(verdict["verified"]["boot"], boot);

    let strict = served.party.command(&["connect", &served.url(), "--json"]).output().expect("it runs");
    assert_eq!(
        (strict.status.code(), &json_of(&strict.stdout)["failure_reason"]),
        (Some(1), &json!("SOFTWARE_EVIDENCE"))
    );
    // Another configuration than the approved one.
    let other = Served::start(|setup| setup.mode("enforcing"));
    let output = served.party.connect(&other.url(), &["--json"]).output().expect("it runs");
    assert_eq!(json_of(&output.stdout)["failure_reason"], "CONFIG_NOT_APPROVED");
}

#[test]
fn mcp_clients_call_through_the_endpoint_and_the_bridge() {
    let served = Served::start(|setup| setup.agents(&["alice"]));
    let file = served.party.file("token");
    let words = ["--listen", "127.0.0.1:0", "--json", "--token-file", file.to_str().expect("a path")];
    let listening = Listening::start(served.party.connect(&served.url(), &words));
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "through"));
    let mut connection = listening.open();
    for _ in 0..2 {
        let answer = connection.request("POST", "/mcp", &[("content-type", "application/json")], &call);
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    assert_eq!(served.tool.calls().len(), 2);
    let start = served.gateway.caller("alice").entries("through")[0].clone();
    assert_eq!(start["detail"]["identity"]["subject"], "alice");

    let mut command = served.party.connect(&served.url(), &["--stdio"]);
    command.arg("--token-file").arg(&file);
    let mut stdio = Spawned::start(command);
    assert_eq!(stdio.ask(INITIALIZE)["result"]["protocolVersion"], "2025-06-18");
    let answer = stdio.ask(
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"salesforce.contacts","arguments":{}}}"#,
    );
    assert_eq!(answer["result"]["content"][0]["text"], "ok", "{answer}");

    // The next boot has another key.
    served.gateway.kill_enclave();
    served.gateway.wait_ready();
    let message = stdio.ask(r#"{"jsonrpc":"2.0","id":8,"method":"tools/list"}"#)["error"]["message"].clone();
    assert!(message.as_str().expect("an error").contains("NEW_BOOT"), "{message}");
    assert_eq!(stdio.end().0, Some(1));
    let answer = listening.open().request("POST", "/mcp", &[], &call).expect("an answer");
    assert_eq!((answer.status(), answer.error_code()), (502, "NEW_BOOT".to_owned()));
    assert_eq!(served.tool.calls().len(), 3);
}

#[test]
fn an_operator_brings_a_tool_server_s_secret() {
    let (tool, identity) = (Upstream::plain(), Identity::own(&["127.0.0.1"]));
    let front = TlsFront::start(tool.address, &identity);
    let folder = tempfile::tempdir().expect("a folder");
    let (key, secret) = (folder.path().join("operator.key"), folder.path().join("crm.token"));
    let mut made = Command::new(bin::path("cmcp-verify"));
    made.args(["operator", "new-key", "--out"]).arg(&key);
    assert!(made.output().expect("it runs").status.success());
    let seed = std::fs::read_to_string(&key).expect("the key");
    let seed = seed.trim().strip_prefix("cmcp-operator-key-v1:").and_then(claim::b64u::decode_array).expect("a seed");
    let served = Served::start(|setup| {
        let mut setup = setup.pinned("key-pinned", &identity.key_pin());
        setup.catalog[0]["server"]["url"] = json!(front.url());
        setup.catalog[0]["server"]["secret"] = json!({"name": "crm", "use": "bearer"});
        setup.agents(&["alice"]).operated_by(&OperatorKey::from_seed(seed))
    });
    let alice = served.gateway.caller("alice");
    assert_eq!(alice.call("before", CONTACTS).error_code(), "SECRET_NOT_PROVISIONED");

    std::fs::write(&secret, "t0ken-of-the-crm\n").expect("a file");
    let brought = format!("crm=@{}", secret.display());
    let (url, pin, key) = (front.url(), identity.key_pin(), key.display().to_string());
    let order = |server: &str, pin: &str| {
        let words = ["--operator-key", &key, "--secret", &brought, "--server", server, "--pin", pin];
        let output = served.provision(&words);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (server, pin) in [("https://other.example/mcp", pin.as_str()), (url.as_str(), "none")] {
        let (code, err) = order(server, pin);
        assert!(code == Some(2) && err.contains("SECRET_REFUSED"), "{err}");
    }
    assert_eq!(order(&url, &pin), (Some(0), String::new()));
    assert_eq!(alice.call("after", CONTACTS).status(), 200);
    assert_eq!(tool.calls()[0].header("authorization"), Some("Bearer t0ken-of-the-crm"));
}

/// An agent's certificate is shown to a gateway that was verified, and to nobody before.
#[test]
fn agents_with_certificates_call_through_the_endpoint_and_the_bridge() {
    const ID: &str = "spiffe://bank.example/agent";
    let ca = Ca::default();
    let mtls = json!({"client_ca": tls::pem(&ca.root), "trust_domain": "bank.example"});
    let served = Served::start(|setup| setup.with("/auth", json!({"mode": "mtls", "mtls": mtls})).operated());
    let shows = ca.workload(&[ID], SystemTime::now() + Duration::from_hours(1));
    let file = served.party.file("agent.pem");
    let key = tls::base64(&shows.key.serialize_der());
    let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&file, tls::pem(&shows.certificate) + &key).expect("a file");
    let certificate = ["--client-certificate", file.to_str().expect("a path")];

    let listen = [&certificate[..], &["--listen", "127.0.0.1:0", "--json"]].concat();
    let listening = Listening::start(served.party.connect(&served.url(), &listen));
    let headers = [("content-type", "application/json")];
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "through"));
    assert_eq!(listening.open().request("POST", "/mcp", &headers, &call).expect("an answer").status(), 200);
    let entries = served.gateway.caller("operator").entries("through");
    assert_eq!(entries[0]["detail"]["identity"]["subject"], ID);

    let mut stdio = Spawned::start(served.party.connect(&served.url(), &[&certificate[..], &["--stdio"]].concat()));
    assert_eq!(stdio.ask(INITIALIZE)["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(stdio.end().0, Some(0));

    for (artifact, code, shown) in [("another enclave", 1, 0), ("enclave", 0, 1)] {
        let mut references = Boot::new(1).references();
        references["images"][0]["artifact"] = json!(Digest::of(artifact));
        let party = Party::approving(&references);
        let impostor = Impostor::start(Boot::new(1).face());
        let mut stdio = Spawned::start(party.connect(&impostor.url(), &[&certificate[..], &["--stdio"]].concat()));
        if code == 0 {
            stdio.ask(INITIALIZE);
        }
        assert_eq!((stdio.end().0, impostor.shown()), (Some(code), shown), "{artifact}");
        if code == 0 {
            let listening = Listening::start(party.connect(&impostor.url(), &listen));
            impostor.becomes(Boot::new(2).face());
            let answer = listening.open().request("GET", "/", &[], b"").expect("an answer");
            assert_eq!(
                (answer.error_code(), impostor.shown()),
                ("NEW_BOOT".to_owned(), 0),
                "who came later is not shown it"
            );
        }
    }

    std::fs::write(&file, key).expect("a file");
    let output = served.party.connect(&served.url(), &certificate).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && err.contains("agent.pem") && !err.contains("PRIVATE"), "{err}");
}

#[test]
fn an_operator_brings_a_certificate_for_the_public_name() {
    const NAME: &str = "gateway.bank.example";
    let served = Served::start(|setup| setup.agents(&["alice"]).with("/tls/public_name", json!(NAME)));
    let (csr, chain) = (served.party.file("gateway.csr"), served.party.file("chain.pem"));
    let output = served.provision(&["--csr", csr.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let ca = Ca::default();
    let request = std::fs::read_to_string(&csr).expect("the request");
    std::fs::write(&chain, ca.sign(&request, &[NAME], |_| {})).expect("a file");
    let output = served.provision(&["--chain", chain.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    // A client that knows the name and the CA, and nothing of evidence.
    let mut stock =
        tls::connect(served.gateway.address, Some(NAME), &Trust::Ca(ca.root.clone())).expect("a CA that it trusts");
    let authorization = bearer("alice");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let call = rpc(1, "tools/call", &call_params(CONTACTS, "s"));
    assert_eq!(stock.connection.request("POST", "/mcp", &headers, &call).expect("an answer").status(), 200);

    // What is wrong is the gateway's to say.
    std::fs::write(&chain, ca.sign(&request, &["other.example"], |_| {})).expect("a file");
    let output = served.provision(&["--chain", chain.to_str().expect("a path")]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && err.contains("TLS_CHAIN_REFUSED"), "{err}");
}

#[test]
fn a_gateway_that_is_refused_gets_neither_token_nor_secret() {
    let party = Party::approving(&Boot::new(1).references());
    std::fs::write(party.file("secret"), "hunter2").expect("a file");
    let key = party.file("operator.key");
    let made = Command::new(bin::path("cmcp-verify")).args(["operator", "new-key", "--out"]).arg(&key).status();
    assert!(made.expect("it runs").success());
    let secret = format!("crm=@{}", party.file("secret").display());
    let (csr, key) = (party.file("csr").display().to_string(), key.display().to_string());
    let words: [&[&str]; 2] = [
        &["--csr", &csr],
        &["--secret", &secret, "--server", "https://crm.example/mcp", "--pin", "none", "--operator-key", &key],
    ];
    for words in words {
        let impostor = Impostor::start(Boot::new(1).face());
        let mut command = party.command(&["provision", &impostor.url()]);
        let output =
            command.arg("--token-file").arg(party.file("operator-token")).args(words).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("SOFTWARE_EVIDENCE"), "{text}");
        told_nothing(&impostor, "provision");
    }
    let wrong: [&[&str]; 4] =
        [&["--secret", &secret], &["--secret", "crm=value"], &["--csr", &csr, "--chain", &csr], &[]];
    for wrong in wrong {
        let mut command = party.command(&["provision", "https://127.0.0.1:1"]);
        let output =
            command.arg("--token-file").arg(party.file("operator-token")).args(wrong).output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}
