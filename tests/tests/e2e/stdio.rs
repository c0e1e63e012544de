//! Tool servers that are processes: started by the host, spoken to by the enclave over lines, and never left behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::request_bytes;
use tests::mcp_server::Speaks;
use tests::setup::{CONTACTS, Setup};
use tests::stdio::{Line, StdioServer, digest};
use tests::store::cmcp_verify;
use tests::{bin, proc, wait_for};

use crate::{booked, books, lines};

pub(crate) const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

fn server(speaks: Speaks, script: impl Fn(&mut Line<'_>) + Send + Sync + 'static) -> StdioServer {
    StdioServer::start(PUPPET, speaks, script)
}

/// The server's only tool and whatever this entry adds.
pub(crate) fn setup(server: &StdioServer, also: &Value) -> Setup {
    let mut entry = server.entry();
    for (key, value) in also.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    Setup::governed("http://localhost/", &[]).server(&entry).limit("upstream_timeout_ms", 10_000)
}

fn pid(process: &Value) -> u32 {
    process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id")
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn the_demo_server_serves_every_kind_of_agent_over_stdio() {
    const SCHEMA: &str = r"namespace cMCP {
      entity Principal = { session_id: String };
      entity Resource = { transport: String, evidence_class: String };
      action call_tool appliesTo { principal: [Principal], resource: [Resource], context: {} };
    }";
    const PERMIT: &str = r#"permit (principal, action, resource)
      when { resource.transport == "stdio" && resource.evidence_class == "host-spawned" };"#;
    let host = bin::path("host");
    let entry = json!({
        "display_name": "Demo CRM", "transport": "stdio", "command": [host, "demo-server", "--stdio"],
        "entrypoint_digest": digest(&host),
    });
    let setup = Setup::quickstart("http://localhost/").mode("enforcing").server(&entry);
    let gateway = Gateway::start(&setup.policy("schema.cedarschema", SCHEMA).policy("demo.cedar", PERMIT));
    let bare = gateway.call("bare", CONTACTS);
    assert_eq!(bare.json()["result"]["structuredContent"]["total_count"], 3, "{}", bare.text());
    let modern = Modern::call("modern").answer(&gateway);
    assert_eq!(modern.json()["result"]["resultType"], "complete", "{}", modern.text());
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert!(agent.call(1).message().expect("an answer").json()["result"].is_object());
    for session in ["bare", "modern", &agent.session] {
        let calls = books(&gateway, session);
        assert_eq!(lines(&calls), [(CONTACTS, "allow", "")]);
        let entry = &calls[0].entry;
        assert_eq!(
            (&entry["server_identity"], &entry["evidence_class"]),
            (&json!("stdio:Demo CRM"), &json!("host-spawned"))
        );
        assert_eq!(entry["detail"]["entrypoint_digest"], digest(&host));
        assert_eq!(entry["detail"]["entrypoint"], "host-reported, unverified");
    }
    let (claim, bundle) = (gateway.folder().join("claim.json"), gateway.folder().join("bundle.json"));
    std::fs::write(&claim, gateway.get("/session/bare/claim").body).expect("a file");
    std::fs::write(&bundle, gateway.get("/audit/export?session_id=bare").body).expect("a file");
    let output = cmcp_verify(&[&claim.to_string_lossy(), "--audit-bundle", &bundle.to_string_lossy(), "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("a verdict");
    assert_eq!(verdict["status"], "partially_verified", "{verdict}");
    assert_eq!(verdict["audit_bundle"]["verified"], true, "{verdict}");
}

#[test]
fn each_session_has_its_process_and_takes_it_along() {
    let tool = server(Speaks::Legacy, |line| {
        if line.is_call() {
            let process = line.process.to_string();
            line.text(&process);
        }
    });
    let gateway = Gateway::start(&setup(&tool, &json!({"env": ["XDG_STATE_HOME", "CMCP_NOT_SET"]})));
    for (session, process) in [("a", "0"), ("b", "1"), ("a", "0")] {
        assert_eq!(text(&gateway.call(session, CONTACTS).json()), process);
    }
    let agent = LegacyAgent::start(&gateway, &json!({}));
    assert_eq!(text(&agent.call(1).message().expect("an answer").json()), "2");
    let processes = tool.processes();
    assert!(proc::alive(pid(&processes[0])));
    let folder = gateway.folder().canonicalize().expect("the catalog's folder");
    for process in &processes {
        assert_eq!(process["env"], json!([["XDG_STATE_HOME", gateway.folder()]]), "nothing else is inherited");
        assert_eq!(Path::new(process["folder"].as_str().expect("a path")), folder);
    }
    assert_eq!(gateway.post("/sessions/a/close", b"").status(), 200);
    tool.wait_ended(1);
    assert_eq!(agent.end(), 204);
    tool.wait_ended(2);
    gone(pid(&processes[0]));
    gone(pid(&processes[2]));
    assert!(proc::alive(pid(&processes[1])));
    assert_eq!(text(&gateway.call("a", CONTACTS).json()), "3", "a new session, a new process");
}

#[test]
fn a_shared_process_serves_all_sessions() {
    let tool = server(Speaks::Legacy, |line| {
        if line.is_call() {
            line.send(None, "notifications/message", &json!({"data": "whose?"}));
            let process = line.process.to_string();
            line.text(&process);
        }
    });
    let gateway = Gateway::start(&setup(&tool, &json!({"process": "shared", "capabilities": ["logging"]})));
    let (one, two) = (LegacyAgent::start(&gateway, &json!({})), LegacyAgent::start(&gateway, &json!({})));
    for agent in [&one, &two] {
        let answer = agent.call(7).message().expect("an answer");
        assert_eq!(answer.header("content-type"), Some("application/json"), "what belongs to no call is nobody's");
        assert_eq!((text(&answer.json()), &answer.json()["id"]), ("0", &json!(7)));
    }
    assert_eq!(text(&gateway.call("bare", CONTACTS).json()), "0");
    assert_eq!(one.end(), 204);
    assert_eq!(text(&two.call(8).message().expect("an answer").json()), "0");
    assert_eq!(tool.processes().len(), 1);
}

#[test]
fn faults_are_named_and_cost_their_own_calls_only() {
    type Does = fn(&mut Line<'_>);
    let cases: [(&str, Does, &str); 9] = [
        ("garbage", |line| line.say("so long"), "UPSTREAM_INVALID"),
        ("no-message", |line| line.say("{}"), "UPSTREAM_INVALID"),
        ("other-id", |line| line.say(r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#), "UPSTREAM_INVALID"),
        ("never", |line| line.ignore(), "UPSTREAM_TIMEOUT"),
        ("exit", |line| line.exit(), "UPSTREAM_INVALID"),
        (
            "mid-line",
            |line| {
                line.raw(br#"{"jsonrpc":"2.0","id":2,"resu"#);
                line.exit();
            },
            "UPSTREAM_INVALID",
        ),
        ("forged", |line| line.result(r#"{"_cmcp":{}}"#), "UPSTREAM_FORGED_RECEIPT"),
        ("too-long", |line| line.text(&"x".repeat(200_000)), "UPSTREAM_RESPONSE_TOO_LARGE"),
        (
            "gigabyte",
            |line| {
                let megabyte = vec![b'x'; 1 << 20];
                let _ = (0..1024).all(|_| line.raw(&megabyte));
            },
            "UPSTREAM_RESPONSE_TOO_LARGE",
        ),
    ];
    for (name, does, code) in cases {
        let tool = server(Speaks::Modern, move |line| {
            if line.is_call() && line.body["params"]["arguments"]["query"] == "x" {
                does(line);
            }
        });
        let setup = setup(&tool, &json!({})).limit("max_response_bytes", 100_000).limit("upstream_timeout_ms", 1500);
        let gateway = Gateway::start(&setup);
        assert_eq!(gateway.call("bystander", CONTACTS).status(), 200);
        let enclave = gateway.enclave_pid();
        let before = proc::data_kib(enclave).expect("the enclave runs");
        let answer = Modern::call(name).answer(&gateway);
        assert_eq!(answer.error_code(), code, "{name}: {}", answer.text());
        assert!(proc::data_kib(enclave).expect("the enclave runs") < before + (16 << 10), "{name}");
        assert_eq!(lines(&books(&gateway, name)), [(CONTACTS, "fault", code)]);
        assert_eq!(books(&gateway, name)[0].entry["detail"]["forwarded"], true);
        assert_eq!(gateway.call(name, CONTACTS).status(), 200, "the next call after {name}");
        assert_eq!(gateway.call("bystander", CONTACTS).status(), 200);
        let alive = || tool.processes().iter().filter(|process| proc::alive(pid(process))).count();
        wait_for("end of what was given up", Duration::from_secs(10), || (alive() == 2).then_some(()));
    }
}

#[test]
fn a_second_answer_is_nobodys() {
    let tool = server(Speaks::Legacy, |line| {
        if line.is_call() {
            let first = line.body["id"].to_string();
            line.text(&first);
            line.text("second");
        }
    });
    let gateway = Gateway::start(&setup(&tool, &json!({"process": "shared"})));
    let mut answers: Vec<String> =
        (0..3).map(|number| text(&gateway.call(&format!("s{number}"), CONTACTS).json()).to_owned()).collect();
    answers.dedup();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(!answers.contains(&"second".to_owned()));
}

#[test]
fn what_dies_young_again_and_again_has_to_wait() {
    let tool = server(Speaks::Modern, |line| {
        line.exit();
    });
    let gateway = Gateway::start(&setup(&tool, &json!({})));
    for number in 0..6 {
        gateway.call(&format!("s{number}"), CONTACTS);
    }
    let started = tool.processes().len();
    assert!((2..5).contains(&started), "{started} of 6 were started");
    let last = gateway.call("last", CONTACTS);
    assert_eq!(last.error_code(), "UPSTREAM_UNAVAILABLE");
    assert_eq!(lines(&books(&gateway, "last")), [(CONTACTS, "fault", "UPSTREAM_UNAVAILABLE")]);
    assert!(gateway.log().contains("tool server Puppet: process"), "{}", gateway.log());
    wait_for("another start", Duration::from_secs(20), || {
        gateway.call("again", CONTACTS);
        (tool.processes().len() > started).then_some(())
    });
}

#[test]
fn a_cancelled_call_is_told_to_the_process_and_others_go_on() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let tool = server(speaks, |line| {
            if line.is_call() && line.body["params"]["arguments"]["query"] == "x" {
                line.ignore();
            }
        });
        let gateway = Gateway::start(&setup(&tool, &json!({"process": "shared"})));
        let mut agent = gateway.connect();
        let call = Modern::call("gone");
        agent.send(&request_bytes("POST", "/mcp", &call.pairs(), call.body.to_string().as_bytes())).expect("sent");
        let id = tool.wait("tools/call")["id"].clone();
        drop(agent);
        assert_eq!(tool.wait("notifications/cancelled")["params"], json!({"requestId": id}));
        let calls = booked(&gateway, "gone", 1);
        assert_eq!(lines(&calls), [(CONTACTS, "fault", "CALL_CANCELLED")]);
        assert_eq!(gateway.call("other", CONTACTS).status(), 200);
        assert_eq!((tool.processes().len(), tool.of("notifications/cancelled").len()), (1, 1));
    }
}

#[test]
fn a_process_speaks_to_its_agent_and_asks_it() {
    let tool = server(Speaks::Legacy, |line| {
        if line.is_call() {
            let token = line.body["params"]["_meta"]["progressToken"].clone();
            line.send(None, "notifications/progress", &json!({"progressToken": token, "progress": 1}));
            line.send(None, "notifications/message", &json!({"level": "info", "data": "working"}));
            line.send(Some("e"), "elicitation/create", &json!({"message": "sure?", "requestedSchema": {}}));
            line.answer_with_reply("e");
        }
    });
    let gateway = Gateway::start(&setup(&tool, &json!({"capabilities": ["logging", "elicitation"]})));
    let agent = LegacyAgent::start(&gateway, &json!({"elicitation": {}}));
    let meta = json!({"progressToken": "mine"});
    let params = json!({"name": CONTACTS, "arguments": {"query": "x"}, "_meta": meta});
    let mut events = agent.request(5, "tools/call", &params);
    assert_eq!(events.next_json()["params"], json!({"progressToken": "mine", "progress": 1}));
    assert_eq!(events.next_json()["params"]["data"], "working");
    let asked = events.next_json();
    assert_eq!(asked["params"]["message"], "sure?");
    assert_eq!(agent.respond(&asked["id"], &json!({"action": "accept"})), 202);
    let answer = events.next_json();
    assert_eq!((&answer["id"], text(&answer)), (&json!(5), r#"{"action":"accept"}"#));
    let calls = books(&gateway, &agent.session);
    assert_eq!(lines(&calls), [("elicitation/create", "allow", ""), (CONTACTS, "allow", "")]);
    assert_eq!(calls[0].entry["detail"]["during"], calls[1].entry["call_id"]);
    assert_eq!(calls[0].entry["evidence_class"], "host-spawned");
}

#[test]
fn another_entrypoint_does_not_get_to_run() {
    let tool = server(Speaks::Modern, |_| ());
    let wrong = format!("sha256:{}", "0".repeat(64));
    let gateway = Gateway::start(&setup(&tool, &json!({"entrypoint_digest": wrong})));
    let answer = gateway.call("changed", CONTACTS);
    assert_eq!((answer.status(), answer.error_code().as_str()), (502, "UPSTREAM_ENTRYPOINT_MISMATCH"));
    let calls = books(&gateway, "changed");
    assert_eq!(lines(&calls), [(CONTACTS, "fault", "UPSTREAM_ENTRYPOINT_MISMATCH")]);
    assert_eq!(calls[0].entry["detail"]["forwarded"], false);
    assert!(calls[0].entry["detail"]["reason"].as_str().expect("a reason").contains(&digest(Path::new(PUPPET))));
    assert!(tool.processes().is_empty());
    assert!(gateway.log().contains("tool server Puppet: not started"), "{}", gateway.log());
}

#[test]
fn an_entrypoint_may_be_a_script() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("server.sh");
    let host = bin::path("host");
    std::fs::write(&script, format!("exec {} demo-server --stdio\n", host.display())).expect("a file");
    let entry = json!({
        "display_name": "Script", "transport": "stdio", "command": ["sh", script], "entrypoint": script,
        "entrypoint_digest": digest(&script),
    });
    let gateway = Gateway::start(&Setup::governed("http://localhost/", &[]).server(&entry));
    assert_eq!(gateway.call("script", CONTACTS).status(), 200);
    std::fs::write(&script, "exec cat\n").expect("a file");
    assert_eq!(gateway.call("script", CONTACTS).status(), 200, "a process that runs is what it was");
    assert_eq!(gateway.call("changed", CONTACTS).error_code(), "UPSTREAM_ENTRYPOINT_MISMATCH");
}

/// The puppet does not end with its input, the shell not even with SIGTERM, and what it started knows of neither.
#[test]
fn no_process_outlives_the_host() {
    let tool = server(Speaks::Modern, |line| {
        if line.is_call() {
            let pid = line.process.to_string();
            line.text(&pid);
        }
    });
    let setup = setup(&tool, &json!({}));
    let command = "trap '' TERM; sleep 1000 & while :; do read -r line || sleep 1; done";
    let shell = json!({
        "display_name": "Shell", "transport": "stdio", "command": ["/bin/sh", "-c", command],
        "entrypoint_digest": digest(Path::new("/bin/sh")),
    });
    let mut setup = setup.tool("z.deaf", "x", "public", "public").limit("upstream_timeout_ms", 1000);
    setup.catalog[1]["server"] = shell;
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.call("a", CONTACTS).status(), 200);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| gateway.call("b", "z.deaf").error_code());
        wait_for("the shell", Duration::from_secs(10), || proc::children(gateway.host_pid(), "sh").first().copied());
        assert_eq!(call.join().expect("no panic"), "UPSTREAM_TIMEOUT");
    });
    let shells = proc::children(gateway.host_pid(), "sh");
    let sleepers: Vec<u32> = shells.iter().flat_map(|shell| proc::children(*shell, "sleep")).collect();
    assert!(!sleepers.is_empty());
    let puppet = pid(&tool.processes()[0]);
    let started = Instant::now();
    let (status, _folder) = gateway.stop();
    assert!(status.success() && started.elapsed() < Duration::from_secs(15), "{status} {:?}", started.elapsed());
    for pid in shells.into_iter().chain(sleepers).chain([puppet]) {
        assert!(!proc::alive(pid), "{pid} is left");
    }
}

#[test]
fn what_a_process_says_aside_is_in_the_log() {
    let tool = server(Speaks::Modern, |_| ());
    let mut words = tool.entry()["command"].clone();
    words.as_array_mut().expect("words").push(json!("to whom it may \u{1b}[31mconcern"));
    let gateway = Gateway::start(&setup(&tool, &json!({"command": words})));
    assert_eq!(gateway.call("a", CONTACTS).status(), 200);
    wait_for("the line", Duration::from_secs(5), || {
        gateway.log().contains("tool server Puppet: to whom it may \\u{1b}[31mconcern").then_some(())
    });
}

#[test]
fn check_says_what_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |setup: &Setup| {
        setup.write(folder.path());
        let config = folder.path().join("cmcp-config.yaml");
        Command::new(bin::path("host")).arg("check").arg("--config").arg(config).output().expect("host runs")
    };
    let tool = server(Speaks::Modern, |_| ());
    let good = check(&setup(&tool, &json!({})));
    assert!(good.status.success() && !String::from_utf8_lossy(&good.stdout).contains("entrypoint"), "{good:?}");
    for (also, part) in [
        (
            json!({"command": ["no-such-program"]}),
            "catalog.json: [0].server.command: found no program \"no-such-program\" in PATH",
        ),
        (json!({"entrypoint_digest": format!("sha256:{}", "0".repeat(64))}), &*digest(Path::new(PUPPET))),
    ] {
        let output = check(&setup(&tool, &also));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("warning: ") && text.contains(part), "{output:?}");
    }
    let refused = check(&setup(&tool, &json!({"url": "http://localhost/"})));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("catalog.json: [0].server.url: found a value"), "{text}");
}

fn gone(pid: u32) {
    wait_for("end of the process", Duration::from_secs(10), || (!proc::alive(pid)).then_some(()));
}
