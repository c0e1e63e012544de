//! Agents that show a client certificate with a SPIFFE ID (X.509-SVID).
//!
//! That a CA of the configuration vouches for the certificate, that its dates hold and that the agent has its key, the handshake
//! decides; here is who it names, and for how long.

use std::cell::OnceCell;
use std::rc::Rc;

use claim::time::Timestamp;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::names::is_subject;
use super::registry::Registry;
use super::{Credential, Denied, Identity};
use crate::tls;

/// Scheme of a SPIFFE ID.
const SCHEME: &str = "spiffe://";
/// Longest trust domain in bytes.
const LONGEST_DOMAIN: usize = 255;
/// Dates beyond the year 9999 are as good as this.
const LATEST: u64 = 253_402_300_799;

/// A connection's client certificate, which the handshake has verified.
pub struct Certificate {
    leaf: CertificateDer<'static>,
    /// Read when first needed: not every request needs to know who it is from.
    credential: OnceCell<Rc<Credential>>,
}

/// Why a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not exactly one URI, a SPIFFE ID.
    NoId,
    /// The ID is another domain's.
    OtherDomain,
    /// Its time is over.
    Expired,
}

impl Refusal {
    /// What is wrong, for whom it is.
    pub fn detail(self) -> &'static str {
        match self {
            Self::NoId => "the certificate must have one URI, spiffe://TRUST-DOMAIN/PATH of at most 256 characters",
            Self::OtherDomain => "the certificate's SPIFFE ID is not in auth.mtls.trust_domain",
            Self::Expired => "the certificate has expired; connect with the next one",
        }
    }
}

impl Certificate {
    /// The one of a connection.
    pub fn new(leaf: CertificateDer<'static>) -> Self {
        Self { leaf, credential: OnceCell::new() }
    }
}

/// A trust domain whose members are let in.
pub(super) struct Members {
    domain: String,
}

impl Members {
    pub(super) fn of(domain: &str) -> Self {
        Self { domain: domain.to_owned() }
    }

    /// Who has this certificate, at this time.
    pub(super) fn holder(
        &self,
        certificate: &Certificate,
        now: Timestamp,
        registry: &Registry,
    ) -> Result<Rc<Credential>, Denied> {
        let credential = if let Some(known) = certificate.credential.get() {
            known
        } else {
            let read = self.read(&certificate.leaf, registry)?;
            certificate.credential.get_or_init(|| read)
        };
        // A connection may last longer than what opened it.
        credential.left(now).map(|_| credential.clone()).ok_or(Denied::Certificate(Refusal::Expired))
    }

    /// The identity of a SPIFFE ID of this domain, which may not have called yet; nothing if it is none.
    pub(super) fn identity(&self, id: &str, registry: &Registry) -> Result<Option<Rc<Identity>>, Denied> {
        match self.check(id) {
            Ok(()) => registry.enter(id, &self.domain, || {}).map(Some).ok_or(Denied::Full),
            Err(_) => Ok(None),
        }
    }

    fn read(&self, leaf: &CertificateDer<'_>, registry: &Registry) -> Result<Rc<Credential>, Denied> {
        let unreadable = Denied::Certificate(Refusal::NoId);
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| unreadable)?;
        let mut names = leaf.valid_uri_names();
        let (Some(id), None) = (names.next(), names.next()) else { return Err(unreadable) };
        self.check(id).map_err(Denied::Certificate)?;
        let until = tls::not_after(&leaf).ok_or(unreadable)?.as_secs().min(LATEST).saturating_add(1);
        let identity = registry.enter(id, &self.domain, || {}).ok_or(Denied::Full)?;
        let until = Some(Timestamp::from_seconds(i64::try_from(until).map_err(|_| unreadable)?));
        Ok(Rc::new(Credential { identity, groups: Vec::new(), until }))
    }

    fn check(&self, id: &str) -> Result<(), Refusal> {
        match domain_of(id) {
            Some(domain) if domain == self.domain => Ok(()),
            Some(_) => Err(Refusal::OtherDomain),
            None => Err(Refusal::NoId),
        }
    }
}

/// The trust domain of a workload's SPIFFE ID (SPIFFE-ID section 2), if it is one that can be a subject.
fn domain_of(id: &str) -> Option<&str> {
    let (domain, path) = id.strip_prefix(SCHEME)?.split_once('/')?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let segment = |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(letter);
    (is_subject(id) && is_trust_domain(domain) && path.split('/').all(segment)).then_some(domain)
}

