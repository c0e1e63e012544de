//! Event streams of tool servers that mean harm, and agents that hardly read: a named error, one entry, bounded memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::json;
use tests::agent::{LegacyAgent, Modern};
use tests::gateway::Gateway;
use tests::http::request_bytes;
use tests::mcp_server::{McpServer, Speaks, Turn, tool_result};
use tests::proc;
use tests::setup::{CONTACTS, Setup};

use crate::{booked, books, lines};

/// What a server does in its turn.
type Does = fn(&mut Turn<'_>);

/// A notification of about this many bytes.
fn progress(bytes: usize) -> String {
    let message = "x".repeat(bytes);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"message":"{message}"}}}}"#)
}

fn calls(script: impl Fn(&mut Turn<'_>) + Send + Sync + 'static) -> McpServer {
    McpServer::start(Speaks::Modern, move |turn| {
        if turn.is_call() {
            script(turn);
        }
    })
}

/// One call of a modern agent: what the last event is, and that the session's books have it.
fn expect(gateway: &Gateway, session: &str, code: &str) {
    let answer = Modern::call(session).answer(gateway);
    assert_eq!(answer.error_code(), code, "{session}: {}", answer.text());
    let calls = books(gateway, session);
    assert_eq!(lines(&calls), [(CONTACTS, "fault", code)], "{session}");
    assert_eq!(calls[0].entry["detail"]["forwarded"], true, "{session}");
}

#[test]
fn a_large_event_passes_whole_or_not_at_all() {
    let tool = calls(|turn| {
        turn.event(&progress(3_000_000));
        turn.text("done");
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    expect(&gateway, "over-the-cap", "UPSTREAM_RESPONSE_TOO_LARGE");
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]).limit("max_response_bytes", 8 << 20));
    let agent = LegacyAgent::start(&gateway, &json!({}));
    let mut events = agent.call(5);
    assert!(events.next_data().expect("a stream") == Some(progress(3_000_000)), "byte for byte");
    assert!(events.next_json()["result"].is_object());
    assert_eq!(lines(&books(&gateway, &agent.session)), [(CONTACTS, "allow", "")]);
}

/// The work on an event grows with its length, not with its length times the number of pieces.
#[test]
fn an_event_in_tiny_pieces_costs_no_more_than_it_has_bytes() {
    const PIECES: usize = 200_000;
    let tool = calls(|turn| {
        turn.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n",
        );
        let id = &turn.body["id"];
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}", tool_result("done"));
        let text = format!("{text}{}}}\n\n", " ".repeat(PIECES));
        let pieces: String = text.chars().flat_map(|letter| ['1', '\r', '\n', letter, '\r', '\n']).collect();
        turn.more(pieces.as_bytes());
        turn.more(b"0\r\n\r\n");
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    let enclave = gateway.enclave_pid();
    let before = proc::cpu_us(enclave).expect("the enclave runs");
    let answer = Modern::call("pieces").answer(&gateway);
    assert!(answer.text().contains("done"), "{}", answer.text());
    let spent = proc::cpu_us(enclave).expect("the enclave runs") - before;
    assert!(spent < 5_000_000, "{spent} us");
    assert_eq!(lines(&books(&gateway, "pieces")), [(CONTACTS, "allow", "")]);
}

#[test]
fn a_stream_without_end_is_cut() {
    let tool = calls(|turn| {
        turn.open();
        let event = format!("data: {}\n\n", progress(1000));
        while turn.more(event.as_bytes()) {}
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]).limit("max_response_bytes", 100_000));
    expect(&gateway, "endless", "UPSTREAM_RESPONSE_TOO_LARGE");
}

