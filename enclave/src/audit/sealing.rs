//! Records that leave the enclave as ciphertext: a key of this boot, wrapped for the auditor alone, and one AES-256-GCM
//! over each record where it lies in its batch. The format is `claim::sealing`'s.

use std::cell::Cell;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use claim::bootlog::{BatchBuilder, BatchError, Record, RecordKind};
use claim::sealing::{AuditorKey, Base64, Place, SealedBody, Sealing, TAG, info};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{Hpke, HpkePublicKey};
use zeroize::Zeroizing;

use crate::random;

/// Seals the records of one boot, and opens what the host gives back of them. The key cannot be copied, shown or stored;
/// its memory is cleared by the library that holds it.
pub struct Sealer {
    boot_id: [u8; 16],
    key: LessSafeKey,
    /// Of the last record that was sealed.
    counter: Cell<u64>,
}

/// No key could be made or wrapped. The public key is of low order, or the machine has no random bytes.
#[derive(Debug)]
pub struct CannotSeal;

impl Sealer {
    /// Makes the key of a boot, and wraps it for the auditor: what the boot record says of it.
    ///
    /// # Errors
    /// [`CannotSeal`].
    pub fn new(auditor_key: &AuditorKey, boot_id: [u8; 16]) -> Result<(Self, Sealing), CannotSeal> {
        let key = Zeroizing::new(random::bytes::<32>().map_err(|_| CannotSeal)?);
        let recipient = HpkePublicKey(auditor_key.bytes().to_vec());
        let (enc, wrapped) = DH_KEM_X25519_HKDF_SHA256_AES_256
            .seal(&info(&boot_id), &[], key.as_slice(), &recipient)
            .map_err(|_| CannotSeal)?;
        let sealing = Sealing {
            auditor_key: *auditor_key,
            enc: Base64(enc.0.try_into().map_err(|_| CannotSeal)?),
            wrapped: Base64(wrapped.try_into().map_err(|_| CannotSeal)?),
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| CannotSeal)?;
        Ok((Self { boot_id, key: LessSafeKey::new(key), counter: Cell::new(0) }, sealing))
    }

    /// Whether something can be sealed to this key: nothing can to one of low order.
    pub fn accepts(auditor_key: &AuditorKey) -> bool {
        Self::new(auditor_key, [0; 16]).is_ok()
    }

    /// Adds a record to a batch, sealed.
    ///
    /// # Errors
    /// Nothing was added.
    pub fn push(
        &self,
        builder: &mut BatchBuilder,
        kind: RecordKind,
        session: u64,
        bytes: &[u8],
    ) -> Result<(), BatchError> {
        let counter = self.counter.get().checked_add(1).ok_or(BatchError::TooLarge)?;
        // Taken before it is used: whatever goes wrong from here on, no nonce comes twice.
        self.counter.set(counter);
        builder.push_sealed(kind, session, counter, bytes, |place, body| self.seal(place, body))
    }

