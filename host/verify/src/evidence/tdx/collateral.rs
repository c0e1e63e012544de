//! Collateral: what Intel signed about platforms and quoting enclaves, in the form of dcap-qvl's `QuoteCollateralV3`.
//!
//! Whoever brings it is believed for nothing. TCB info and QE identity are texts: the signature is over the bytes as they
//! came, so they are verified first and read afterwards.

use claim::json::{Json, parse};
use p256::ecdsa::signature::Verifier;

use super::document::{Malformed, Object};
use crate::evidence::Material;
use crate::evidence::x509::{Certificate, Crl, Path, PublicKey, RootKind, build_path};

/// Who signs TCB info and QE identity.
const SIGNER: &str = "Intel SGX TCB Signing";

/// Collateral of one platform.
#[derive(Clone, Debug)]
pub(super) struct Collateral<'a> {
    /// Of Intel's root: what it revoked of the CAs and signers below it.
    pub(super) root_crl: Crl,
    /// Of the CA that issued the PCK certificate.
    pub(super) pck_crl: Crl,
    pub(super) tcb_info: Document<'a>,
    pub(super) qe_identity: Document<'a>,
    /// For quotes that do not hold their PCK certificate; the leaf first.
    pub(super) pck: Vec<Certificate>,
}

/// A text with Intel's signature.
#[derive(Clone, Debug)]
pub(super) struct Document<'a> {
    text: &'a str,
    signature: Vec<u8>,
    /// The signer's certificate, then its issuers.
    chain: Vec<Certificate>,
}

impl<'a> Collateral<'a> {
    pub(super) fn read(json: &'a Json) -> Result<Self, Malformed> {
        let object = Object(json);
        // Belongs to the form; the list has to be by the CA that issued the PCK certificate, so nothing is taken from it.
        object.text("pck_crl_issuer_chain")?;
        let issuers = chain(object, "tcb_info_issuer_chain")?;
        // Intel signs both with one key, so the second chain is nearly always the first again.
        let again = object.text("qe_identity_issuer_chain")? == object.text("tcb_info_issuer_chain")?;
        let qe_issuers = if again { issuers.clone() } else { chain(object, "qe_identity_issuer_chain")? };
        Ok(Self {
            root_crl: crl(object, "root_ca_crl")?,
            pck_crl: crl(object, "pck_crl")?,
            tcb_info: Document::read(object, "tcb_info", "tcb_info_signature", issuers)?,
            qe_identity: Document::read(object, "qe_identity", "qe_identity_signature", qe_issuers)?,
            pck: match json.get("pck_certificate_chain") {
                None | Some(Json::Null) => Vec::new(),
                Some(_) => chain(object, "pck_certificate_chain")?,
            },
        })
    }
}

impl<'a> Document<'a> {
    fn read(object: Object<'a>, text: &str, signature: &str, chain: Vec<Certificate>) -> Result<Self, Malformed> {
        Ok(Self { text: object.text(text)?, signature: object.bytes(signature)?, chain })
    }

    /// That Intel signed it: the path of its signer, whose certificate the root itself issued.
    pub(super) fn verify(&self, material: &Material<'_>) -> Result<Path, String> {
        let (leaf, issuers) = self.chain.split_first().ok_or("no certificate")?;
        let path = build_path(leaf, issuers, material.anchors, RootKind::IntelSgx, material.chains);
        let path = path.map_err(|error| error.to_string())?;
        if path.certificates.len() != 2 || leaf.common_name().as_deref() != Some(SIGNER) {
            return Err(format!("signed by {}", path.shown()));
        }
        let right = is_signed(leaf, self.text.as_bytes(), &self.signature);
        if right { Ok(path) } else { Err(format!("not signed by {}", leaf.subject())) }
    }

    /// The text as JSON: to be read after [`Self::verify`].
    pub(super) fn json(&self) -> Result<Json, String> {
        parse(self.text.as_bytes()).map_err(|error| error.to_string())
    }
}

/// Whether a certificate's key made an ECDSA P-256 signature of 64 bytes over a message.
pub(super) fn is_signed(certificate: &Certificate, message: &[u8], signature: &[u8]) -> bool {
    match (certificate.key(), p256::ecdsa::Signature::from_slice(signature)) {
        (Ok(PublicKey::P256(key)), Ok(signature)) => key.verify(message, &signature).is_ok(),
        _ => false,
    }
}

fn crl(object: Object<'_>, name: &str) -> Result<Crl, Malformed> {
    Crl::from_der(&object.bytes(name)?).map_err(|error| Malformed::new(name, error.to_string()))
}

fn chain(object: Object<'_>, name: &str) -> Result<Vec<Certificate>, Malformed> {
    let chain = Certificate::from_file(object.text(name)?.as_bytes());
    chain.map_err(|error| Malformed::new(name, format!("certificates in PEM ({error})")))
}
