//! A host that is killed while a machine that it did not start runs, and its successor. The machine is one that somebody tried to
//! override, in ways that have no effect.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tests::gateway::Gateway;
use tests::setup::CONTACTS;
use tests::store::Auditor;
use tests::upstream::Upstream;
use tests::vm::{Image, TpmState, turn};
use tests::{proc, wait_for};

use crate::attacks::{overridden, unaffected};
use crate::desk::Desk;
use crate::load::{all_stored, under_load};
use crate::{claimed, production};

/// Two boots, of one machine.
#[test]
fn a_host_that_is_killed_loses_no_answer_and_another_goes_on() {
    let _turn = turn();
    let (image, auditor, tool) = (Image::of("metal"), Auditor::new(), Upstream::plain());
    let folder = tempfile::tempdir().expect("a folder");
    let machine = overridden(&folder, &image.bytes("disk.raw"));
    let mut vm = machine.start(&TpmState::new());
    // vhost-device-vsock 0.3.0 does not tell a machine of a stream whose other end dies with bytes unread: here no call is worth a log line.
    let setup = production(&tool.url(), &auditor).with("/attestation/enforcement_mode", json!("silent"));
    let words = ["--enclave", &vm.address()];
    let gateway = Gateway::start_measured(&setup, &words);
    let desk = Desk::approving(&image, gateway.folder());
    assert_eq!(gateway.caller("alice").call("first", CONTACTS).status(), 200);
    let (claim, evidence) = claimed(&gateway, "first");
    unaffected(&evidence, &image);
    desk.finds_ours(&claim, &evidence);

    let answered = under_load(&gateway, "load", || proc::signal(gateway.pid(), Signal::KILL));
    // The enclave does not outlive its control stream, and its machine wants to begin anew.
    let mut vm = machine.start_again(vm);
    vm.wait_listening();
    let gateway = Gateway::start_measured_in(gateway.into_folder(), &words);
    let alice = gateway.caller("alice");
    assert_eq!(alice.get("/session/first/claim").status(), 404, "another boot, another key");
    assert_eq!(alice.call("second", CONTACTS).status(), 200);
    let (second, fresh) = claimed(&gateway, "second");
    assert_ne!(second["trace"]["cnf"]["jwk"]["x"], claim["trace"]["cnf"]["jwk"]["x"]);
    desk.finds_ours(&second, &fresh);
    // The same TPM, the same image, the same attestation key, and a quote from before the reboot.
    assert_eq!(fresh["boot"]["evidence"]["ak_public"], evidence["boot"]["evidence"]["ak_public"], "one TPM");
    let mut replayed = fresh.clone();
    replayed["session"] = evidence["session"].clone();
    desk.refuses(&second, &replayed, "evidence.same_boot");

    // Power is cut: the host notices by itself, and waits.
    let more = under_load(&gateway, "power", || {
        std::thread::sleep(Duration::from_secs(2));
        vm.kill();
        wait_for("the report", Duration::from_secs(30), || gateway.log().contains("are lost").then_some(()));
    });
    wait_for("waiting", Duration::from_secs(10), || gateway.log().contains("waiting for an enclave at").then_some(()));
    let (status, folder) = gateway.stop();
    assert!(status.success(), "{status}");
    all_stored(&folder.path().join("audit-store"), &auditor, &[answered, more].concat());
}
