//! What of a secret the catalog says: its name, and how a tool server is shown it. The secret itself is never in a document.

use serde::Deserialize;
use wire::BootRefusal;

use super::entry::{Check, ServerEntry};
use super::{Place, Scheme};

/// Longest name of a secret or a header field in bytes.
const LONGEST: usize = 64;

/// Fields that the gateway writes itself, or that say how a message is framed and forwarded.
const OWN: [&str; 16] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
];

/// A secret that a tool server is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What the operator calls it.
    pub name: String,
    /// How it is shown.
    pub usage: Usage,
}

/// How a tool server is shown a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `Authorization: Bearer SECRET`.
    Bearer,
    /// A header field of this name, in lower case.
    Header(String),
    /// A certificate chain and its private key, in the TLS handshake.
    ClientCertificate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretEntry {
    name: String,
    #[serde(rename = "use")]
    usage: UsageEntry,
    header: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UsageEntry {
    Bearer,
    Header,
    ClientCertificate,
}

impl Check<'_> {
    /// The secret of a server. Over plain HTTP the host would read it.
    pub(super) fn secret(&self, entry: &ServerEntry, place: &Place) -> Result<Option<Secret>, BootRefusal> {
        let Some(SecretEntry { name, usage, header }) = &entry.secret else { return Ok(None) };
        if !matches!(place, Place::Remote(endpoint) if endpoint.scheme == Scheme::Https) {
            let expected = "nothing, or an https url: otherwise the host would read it";
            return Err(self.invalid("server.secret.name", name, expected));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=LONGEST).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(self.invalid("server.secret.name", name, "1 to 64 letters, digits and ._-"));
        }
        let usage = match (usage, header) {
            (UsageEntry::Header, Some(header)) => Usage::Header(self.field(header)?),
            (UsageEntry::Header, None) => {
                return Err(self.invalid(
                    "server.secret.header",
                    "",
                    "the name of the header field that has the secret",
                ));
            }
            (_, Some(header)) => {
                return Err(self.invalid("server.secret.header", header, "nothing: only use \"header\" names one"));
            }
            (UsageEntry::Bearer, None) => Usage::Bearer,
            (UsageEntry::ClientCertificate, None) => Usage::ClientCertificate,
        };
        Ok(Some(Secret { name: name.clone(), usage }))
    }

    fn field(&self, name: &str) -> Result<String, BootRefusal> {
        let lower = name.to_ascii_lowercase();
        let token = (1..=LONGEST).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !token || OWN.contains(&lower.as_str()) || lower.starts_with("mcp-") {
            let expected =
                "letters, digits, - and _, and none of the fields that the gateway writes or that frame a message";
            return Err(self.invalid("server.secret.header", name, expected));
        }
        Ok(lower)
    }
}
