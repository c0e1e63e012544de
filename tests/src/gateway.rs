//! A running `host --dev-enclave`, or a host with an enclave on a TPM, in a folder of its own.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Connection, Message};
use crate::setup::{Setup, call_params, rpc, token};
use crate::tls::{self, Trust};
use crate::{bin, proc, wait_for};

/// How long a start, a restart or a stop may take.
const LIFECYCLE: Duration = Duration::from_secs(20);
/// The same with a machine that boots.
const MEASURED: Duration = Duration::from_secs(90);

/// The host process, its enclave, and their files.
pub struct Gateway {
    host: Child,
    folder: TempDir,
    /// Where agents connect.
    pub address: SocketAddr,
    metrics: Option<SocketAddr>,
    tls: bool,
    /// An enclave that the host did not start.
    enclave: Option<Child>,
}

impl Gateway {
    /// Starts a gateway with these documents and waits until it serves.
    pub fn start(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        Self::start_in(folder)
    }

    /// Starts a gateway that speaks TLS with agents.
    pub fn start_tls(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let mut gateway = Self::spawn_with(folder, &[], &["--config", "cmcp-config.yaml", "--tls"]);
        gateway.tls = true;
        gateway.wait_ready();
        gateway
    }

    /// Starts an enclave with this TPM, outside dev mode, and a host that serves with it.
    pub fn start_on_tpm(setup: &Setup, tpm: &Path, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let socket = format!("unix:{}", folder.path().join("enclave.sock").display());
        let enclave = Command::new(bin::path("enclave"))
            .args(["--listen", &socket, "--tpm", &format!("unix:{}", tpm.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the enclave starts");
        let words = [&["--enclave", &socket, "--config", "cmcp-config.yaml"], more].concat();
        let mut gateway = Self::spawn_host(folder, &[], &words);
        gateway.tls = true;
        gateway.enclave = Some(enclave);
        gateway.wait_ready();
        gateway
    }

    /// Starts a host with a measured enclave, by `--enclave ADDRESS` or `--vm IMAGE`.
    pub fn start_measured(setup: &Setup, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        Self::start_measured_in(folder, words)
    }

    /// The same in a folder that holds its documents, and perhaps the store of an earlier run.
    pub fn start_measured_in(folder: TempDir, words: &[&str]) -> Self {
        let mut gateway = Self::spawn_host(folder, &[], &[&["--config", "cmcp-config.yaml"], words].concat());
        gateway.tls = true;
        gateway.wait_ready_for(MEASURED);
        gateway
    }

    /// Starts a gateway that shows its metrics.
    pub fn start_with_metrics(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, bin::free_port()));
        let words = ["--config", "cmcp-config.yaml", "--metrics", &metrics.to_string()];
        let mut gateway = Self::spawn_with(folder, &[], &words);
        gateway.metrics = Some(metrics);
        gateway.wait_ready();
        gateway
    }

    /// Starts a gateway in a folder that holds its documents, and perhaps the store of an earlier run.
    pub fn start_in(folder: TempDir) -> Self {
        let gateway = Self::spawn(folder, &[]);
        gateway.wait_ready();
        gateway
    }

    /// Starts a gateway that refuses every call, and waits until it says so.
    pub fn start_halted(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let gateway = Self::spawn(folder, &[]);
        wait_for("gateway", LIFECYCLE, || gateway.get_once("/health").filter(|answer| answer.status() == 200));
        gateway
    }

    /// Starts the host under another program (`strace -f ...`), whose process is then the one that is waited for.
    pub fn start_under(setup: &Setup, wrapper: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let gateway = Self::spawn(folder, wrapper);
        gateway.wait_ready();
        gateway
    }

    /// Starts the host without a configuration: its embedded default.
    pub fn start_default(folder: TempDir) -> Self {
        let gateway = Self::spawn_with(folder, &[], &[]);
        gateway.wait_ready();
        gateway
    }

    fn spawn(folder: TempDir, wrapper: &[&str]) -> Self {
        Self::spawn_with(folder, wrapper, &["--config", "cmcp-config.yaml"])
    }

    fn spawn_with(folder: TempDir, wrapper: &[&str], documents: &[&str]) -> Self {
        Self::spawn_host(folder, wrapper, &[&["--dev-enclave"], documents].concat())
    }

    fn spawn_host(folder: TempDir, wrapper: &[&str], words_of_host: &[&str]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bin::free_port()));
        let log = File::options().create(true).append(true).open(folder.path().join("log")).expect("a log file");
        let host = bin::path("host");
        let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(AsRef::as_ref).collect();
        words.push(host.as_os_str());
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["--listen", &address.to_string()])
            .args(words_of_host)
            .current_dir(folder.path())
            .env_remove("CMCP_DEV_MODE")
            .env("XDG_STATE_HOME", folder.path())
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the host starts");
        Self { host: child, folder, address, metrics: None, tls: false, enclave: None }
    }

    /// Where it shows its metrics.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics.expect("started with metrics")
    }

    /// Waits until `/readyz` says yes.
    pub fn wait_ready(&self) {
        self.wait_ready_for(LIFECYCLE);
    }

    /// The same for a machine that boots.
    pub fn wait_booted(&self) {
        self.wait_ready_for(MEASURED);
    }

    fn wait_ready_for(&self, limit: Duration) {
        wait_for("gateway", limit, || self.get_once("/readyz").filter(|answer| answer.status() == 200));
    }

    fn get_once(&self, path: &str) -> Option<Message> {
        self.open().ok()?.request("GET", path, &[], b"").ok()
    }

    /// A new connection; with TLS to whoever answers.
    pub fn connect(&self) -> Connection {
        self.open().expect("the gateway accepts")
    }

    fn open(&self) -> io::Result<Connection> {
        if self.tls {
            return Ok(tls::connect(self.address, None, &Trust::Anybody)?.connection);
        }
        Connection::open(self.address)
    }

    /// `GET` on a connection of its own.
    pub fn get(&self, path: &str) -> Message {
        self.connect().request("GET", path, &[], b"").expect("an answer")
    }

    /// `POST` of JSON on a connection of its own.
    pub fn post(&self, path: &str, body: &[u8]) -> Message {
        self.connect().request("POST", path, &[("content-type", "application/json")], body).expect("an answer")
    }

    /// A call in the quickstart's shape.
    pub fn call(&self, session: &str, tool: &str) -> Message {
        self.post("/mcp", &rpc(1, "tools/call", &call_params(tool, session)))
    }

    /// The gateway as this agent, or as `operator`, has it.
    pub fn caller(&self, name: &str) -> Named<'_> {
        self.bearer(&token(name))
    }

    /// The gateway as whoever sends this token has it.
    pub fn bearer(&self, token: &str) -> Named<'_> {
        Named { gateway: self, authorization: format!("Bearer {token}") }
    }

    /// The claim of a session.
    pub fn claim(&self, session: &str) -> Value {
        let answer = self.get(&format!("/session/{session}/claim"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    /// The entries of a session's audit bundle.
    pub fn entries(&self, session: &str) -> Vec<Value> {
        let answer = self.get(&format!("/audit/export?session_id={session}"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()["entries"].as_array().expect("entries").clone()
    }

    /// Where the configuration, the store and the log are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The record store.
    pub fn store(&self) -> PathBuf {
        self.folder().join("audit-store")
    }

    /// What host and enclave printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).expect("the log")
    }

    /// The process that was started: the host, or the program around it.
    pub fn pid(&self) -> u32 {
        self.host.id()
    }

    /// The host's process.
    pub fn host_pid(&self) -> u32 {
        if proc::children(self.pid(), "enclave").is_empty() {
            proc::children(self.pid(), "host").first().copied().unwrap_or(self.pid())
        } else {
            self.pid()
        }
    }

    /// The enclave's process.
    pub fn enclave_pid(&self) -> u32 {
        wait_for("enclave process", LIFECYCLE, || proc::children(self.host_pid(), "enclave").first().copied())
    }

    /// Kills the enclave without warning.
    pub fn kill_enclave(&self) -> u32 {
        let pid = self.enclave_pid();
        proc::signal(pid, Signal::KILL);
        pid
    }

    /// Kills the host without warning, and waits until its enclave is gone too.
    pub fn kill_host(&self) {
        let host = self.host_pid();
        let enclaves = proc::children(host, "enclave");
        proc::signal(host, Signal::KILL);
        let gone = || (!proc::alive(host) && enclaves.iter().all(|pid| !proc::alive(*pid))).then_some(());
        wait_for("end of host and enclave", LIFECYCLE, gone);
    }

    /// Kills both without warning.
    pub fn kill_both(&self) {
        self.kill_enclave();
        self.kill_host();
    }

    /// The folder, after whatever still runs has been killed.
    pub fn into_folder(mut self) -> TempDir {
        self.kill_host();
        let _ = self.host.wait();
        self.take_folder()
    }

    /// Stops cleanly with SIGTERM, and gives back how the host ended and the folder.
    pub fn stop(mut self) -> (ExitStatus, TempDir) {
        proc::signal(self.host_pid(), Signal::TERM);
        let status = wait_for("end of the host", LIFECYCLE, || self.host.try_wait().expect("a child"));
        (status, self.take_folder())
    }

    fn take_folder(&mut self) -> TempDir {
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"))
    }
}

/// Where programs are found, with those that `tests/run vm` installed.
fn path() -> std::ffi::OsString {
    let found = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([crate::vm::tools()].into_iter().chain(std::env::split_paths(&found))).expect("a path")
}

/// A gateway, and who calls it.
pub struct Named<'g> {
    /// The gateway.
    pub gateway: &'g Gateway,
    /// `Authorization`.
    pub authorization: String,
}

impl Named<'_> {
    /// A request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let own = [("content-type", "application/json"), ("authorization", self.authorization.as_str())];
        self.gateway.connect().request(method, path, &[&own, headers].concat(), body).expect("an answer")
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Message {
        self.request("GET", path, &[], b"")
    }

    /// `POST`.
    pub fn post(&self, path: &str, body: &[u8]) -> Message {
        self.request("POST", path, &[], body)
    }

    /// A call in the quickstart's shape.
    pub fn call(&self, session: &str, tool: &str) -> Message {
        self.post("/mcp", &rpc(1, "tools/call", &call_params(tool, session)))
    }

    /// The entries of a session's audit bundle.
    pub fn entries(&self, session: &str) -> Vec<Value> {
        let answer = self.get(&format!("/audit/export?session_id={session}"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()["entries"].as_array().expect("entries").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of the gateway\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
        }
        if matches!(self.host.try_wait(), Ok(None)) {
            proc::signal(self.host_pid(), Signal::KILL);
            let _ = self.host.wait();
        }
        if let Some(enclave) = &mut self.enclave {
            let _ = enclave.kill();
            let _ = enclave.wait();
        }
    }
}
