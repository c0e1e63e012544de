//! Ceilings: labels of a session do not reach a lower sink, and no result above one goes out.

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::mcp_server::{McpServer, Speaks};
use tests::setup::{CONTACTS, Setup};
use tests::store::assert_verifies;
use tests::upstream::{Reply, Upstream};

use super::{ALICE, BOB, MODES, call_as, denied, identified, outcome, refused, setup};
use crate::books;
use crate::controls::assert_proven;

#[test]
fn what_a_session_holds_does_not_reach_a_lower_sink_in_any_mode() {
    for mode in MODES {
        let tool = Upstream::plain();
        let gateway = Gateway::start(&setup(&tool.url(), mode).with("/sink_policy/tools/mail", json!("public")));
        assert_eq!(gateway.call("s", "mail").status(), 200);
        assert_eq!(gateway.call("s", CONTACTS).status(), 200);
        assert_eq!(outcome(&gateway.call("s", "mail")), refused(403, "SINK_CEILING"), "{mode}");
        assert_eq!(gateway.call("other", "mail").status(), 200, "the other session holds nothing");
        assert_eq!(tool.calls().len(), 3, "{mode}");
        let calls = books(&gateway, "s");
        let entry = denied(&calls, "SINK_CEILING");
        assert_eq!(entry["policy_rule_matched"], "sink_policy.tools");
        assert_eq!(entry["detail"]["reason"], "session holds pii");
        assert_eq!(entry["response_payload_hash"], Value::Null);
        assert_proven(&gateway, "s");
        let (_, folder) = gateway.stop();
        assert_verifies(&folder.path().join("audit-store"));
    }
}

#[test]
fn labels_of_equal_rank_are_different_secrets() {
    let tool = Upstream::plain();
    let setup = setup(&tool.url(), "advisory")
        .tool("health", &tool.url(), "hipaa_phi", "hipaa_phi")
        .tool("trades", &tool.url(), "mnpi", "mnpi")
        .with("/sink_policy/tools/trades", json!("mnpi"));
    let gateway = Gateway::start(&setup);
    for name in [CONTACTS, "trades", "trades"] {
        assert_eq!(gateway.call("trader", name).status(), 200, "{name}");
    }
    assert_eq!(gateway.call("nurse", "health").status(), 200);
    assert_eq!(outcome(&gateway.call("nurse", "trades")), refused(403, "SINK_CEILING"));
    assert_eq!(outcome(&gateway.call("trader", "health")), refused(200, ""), "no ceiling");
    assert_eq!(outcome(&gateway.call("trader", "trades")), refused(403, "SINK_CEILING"));
}

#[test]
fn clients_of_mcp_hear_of_a_ceiling_in_their_session() {
    let tool = Upstream::plain();
    let gateway = Gateway::start(&setup(&tool.url(), "enforcing").with("/sink_policy/tools/mail", json!("public")));
    let mail = json!({"name": "mail", "arguments": {"query": "x"}});
    assert_eq!(Modern::call("m").answer(&gateway).status(), 200);
    let answer = Modern::new("m", "tools/call", &mail).answer(&gateway);
    assert_eq!((answer.status(), answer.error_code()), (200, "SINK_CEILING".to_owned()));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    agent.call(1).message().expect("an answer");
    let answer = agent.request(2, "tools/call", &mail).message().expect("an answer");
    assert_eq!((answer.status(), answer.error_code()), (200, "SINK_CEILING".to_owned()));
    assert_proven(&gateway, &agent.session);
}

/// Other methods carry words to a server too: what none of its tools may be told, none of them brings there.
#[test]
fn a_ceiling_holds_for_every_way_to_the_server() {
    let server = McpServer::plain(Speaks::Legacy);
    let setup = Setup::governed(&server.url(), &["resources", "prompts"])
        .with(&format!("/sink_policy/tools/{CONTACTS}"), json!("public"));
    let gateway = Gateway::start(&setup);
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let read = |id| {
        let answer = agent.request(id, "resources/read", &json!({"uri": "test://static-text"}));
        answer.message().expect("an answer").json()["error"]["data"]["error_code"].clone()
    };
    assert_eq!(agent.call(1).message().expect("an answer").json()["error"], Value::Null);
    assert_eq!(read(2), "SINK_CEILING");
    assert_eq!(agent.call(3).message().expect("an answer").error_code(), "SINK_CEILING");
}

#[test]
fn a_result_above_the_ceiling_is_withheld_in_every_mode() {
    for mode in MODES {
        let tool = Upstream::fixed(r#"{"content":[{"type":"text","text":"0xSECRET"}]}"#);
        let config = setup(&tool.url(), mode).with("/sink_policy/response_max_sensitivity", json!("public"));
        let gateway = Gateway::start(&config);
        let answer = gateway.call("s", CONTACTS);
        assert_eq!(outcome(&answer), refused(403, "RESPONSE_CEILING"), "{mode}");
        assert!(!answer.text().contains("SECRET") && answer.text().contains("has run"), "{}", answer.text());
        assert_eq!(gateway.call("s", "mail").status(), 200);
        // An error of the tool server is its words as well.
        tool.set(|_| Reply::Error(r#"{"code":-1,"message":"0xSECRET"}"#.to_owned()));
        let answer = gateway.call("e", CONTACTS);
        assert_eq!(outcome(&answer), refused(403, "RESPONSE_CEILING"), "{mode}");
        assert!(!answer.text().contains("SECRET"), "{}", answer.text());
        assert_eq!(tool.calls().len(), 3);
        let calls = books(&gateway, "s");
        let entry = denied(&calls, "RESPONSE_CEILING");
        assert_eq!((&entry["entry_type"], &entry["detail"]["forwarded"]), (&json!("tool_call"), &json!(true)));
        assert_eq!(entry["policy_rule_matched"], "sink_policy.response_max_sensitivity");
        assert!(entry["response_payload_hash"].is_string(), "{entry}");
        assert_proven(&gateway, "s");
        let (_, folder) = gateway.stop();
        assert_verifies(&folder.path().join("audit-store"));
    }
}

/// Labels follow the identity, and so does what they keep from reaching a tool.
#[test]
fn a_new_session_does_not_get_below_a_ceiling() {
    let tool = Upstream::plain();
    let setup = setup(&tool.url(), "advisory").with("/sink_policy/tools/mail", json!("public"));
    let gateway = Gateway::start(&identified(&setup));
    assert_eq!(call_as(&gateway, ALICE, "a", CONTACTS), refused(200, ""));
    assert_eq!(call_as(&gateway, ALICE, "another", "mail"), refused(403, "SINK_CEILING"));
    assert_eq!(call_as(&gateway, BOB, "a", "mail"), refused(200, ""));
}
