//! Tool servers over TLS: pinned by key or certificate, or vouched for by a CA; what is another server is named and gets nothing.

use std::process::Command;

use rcgen::KeyPair;
use serde_json::json;
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::tls::Ca;
use tests::upstream::{Reply, Upstream};
use tests::upstream_tls::{Ending, Identity, TlsFront};
use tests::wait_for;

use crate::{Booked, booked, books};

const NAME: &[&str] = &["127.0.0.1"];

/// One answer to a call, after which the connection is closed: the next call needs a handshake.
fn once() -> Reply {
    Reply::Events(vec!["data: {\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]}}\n\n".to_owned()])
}

fn tool() -> Upstream {
    Upstream::scripted(|_| once())
}

/// The only call of a session, which faulted before anything was sent.
fn refused(gateway: &Gateway, session: &str) -> Booked {
    let answer = gateway.call(session, CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_TLS"), "{}", answer.text());
    assert!(!answer.text().contains("SHA256:"), "what was found is the audit entry's: {}", answer.text());
    let calls = booked(gateway, session, 1);
    let call = calls[0].clone();
    assert_eq!((call.decision.as_str(), call.code.as_str()), ("fault", "UPSTREAM_TLS"));
    assert_eq!(call.entry["detail"]["forwarded"], false);
    crate::resets::verifies_for(gateway, session);
    call
}

fn reason(call: &Booked) -> &str {
    call.entry["detail"]["reason"].as_str().expect("a reason")
}

#[test]
fn a_pinned_key_outlives_its_certificate() {
    let (tool, key) = (tool(), KeyPair::generate().expect("a key"));
    let first = Identity::renewed(&key, NAME, 2030);
    let front = TlsFront::start(tool.address, &first);
    let setup = Setup::governed(&front.url(), &[]).pinned("key-pinned", &first.key_pin());
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call("renewal", CONTACTS).status(), 200);
    front.show(&Identity::renewed(&key, &["renamed.example"], 2031));
    assert_eq!(gateway.call("renewal", CONTACTS).status(), 200, "a renewed certificate with the same key");
    let calls = books(&gateway, "renewal");
    assert!(calls.iter().all(|call| call.entry["evidence_class"] == "tls-pinned"), "{calls:#?}");
    crate::resets::verifies_for(&gateway, "renewal");

    let (calls, handshakes) = (tool.calls().len(), front.connections());
    let other = Identity::own(NAME);
    front.show(&other);
    let call = refused(&gateway, "another-key");
    let expected = format!("tool server's key is {}, and the catalog pins {}", other.key_pin(), first.key_pin());
    assert!(reason(&call).ends_with(&expected), "{}", reason(&call));
    front.show(&first.clone().without_its_key());
    assert!(reason(&refused(&gateway, "stolen-certificate")).contains("signature"));
    assert_eq!((tool.calls().len(), front.connections()), (calls, handshakes), "nothing got through");

    front.show(&first);
    assert_eq!(gateway.call("afterwards", CONTACTS).status(), 200);
}

#[test]
fn a_pinned_certificate_does_not() {
    let (tool, key) = (tool(), KeyPair::generate().expect("a key"));
    let first = Identity::renewed(&key, NAME, 2030);
    let front = TlsFront::start(tool.address, &first);
    let gateway = Gateway::start(&Setup::quickstart(&front.url()).pinned("cert-pinned", &first.certificate_pin()));
    assert_eq!(gateway.call("first", CONTACTS).status(), 200);
    assert_eq!(books(&gateway, "first")[0].entry["evidence_class"], "tls-pinned");
    let renewed = Identity::renewed(&key, NAME, 2031);
    front.show(&renewed);
    let call = refused(&gateway, "renewed");
    let expected = format!(
        "tool server's certificate is {}, and the catalog pins {}",
        renewed.certificate_pin(),
        first.certificate_pin()
    );
    assert!(reason(&call).ends_with(&expected), "{}", reason(&call));
    assert_eq!(tool.calls().len(), 1);
}

/// `docs/operate.md` says how a pin is computed.
#[test]
fn the_documented_command_computes_the_pin() {
    let identity = Identity::own(NAME);
    let front = TlsFront::start(tool().address, &identity);
    let docs = std::fs::read_to_string(tests::bin::root().join("docs/operate.md")).expect("the docs");
    let commands: Vec<&str> = docs.lines().map(str::trim).filter(|line| line.starts_with("openssl s_client")).collect();
    assert_eq!(commands.len(), 2, "one for keys, one for certificates");
    for (command, expected) in commands.into_iter().zip([identity.key_pin(), identity.certificate_pin()]) {
        let command = command.replace("HOST:PORT", &front.address.to_string());
        let output = Command::new("sh").args(["-c", &command]).output().expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(format!("SHA256:{}", printed.trim()), expected, "{command}");
    }
}

