//! A plain TPM 2.0. Its attestation key is made at boot and vouches for itself: which TPM it is in, only a certificate says.

use claim::Digest;
use claim::b64u::Octets;
use claim::evidence::{Evidence, TpmEvidence};
use claim::profile::{Platform, TaggedDigest};
use wire::Provider;

use super::tpm2::{Tpm, digest_of};
use super::{AttestFailure, Attester, Identity};

/// PCR 0 to 7, which deployed verifiers read.
const FIRMWARE: u32 = 0x0000_00ff;
/// A TPM with an attestation key.
pub(super) struct TpmAttester {
    tpm: Tpm,
    key: u32,
    public: Vec<u8>,
    firmware: Digest,
}

impl TpmAttester {
    /// Makes the key.
    pub(super) fn new(mut tpm: Tpm) -> Result<Self, AttestFailure> {
        let firmware = digest_of(&tpm.pcrs(FIRMWARE)?, FIRMWARE);
        let (key, public) = tpm.attestation_key()?;
        Ok(Self { tpm, key, public, firmware })
    }
}

impl Attester for TpmAttester {
    fn identity(&self) -> Identity {
        (Provider::Tpm, Platform::Tpm2, TaggedDigest::Sha256(self.firmware))
    }

    fn over(&mut self, binding: &[u8; 64]) -> Result<Evidence, AttestFailure> {
        let thumbprint = binding.first_chunk().copied().unwrap_or_default();
        let quote = self.tpm.quote_all(self.key, &Digest::of(binding))?;
        let (key_quote, _) = self.tpm.quote(self.key, &Digest::from_bytes(thumbprint), FIRMWARE)?;
        let ak_public = Octets(self.public.clone());
        Ok(Evidence::Tpm(TpmEvidence { ak_public, quote, key_quote, ak_certificate: None }))
    }

    fn extend(&mut self, settings: &Digest) -> Result<(), AttestFailure> {
        self.tpm.extend_settings(settings)
    }
}
