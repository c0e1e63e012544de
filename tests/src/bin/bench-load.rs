//! Makes an exact number of calls in one session: `bench-load ADDRESS SESSION CONNECTIONS CALLS`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tests::http::Connection;
use tests::setup::{call_params, rpc};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, session, connections, calls] = words.as_slice() else {
        eprintln!("usage: bench-load ADDRESS SESSION CONNECTIONS CALLS");
        std::process::exit(2);
    };
    let address: SocketAddr = address.parse().expect("an address");
    let connections: usize = connections.parse().expect("a number of connections");
    let left = AtomicU64::new(calls.parse().expect("a number of calls"));
    let body = rpc(1, "tools/call", &call_params("echo", session));
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| call_while(address, &left, &body));
        }
    });
}

fn call_while(address: SocketAddr, left: &AtomicU64, body: &[u8]) {
    let mut connection = Connection::open(address).expect("the gateway accepts");
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let answer =
            connection.request("POST", "/mcp", &[("content-type", "application/json")], body).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}
