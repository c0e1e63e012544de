//! The built host with a small enclave that speaks the wire and does what an agent tells it.

#[cfg(test)]
mod attached;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::{Files, Host, agent_says, wait_until};

#[test]
fn start_prints_what_was_loaded_and_what_to_try() {
    let files = Files::new("");
    let mut host = Host::start(&files, &["--dev-enclave", "--config", "cmcp-config.yaml"]);
    let address = host.address();
    let lines = host.output();
    let lines: Vec<_> = lines.lines().collect();
    let hash = |byte: &str| format!("sha256:{}", byte.repeat(32));
    assert_eq!(lines[0], "[cmcp] provider=software-only enforcement_mode=advisory");
    assert_eq!(lines[1], format!("[cmcp] policy bundle loaded: {}", hash("01")));
    assert_eq!(lines[2], format!("[cmcp] catalog loaded: 1 tools, {}", hash("02")));
    assert_eq!(lines[3], format!("[cmcp] listening on {address}"));
    let rest = lines[4..].join("\n");
    for part in [
        format!("curl -s http://{address}/mcp"),
        format!("curl -s http://{address}/session/demo-session-001/claim"),
        format!("--policy-hash {}", hash("01")),
        format!("--catalog-hash {}", hash("02")),
        r#""arguments": {"query": "Acme Corp", "max_records": 10}"#.to_owned(),
    ] {
        assert!(rest.contains(&part), "{part} not in {rest}");
    }
    assert_eq!(host.stop(), 0);
}

#[test]
fn json_lines() {
    let files = Files::new("");
    let mut host = Host::start(&files, &["--dev-enclave", "--config", "cmcp-config.yaml", "--log-format", "json"]);
    agent_says(host.address(), "log");
    wait_until("the log event", || host.output().contains("denied"));
    assert_eq!(host.stop(), 0);
    let events: Vec<serde_json::Value> =
        host.output().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["enclave", "policy", "catalog", "listening", "denied", "stopping", "stopped"]);
    assert_eq!(events[4]["tool"], "salesforce.contacts");
    assert_eq!(host.errors(), "");
}

#[test]
fn the_child_has_no_environment_and_a_private_folder() {
    let files = Files::new("");
    let host = Host::start_with(&files, &["--dev-enclave", "--config", "cmcp-config.yaml"], &[("SECRET", "x")]);
    host.address();
    let environment = files.read("environment");
    assert!(!environment.contains("SECRET") && !environment.contains("HOME"), "{environment}");
    let folder = files.read("folder");
    assert!(folder.starts_with("700 "), "{folder}");
}

#[test]
fn bytes_are_relayed_both_ways() {
    let files = Files::new("");
    let host = Host::dev(&files);
    let mut agents: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(host.address()).unwrap()).collect();
    for (number, agent) in agents.iter_mut().enumerate() {
        agent.write_all(format!("echo {number}\n").as_bytes()).unwrap();
    }
    for (number, mut agent) in agents.into_iter().enumerate() {
        let mut answer = String::new();
        agent.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("{number}\n"));
    }
}

#[test]
fn a_rush_of_agents_is_served() {
    let files = Files::new("");
    let host = Host::dev(&files);
    let address = host.address();
    let mut agents: Vec<_> = (0..700).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for agent in &mut agents {
        agent.write_all(b"echo x\n").unwrap();
    }
    for mut agent in agents {
        let mut answer = String::new();
        agent.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "x\n");
    }
}

#[test]
fn dials_only_what_the_catalog_names() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let files = Files::new("");
    files.write_catalog(&[format!("http://127.0.0.1:{port}/mcp"), format!("http://localhost:{closed}/mcp")]);
    let host = Host::dev(&files);
    let tool = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut question = [0; 5];
        stream.read_exact(&mut question).unwrap();
        stream.write_all(b"pong").unwrap();
        question
    });
    assert_eq!(agent_says(host.address(), &format!("dial 127.0.0.1 {port}")), "pong");
    assert_eq!(tool.join().unwrap(), *b"ping\n");
    assert_eq!(agent_says(host.address(), &format!("dial localhost {closed}")), "Refused(Unreachable)");
    assert_eq!(agent_says(host.address(), "dial 127.0.0.1 1"), "Refused(NotAllowed)");
    assert_eq!(agent_says(host.address(), &format!("dial localhost {port}")), "Refused(NotAllowed)");
    assert_eq!(agent_says(host.address(), &format!("dial LOCALHOST {closed}")), "Refused(Unreachable)");
}

#[test]
fn batches_are_stored_and_read_back() {
    let files = Files::new("");
    let mut host = Host::dev(&files);
    assert_eq!(agent_says(host.address(), "append 5"), "stored 5");
    assert_eq!(agent_says(host.address(), "append 3"), "stored 8");
    assert_eq!(agent_says(host.address(), "recall 1"), "batches 1 3 5 7");
    assert_eq!(agent_says(host.address(), "recall 9"), "batches");
    assert_eq!(host.stop(), 0);
    let segment = std::fs::read(files.path("audit-store/00000000.log")).unwrap();
    assert!(segment.starts_with(b"cmcp-boot-log-1\n"));
    assert!(!segment.ends_with(&[0; 16]), "closed without spare zeros");
}

#[test]
fn an_enclave_that_dies_is_replaced_and_its_sessions_are_reported() {
    let files = Files::new("");
    let mut host = Host::dev(&files);
    let address = host.address();
    agent_says(address, "append 4");
    agent_says(address, "counters 3");
    let first = agent_says(address, "boot");
    assert!(first.ends_with(" none"), "{first}");
    agent_says(address, "die");
    wait_until("the report", || host.errors().contains("3 open sessions are lost"));
    wait_until("a new enclave", || {
        let now = agent_says(address, "boot");
        !now.is_empty() && now != first
    });
    let second = agent_says(address, "boot");
    assert!(second.ends_with(" 3"), "the new boot is told of the last batch: {second}");
    agent_says(address, "append 1");
    assert_eq!(host.stop(), 0);
}