    fn seal(&self, place: &Place, body: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::assume_unique_for_key(place.nonce());
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(place.aad()), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// The body of a record that this boot sealed, as a record of this kind and session; `None` if it is anything else.
    pub fn open(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let SealedBody { counter, ciphertext_and_tag } = SealedBody::parse(record.bytes)?;
        let place = Place { boot_id: self.boot_id, counter, kind: record.kind, session: record.session };
        let nonce = Nonce::assume_unique_for_key(place.nonce());
        let mut body = ciphertext_and_tag.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(place.aad()), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use claim::Digest;
    use claim::bootlog::{Batch, BatchBuilder, Record, RecordKind};
    use claim::hex;
    use claim::json::{Json, from_json, parse};
    use claim::sealing::{AuditorKey, Sealing, info};
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
    use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};

    use super::{AES_256_GCM, LessSafeKey, Sealer, UnboundKey};

    const BOOT: [u8; 16] = [0xb0; 16];

    /// `proto/claim/vectors/sealed.json`, which another implementation wrote.
    fn vector() -> Json {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/claim/vectors/sealed.json");
        parse(&std::fs::read(path).unwrap()).unwrap()
    }

    fn bytes(value: &Json, name: &str) -> Vec<u8> {
        let text = value.get(name).and_then(Json::as_str).unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn auditor() -> AuditorKey {
        from_json::<Sealing>(vector().get("sealing").unwrap()).unwrap().auditor_key
    }

    fn unwrapped(sealing: &Sealing, boot_id: &[u8; 16]) -> Option<Vec<u8>> {
        let secret = HpkePrivateKey::from(bytes(&vector(), "auditor_private_key"));
        let enc = EncapsulatedSecret(sealing.enc.0.to_vec());
        DH_KEM_X25519_HKDF_SHA256_AES_256.open(&enc, &info(boot_id), &[], &sealing.wrapped.0, &secret).ok()
    }

    fn sealer(key: &[u8], boot_id: [u8; 16]) -> Sealer {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        Sealer { boot_id, key, counter: std::cell::Cell::new(0) }
    }

    /// The records of a batch as the host gives them back.
    fn sealed(sealer: &Sealer, records: &[(RecordKind, u64, Vec<u8>)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BOOT);
        for (kind, session, body) in records {
            sealer.push(&mut builder, *kind, *session, body).unwrap();
        }
        builder.finish(0, &Digest::from_bytes([0; 32]))
    }

    #[test]
    fn what_another_implementation_sealed_is_opened_and_sealed_alike() {
        let vector = vector();
        let boot_id: [u8; 16] = hex::decode(vector.get("boot_id").and_then(Json::as_str).unwrap()).unwrap();
        let sealing: Sealing = from_json(vector.get("sealing").unwrap()).unwrap();
        let key = unwrapped(&sealing, &boot_id).unwrap();
        assert_eq!(key, bytes(&vector, "boot_key"));
        assert_eq!(unwrapped(&sealing, &[0; 16]), None, "wrapped for one boot");
        let sealer = sealer(&key, boot_id);
        let Some(Json::Array(records)) = vector.get("records") else { panic!("records") };
        for record in records {
            let number = |name| record.get(name).and_then(Json::as_u64).unwrap();
            let (kind, session) = (RecordKind::parse(number("kind").try_into().unwrap()).unwrap(), number("session"));
            let (body, plaintext) = (bytes(record, "body"), bytes(record, "plaintext"));
            assert_eq!(sealer.open(&Record { kind, session, bytes: &body }), Some(plaintext.clone()));
            sealer.counter.set(number("counter") - 1);
            let mut builder = BatchBuilder::new(boot_id);
            sealer.push(&mut builder, kind, session, &plaintext).unwrap();
            let batch = builder.finish(0, &Digest::from_bytes([0; 32]));
            assert_eq!(Batch::parse(&batch).unwrap().records().next().unwrap(), Record { kind, session, bytes: &body });
        }
    }

    #[test]
    fn the_key_of_a_boot_is_for_its_auditor_and_new_each_time() {
        let (_, first) = Sealer::new(&auditor(), BOOT).unwrap();
        let (_, second) = Sealer::new(&auditor(), BOOT).unwrap();
        let (first, second) = (unwrapped(&first, &BOOT).unwrap(), unwrapped(&second, &BOOT).unwrap());
        assert!(first.len() == 32 && first != second);
    }

    #[test]
    fn keys_of_low_order_are_found() {
        assert!(Sealer::accepts(&auditor()));
        let mut one = [0; 32];
        one[0] = 1;
        // Of order 8, and the one below p: RFC 7748, section 7, and https://cr.yp.to/ecdh.html#validate.
        let eight = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let other = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
        let minus_one = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let decoded = [eight, other, minus_one].map(|text| hex::decode(text).unwrap());
        for bytes in [[0; 32], one].into_iter().chain(decoded) {
            assert!(!Sealer::accepts(&AuditorKey::from_bytes(bytes).unwrap()), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_last_counter_is_not_used_twice() {
        let sealer = sealer(&[7; 32], BOOT);
        sealer.counter.set(u64::MAX - 1);
        let mut builder = BatchBuilder::new(BOOT);
        sealer.push(&mut builder, RecordKind::Entry, 1, b"last").unwrap();
        assert!(sealer.push(&mut builder, RecordKind::Entry, 1, b"one more").is_err());
        assert_eq!(builder.count(), 1);
    }

    fn records() -> impl Strategy<Value = Vec<(RecordKind, u64, Vec<u8>)>> {
        let kinds = [RecordKind::Intent, RecordKind::Entry, RecordKind::Claim, RecordKind::Gap, RecordKind::Control];
        let body = prop::collection::vec(any::<u8>(), 0..300);
        prop::collection::vec((prop::sample::select(kinds.to_vec()), 0..4_u64, body), 1..6)
    }

    proptest! {
        #[test]
        fn sealed_records_open_in_their_place_and_nowhere_else(records in records(), at in any::<prop::sample::Index>()) {
            let sealer = sealer(&[7; 32], BOOT);
            let batch = sealed(&sealer, &records);
            let read: Vec<Record<'_>> = Batch::parse(&batch).unwrap().records().collect();
            for (record, (kind, session, body)) in read.iter().zip(&records) {
                prop_assert_eq!((record.kind, record.session), (*kind, *session));
                let opened = sealer.open(record);
                prop_assert_eq!(opened.as_ref(), Some(body));
                let kind = if record.kind == RecordKind::Entry { RecordKind::Claim } else { RecordKind::Entry };
                prop_assert_eq!(sealer.open(&Record { kind, ..*record }), None);
                prop_assert_eq!(sealer.open(&Record { session: record.session + 1, ..*record }), None);
                let mut changed = record.bytes.to_vec();
                let bit = at.index(changed.len() * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(sealer.open(&Record { bytes: &changed, ..*record }), None);
                prop_assert_eq!(sealer.open(&Record { bytes: &record.bytes[..at.index(record.bytes.len())], ..*record }), None);
            }
            // The same under another boot's id, and the same sealed again, share nothing.
            prop_assert_eq!(Sealer { boot_id: [1; 16], ..self::sealer(&[7; 32], BOOT) }.open(&read[0]), None);
            prop_assert_ne!(sealed(&sealer, &records), batch);
        }
    }
}
