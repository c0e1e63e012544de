//! Lists of revoked certificates.

use claim::time::Timestamp;
use der::{Decode, Encode};
use x509_cert::crl::CertificateList;

use super::{Certificate, Signed, X509Error, timestamp};
use crate::evidence::Mismatch;

/// A list of revoked certificates (RFC 5280, section 5), complete and by the CA itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    signed: Signed,
    parsed: CertificateList,
}

impl Crl {
    /// Reads DER, all of it.
    ///
    /// # Errors
    /// [`X509Error::Malformed`]; [`X509Error::Critical`] for lists that are not complete or by another issuer.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let what = "a list of revoked certificates";
        let signed = Signed::from_der(der, what)?;
        let parsed = CertificateList::from_der(der).map_err(|error| X509Error::malformed(what, error))?;
        let body = &parsed.tbs_cert_list;
        let entries = body.revoked_certificates.iter().flatten().flat_map(|entry| entry.crl_entry_extensions.iter());
        let mut extensions = body.crl_extensions.iter().chain(entries).flatten();
        match extensions.find(|extension| extension.critical) {
            Some(extension) => Err(X509Error::Critical(extension.extn_id.to_string())),
            None => Ok(Self { signed, parsed }),
        }
    }

    /// The issuer in RFC 4514's text.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_cert_list.issuer.to_string()
    }

    /// Whether it is about certificates of this CA, by name.
    pub fn names(&self, issuer: &Certificate) -> bool {
        let own = self.parsed.tbs_cert_list.issuer.to_der();
        own.is_ok_and(|own| issuer.parsed.tbs_certificate().subject().to_der().is_ok_and(|subject| subject == own))
    }

    /// That this CA signed it.
    ///
    /// # Errors
    /// [`X509Error::Signature`] and its like.
    pub fn verify(&self, issuer: &Certificate) -> Result<(), X509Error> {
        let by = || X509Error::Signature(issuer.subject());
        let inner = self.parsed.tbs_cert_list.signature.to_der().map_err(|_| by())?;
        if inner != self.signed.algorithm || !self.names(issuer) {
            return Err(by());
        }
        let signed = &self.signed;
        let right = issuer.key()?.verify_x509(&signed.algorithm, &signed.body, &signed.signature)?;
        if right { Ok(()) } else { Err(by()) }
    }

    /// When it was made, and when the next one is due.
    pub fn validity(&self) -> (Timestamp, Option<Timestamp>) {
        let body = &self.parsed.tbs_cert_list;
        (timestamp(body.this_update), body.next_update.map(timestamp))
    }

    /// That it is the newest at a time, as far as it tells.
    ///
    /// # Errors
    /// Its dates, and the time; a list that never ends is not current.
    pub fn dates(&self, at: Timestamp) -> Result<String, Mismatch> {
        let (from, until) = self.validity();
        match until {
            Some(until) if from <= at && at <= until => Ok(format!("of {from}, next due {until}")),
            until => {
                let until = until.map_or("without a next one".to_owned(), |until| format!("next due {until}"));
                Err(Mismatch::new(format!("a list current at {at}"), format!("of {from}, {until}")))
            }
        }
    }

    /// Whether it has this serial number.
    pub fn revokes(&self, serial: &[u8]) -> bool {
        let mut entries = self.parsed.tbs_cert_list.revoked_certificates.iter().flatten();
        entries.any(|entry| entry.serial_number.as_bytes() == serial)
    }
}
