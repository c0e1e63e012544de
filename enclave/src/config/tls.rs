//! `tls`: what agents meet.

use rustls::pki_types::DnsName;
use serde::Deserialize;
use wire::BootRefusal;

use super::invalid;

/// TLS towards agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// DNS name for which the operator has a certificate issued at each boot, so that clients connect that know CAs and nothing of
    /// evidence. Without it there is the enclave's own certificate only.
    pub public_name: Option<String>,
}

impl Tls {
    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        let Some(name) = &self.public_name else { return Ok(()) };
        let letters = name.bytes().any(|byte| byte.is_ascii_alphabetic());
        match DnsName::try_from(name.as_str()) {
            Ok(_) if letters && !name.ends_with('.') => Ok(()),
            _ => Err(invalid("tls.public_name", &format!("{name:?}"), "a DNS name, such as gateway.bank.example")),
        }
    }
}