/// Whether this can be a trust domain (SPIFFE-ID section 2.1).
pub fn is_trust_domain(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=LONGEST_DOMAIN).contains(&name.len()) && name.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use claim::time::Timestamp;
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::{Certificate, Members, Refusal, domain_of, is_trust_domain};
    use crate::config::Scope;
    use crate::identity::Denied;
    use crate::identity::registry::Registry;

    const ID: &str = "spiffe://bank.example/ns/agents/sa/teller";

    /// A certificate until the end of 2029 with these URIs.
    fn certificate(uris: &[&str]) -> Certificate {
        let mut params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.not_after = date_time_ymd(2030, 1, 1);
        Certificate::new(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone())
    }

    fn holder(certificate: &Certificate, now: &str, registry: &Registry) -> Result<(String, String), Denied> {
        let now = Timestamp::parse(now).unwrap();
        let credential = Members::of("bank.example").holder(certificate, now, registry)?;
        let text = |text: Option<&str>| text.unwrap().to_owned();
        Ok((text(credential.identity.subject()), text(credential.identity.issuer())))
    }

    #[test]
    fn a_certificate_names_its_holder_until_it_ends() {
        let registry = Registry::new(10, Scope::Identity);
        let certificate = certificate(&[ID]);
        let expected = Ok((ID.to_owned(), "bank.example".to_owned()));
        assert_eq!(holder(&certificate, "2026-12-01T00:00:00Z", &registry), expected);
        assert_eq!(holder(&certificate, "2030-01-01T00:00:00Z", &registry), expected, "its last second");
        let expired = Err(Denied::Certificate(Refusal::Expired));
        assert_eq!(holder(&certificate, "2030-01-01T00:00:01Z", &registry), expired);
        let another = self::certificate(&[ID]);
        assert_eq!(holder(&another, "2030-01-01T00:00:01Z", &registry), expired, "at first sight too");
        assert!(registry.find(ID).is_some());
    }

    #[test]
    fn other_certificates_name_nobody() {
        let registry = Registry::new(10, Scope::Identity);
        for (uris, refusal) in [
            (&[][..], Refusal::NoId),
            (&[ID, ID], Refusal::NoId),
            (&[ID, "https://agent.example"], Refusal::NoId),
            (&["https://bank.example/a"], Refusal::NoId),
            (&["spiffe://bank.example"], Refusal::NoId),
            (&["spiffe://other.example/a"], Refusal::OtherDomain),
            (&["spiffe://bank.example.evil.example/a"], Refusal::OtherDomain),
        ] {
            let refused = holder(&certificate(uris), "2026-12-01T00:00:00Z", &registry);
            assert_eq!(refused, Err(Denied::Certificate(refusal)), "{uris:?}");
        }
        let full = Registry::new(0, Scope::Identity);
        assert_eq!(holder(&certificate(&[ID]), "2026-12-01T00:00:00Z", &full), Err(Denied::Full));
    }

    #[test]
    fn spiffe_ids_are_read_as_the_standard_says() {
        let longest = format!("spiffe://a/{}", "b".repeat(245));
        for (id, domain) in [
            (ID, "bank.example"),
            ("spiffe://a/b", "a"),
            ("spiffe://10_0-1.example/A/b.c_d-9", "10_0-1.example"),
            ("spiffe://a/...", "a"),
            (&longest, "a"),
        ] {
            assert_eq!(domain_of(id), Some(domain), "{id}");
        }
        let long = format!("spiffe://a/{}", "b".repeat(246));
        for wrong in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://a",
            "spiffe://a/",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/./b",
            "spiffe://a/../b",
            "spiffe://a/b%20c",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a/b c",
            "spiffe://a/\u{e4}",
            "spiffe://A/b",
            "spiffe://a:80/b",
            "spiffe://user@a/b",
            "SPIFFE://a/b",
            "spiffe:a/b",
            &long,
        ] {
            assert_eq!(domain_of(wrong), None, "{wrong}");
        }
        assert!(is_trust_domain("bank.example") && !is_trust_domain("") && !is_trust_domain(&"a".repeat(256)));
    }
}
