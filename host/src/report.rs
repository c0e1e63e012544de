//! What the operator reads: lines on stdout, or JSON objects, one a line.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Value, json};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `[cmcp] ...`
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Writes what happens. A reader that has gone away is no reason to stop.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    format: LogFormat,
}

impl Reporter {
    /// Reports in this format.
    pub fn new(format: LogFormat) -> Self {
        Self { format }
    }

    /// Something that happened as it should.
    pub fn info(self, event: &str, text: &str, fields: Value) {
        match self.format {
            LogFormat::Text => _ = writeln!(io::stdout().lock(), "[cmcp] {text}"),
            LogFormat::Json => line("info", event, text, fields),
        }
    }

    /// Something that needs attention. Text goes to stderr.
    pub fn warn(self, event: &str, text: &str, fields: Value) {
        match self.format {
            LogFormat::Text => _ = writeln!(io::stderr().lock(), "[cmcp] {text}"),
            LogFormat::Json => line("warn", event, text, fields),
        }
    }

    /// Text for people alone; machines have it in the fields of events.
    pub fn hint(self, text: &str) {
        if self.format == LogFormat::Text {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }
}

fn line(level: &str, event: &str, text: &str, fields: Value) {
    let mut object = json!({ "unix_ms": unix_ms(), "level": level, "event": event, "message": text });
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    let _ = writeln!(io::stdout().lock(), "{object}");
}

/// Wall clock in milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `sha256:` and lower-case hex.
pub fn sha256(digest: [u8; 32]) -> String {
    format!("sha256:{}", hex(&digest))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
