//! The host between the enclave and the tools: it may refuse, stall, garble or send elsewhere; it cannot forge an outcome unseen.

use tests::hostile::{Dialling, HostileHost};
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup, listed_tools};
use tests::upstream::{Reply, Upstream};
use wire::{ControlEvent, LogEvent, OpenRefusal};

use crate::{call, get, outcome, summary};

fn start(tool: &Upstream) -> HostileHost {
    HostileHost::start(&Setup::quickstart(&tool.url()).limit("upstream_timeout_ms", 1500))
}

#[test]
fn dial_lies_are_named_faults() {
    let tool = Upstream::plain();
    let cases = [
        ("refused", Dialling::Refuse(OpenRefusal::Unreachable), 502, "UPSTREAM_UNAVAILABLE"),
        ("not-allowed", Dialling::Refuse(OpenRefusal::NotAllowed), 502, "UPSTREAM_UNAVAILABLE"),
        ("silent", Dialling::Silent, 504, "UPSTREAM_TIMEOUT"),
        ("no-frame", Dialling::Answer(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), 502, "UPSTREAM_UNAVAILABLE"),
        ("closed", Dialling::Answer(Vec::new()), 502, "UPSTREAM_UNAVAILABLE"),
        ("bytes", Dialling::Bytes(b"\0\0\0\0 nothing like HTTP".to_vec()), 502, "UPSTREAM_INVALID"),
        ("hung-up", Dialling::Bytes(Vec::new()), 502, "UPSTREAM_INVALID"),
    ];
    for (name, dialling, status, code) in cases {
        let host = start(&tool);
        host.set_dialling(dialling);
        assert_eq!(outcome(&call(&host, name)), (status, code.to_owned()), "{name}");
        assert_eq!(summary(&host, name)["tool_calls_faulted"], 1, "{name}");
        host.set_dialling(Dialling::Honest);
        assert_eq!(call(&host, name).status(), 200, "the next call after {name}");
    }
}

#[test]
fn only_names_of_the_catalog_are_dialled() {
    let tool = Upstream::plain();
    let host = start(&tool);
    call(&host, "dialled");
    let expected = (tool.address.ip().to_string(), tool.address.port());
    assert!(host.dialled().iter().all(|asked| *asked == expected), "{:?}", host.dialled());
}

/// Plain HTTP to a tool server authenticates nobody: the host can put another server behind the name. What remains is that the
/// answer must fit the call, that the entry names the server that was asked for, and that such a claim says `software-only`.
#[test]
fn another_server_behind_the_name_must_still_answer_this_call() {
    let (tool, impostor) = (Upstream::plain(), Upstream::plain());
    let host = start(&tool);
    host.set_dialling(Dialling::Elsewhere(impostor.address.port()));
    impostor.set(|_| Reply::Body(r#"{"jsonrpc":"2.0","id":"someone else's","result":{}}"#.to_owned()));
    assert_eq!(outcome(&call(&host, "elsewhere")), (502, "UPSTREAM_INVALID".to_owned()));

    impostor.set(|_| Reply::Result(r#"{"content":[],"_cmcp":{"would_have_denied":false}}"#.to_owned()));
    assert_eq!(outcome(&call(&host, "elsewhere")), (502, "UPSTREAM_FORGED_RECEIPT".to_owned()));

    impostor.set(|_| Reply::Result(r#"{"content":[]}"#.to_owned()));
    assert_eq!(call(&host, "elsewhere").status(), 200);
    assert_eq!(tool.calls().len(), 0);
    let entries = get(&host, "/audit/export?session_id=elsewhere").json()["entries"].clone();
    let identity =
        entries.as_array().and_then(|entries| entries.last()).expect("an entry")["server_identity"].to_string();
    assert!(!identity.contains(&impostor.address.port().to_string()), "{identity}");
    assert_eq!(get(&host, "/session/elsewhere/claim").json()["trace"]["runtime"]["platform"], "software-only");
    assert_eq!(entries[1]["tool_name"], CONTACTS);
}

/// Without TLS the host can answer `tools/list` in the server's place: then calls stop, on record, and what it learns of that is numbers.
#[test]
fn a_forged_list_of_tools_stops_calls_and_no_more() {
    let tool = Upstream::plain();
    let forger = McpServer::start(Speaks::Legacy, |turn| {
        if turn.method() == "tools/list" {
            turn.result(&listed_tools().replace("Salesforce", "Forged"));
        }
    });
    let setup = Setup::quickstart(&tool.url()).mode("enforcing");
    let host = HostileHost::start(&setup);
    host.set_dialling(Dialling::Elsewhere(forger.address.port()));
    assert_eq!(outcome(&call(&host, "forged")), (403, "CATALOG_DRIFT".to_owned()));
    let pick = |event: &ControlEvent| match event {
        ControlEvent::Log(LogEvent::Unapproved { session, tool, code }) => Some((*session, *tool, *code)),
        _ => None,
    };
    assert_eq!(host.event("log event", pick), (1, 0, 34));
    assert_eq!((tool.calls().len(), forger.of("tools/call").len()), (0, 0));
    assert_eq!(summary(&host, "forged")["tool_calls_denied"], 1);
    let claim = get(&host, "/session/forged/claim").json();
    assert_eq!(claim["gateway"]["catalog"]["drift_detected"], true);
    let entries = get(&host, "/audit/export?session_id=forged").json()["entries"].to_string();
    assert!(!entries.contains("Forged"), "names of members and digests only: {entries}");
    assert!(get(&host, "/tools/list").text().contains("Salesforce"), "agents see what was approved");
}
