//! Tool servers that are processes of the host, spoken to over their standard input and output.

use claim::Digest;
use serde::Deserialize;
use wire::{BootRefusal, RefusalCode};

use super::entry::{Check, ServerEntry};
use super::{Place, Transport};

/// Bytes of a command with everything that goes with it: a request to spawn fits a frame whatever it says.
const LONGEST: usize = 32 << 10;
/// Words of a command, or names of environment variables.
const MOST: usize = 256;

/// What the host has to start, and what it should find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<String>,
    /// The file that is the entrypoint, if it is another one than the program.
    pub entrypoint: Option<String>,
    /// SHA-256 of the entrypoint.
    pub entrypoint_digest: Digest,
    /// Names of the environment variables that the host passes on; the process inherits no other.
    pub env: Vec<String>,
    /// Who shares a process.
    pub scope: Scope,
}

/// Who shares a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One process for each session.
    #[default]
    Session,
    /// One process for all sessions.
    Shared,
}

impl Check<'_> {
    /// Where a server is: at a url, or behind a command.
    pub(super) fn place(&self, entry: &ServerEntry) -> Result<Place, BootRefusal> {
        if entry.transport == Transport::Stdio {
            let expected = "nothing: a server of transport \"stdio\" is started from its command";
            self.absent("server.url", entry.url.is_some(), expected)?;
            let expected = "nothing: a server of transport \"stdio\" has no TLS; entrypoint_digest pins it";
            self.absent("server.tls_fingerprint", entry.tls_fingerprint.is_some(), expected)?;
            self.absent("server.rotation_mode", entry.rotation_mode.is_some(), expected)?;
            return Ok(Place::Process(self.command(entry)?));
        }
        let expected = "nothing: only a server of transport \"stdio\" has a process";
        self.absent("server.command", entry.command.is_some(), expected)?;
        self.absent("server.entrypoint", entry.entrypoint.is_some(), expected)?;
        self.absent("server.entrypoint_digest", entry.entrypoint_digest.is_some(), expected)?;
        self.absent("server.env", entry.env.is_some(), expected)?;
        self.absent("server.process", entry.process.is_some(), expected)?;
        let expected = "the url of the tool server (or transport \"stdio\" and a command)";
        let url = entry.url.as_deref().ok_or_else(|| self.missing("server.url", expected))?;
        Ok(Place::Remote(self.endpoint(url)?))
    }

    fn command(&self, entry: &ServerEntry) -> Result<Command, BootRefusal> {
        let expected = "a list: the program, an absolute path or a name to look up in PATH, and its arguments";
        let words = entry.command.clone().ok_or_else(|| self.missing("server.command", expected))?;
        let program = words.first().map_or("", String::as_str);
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) || words.len() > MOST {
            return Err(self.invalid("server.command", &words.join(" "), expected));
        }
        self.paths_and_names(entry)?;
        let expected = "sha256: and 64 lower-case digits, as sha256sum prints them for the program, or for entrypoint if there \
                        is one";
        let field = "server.entrypoint_digest";
        let digest = entry.entrypoint_digest.as_deref().ok_or_else(|| self.missing(field, expected))?;
        let entrypoint_digest = Digest::parse_prefixed(digest).map_err(|_| self.invalid(field, digest, expected))?;
        let (entrypoint, env) = (entry.entrypoint.clone(), entry.env.clone().unwrap_or_default());
        let bytes: usize = words.iter().chain(&env).chain(&entrypoint).map(String::len).sum();
        if bytes > LONGEST || words.iter().any(|word| word.contains('\0')) {
            let expected = format!("at most {LONGEST} bytes together with entrypoint and env, and no NUL character");
            return Err(self.invalid("server.command", &words.join(" "), &expected));
        }
        Ok(Command { words, entrypoint, entrypoint_digest, env, scope: entry.process.unwrap_or_default() })
    }

    fn paths_and_names(&self, entry: &ServerEntry) -> Result<(), BootRefusal> {
        if let Some(path) = entry.entrypoint.as_deref().filter(|path| !path.starts_with('/') || path.contains('\0')) {
            return Err(self.invalid("server.entrypoint", path, "an absolute path, such as /srv/tools/server.py"));
        }
        let env = entry.env.as_deref().unwrap_or_default();
        for (place, name) in env.iter().enumerate() {
            let twice = env.iter().take(place).any(|earlier| earlier == name);
            if twice || !is_variable(name) || place >= MOST {
                let expected = "names of environment variables, each once, without values";
                return Err(self.invalid(&format!("server.env[{place}]"), name, expected));
            }
        }
        Ok(())
    }

    fn absent(&self, field: &str, present: bool, expected: &str) -> Result<(), BootRefusal> {
        if present { Err(self.refuse(RefusalCode::InvalidValue, field, "a value", expected)) } else { Ok(()) }
    }

    fn missing(&self, field: &str, expected: &str) -> BootRefusal {
        self.refuse(RefusalCode::Missing, field, "nothing", expected)
    }
}

/// A name as shells have it (POSIX, "Environment Variables").
fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
