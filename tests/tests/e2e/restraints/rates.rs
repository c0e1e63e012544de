//! Rate limits.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tests::agent::Modern;
use tests::gateway::Gateway;
use tests::setup::CONTACTS;
use tests::upstream::Upstream;
use tests::wait_for;

use super::{MODES, outcome, refused, setup};
use crate::books;
use crate::controls::assert_proven;

#[test]
fn rates_hold_in_every_mode_and_for_all_sessions_of_an_identity() {
    for mode in MODES {
        let tool = Upstream::plain();
        let limits = json!([{"tool": CONTACTS, "calls": 3, "per_seconds": 3600}, {"calls": 6, "per_seconds": 3600}]);
        let gateway = Gateway::start(&setup(&tool.url(), mode).with("/rate_limits", limits));
        for session in ["a", "b", "c"] {
            assert_eq!(gateway.call(session, CONTACTS).status(), 200);
        }
        let answer = gateway.call("d", CONTACTS);
        assert_eq!(outcome(&answer), refused(429, "RATE_LIMITED"), "{mode}");
        let wait = answer.json()["error"]["data"]["retry_after_ms"].as_u64().expect("a time");
        assert!((1_000_000..=1_200_000).contains(&wait), "a third of an hour: {wait}");
        let seconds: u64 = answer.header("retry-after").expect("a header").parse().expect("seconds");
        assert_eq!(seconds, wait.div_ceil(1000));
        // What is refused costs nothing of the other limit; what passes does.
        for _ in 0..3 {
            assert_eq!(gateway.call("d", "mail").status(), 200);
        }
        assert_eq!(outcome(&gateway.call("d", "mail")), refused(429, "RATE_LIMITED"));
        assert_eq!(outcome(&gateway.call("d", "no such tool")), refused(429, "RATE_LIMITED"));
        let answer = Modern::call("m").answer(&gateway);
        assert_eq!((answer.status(), answer.error_code()), (200, "RATE_LIMITED".to_owned()));
        assert!(answer.json()["error"]["data"]["retry_after_ms"].is_u64());
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(tool.calls().len(), 6);
        let calls = books(&gateway, "d");
        let rules: Vec<_> =
            calls.iter().map(|call| (call.decision.as_str(), &call.entry["policy_rule_matched"])).collect();
        assert_eq!(rules.first(), Some(&("deny", &json!("rate_limits[0]"))));
        assert_eq!(rules.iter().filter(|(decision, _)| *decision == "allow").count(), 3);
        assert_eq!(rules.last(), Some(&("deny", &json!("rate_limits[1]"))));
        assert_proven(&gateway, "d");
    }
}

#[test]
fn a_rush_takes_no_more_than_the_bucket_holds_and_it_fills_again() {
    let tool = Upstream::plain();
    let limits = json!([{"calls": 4, "per_seconds": 4}]);
    let gateway = Gateway::start(&setup(&tool.url(), "enforcing").with("/rate_limits", limits));
    let start = Barrier::new(16);
    let passed = thread::scope(|scope| {
        let (gateway, start) = (&gateway, &start);
        let call = move |number: usize| {
            start.wait();
            gateway.call(&format!("s{number}"), CONTACTS).status()
        };
        let calls: Vec<_> = (0..16).map(|number| scope.spawn(move || call(number))).collect();
        calls.into_iter().map(|call| call.join().expect("a call")).filter(|status| *status == 200).count()
    });
    assert!((4..=5).contains(&passed), "{passed}");
    wait_for("a call to come back", Duration::from_secs(10), || {
        (gateway.call("later", CONTACTS).status() == 200).then_some(())
    });
}
