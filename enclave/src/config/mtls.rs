//! `auth.mtls`: whose certificates count.

use serde::Deserialize;
use wire::BootRefusal;

use super::invalid;
use crate::identity::spiffe::is_trust_domain;
use crate::tls::issuers;

/// Whose client certificates count: X.509-SVIDs of SPIFFE.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mtls {
    /// Certificates of the CAs that issue them, in PEM: the trust bundle of the domain.
    pub client_ca: String,
    /// The domain of all of them: `principal.issuer` in policies. Their CAs have no say in another's.
    pub trust_domain: String,
}

impl Mtls {
    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        issuers("auth.mtls.client_ca", &self.client_ca)?;
        if is_trust_domain(&self.trust_domain) {
            return Ok(());
        }
        let expected =
            "a SPIFFE trust domain, such as bank.example: lower-case letters, digits, dots, dashes and underscores";
        Err(invalid("auth.mtls.trust_domain", &format!("{:?}", self.trust_domain), expected))
    }
}
