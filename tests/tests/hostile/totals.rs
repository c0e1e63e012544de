//! What the host learns on the control stream: numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::hostile::HostileHost;
use tests::setup::{CONTACTS, Setup, call_params, rpc};
use tests::upstream::{Reply, Upstream};
use wire::{CodeTotal, ControlEvent, ToolTotals, limits};

/// Everything that the enclave says until this long after the start.
fn events(host: &HostileHost, started: Instant) -> Vec<ControlEvent> {
    let mut events = Vec::new();
    while started.elapsed() < Duration::from_secs(4) {
        events.extend(host.try_event(Duration::from_millis(100)));
    }
    events
}

/// Allowed, denied, failed and unknown calls, and requests that are no calls: nothing of what was in them, and no digest of it.
#[test]
fn the_host_learns_no_word_of_a_call() {
    let tool = Upstream::scripted(|request| match request["params"]["name"].as_str() {
        Some("failing") => Reply::Error(r#"{"code":-32000,"message":"spoken-by-the-tool"}"#.to_owned()),
        _ => Reply::Result(r#"{"content":[{"type":"text","text":"spoken-by-the-tool"}]}"#.to_owned()),
    });
    let setup = Setup::quickstart(&tool.url()).mode("enforcing").tool("failing", &tool.url(), "internal", "public");
    let host = HostileHost::start(&setup);
    let started = Instant::now();
    let mut agent = host.connect();
    for name in [CONTACTS, CONTACTS, "failing", "not-in-the-catalog"] {
        let body = rpc(1, "tools/call", &call_params(name, "secret-session"));
        agent.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer");
    }
    agent.request("GET", "/secret-path", &[], b"").expect("an answer");
    let export = agent.request("GET", "/audit/export?session_id=secret-session", &[], b"").expect("an answer").json();
    let digests: Vec<Vec<u8>> = export["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .flat_map(|entry| entry.as_object().expect("an entry").values())
        .filter_map(|value| claim::Digest::parse(value.as_str()?).ok())
        .map(|digest| digest.bytes().to_vec())
        .collect();
    assert!(digests.len() >= 8, "hashes of entries and payloads: {}", digests.len());

    let events = events(&host, started);
    let said: Vec<u8> = events.iter().flat_map(|event| wire::encode(event).expect("a message")).collect();
    let has = |words: &[u8]| said.windows(words.len()).any(|window| window == words);
    for words in
        ["Acme", "secret-session", "demo-agent", "secret-path", "spoken", CONTACTS, "failing", "not-in-the-catalog"]
    {
        assert!(!has(words.as_bytes()), "{words}");
    }
    assert!(!digests.iter().any(|digest| has(digest.get(..8).expect("32 bytes"))), "no digest");

    let tools: BTreeMap<u32, [u64; 4]> =
        totals(&events).into_iter().map(|(tool, totals)| (tool, totals.calls)).collect();
    assert_eq!(tools, BTreeMap::from([(0, [0, 0, 0, 1]), (1, [1, 1, 0, 0]), (u32::MAX, [0, 1, 0, 0])]));
    let codes = events.iter().rev().find_map(|event| match event {
        ControlEvent::Codes(codes) => Some(codes.clone()),
        _ => None,
    });
    let expected = [7, 8, 14, 21].map(|code| CodeTotal { code, answers: 1 });
    assert_eq!(codes.expect("codes"), expected);
}

/// The last totals of each tool.
fn totals(events: &[ControlEvent]) -> BTreeMap<u32, ToolTotals> {
    let tools = events.iter().filter_map(|event| match event {
        ControlEvent::Tools(tools) => Some(tools),
        _ => None,
    });
    tools.flatten().map(|totals| (totals.tool, totals.clone())).collect()
}

#[test]
fn many_tools_come_in_bounded_frames() {
    const TOOLS: usize = 600;
    let tool = Upstream::plain();
    let mut setup = Setup::quickstart(&tool.url()).policy("demo.cedar", "permit (principal, action, resource);");
    for number in 1..TOOLS {
        setup = setup.tool(&format!("tool-{number}"), &tool.url(), "internal", "public");
    }
    let host = HostileHost::start(&setup);
    let mut agent = host.connect();
    for number in 1..TOOLS {
        let body = rpc(1, "tools/call", &call_params(&format!("tool-{number}"), "many"));
        let answer = agent.request("POST", "/mcp", &[("content-type", "application/json")], &body).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let events = events(&host, Instant::now());
    let largest = events.iter().filter_map(|event| match event {
        ControlEvent::Tools(tools) => Some(tools.len()),
        _ => None,
    });
    assert!(largest.max().is_some_and(|largest| (1..=limits::TOOLS).contains(&largest)));
    let totals = totals(&events);
    assert_eq!(totals.len(), TOOLS - 1, "every tool that was called");
    for (tool, totals) in totals {
        assert_eq!((totals.calls, totals.latency.iter().sum::<u64>()), ([1, 0, 0, 0], 1), "{tool}");
    }
}
