//! The chain that a CA issued for the public name.

use std::time::Duration;

use claim::time::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::provider;

/// Certificates of a chain: public CAs have two between leaf and root.
const MAX_CHAIN: usize = 8;

/// A CA's clock may be ahead of this one; and what is valid for less is not worth serving.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Why a chain is not served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainError {
    /// There is nothing to serve it for.
    #[error("tls.public_name is not in the configuration")]
    NoName,
    /// No request can be made.
    #[error("no request can be made: {0}")]
    Request(String),
    /// Not PEM, or empty, or too long.
    #[error("expected 1 to {MAX_CHAIN} certificates in PEM, the server's first")]
    NotAChain,
    /// The first certificate is not X.509 v3.
    #[error("the first certificate cannot be read: {0}")]
    Leaf(String),
    /// It is for another key, such as that of an earlier boot.
    #[error("the first certificate is not for this boot's key; ask for /tls/csr again")]
    OtherKey,
    /// It is for another name.
    #[error("the first certificate is not for {0}")]
    OtherName(String),
    /// A signature, a date or a use does not fit.
    #[error("the chain does not verify: {0}")]
    Unverified(String),
}

/// Reads a chain for this name and key. Its dates and uses are checked, and if it has the leaf's issuer its signatures too, with the
/// last certificate as root; which roots clients trust is theirs to know.
pub(super) fn read(
    pem: &[u8],
    name: &str,
    spki: &[u8],
    now: Timestamp,
) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::NotAChain)?;
    let Some((leaf, issuers)) = chain.split_first().filter(|_| chain.len() <= MAX_CHAIN) else {
        return Err(ChainError::NotAChain);
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| ChainError::Leaf(error.to_string()))?;
    if leaf.subject_public_key_info().as_ref() != spki {
        return Err(ChainError::OtherKey);
    }
    let other_name = |_| ChainError::OtherName(name.to_owned());
    let server_name = ServerName::try_from(name).map_err(|_| ChainError::OtherName(name.to_owned()))?;
    leaf.verify_is_valid_for_subject_name(&server_name).map_err(other_name)?;
    verify(&leaf, issuers, now).map_err(|error| ChainError::Unverified(error.to_string()))?;
    Ok(chain)
}

fn verify(leaf: &EndEntityCert<'_>, issuers: &[CertificateDer<'_>], now: Timestamp) -> Result<(), webpki::Error> {
    let (root, intermediates) = issuers.split_last().map_or((None, issuers), |(root, others)| (Some(root), others));
    let roots = root.map(anchor_from_trusted_cert).transpose()?;
    let now = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or_default());
    let soon = UnixTime::since_unix_epoch(now.saturating_add(CLOCK_TOLERANCE));
    let algorithms = provider().signature_verification_algorithms.all;
    match leaf.verify_for_usage(algorithms, roots.as_slice(), intermediates, soon, KeyUsage::server_auth(), None, None)
    {
        // Its own dates and uses come first.
        Err(webpki::Error::UnknownIssuer) if issuers.is_empty() => Ok(()),
        verified => verified.map(drop),
    }
}