#[test]
fn what_comes_a_byte_at_a_time_is_not_waited_for() {
    for (name, head) in [
        ("stream", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: "),
        ("json", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"),
        ("head", "HTTP/1.1 200 OK\r\nx: "),
    ] {
        let tool = calls(move |turn| {
            turn.raw(head.as_bytes());
            while turn.more(b"a") {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]).limit("upstream_timeout_ms", 500));
        expect(&gateway, name, "UPSTREAM_TIMEOUT");
    }
}

#[test]
fn only_the_first_answer_counts_and_only_to_its_own_call() {
    let number = Arc::new(AtomicUsize::new(0));
    let tool = calls(move |turn| {
        let (id, number) = (turn.body["id"].clone(), number.fetch_add(1, Ordering::SeqCst));
        let answer = |text: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, tool_result(text));
        let (first, second, late) = (answer(&format!("first-{number}")), answer("second"), progress(1));
        let all = format!("data: {first}\n\ndata: {second}\n\ndata: {late}\n\n");
        // The connection stays open: whatever is left on it must not be taken for the next call's answer.
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        turn.raw(format!("{head}{:x}\r\n{all}\r\n0\r\n\r\n", all.len()).as_bytes());
    });
    let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
    for number in 0..3 {
        let answer = Modern::call("twice").answer(&gateway);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
        assert_eq!(answer.json()["result"]["content"][0]["text"], format!("first-{number}"));
    }
    assert_eq!(lines(&books(&gateway, "twice")), [(CONTACTS, "allow", ""); 3]);
}

#[test]
fn an_answer_in_a_stream_is_checked_like_any_other() {
    let cases: [(&str, Does, &str); 5] = [
        ("other-id", |turn| turn.event(r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#), "UPSTREAM_INVALID"),
        ("no-json", |turn| turn.event("so long"), "UPSTREAM_INVALID"),
        ("forged", |turn| turn.result(r#"{"_meta":{"io.cmcp/receipt":{}}}"#), "UPSTREAM_FORGED_RECEIPT"),
        ("forged-bare", |turn| turn.result(r#"{"_CMCP":{}}"#), "UPSTREAM_FORGED_RECEIPT"),
        ("never", |_| (), "UPSTREAM_INVALID"),
    ];
    for (name, last, code) in cases {
        let tool = calls(move |turn| {
            turn.event(&progress(1));
            last(turn);
        });
        let gateway = Gateway::start(&Setup::governed(&tool.url(), &[]));
        expect(&gateway, name, code);
    }
}

/// What is held for an agent that hardly reads is a few events, and nobody else waits for it.
#[test]
fn agents_that_hardly_read_cost_little_and_hold_up_nobody() {
    const AGENTS: usize = 1000;
    const MOST_KIB: u64 = 640 << 10;
    let tool = calls(|turn| {
        if turn.body["params"]["name"] == CONTACTS {
            turn.open();
            let event = format!("data: {}\n\n", progress(8 << 10));
            while turn.more(event.as_bytes()) {}
        }
    });
    let setup = Setup::governed(&tool.url(), &[])
        .tool("z.other", &tool.url(), "public", "public")
        .limit("max_response_bytes", 64 << 20)
        .limit("upstream_connections_per_server", 1024);
    let gateway = Gateway::start(&setup);
    let enclave = gateway.enclave_pid();
    let before = proc::data_kib(enclave).expect("the enclave runs");
    let agents: Vec<TcpStream> = (0..AGENTS)
        .map(|number| {
            let call = Modern::call(&format!("slow-{number}"));
            let mut agent = TcpStream::connect(gateway.address).expect("the gateway accepts");
            set_socket_recv_buffer_size(&agent, 4096).expect("a small buffer, soon full");
            let bytes = request_bytes("POST", "/mcp", &call.pairs(), call.body.to_string().as_bytes());
            agent.write_all(&bytes).expect("sent");
            agent
        })
        .collect();
    let mut most = 0;
    for _ in 0..2 {
        let second = Instant::now();
        for mut agent in &agents {
            agent.read_exact(&mut [0]).expect("a byte of the stream");
        }
        for number in 0..5 {
            let params = json!({"name": "z.other", "arguments": {"query": "x"}});
            let asked = Instant::now();
            let answer = Modern::new(&format!("other-{number}"), "tools/call", &params).answer(&gateway);
            assert!(answer.json()["result"].is_object(), "{}", answer.text());
            // An agent that hardly reads is waited for longer than this.
            assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
        }
        most = most.max(proc::data_kib(enclave).expect("the enclave runs"));
        thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    assert!(most < before + MOST_KIB, "{before} KiB before, {most} KiB with {AGENTS} streams");
    drop(agents);
    let last = booked(&gateway, &format!("slow-{}", AGENTS - 1), 1);
    assert_eq!(lines(&last), [(CONTACTS, "fault", "CALL_CANCELLED")]);
    assert_eq!(lines(&booked(&gateway, "slow-0", 1)), [(CONTACTS, "fault", "CALL_CANCELLED")]);
}
