use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::LocalSet;

use super::{Changes, Hearing, Process};
use crate::error::Code;

const CAP: usize = 10_000;

/// The process as a test plays it.
struct Played(BufReader<DuplexStream>);

impl Played {
    async fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    async fn says(&mut self, line: &str) {
        let _ = self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await;
    }

    async fn answers(&mut self, id: &Value, result: &str) {
        self.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)).await;
    }

    async fn notifies(&mut self, method: &str, params: &Value) {
        self.says(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()).await;
    }
}

fn started(exclusive: bool) -> (Rc<Process>, Played) {
    let (ours, theirs) = duplex(1 << 20);
    (Process::over(ours, exclusive, CAP, Changes::default()), Played(BufReader::new(theirs)))
}

async fn asks(process: &Rc<Process>, id: &str) -> Hearing {
    process.request(Some(id), "tools/call", Some("{}")).await.unwrap()
}

async fn hears(hearing: &mut Hearing) -> Value {
    let message: Bytes = hearing.next().await.unwrap().unwrap();
    serde_json::from_slice(&message).unwrap()
}

async fn fails(hearing: &mut Hearing) -> Code {
    hearing.next().await.unwrap_err().code
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn requests_with_one_id_get_their_own_answers() {
    run(async {
        let (process, mut played) = started(false);
        let (mut one, mut two) = (asks(&process, "1").await, asks(&process, "1").await);
        let (first, second) = (played.heard().await["id"].clone(), played.heard().await["id"].clone());
        assert_ne!(first, second);
        played.answers(&second, r#"{"n": 2 }"#).await;
        played.answers(&first, "{}").await;
        assert_eq!(two.next().await.unwrap().unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{"n": 2 }}"#);
        assert_eq!(hears(&mut one).await["id"], 1);
    });
}

#[test]
fn a_message_is_one_line() {
    run(async {
        let (process, mut played) = started(false);
        let params = "{\n \"a\":\r\n \"b\\n\"}";
        let _asked = process.request(Some("\"x\""), "m", Some(params)).await.unwrap();
        assert_eq!(played.heard().await["params"]["a"], "b\n");
    });
}

#[test]
fn second_and_late_answers_are_dropped_and_the_process_goes_on() {
    run(async {
        let (process, mut played) = started(false);
        let mut one = asks(&process, "1").await;
        let id = played.heard().await["id"].clone();
        played.answers(&id, "{}").await;
        played.answers(&id, r#"{"second":1}"#).await;
        assert_eq!(hears(&mut one).await["result"], json!({}));
        drop(one);
        let two = asks(&process, "2").await;
        let id = played.heard().await["id"].clone();
        drop(two);
        assert_eq!(
            played.heard().await,
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        );
        played.answers(&id, "{}").await;
        let mut three = asks(&process, "3").await;
        let id = played.heard().await["id"].clone();
        played.answers(&id, "{}").await;
        assert_eq!(hears(&mut three).await["id"], 3);
        assert!(!process.is_over());
    });
}

#[test]
fn what_is_no_message_ends_the_process_and_its_calls() {
    for (line, code) in [
        ("so long", Code::UpstreamInvalid),
        ("[]", Code::UpstreamInvalid),
        (r#"{"jsonrpc":"2.0","id":99,"result":{}}"#, Code::UpstreamInvalid),
        (r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, Code::UpstreamInvalid),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Code::UpstreamInvalid),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#, Code::UpstreamInvalid),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, Code::UpstreamInvalid),
        (&"x".repeat(CAP + 1), Code::UpstreamTooLarge),
    ] {
        run(async {
            let (process, mut played) = started(false);
            let (mut one, mut two) = (asks(&process, "7").await, asks(&process, "8").await);
            played.says(line).await;
            assert_eq!((fails(&mut one).await, fails(&mut two).await), (code, code), "{line:.40}");
            assert!(process.is_over());
            let refused = process.request(Some("9"), "m", None).await.unwrap_err();
            assert_eq!((refused.code, refused.sent), (Code::UpstreamUnavailable, false));
        });
    }
}

#[test]
fn the_end_of_the_process_is_the_end_of_its_calls() {
    for (last, detail) in [("", "before its answer"), (r#"{"jsonrpc":"2.0","id":1,"res"#, "within a line")] {
        run(async {
            let (process, mut played) = started(true);
            let mut listening = process.listen().unwrap();
            let mut one = asks(&process, "7").await;
            played.0.get_mut().write_all(last.as_bytes()).await.unwrap();
            drop(played);
            let fault = one.next().await.unwrap_err();
            assert_eq!((fault.code, fault.sent), (Code::UpstreamInvalid, true));
            assert!(fault.detail.contains(detail), "{}", fault.detail);
            assert_eq!(listening.next().await, Ok(None));
            assert!(process.listen().is_none());
        });
    }
}

#[test]
fn progress_goes_to_its_call_with_its_own_token() {
    run(async {
        let (process, mut played) = started(false);
        let params = r#"{"_meta":{"progressToken":"mine","x": 1.0},"a":1}"#;
        let mut one = process.request(Some("1"), "tools/call", Some(params)).await.unwrap();
        let mut two = process.request(Some("2"), "tools/call", Some(params)).await.unwrap();
        let (first, second) = (played.heard().await, played.heard().await);
        assert_eq!(first["params"]["_meta"]["x"], 1.0);
        for (asked, n) in [(&second, 2), (&first, 1)] {
            let token = &asked["params"]["_meta"]["progressToken"];
            played.notifies("notifications/progress", &json!({"progressToken": token, "progress": n})).await;
        }
        played.notifies("notifications/progress", &json!({"progressToken": "mine", "progress": 3})).await;
        played.answers(&first["id"], "{}").await;
        assert_eq!(hears(&mut one).await["params"], json!({"progress": 1, "progressToken": "mine"}));
        assert_eq!(hears(&mut one).await["id"], 1, "a token that is not ours is nobody's");
        assert_eq!(hears(&mut two).await["params"]["progress"], 2);
    });
}

#[test]
fn what_is_subscribed_to_goes_to_the_subscription() {
    run(async {
        let (process, mut played) = started(false);
        let mut one = process.request(Some("\"s\""), "subscriptions/listen", Some("{}")).await.unwrap();
        let id = played.heard().await["id"].clone();
        let meta = |id: &Value| json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
        played.notifies("notifications/tools/list_changed", &meta(&json!(4711))).await;
        played.notifies("notifications/tools/list_changed", &meta(&id)).await;
        assert_eq!(hears(&mut one).await["params"], meta(&json!("s")));
        drop(one);
        assert_eq!(played.heard().await["params"]["requestId"], id);
    });
}

#[test]
fn what_belongs_to_no_request_is_heard_by_the_session_alone() {
    const LOG: &str = "notifications/message";
    run(async {
        let (process, mut played) = started(false);
        assert!(process.listen().is_none());
        let mut one = asks(&process, "1").await;
        let id = played.heard().await["id"].clone();
        played.notifies(LOG, &json!({"data": "of another session"})).await;
        played.says(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
        played.says(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#).await;
        assert_eq!(played.heard().await, json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
        assert_eq!(played.heard().await["error"]["code"], -32601);
        played.answers(&id, "{}").await;
        assert_eq!(hears(&mut one).await["id"], 1);
    });
    run(async {
        let (process, mut played) = started(true);
        let mut listening = process.listen().unwrap();
        let mut one = asks(&process, "1").await;
        let first = played.heard().await["id"].clone();
        played.notifies(LOG, &json!("of the only call")).await;
        assert_eq!(hears(&mut one).await["params"], "of the only call");
        let mut two = asks(&process, "2").await;
        played.notifies(LOG, &json!("of either")).await;
        assert_eq!(hears(&mut listening).await["params"], "of either");
        drop(listening);
        played.notifies(LOG, &json!("nobody listens")).await;
        assert_eq!(hears(&mut two).await["params"], "nobody listens");
        played.answers(&first, "{}").await;
        assert_eq!(hears(&mut one).await["id"], 1);
    });
}

#[test]
fn a_slow_reader_holds_up_nobody_and_holds_little() {
    run(async {
        let (ours, theirs) = duplex(1 << 20);
        let process = Process::over(ours, true, 16 << 20, Changes::default());
        let mut played = Played(BufReader::new(theirs));
        let slow = asks(&process, "1").await;
        let _first = played.heard().await;
        for _ in 0..100 {
            played.notifies("notifications/message", &json!("x".repeat(10_000))).await;
        }
        while slow.inbox.held() < 200_000 {
            tokio::task::yield_now().await;
        }
        let mut two = asks(&process, "2").await;
        let id = played.heard().await["id"].clone();
        played.answers(&id, "{}").await;
        while hears(&mut two).await["id"] != 2 {}
        assert!(slow.inbox.held() <= crate::limits::MAX_HELD, "{}", slow.inbox.held());
    });
}

#[test]
fn floods_end_the_call_that_they_are_for_or_the_process() {
    run(async {
        let (process, mut played) = started(true);
        let mut one = asks(&process, "1").await;
        let _asked = played.heard().await;
        for _ in 0..20 {
            played.notifies("notifications/message", &json!("x".repeat(CAP / 10))).await;
        }
        while let Ok(Some(_)) = one.next().await {}
        assert_eq!(fails(&mut one).await, Code::UpstreamTooLarge);
    });
    run(async {
        let (process, mut played) = started(false);
        let mut one = asks(&process, "1").await;
        for _ in 0..20 {
            played.notifies("notifications/message", &json!("x".repeat(CAP / 10))).await;
        }
        assert_eq!(fails(&mut one).await, Code::UpstreamInvalid);
        assert!(process.is_over());
    });
}
