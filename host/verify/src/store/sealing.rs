//! Records that only an auditor can read (`proto/claim/SPEC.md`, section 8). Integrity needs no key: what is signed is the
//! ciphertext.

use std::borrow::Cow;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use claim::bootlog::{BootRecord, Record, RecordKind};
use claim::sealing::{AuditorKey, Place, SealedBody, Sealing, info};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, Serializable, single_shot_open};

use super::StoreReason;
use super::walk::Fault;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// An auditor's private key: it opens all records of the boots whose configuration names its public half. Its memory is cleared.
pub struct AuditorSecret {
    private: PrivateKey,
    public: AuditorKey,
}

/// 32 bytes that are no private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X25519 private key")]
pub struct NotASecret;

impl AuditorSecret {
    /// From 32 bytes, RFC 7748; any random ones are a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotASecret> {
        let private = PrivateKey::from_bytes(bytes).map_err(|_| NotASecret)?;
        let public = X25519HkdfSha256::sk_to_pk(&private).to_bytes();
        let public = AuditorKey::from_bytes(public.into()).map_err(|_| NotASecret)?;
        Ok(Self { private, public })
    }

    /// What the gateway's configuration names.
    pub const fn public(&self) -> AuditorKey {
        self.public
    }

    /// The key of one boot.
    fn unwrap(&self, boot_id: &[u8; 16], sealing: &Sealing) -> Result<Aes256Gcm, HpkeError> {
        let enc = EncappedKey::from_bytes(&sealing.enc.0)?;
        let key = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            &info(boot_id),
            &sealing.wrapped.0,
            &[],
        )?;
        Aes256Gcm::new_from_slice(&key).map_err(|_| HpkeError::OpenError)
    }
}

/// How the bodies of one boot's records are read.
pub(super) struct Bodies {
    boot_id: [u8; 16],
    sealed: Option<Sealed>,
}

struct Sealed {
    /// Of the last record.
    counter: u64,
    /// Nobody who could open it was given.
    key: Option<Box<Aes256Gcm>>,
}

impl Bodies {
    /// As the boot record says, with these auditors' help.
    pub(super) fn of(record: &BootRecord, auditors: &[AuditorSecret]) -> Result<Self, Fault> {
        let boot_id = record.boot_id.0;
        let Some(sealing) = &record.sealing else { return Ok(Self { boot_id, sealed: None }) };
        let auditor = auditors.iter().find(|auditor| auditor.public == sealing.auditor_key);
        let key = auditor.map(|auditor| auditor.unwrap(&boot_id, sealing)).transpose();
        let key = key.map_err(|_| {
            let message = "the key that it wraps for its auditor does not open with the auditor's key";
            Fault::new(StoreReason::BootRecordInvalid, message)
        })?;
        Ok(Self { boot_id, sealed: Some(Sealed { counter: 0, key: key.map(Box::new) }) })
    }

    /// Whether bodies can be read at all.
    pub(super) fn are_read(&self) -> bool {
        self.sealed.as_ref().is_none_or(|sealed| sealed.key.is_some())
    }

    /// The record's body; none if it is sealed for others. Counters must rise either way: no nonce is used twice.
    pub(super) fn read<'a>(&mut self, record: &Record<'a>) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        let Record { kind, session, bytes } = *record;
        let Some(sealed) = self.sealed.as_mut().filter(|_| kind != RecordKind::Boot) else {
            return Ok(Some(Cow::Borrowed(bytes)));
        };
        let invalid = |message: &str| Fault::new(StoreReason::SealedRecordInvalid, message);
        let body = SealedBody::parse(bytes).ok_or_else(|| invalid("too short for a sealed record"))?;
        if body.counter <= sealed.counter {
            return Err(invalid(&format!("counter {} follows {}", body.counter, sealed.counter)));
        }
        sealed.counter = body.counter;
        let Some(key) = &sealed.key else { return Ok(None) };
        let place = Place { boot_id: self.boot_id, counter: body.counter, kind, session };
        let payload = Payload { msg: body.ciphertext_and_tag, aad: &place.aad() };
        let opened = key.decrypt(&Nonce::from(place.nonce()), payload);
        let opened =
            opened.map_err(|_| invalid("it does not open with the key of its boot, as what and where it is"))?;
        Ok(Some(Cow::Owned(opened)))
    }
}
