//! Runs the built host in a folder where `enclave` is a script that becomes this test program.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with the programs and the quickstart's documents.
pub(crate) struct Files(TempDir);

impl Files {
    /// `mode` is for the enclave, see `fake.rs`.
    pub(crate) fn new(mode: &str) -> Self {
        // Beside the built program, so that it can be linked: a copy could still be open for writing in a child that
        // another test is just starting, and would then not run.
        let built = Path::new(env!("CARGO_BIN_EXE_host"));
        let files = Self(tempfile::tempdir_in(built.parent().unwrap()).unwrap());
        fs::hard_link(built, files.path("host")).unwrap();
        let script = format!(
            "#!/bin/sh\n/usr/bin/env > '{folder}/environment'\n/usr/bin/stat -c '%a %n' \"$PWD\" > '{folder}/folder'\n\
             echo $$ > '{folder}/pid'\nexec /usr/bin/env FAKE_ENCLAVE=\"$2\" FAKE_MODE='{mode}' '{test}' \
             --exact fake::enclave --nocapture --test-threads=1\n",
            folder = files.0.path().display(),
            test = std::env::current_exe().unwrap().display(),
        );
        files.write_program("enclave", &script);
        fs::create_dir(files.path("policies")).unwrap();
        fs::write(files.path("cmcp-config.yaml"), host::quickstart::CONFIG).unwrap();
        fs::write(files.path("catalog.json"), host::quickstart::CATALOG).unwrap();
        for (path, text) in host::quickstart::POLICY {
            fs::write(files.path("policies").join(path), text).unwrap();
        }
        files
    }

    /// By another process, for the same reason.
    fn write_program(&self, name: &str, script: &str) {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 700 \"$0\"", name])
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write_catalog(&self, urls: &[String]) {
        let entries: Vec<_> =
            urls.iter().map(|url| serde_json::json!({ "tool_name": url, "server": { "url": url } })).collect();
        fs::write(self.path("catalog.json"), serde_json::to_vec(&entries).unwrap()).unwrap();
    }

    /// Runs a command to its end: exit code, stdout, stderr.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(self.path("host")).args(arguments).current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

/// An enclave that nobody's host started; killed when dropped.
pub(crate) struct Enclave(Child);

impl Enclave {
    pub(crate) fn start(files: &Files) -> Self {
        let listen = format!("unix:{}", files.path("there.sock").display());
        let _ = fs::remove_file(files.path("there.sock"));
        Self(Command::new(files.path("enclave")).args(["--listen", &listen]).stdout(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running host; killed when dropped.
pub(crate) struct Host {
    child: Child,
    log: TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host {
    pub(crate) fn dev(files: &Files) -> Self {
        Self::start(files, &["--dev-enclave", "--config", "cmcp-config.yaml"])
    }

    /// With the enclave of [`Enclave::start`], and a metadata service for its collateral.
    pub(crate) fn attached(files: &Files, imds: &str) -> Self {
        let socket = format!("unix:{}", files.path("there.sock").display());
        Self::start(files, &["--enclave", &socket, "--config", "cmcp-config.yaml", "--imds", imds, "--kds", imds])
    }

    pub(crate) fn start(files: &Files, arguments: &[&str]) -> Self {
        Self::start_with(files, arguments, &[])
    }

    pub(crate) fn start_with(files: &Files, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = tempfile::tempdir().unwrap();
        let file = |name| File::create(log.path().join(name)).unwrap();
        let mut command = Command::new(files.path("host"));
        command.args(arguments).envs(environment.iter().copied()).current_dir(files.0.path());
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let child = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.log.path().join("stdout")).unwrap()
    }

    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.log.path().join("stderr")).unwrap()
    }

    /// Where it listens, as soon as it says so.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut address = None;
        wait_until("the listening line", || {
            let output = self.output();
            let after = output.split_once("listening on ").and_then(|(_, after)| after.split_once(['\n', '"']));
            address = after.and_then(|(address, _)| address.parse().ok());
            assert!(address.is_some() || !self.errors().contains("host: "), "{}", self.errors());
            address.is_some()
        });
        address.unwrap()
    }

    pub(crate) fn signal(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal();
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> i32 {
        let mut status = None;
        wait_until("the host's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line to the enclave over a new connection, and its answer without the line's end.
pub(crate) fn agent_says(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    // A connection that breaks is an empty answer: the enclave may be dying.
    let _ = stream.read_to_string(&mut answer);
    answer.trim_end().to_owned()
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        sleep(Duration::from_millis(20));
    }
}
