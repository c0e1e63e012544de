//! An enclave that somebody else started, and collateral for its evidence.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Enclave, Files, Host, agent_says, wait_until};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A service that refuses so many requests and then answers all with this.
fn service(refusals: usize, body: &str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, body) = (Arc::new(AtomicUsize::new(0)), body.to_owned());
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let status = if count.fetch_add(1, Ordering::SeqCst) < refusals { "503 Busy" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, asked)
}

/// What Azure's metadata service says of the processor; certificates in name only.
fn certification() -> String {
    let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    serde_json::json!({ "vcekCert": pem, "tcbm": "DB18000000000004", "certificateChain": pem.repeat(2) }).to_string()
}

#[test]
fn serves_with_an_enclave_that_is_there_and_with_the_next_one() {
    let files = Files::new("azure");
    let mut enclave = Enclave::start(&files);
    let mut host = Host::attached(&files, NOWHERE);
    let address = host.address();
    let output = host.output();
    assert!(output.starts_with("[cmcp] connecting to the enclave at unix:"), "{output}");
    assert_eq!(output.lines().nth(1), Some("[cmcp] provider=azure (SEV-SNP) enforcement_mode=advisory"), "{output}");
    agent_says(address, "append 3");
    let first = agent_says(address, "boot");
    agent_says(address, "die");
    wait_until("the end", || enclave.ended());
    wait_until("the report", || host.output().contains("waiting for an enclave at unix:"));
    assert!(host.errors().contains("the enclave closed its control stream"), "{}", host.errors());
    let _next = Enclave::start(&files);
    wait_until("the next enclave", || {
        let now = agent_says(address, "boot");
        !now.is_empty() && now != first
    });
    assert!(agent_says(address, "boot").ends_with(" 2"), "the new boot is told of the last batch");
    assert_eq!(agent_says(address, "append 1"), "stored 1");
    assert_eq!(host.stop(), 0);
    assert!(!files.path("there.sock_1024").exists(), "the host's socket is gone with it");
}

#[test]
fn a_host_that_was_killed_leaves_room_for_the_next() {
    let files = Files::new("azure");
    let enclave = Enclave::start(&files);
    let mut killed = Host::attached(&files, NOWHERE);
    killed.address();
    let mut second = Host::attached(&files, NOWHERE);
    assert_eq!(second.wait(), 1);
    let errors = second.errors();
    assert!(errors.contains("another host"), "{errors}");
    killed.kill();
    drop(enclave);
    let _enclave = Enclave::start(&files);
    let mut host = Host::attached(&files, NOWHERE);
    host.address();
    assert_eq!(host.stop(), 0);
}

#[test]
fn without_an_enclave_it_says_how_to_start_one() {
    let files = Files::new("azure");
    let mut host = Host::attached(&files, NOWHERE);
    assert_eq!(host.wait(), 1);
    let errors = host.errors();
    assert!(errors.contains("no enclave answers at unix:") && errors.contains("enclave --listen unix:"), "{errors}");
    let mut both = Host::start(&files, &["--dev-enclave", "--enclave", "unix:x", "--config", "cmcp-config.yaml"]);
    assert_eq!(both.wait(), 1);
    assert!(both.errors().contains("choose one"), "{}", both.errors());
    let (code, _, errors) = files.run(&["--enclave", "there.sock"]);
    assert!(code == 2 && errors.contains("expected unix:PATH"), "{errors}");
}

#[test]
fn collateral_that_is_late_is_asked_for_again() {
    let files = Files::new("azure");
    let _enclave = Enclave::start(&files);
    // The metadata service, and AMD's in its place, refuse one request each.
    let (url, asked) = service(2, &certification());
    let mut host = Host::attached(&files, &url);
    let address = host.address();
    wait_until("the warning", || host.errors().contains("claims go without part of their collateral"));
    assert!(
        host.errors().contains("next attempt in 5 s") && host.errors().contains("HTTP status 503"),
        "{}",
        host.errors()
    );
    wait_until("the collateral", || !agent_says(address, "collateral").is_empty());
    assert_eq!(agent_says(address, "collateral"), r#"{"certificates":["MAMCAQE","MAMCAQE","MAMCAQE"]}"#);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(host.stop(), 0);
}

#[test]
fn a_file_takes_the_place_of_the_services() {
    let files = Files::new("azure");
    let _enclave = Enclave::start(&files);
    std::fs::write(files.path("collateral.json"), r#"{"certificates": ["MAMCAQE"]}"#).unwrap();
    let (url, asked) = service(0, &certification());
    let socket = format!("unix:{}", files.path("there.sock").display());
    let arguments = ["--enclave", &socket, "--config", "cmcp-config.yaml", "--imds", &url, "--collateral"];
    let mut host = Host::start(&files, &[&arguments[..], &["collateral.json"]].concat());
    let address = host.address();
    wait_until("the collateral", || agent_says(address, "collateral") == r#"{"certificates": ["MAMCAQE"]}"#);
    assert_eq!((host.stop(), asked.load(Ordering::SeqCst)), (0, 0));
    std::fs::write(files.path("collateral.json"), "[]").unwrap();
    for (file, complaint) in [("collateral.json", "expected an object"), ("missing.json", "No such file")] {
        let mut host = Host::start(&files, &[&arguments[..], &[file]].concat());
        assert_eq!(host.wait(), 1);
        assert!(host.errors().contains(file) && host.errors().contains(complaint), "{}", host.errors());
    }
}

#[test]
fn collateral_that_is_refused_is_no_reason_to_stop() {
    let files = Files::new("picky");
    let _enclave = Enclave::start(&files);
    let (url, _) = service(0, &certification());
    let mut host = Host::attached(&files, &url);
    let address = host.address();
    wait_until("the warning", || {
        host.errors().contains("collateral is not attached to claims: policy0: found rubbish")
    });
    assert!(!agent_says(address, "boot").is_empty());
    assert_eq!(host.stop(), 0);
}
