//! What a failed handshake means, for the audit entry.

use std::io;

use claim::time::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::verifier::Mismatch;

/// Longest text that is not ours, in characters.
const EXCERPT: usize = 160;

/// Why there is no secure connection, in words that name what was expected and found.
pub(super) fn describe(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(Error::AlertReceived(alert)) => format!("tool server ended the TLS handshake with the alert {alert:?}"),
        Some(Error::InvalidMessage(_)) => "what answers does not speak TLS 1.3".to_owned(),
        Some(other) => format!("TLS handshake failed: {}", excerpt(&other.to_string())),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "connection closed in the TLS handshake".to_owned(),
        None => format!("connection broke off in the TLS handshake: {}", excerpt(&error.to_string())),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Other(other) => match other.0.downcast_ref::<Mismatch>() {
            Some(mismatch) => mismatch.to_string(),
            None => "tool server's certificate is refused".to_owned(),
        },
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("tool server's certificate is not for {}", expected.to_str())
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("tool server's certificate was valid until {}", time(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("tool server's certificate is valid from {}", time(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "tool server's certificate is not vouched for by any of upstream.ca_roots".to_owned()
        }
        CertificateError::BadEncoding => "tool server's certificate cannot be read".to_owned(),
        CertificateError::BadSignature => "a signature of the tool server or its CA does not verify".to_owned(),
        other => format!("tool server's certificate is refused: {}", excerpt(&other.to_string())),
    }
}

fn time(time: UnixTime) -> String {
    Timestamp::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1_000_000)).to_seconds_z()
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).filter(char::is_ascii).collect()
}
