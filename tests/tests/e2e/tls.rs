//! TLS towards agents: `--tls`, the enclave's own certificate, and one that a CA issues for a public name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use claim::Digest;
use claim::binding::{BootBinding, binding, boot_x, challenge_x, nonce_text};
use claim::evidence::CMW_EXTENSION;
use claim::key::PublicKey;
use serde_json::{Value, json};
use tests::gateway::Gateway;
use tests::http::Message;
use tests::setup::{CONTACTS, Setup};
use tests::tls::{self, Ca, Trust};
use tests::upstream::Upstream;
use webpki::EndEntityCert;

use crate::quickstart::verify;

const NAME: &str = "gateway.bank.example";
const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn start(setup: &Setup) -> (Upstream, Gateway) {
    let upstream = Upstream::plain();
    let mut setup = setup.clone();
    setup.catalog[0]["server"]["url"] = json!(upstream.url());
    let gateway = Gateway::start_tls(&setup);
    (upstream, gateway)
}

fn spki(leaf: &[u8]) -> Digest {
    let leaf = leaf.into();
    Digest::of(EndEntityCert::try_from(&leaf).expect("a certificate").subject_public_key_info())
}

fn leaf(gateway: &Gateway, name: Option<&str>) -> Vec<u8> {
    tls::connect(gateway.address, name, &Trust::Anybody).expect("a handshake").leaf
}