#[test]
fn without_a_pin_a_ca_of_the_configuration_vouches() {
    let (tool, ca) = (tool(), Ca::default());
    let front = TlsFront::start(tool.address, &Identity::issued(&ca, NAME, 2099));
    // The quickstart's fingerprint is the placeholder.
    let setup = Setup::quickstart(&front.url()).with("/upstream/ca_roots", json!(Ca::default().pem() + &ca.pem()));
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call("vouched-for", CONTACTS).status(), 200);
    assert_eq!(books(&gateway, "vouched-for")[0].entry["evidence_class"], "hash-only");
    crate::resets::verifies_for(&gateway, "vouched-for");
    for (session, identity, expected) in [
        (
            "wrong-name",
            Identity::issued(&ca, &["tools.example"], 2099),
            "tool server's certificate is not for 127.0.0.1",
        ),
        (
            "expired",
            Identity::issued(&ca, NAME, 2021),
            "tool server's certificate was valid until 2021-12-31T00:00:00Z",
        ),
        ("another-ca", Identity::issued(&Ca::default(), NAME, 2099), "tool server's certificate is not vouched for"),
        ("self-signed", Identity::own(NAME), "tool server's certificate is not vouched for"),
    ] {
        front.show(&identity);
        let call = refused(&gateway, session);
        assert!(reason(&call).contains(expected), "{session}: {}", reason(&call));
    }
    assert_eq!(tool.calls().len(), 1);
}

#[test]
fn https_to_what_nobody_vouches_for_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    Setup::quickstart("https://tools.example/mcp").write(folder.path());
    let output = Command::new(tests::bin::path("host"))
        .args(["check", "--config", "cmcp-config.yaml"])
        .current_dir(folder.path())
        .output()
        .expect("the host runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    for part in ["upstream.ca_roots", "Salesforce", "tls_fingerprint"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn connections_are_kept_and_events_arrive_over_tls() {
    let server = McpServer::start(Speaks::Modern, |turn| {
        if turn.is_call() && turn.http.text().contains("streamed") {
            turn.event(
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
            );
            turn.text("streamed");
        }
    });
    let identity = Identity::own(NAME);
    let front = TlsFront::start(server.address, &identity);
    let gateway = Gateway::start(&Setup::quickstart(&front.url()).pinned("key-pinned", &identity.key_pin()));
    for _ in 0..5 {
        assert_eq!(gateway.call("kept", CONTACTS).status(), 200);
    }
    assert_eq!(front.connections(), 1, "one handshake for all");
    let mut params = tests::setup::call_params(CONTACTS, "kept");
    params["arguments"]["query"] = json!("streamed");
    let answer = gateway.post("/mcp", &tests::setup::rpc(1, "tools/call", &params));
    assert!(answer.text().contains("streamed"), "{}", answer.text());

    front.hang_up();
    wait_for("a call over a new connection", std::time::Duration::from_secs(10), || {
        (gateway.call("kept", CONTACTS).status() == 200).then_some(())
    });
}

/// A body that ends with its connection ends with close_notify, or was cut off.
#[test]
fn a_cut_body_is_no_answer() {
    let tool = Upstream::scripted(|request| {
        let result = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, request["id"]);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{result}");
        Reply::RawThenClose(answer.into_bytes())
    });
    let identity = Identity::own(NAME);
    let front = TlsFront::start(tool.address, &identity);
    let gateway = Gateway::start(&Setup::quickstart(&front.url()).pinned("key-pinned", &identity.key_pin()));
    assert_eq!(gateway.call("said", CONTACTS).status(), 200);
    front.end(Ending::Cut);
    front.hang_up();
    let fresh = Gateway::start(&Setup::quickstart(&front.url()).pinned("key-pinned", &identity.key_pin()));
    let answer = fresh.call("cut", CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_INVALID"), "{}", answer.text());
    let call = &booked(&fresh, "cut", 1)[0];
    assert!(reason(call).contains("close_notify"), "{}", reason(call));
    assert_eq!(call.entry["detail"]["forwarded"], true, "it may have run");
}

#[test]
fn a_server_that_speaks_no_tls_gets_nothing_of_the_call() {
    let tool = tool();
    let gateway = Gateway::start(
        &Setup::quickstart(&format!("https://{}/mcp", tool.address))
            .pinned("key-pinned", &Identity::own(NAME).key_pin()),
    );
    let call = refused(&gateway, "plain");
    assert!(reason(&call).contains("TLS"), "{}", reason(&call));
    assert_eq!(tool.calls().len(), 0);
}

/// The catalog says where a server is, whatever the server says.
#[test]
fn redirects_and_other_endpoints_are_not_followed() {
    let elsewhere = Upstream::plain();
    let target = elsewhere.url();
    for status in [301, 302, 307, 308] {
        let target = target.clone();
        let server = McpServer::start(Speaks::Modern, move |turn| {
            if turn.is_call() {
                let head = format!("HTTP/1.1 {status} X\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
                turn.raw(head.as_bytes());
            }
        });
        let gateway = Gateway::start(&Setup::quickstart(&server.url()));
        let answer = gateway.call("redirected", CONTACTS);
        assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_INVALID"), "{}", answer.text());
        let call = &booked(&gateway, "redirected", 1)[0];
        assert!(reason(call).contains(&format!("HTTP {status}: redirects are not followed")), "{}", reason(call));
        assert_eq!(server.of("tools/call").len(), 1);
    }
    // The transport of 2024-11-05 names another path, or another server, in its first event.
    let server = McpServer::start(Speaks::Modern, move |turn| {
        if turn.is_call() {
            turn.open();
            turn.more(format!("event: endpoint\ndata: {target}\n\n").as_bytes());
        }
    });
    let gateway = Gateway::start(&Setup::quickstart(&server.url()));
    let answer = gateway.call("endpoint", CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_INVALID"), "{}", answer.text());
    assert_eq!(elsewhere.calls().len(), 0);
}
