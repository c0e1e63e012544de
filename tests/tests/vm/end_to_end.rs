//! `host --vm`: the quickstart from firmware to claim, and what is left of a machine that dies, and of one whose host does.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::gateway::Gateway;
use tests::setup::CONTACTS;
use tests::store::Auditor;
use tests::upstream::Upstream;
use tests::upstream_tls::{Identity, TlsFront};
use tests::vm::{Image, turn};
use tests::{proc, wait_for};

use crate::attacks::unaffected;
use crate::desk::Desk;
use crate::load::{all_stored, under_load};
use crate::{claimed, got, production};

/// Names of a machine's processes, as the kernel cuts them.
const PROCESSES: [&str; 3] = ["qemu-system-x86", "swtpm", "vhost-device-vs"];

/// A machine's processes.
fn processes(gateway: &Gateway) -> Vec<u32> {
    PROCESSES.iter().flat_map(|name| proc::children(gateway.pid(), name)).collect()
}

/// Two boots.
#[test]
fn the_quickstart_in_a_machine_of_the_host() {
    let _turn = turn();
    let (image, auditor, tool) = (Image::of("metal"), Auditor::new(), Upstream::plain());
    let identity = Identity::own(&["127.0.0.1"]);
    let front = TlsFront::start(tool.address, &identity);
    let setup = production(&front.url(), &auditor).pinned("key-pinned", &identity.key_pin());
    let booted = image.path("disk.vhd");
    let gateway = Gateway::start_measured(&setup, &["--vm", booted.to_str().expect("a path")]);
    assert!(gateway.log().contains("TPM is software"), "{}", gateway.log());
    assert_eq!(processes(&gateway).len(), 3);
    let desk = Desk::approving(&image, gateway.folder());

    let first = served(&gateway, &image, &desk);
    let answered = died_and_restarted(&gateway, &desk, &first);
    let before = processes(&gateway);
    let more = under_load(&gateway, "host", || proc::signal(gateway.pid(), Signal::KILL));
    wait_for("end of all processes", Duration::from_secs(20), || {
        before.iter().all(|pid| !proc::alive(*pid)).then_some(())
    });
    let folder = gateway.into_folder();
    all_stored(&folder.path().join("audit-store"), &auditor, &[answered, more].concat());
}

/// Claim and evidence of a closed session, judged by what was built.
fn served(gateway: &Gateway, image: &Image, desk: &Desk) -> (Value, Value) {
    let alice = gateway.caller("alice");
    for _ in 0..2 {
        let answer = alice.call("first", CONTACTS);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let closed = alice.post("/sessions/first/close", b"");
    assert_eq!(closed.status(), 200, "{}", closed.text());
    let (claim, evidence) = claimed(gateway, "first");
    unaffected(&evidence, image);
    assert_eq!(claim["trace"]["runtime"]["platform"], "tpm2");
    desk.finds_ours(&claim, &evidence);
    let bundle = got(&alice, "/audit/export?session_id=first");
    desk.save("bundle.json", bundle.to_string().as_bytes());
    let (_, text) = desk.run(&["claim.json", "--audit-bundle", "bundle.json", "--json"]);
    let verdict: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(verdict["audit_bundle"]["verified"], true, "{text}");
    // Nobody vouches for this TPM, so nobody is told anything.
    let url = format!("https://{}", gateway.address);
    let (code, text) = desk.run(&["connect", &url, "--reference", "approved.json", "--json"]);
    assert!(code != Some(0) && !text.contains("\"status\":\"verified\""), "{text}");
    (claim, evidence)
}

/// The machine is killed under load; the host starts another one, whose TPM is another's too.
fn died_and_restarted(gateway: &Gateway, desk: &Desk, first: &(Value, Value)) -> Vec<(String, String)> {
    let before = processes(gateway);
    let machine = proc::children(gateway.pid(), PROCESSES[0])[0];
    let answered = under_load(gateway, "machine", || {
        // The host knows of open sessions what the enclave last said.
        std::thread::sleep(Duration::from_secs(2));
        proc::signal(machine, Signal::KILL);
        wait_for("the report", Duration::from_secs(20), || gateway.log().contains("are lost").then_some(()));
    });
    assert!(!gateway.log().contains(" 0 open sessions are lost"), "{}", gateway.log());
    gateway.wait_booted();
    assert!(before.iter().all(|pid| !proc::alive(*pid)), "nothing of the first machine is left");
    let alice = gateway.caller("alice");
    assert_eq!(alice.get("/session/machine-0/claim").status(), 404, "sessions of the dead key are not continued");
    assert_eq!(alice.call("second", CONTACTS).status(), 200);
    let (claim, evidence) = claimed(gateway, "second");
    desk.finds_ours(&claim, &evidence);
    // A quote of the other machine, which booted the same image.
    let mut theirs = evidence.clone();
    theirs["session"] = first.1["session"].clone();
    desk.refuses(&claim, &theirs, "evidence.same_boot");
    desk.refuses(&claim, &first.1, "claim.key");
    answered
}