fn keys(gateway: &Gateway) -> Vec<String> {
    let answer = gateway.get(&format!("/attestation?nonce={NONCE}")).json();
    let keys = answer["boot"]["tls_spki"].as_array().expect("keys").clone();
    keys.iter().map(|key| key.as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn the_quickstart_over_tls() {
    let (_upstream, gateway) = start(&Setup::quickstart(""));
    let answer = gateway.call("s", CONTACTS);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let (_, verdict) = verify(&gateway, "s");
    assert_eq!(verdict["status"], "partially_verified", "{verdict}");
    let log = gateway.log();
    assert!(log.contains("--pinnedpubkey sha256//") && log.contains("https://"), "{log}");
}

#[test]
fn the_own_certificate_names_the_boot_and_carries_its_evidence() {
    let (_upstream, gateway) = start(&Setup::quickstart(""));
    let answer = gateway.get(&format!("/attestation?nonce={NONCE}")).json();
    let leaf = leaf(&gateway, None);
    assert_eq!(keys(&gateway), [spki(&leaf).prefixed()]);

    let key = PublicKey::from_x(answer["public_key"].as_str().unwrap()).unwrap();
    let boot: BootBinding = serde_json::from_value(answer["boot"].clone()).unwrap();
    let x = boot_x(&boot).unwrap();
    assert_eq!(answer["boot_x"], x.hex());
    let challenge = challenge_x(&x, &[0; 32]);
    for (evidence, x) in [("boot_evidence", x), ("challenge_evidence", challenge)] {
        let bound = binding(&key.thumbprint(), &x);
        assert_eq!(answer[evidence]["binding"], nonce_text(&bound), "{evidence}");
        let signature = answer[evidence]["signature"].as_str().unwrap();
        key.verify_software_evidence(&bound, signature).unwrap();
    }

    // The extension, found by its identifier; how verifiers read it is tested where they do.
    let identifier: Vec<u8> = [&[0x06, 0x08, 0x2b][..], &[6, 1, 5, 5, 7, 1, 35][..]].concat();
    assert_eq!(CMW_EXTENSION[..3], [1, 3, 6]);
    assert!(leaf.windows(identifier.len()).any(|bytes| bytes == identifier));
    let names = String::from_utf8_lossy(&leaf).into_owned();
    assert!(names.contains(&key.subject()) && names.contains(&key.kid()));
    assert!(names.contains("application/vnd.cmcp.boot-evidence+json"));
}

#[test]
fn the_key_exchange_is_hybrid_and_nothing_is_resumed() {
    let (_upstream, gateway) = start(&Setup::quickstart(""));
    let config = tls::config(&Trust::Anybody);
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        let name = std::net::IpAddr::from([127, 0, 0, 1]).into();
        let mut session = rustls::ClientConnection::new(config.clone(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        let group = session.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(session.alpn_protocol(), None, "not offered, so not chosen");
        // A ticket would come now.
        session.writer().write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        session.complete_io(&mut stream).unwrap();
        session.complete_io(&mut stream).unwrap();
        assert_eq!(session.tls13_tickets_received(), 0);
    }
}

#[test]
fn each_boot_has_another_key() {
    let (_upstream, gateway) = start(&Setup::quickstart(""));
    let first = keys(&gateway);
    gateway.kill_enclave();
    gateway.wait_ready();
    let second = keys(&gateway);
    assert_ne!(first, second);
    assert_eq!(second, [spki(&leaf(&gateway, None)).prefixed()]);
}

#[test]
fn plain_http_gets_no_answer() {
    let (_upstream, gateway) = start(&Setup::quickstart(""));
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(gateway.get("/health").status(), 200);
}

fn put(gateway: &Gateway, chain: &str) -> Message {
    gateway.caller("operator").request("PUT", "/tls/chain", &[], chain.as_bytes())
}

fn code(answer: &Message) -> (u16, String) {
    (answer.status(), answer.error_code())
}

#[test]
fn a_ca_certifies_the_public_name() {
    let setup = Setup::quickstart("").agents(&["alice"]).with("/tls/public_name", json!(NAME));
    let (_upstream, gateway) = start(&setup);
    let operator = gateway.caller("operator");
    let request = operator.get("/tls/csr");
    assert_eq!(request.status(), 200, "{}", request.text());
    let ca = Ca::default();

    // Nothing is served for the name before the chain is there.
    let own = leaf(&gateway, None);
    assert_eq!(leaf(&gateway, Some(NAME)), own);
    let trust = Trust::Ca(ca.root.clone());
    assert!(tls::connect(gateway.address, Some(NAME), &trust).is_err());

    let served = put(&gateway, &ca.sign(&request.text(), &[NAME], |_| {}));
    assert_eq!((served.status(), served.json()), (200, json!({"served": true})));
    let mut stock = tls::connect(gateway.address, Some(NAME), &trust).expect("a CA that it trusts");
    let token = tests::setup::token("alice");
    let authorization = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
    let call = tests::setup::rpc(1, "tools/call", &tests::setup::call_params(CONTACTS, "s"));
    assert_eq!(stock.connection.request("POST", "/mcp", &headers, &call).unwrap().status(), 200);

    // Both keys are in the boot binding; any other name gets the enclave's own certificate.
    assert_eq!(keys(&gateway), [spki(&own).prefixed(), spki(&stock.leaf).prefixed()]);
    for name in [None, Some("other.example"), Some("sub.gateway.bank.example")] {
        assert_eq!(leaf(&gateway, name), own, "{name:?}");
    }
    assert_eq!(leaf(&gateway, Some("GATEWAY.bank.example")), stock.leaf);
}

#[test]
fn a_chain_for_anything_else_is_refused() {
    let setup = Setup::quickstart("").agents(&["alice"]).with("/tls/public_name", json!(NAME));
    let (_upstream, gateway) = start(&setup);
    let request = gateway.caller("operator").get("/tls/csr").text();
    let (ca, other) = (Ca::default(), Ca::default());
    let good = ca.sign(&request, &[NAME], |_| {});
    assert_eq!(put(&gateway, &good).status(), 200);
    let served = leaf(&gateway, Some(NAME));

    let own = tls::pem(&leaf(&gateway, None).into());
    let foreign = tls::pem(&ca.issue(&[NAME], |_| {}).1) + &tls::pem(&ca.root);
    let first = |chain: &str| chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let leaf_of_good = first(&good);
    let expired = ca.sign(&request, &[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let client = ca.sign(&request, &[NAME], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let expired_alone = first(&expired);
    for (what, chain, reason) in [
        ("nothing", String::new(), "expected 1 to 8 certificates"),
        ("no certificate", request.clone(), "expected 1 to 8 certificates"),
        ("too many", good.repeat(5), "expected 1 to 8 certificates"),
        ("the own certificate", own, "not for this boot's key"),
        ("another key", foreign, "not for this boot's key"),
        ("another name", ca.sign(&request, &["other.example"], |_| {}), "not for gateway.bank.example"),
        ("another CA", leaf_of_good + &tls::pem(&other.root), "does not verify"),
        ("expired", expired, "does not verify"),
        ("expired, without its issuer", expired_alone, "does not verify"),
        ("for clients", client, "does not verify"),
        ("much", "x".repeat(70_000), "at most 65536 bytes"),
    ] {
        let answer = put(&gateway, &chain);
        assert_eq!(code(&answer), (400, "TLS_CHAIN_REFUSED".to_owned()), "{what}");
        assert!(answer.text().contains(reason), "{what}: {}", answer.text());
        assert_eq!(leaf(&gateway, Some(NAME)), served, "{what}");
    }
    assert_eq!(put(&gateway, &first(&good)).status(), 200, "alone it is served, too");
}

#[test]
fn only_the_operator_has_a_name_certified() {
    let setup = Setup::quickstart("").agents(&["alice"]).with("/tls/public_name", json!(NAME));
    let (_upstream, gateway) = start(&setup);
    let alice = gateway.caller("alice");
    assert_eq!(code(&alice.get("/tls/csr")), (403, "OPERATOR_REQUIRED".to_owned()));
    assert_eq!(code(&alice.request("PUT", "/tls/chain", &[], b"x")), (403, "OPERATOR_REQUIRED".to_owned()));
    assert_eq!(code(&gateway.get("/tls/csr")), (401, "UNAUTHENTICATED".to_owned()));

    let (_upstream, nameless) = start(&Setup::quickstart("").agents(&["alice"]));
    let state = (409, "TLS_STATE".to_owned());
    assert_eq!(code(&nameless.caller("operator").get("/tls/csr")), state);
    assert_eq!(code(&put(&nameless, "x")), state);
    let upstream = Upstream::plain();
    let plain = Gateway::start(&Setup::quickstart(&upstream.url()).agents(&["alice"]));
    assert_eq!(code(&plain.caller("operator").get("/tls/csr")), state);
    let answer: Value = plain.get(&format!("/attestation?nonce={NONCE}")).json();
    assert_eq!(answer["boot"]["tls_spki"], json!([]));
}
