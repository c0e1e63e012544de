//! A TPM 2.0 in software (swtpm), tools that others wrote to look into it, and a program between it and the enclave that
//! changes what it says.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::{proc, wait_for};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// tag, size, code.
const HEADER: usize = 10;

/// A TPM in software, which one program at a time speaks to.
pub struct Swtpm {
    process: Child,
    folder: TempDir,
}

impl Swtpm {
    /// A new TPM, as after power-on.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = |name: &str| format!("type=unixio,path={}", folder.path().join(name).display());
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.path().display())])
            .args(["--server", &socket("tpm"), "--ctrl", &socket("tpm.ctrl")])
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm, of the Debian package swtpm");
        let swtpm = Self { process, folder };
        wait_for("TPM", PATIENCE, || UnixStream::connect(swtpm.path()).ok());
        swtpm
    }

    /// Its socket.
    pub fn path(&self) -> PathBuf {
        self.file("tpm")
    }

    /// A file beside its socket.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a program of tpm2-tools says, run beside the socket; it has to succeed.
    pub fn tool(&self, words: &[&str]) -> String {
        let output = self.try_tool(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The same, however it ends.
    pub fn try_tool(&self, words: &[&str]) -> Output {
        Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path().display()))
            .output()
            .expect("a program of the Debian package tpm2-tools")
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        proc::signal(self.process.id(), rustix::process::Signal::KILL);
        let _ = self.process.wait();
    }
}

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// These bytes are sent.
    Bytes(Vec<u8>),
    /// Nothing is sent, and nothing after it.
    Nothing,
    /// The connection is closed.
    Closed,
}

/// A command, as it was sent.
pub struct Asked<'a>(pub &'a [u8]);

impl Asked<'_> {
    /// Its number.
    pub fn command(&self) -> u32 {
        self.number(6)
    }

    /// Four bytes as a number.
    pub fn number(&self, at: usize) -> u32 {
        self.0.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }
}

/// Changes answers.
pub type Changes = Box<dyn FnMut(&Asked<'_>, Vec<u8>) -> Said + Send>;

/// Stands between the enclave and a TPM.
pub struct Between {
    folder: TempDir,
    changes: Arc<Mutex<Changes>>,
    behind: Arc<Mutex<PathBuf>>,
}

impl Between {
    /// Passes on what is said, until told otherwise.
    pub fn new(tpm: &Swtpm) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("tpm")).expect("a socket");
        let honest: Changes = Box::new(|_, answer| Said::Bytes(answer));
        let changes = Arc::new(Mutex::new(honest));
        let behind = Arc::new(Mutex::new(tpm.path()));
        let (shared, leads_to) = (Arc::clone(&changes), Arc::clone(&behind));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One at a time, like the TPM behind.
                let tpm = leads_to.lock().expect("not poisoned").clone();
                let _ = relay(stream, &tpm, &shared);
            }
        });
        Self { folder, changes, behind }
    }

    /// Where the enclave finds it.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("tpm")
    }

    /// Leads further connections to another TPM.
    pub fn lead_to(&self, tpm: &Swtpm) {
        *self.behind.lock().expect("not poisoned") = tpm.path();
    }

    /// Changes answers like this from now on.
    pub fn set(&self, changes: impl FnMut(&Asked<'_>, Vec<u8>) -> Said + Send + 'static) {
        *self.changes.lock().expect("not poisoned") = Box::new(changes);
    }

    /// Passes on what is said.
    pub fn be_honest(&self) {
        self.set(|_, answer| Said::Bytes(answer));
    }

    /// Answers this command like this.
    pub fn answer(&self, command: u32, said: Said) {
        self.set(move |asked, answer| if asked.command() == command { said.clone() } else { Said::Bytes(answer) });
    }
}

fn relay(mut client: UnixStream, behind: &Path, changes: &Mutex<Changes>) -> io::Result<()> {
    let mut tpm = UnixStream::connect(behind)?;
    loop {
        let command = message(&mut client)?;
        let asked = Asked(&command);
        tpm.write_all(&command)?;
        let answer = message(&mut tpm)?;
        let said = (changes.lock().expect("not poisoned"))(&asked, answer);
        match said {
            Said::Bytes(bytes) => client.write_all(&bytes)?,
            Said::Closed => return Ok(()),
            Said::Nothing => {
                // Until the client has had enough.
                while client.read(&mut [0; 64])? > 0 {}
                return Ok(());
            }
        }
    }
}

fn message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    stream.read_exact(&mut bytes)?;
    let size = Asked(&bytes).number(2) as usize;
    bytes.resize(size.max(HEADER), 0);
    stream.read_exact(&mut bytes[HEADER..])?;
    Ok(bytes)
}