#[test]
fn an_enclave_that_keeps_dying_is_restarted_ever_more_slowly() {
    let files = Files::new("");
    let host = Host::dev(&files);
    for _ in 0..3 {
        wait_until("an enclave", || !agent_says(host.address(), "boot").is_empty());
        agent_says(host.address(), "die");
    }
    wait_until("the third pause", || host.output().contains("restarting in 800 ms"));
}

#[test]
fn a_stop_waits_for_the_enclave_and_its_records() {
    let files = Files::new("");
    let mut host = Host::dev(&files);
    host.address();
    assert_eq!(host.stop(), 0);
    assert!(host.output().contains("stopped; 7 sessions closed"), "{}", host.output());
    assert!(!std::path::Path::new(files.read("folder").trim().split_once(' ').unwrap().1).exists());
    // Its last batch was appended after the request to stop.
    assert!(std::fs::metadata(files.path("audit-store/00000000.log")).unwrap().len() > 16);
}

#[test]
fn a_second_signal_does_not_wait() {
    let files = Files::new("deaf");
    let mut host = Host::dev(&files);
    host.address();
    let begun = Instant::now();
    host.signal();
    wait_until("the first signal", || host.output().contains("stopping"));
    assert_eq!(host.stop(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(host.errors().contains("did not stop"), "{}", host.errors());
}

#[test]
fn the_enclave_ends_with_a_killed_host() {
    let files = Files::new("");
    let mut host = Host::dev(&files);
    host.address();
    let enclave = files.read("pid");
    host.kill();
    wait_until("the end of the enclave", || !std::path::Path::new(&format!("/proc/{}", enclave.trim())).exists());
}

#[test]
fn a_refusal_names_file_and_field() {
    let files = Files::new("refuse");
    let mut host = Host::dev(&files);
    assert_eq!(host.wait(), 1);
    assert!(host.errors().contains("policies/demo.cedar: policy0: found rubbish, expected Cedar"), "{}", host.errors());
}

#[test]
fn without_dev_mode_and_tee_it_says_what_to_do() {
    let files = Files::new("");
    let mut host = Host::start(&files, &["--config", "cmcp-config.yaml"]);
    assert_eq!(host.wait(), 1);
    assert!(host.errors().contains("host --dev-enclave"), "{}", host.errors());
    let mut host = Host::start_with(&files, &["--config", "cmcp-config.yaml"], &[("CMCP_DEV_MODE", "1")]);
    host.address();
    assert_eq!(host.stop(), 0);
}

#[test]
fn a_missing_or_dying_enclave_is_an_error_at_the_first_start() {
    let files = Files::new("exit");
    let mut host = Host::dev(&files);
    assert_eq!(host.wait(), 1);
    assert!(host.errors().contains("ended before it was ready"), "{}", host.errors());
    std::fs::remove_file(files.path("enclave")).unwrap();
    let mut host = Host::dev(&files);
    assert_eq!(host.wait(), 1);
    assert!(host.errors().contains("cargo build --release"), "{}", host.errors());
}

#[test]
fn one_store_one_host() {
    let files = Files::new("");
    let host = Host::dev(&files);
    host.address();
    let mut second = Host::dev(&files);
    assert_eq!(second.wait(), 1);
    assert!(second.errors().contains("another host has it open"), "{}", second.errors());
}

#[test]
fn a_torn_tail_is_reported() {
    let files = Files::new("");
    let mut host = Host::dev(&files);
    agent_says(host.address(), "append 2");
    host.kill();
    let path = files.path("audit-store/00000000.log");
    let mut segment = std::fs::read(&path).unwrap();
    let end = segment.iter().rposition(|byte| *byte != 0).unwrap();
    segment.splice(end + 100..end + 104, *b"torn");
    std::fs::write(&path, segment).unwrap();
    let mut host = Host::dev(&files);
    assert!(agent_says(host.address(), "boot").ends_with(" 1"));
    assert!(host.errors().contains("torn tail in segment 00000000.log: "), "{}", host.errors());
    assert_eq!(host.stop(), 0);
}

#[test]
fn only_loopback_in_dev_mode() {
    let files = Files::new("");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut host = Host::start(&files, &["--dev-enclave", "--config", "cmcp-config.yaml", "--listen", address]);
        assert_eq!(host.wait(), 1);
        assert!(host.errors().contains("not a loopback address"), "{}", host.errors());
    }
}

#[test]
fn check_and_hash_definition_ask_the_enclave() {
    let files = Files::new("");
    let (code, output, _) = files.run(&["check", "--config", "cmcp-config.yaml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &report["ok"], &report["tools"]), (0, &true.into(), &1.into()));
    let (code, output, _) = files.run(&["check", "--config", "cmcp-config.yaml"]);
    assert!(code == 0 && output.starts_with("ok\n"), "{output}");
    let (code, output, _) = files.run(&["hash-definition", "catalog.json"]);
    assert_eq!((code, output), (0, format!("sha256:{}\n", "05".repeat(32))));
    let refusing = Files::new("refuse");
    let (code, output, errors) = refusing.run(&["check", "--config", "cmcp-config.yaml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &report["ok"], &report["field"]), (1, &false.into(), &"policy0".into()));
    assert!(errors.contains("found rubbish"), "{errors}");
}
