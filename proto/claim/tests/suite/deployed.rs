//! What deployed verifiers say of our documents. They are Python; `INTEROP_VENV` names an environment that has them
//! (`shared/interop/setup.sh` makes one). Without it the test skips and says so; `tests/run` sets it.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use claim::profile::Profile;
use claim::time::Timestamp;

use crate::common::{Session, shared};

/// A session that began now: deployed verifiers judge freshness by their own clock.
fn session() -> Session {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Session::new(Timestamp::from_micros(i64::try_from(elapsed.as_micros()).unwrap() - 20_000_000))
}

fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}\n{text}", program.display());
}

#[test]
fn deployed_verifiers_accept_claim_bundle_and_record() {
    let Some(scripts) = shared("interop") else { return };
    let Some(environment) = std::env::var_os("INTEROP_VENV") else {
        eprintln!("skipped: INTEROP_VENV names no environment with the deployed verifiers");
        return;
    };
    let environment = Path::new(&environment);
    let session = session();
    let folder = tempfile(&session);
    let file = |name: &str| folder.join(name).display().to_string();
    let script = |name: &str| scripts.join(name).display().to_string();
    run(&environment.join("bin/python"), &[&script("check_claim.py"), &file("claim.json"), &file("bundle.json")]);
    let venv = environment.display().to_string();
    run(Path::new("bash"), &[&script("check_record.sh"), &venv, &file("record.json"), "0", NONCE]);
    std::fs::remove_dir_all(folder).unwrap();
}

const NONCE: &str = "YSBjYWxsZXIncyBjaGFsbGVuZ2U";

fn tempfile(session: &Session) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("deployed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("claim.json"), session.claim(Profile::TraceV02).bytes()).unwrap();
    std::fs::write(folder.join("bundle.json"), session.bundle().sorted_ascii()).unwrap();
    std::fs::write(folder.join("record.json"), session.record(Some(NONCE.to_owned())).bytes().unwrap()).unwrap();
    folder
}
