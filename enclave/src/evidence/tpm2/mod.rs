//! TPM 2.0 commands as bytes, over whatever carries them: the part of the standard that evidence needs, and no more.
//!
//! Layouts: TPM 2.0 Library, part 2 (structures) and part 3 (commands). All authorizations are the empty password: whoever can
//! reach the TPM can use it, and nothing that a verifier believes depends on who that was.

mod device;
mod reader;

use std::thread::sleep;

use claim::Digest;
use claim::b64u::Octets;
use claim::digest::Hasher;
use claim::evidence::{PCRS, Pcrs, SignedAttest, TpmQuote};

use self::device::Device;
use self::reader::Reader;
use super::{AttestFailure, Command, TpmPath};
use crate::limits;

/// The storage hierarchy: Azure's NV indices are its own.
const OWNER: u32 = 0x4000_0001;
/// The endorsement hierarchy, whose seed outlives the owner.
const ENDORSEMENT: u32 = 0x4000_000b;
/// A password session.
const PASSWORD: u32 = 0x4000_0009;
/// Without sessions, and with.
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
const NIST_P256: u16 = 0x0003;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
const ATTESTATION_KEY: u32 = 0x0005_0072;

/// What a TPM signs of its own making begins with this.
const GENERATED: u32 = 0xff54_4347;
const QUOTE: u16 = 0x8018;

/// Not now, but soon: `TPM_RC_RETRY`, `TPM_RC_YIELDED`, `TPM_RC_TESTING`.
const AGAIN: [u32; 3] = [0x922, 0x908, 0x90a];
/// `TPM_RC_OBJECT_MEMORY`: no room for another key.
const OBJECT_MEMORY: u32 = 0x902;
/// Where keys that are not kept are: TPMs have room for about three.
const TRANSIENT: std::ops::RangeInclusive<u32> = 0x8000_0000..=0x8000_0003;
/// `TPM_RC_HANDLE` without the number of the handle.
const HANDLE: u32 = 0x08b;

/// Bytes of one read of NV: more is refused by the TPMs that we know.
const NV_CHUNK: u16 = 1024;
/// An index that the owner writes and reads: `TPMA_NV_OWNERWRITE`, `TPMA_NV_OWNERREAD`.
const OWNERS: u32 = 0x0002_0002;
/// `TPMA_NV_OWNERREAD`.
const OWNER_READS: u32 = 0x0002_0000;

/// The handle of PCR 15, which is for what the gateway decides by.
const SETTINGS: u32 = 15;
/// All PCRs.
const ALL: u32 = 0x00ff_ffff;

/// Values of PCR 0 to 23.
type Values = [[u8; 32]; PCRS];

/// What an NV index is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NvIndex {
    index: u32,
    attributes: u32,
    /// Bytes.
    pub(super) size: u16,
}

/// A TPM that can be spoken to.
pub(super) struct Tpm(Device);

impl Tpm {
    /// The TPM at this path; nothing if no device is there.
    pub(super) fn open(path: &TpmPath) -> Result<Option<Self>, AttestFailure> {
        Ok(Device::open(path)?.map(Self))
    }

    /// Values of these PCRs of the SHA-256 bank, zeros for the others.
    pub(super) fn pcrs(&mut self, selected: u32) -> Result<Values, AttestFailure> {
        let malformed = AttestFailure::Malformed(Command::PcrRead);
        let mut values = [[0; 32]; PCRS];
        let mut left = selected;
        // A TPM gives a few at a time, and each answer at least one.
        while left != 0 {
            let answer = self.send(Command::PcrRead, &[], None, &selection(left))?;
            let mut reader = Reader::new(&answer, malformed);
            reader.u32()?;
            let given = reader.selection()?;
            if given == 0 {
                return Err(AttestFailure::Bank);
            }
            if given & !left != 0 || reader.u32()? != given.count_ones() {
                return Err(malformed);
            }
            for (number, value) in values.iter_mut().enumerate() {
                if given >> number & 1 == 1 {
                    *value = reader.sized()?.try_into().map_err(|_| malformed)?;
                }
            }
            reader.end()?;
            left &= !given;
        }
        Ok(values)
    }

    /// A quote over all PCRs, with their values.
    pub(super) fn quote_all(&mut self, key: u32, qualifying: &Digest) -> Result<TpmQuote, AttestFailure> {
        let (SignedAttest { message, signature }, pcrs) = self.quote(key, qualifying, ALL)?;
        Ok(TpmQuote { message, signature, pcrs: Pcrs(pcrs) })
    }

    /// A quote over these PCRs, with their values.
    pub(super) fn quote(
        &mut self,
        key: u32,
        qualifying: &Digest,
        selected: u32,
    ) -> Result<(SignedAttest, Values), AttestFailure> {
        for _ in 0..limits::MAX_UNSTEADY_QUOTES {
            let pcrs = self.pcrs(selected)?;
            let signed = self.quote_once(key, qualifying, selected)?;
            if attested(&signed.message.0, qualifying, selected)? == digest_of(&pcrs, selected) {
                return Ok((signed, pcrs));
            }
        }
        Err(AttestFailure::Unsteady)
    }

    fn quote_once(&mut self, key: u32, qualifying: &Digest, selected: u32) -> Result<SignedAttest, AttestFailure> {
        let mut parameters = sized(qualifying.bytes());
        parameters.extend(NULL.to_be_bytes());
        parameters.extend(selection(selected));
        let answer = self.send(Command::Quote, &[key], Some(PASSWORD), &parameters)?;
        let mut reader = Reader::new(&answer, AttestFailure::Malformed(Command::Quote));
        let mut parameters = reader.parameters()?;
        let message = Octets(parameters.sized()?.to_vec());
        Ok(SignedAttest { message, signature: Octets(parameters.rest().to_vec()) })
    }

    /// A restricted ECDSA P-256 key of the endorsement hierarchy: its handle and its TPMT_PUBLIC. The same at each boot of one TPM.
    pub(super) fn attestation_key(&mut self) -> Result<(u32, Vec<u8>), AttestFailure> {
        let mut public = Vec::new();
        public.extend([ECC, SHA256].map(u16::to_be_bytes).concat());
        public.extend(ATTESTATION_KEY.to_be_bytes());
        // No policy; no symmetric algorithm; ECDSA with SHA-256; P-256; no key derivation; an empty point.
        public.extend([0, NULL, ECDSA, SHA256, NIST_P256, NULL, 0, 0].map(u16::to_be_bytes).concat());
        let mut parameters = sized(&[0; 4]);
        parameters.extend(sized(&public));
        // Nothing from outside, no PCRs at creation.
        parameters.extend([0; 6]);
        let mut answer = self.send(Command::CreatePrimary, &[ENDORSEMENT], Some(PASSWORD), &parameters);
        if matches!(answer, Err(AttestFailure::Refused { code: OBJECT_MEMORY, .. })) {
            self.flush();
            answer = self.send(Command::CreatePrimary, &[ENDORSEMENT], Some(PASSWORD), &parameters);
        }
        let answer = answer?;
        let mut reader = Reader::new(&answer, AttestFailure::Malformed(Command::CreatePrimary));
        let handle = reader.u32()?;
        Ok((handle, reader.parameters()?.sized()?.to_vec()))
    }

    /// Makes room. The kernel clears up after each user of /dev/tpmrm0; elsewhere a connection that broke has left its key behind.
    fn flush(&mut self) {
        for key in TRANSIENT {
            let _ = self.send(Command::FlushContext, &[key], None, &[]);
        }
    }

    /// Extends PCR 15 of the SHA-256 bank.
    pub(super) fn extend_settings(&mut self, digest: &Digest) -> Result<(), AttestFailure> {
        let mut parameters = 1_u32.to_be_bytes().to_vec();
        parameters.extend(SHA256.to_be_bytes());
        parameters.extend(digest.bytes());
        self.send(Command::PcrExtend, &[SETTINGS], Some(PASSWORD), &parameters).map(drop)
    }

    /// What this index is like; nothing if there is none.
    pub(super) fn nv_index(&mut self, index: u32) -> Result<Option<NvIndex>, AttestFailure> {
        let malformed = AttestFailure::Malformed(Command::NvReadPublic);
        let answer = match self.send(Command::NvReadPublic, &[index], None, &[]) {
            Err(AttestFailure::Refused { code, .. }) if is_handle(code) => return Ok(None),
            answer => answer?,
        };
        let mut reader = Reader::new(&answer, malformed);
        let mut public = Reader::new(reader.sized()?, malformed);
        if public.u32()? != index {
            return Err(malformed);
        }
        public.u16()?;
        let attributes = public.u32()?;
        public.sized()?;
        Ok(Some(NvIndex { index, attributes, size: public.u16()? }))
    }

    /// The bytes of an index, from its begin.
    pub(super) fn nv_read(&mut self, nv: NvIndex) -> Result<Vec<u8>, AttestFailure> {
        let malformed = AttestFailure::Malformed(Command::NvRead);
        if nv.size > limits::MAX_NV_BYTES {
            return Err(malformed);
        }
        let reads = if nv.attributes & OWNER_READS == 0 { nv.index } else { OWNER };
        let mut bytes = Vec::new();
        let mut offset = 0;
        while offset < nv.size {
            let size = NV_CHUNK.min(nv.size.saturating_sub(offset));
            let parameters = [size, offset].map(u16::to_be_bytes).concat();
            let answer = self.send(Command::NvRead, &[reads, nv.index], Some(PASSWORD), &parameters)?;
            let mut reader = Reader::new(&answer, malformed);
            let chunk = reader.parameters()?.sized()?;
            if chunk.len() != usize::from(size) {
                return Err(malformed);
            }
            bytes.extend_from_slice(chunk);
            offset = offset.saturating_add(size);
        }
        Ok(bytes)
    }

    /// Makes an index of this size that the owner writes and reads.
    pub(super) fn nv_define(&mut self, index: u32, size: u16) -> Result<NvIndex, AttestFailure> {
        let mut public = index.to_be_bytes().to_vec();
        public.extend(SHA256.to_be_bytes());
        public.extend(OWNERS.to_be_bytes());
        public.extend(sized(&[]));
        public.extend(size.to_be_bytes());
        // The index's own authorization is empty.
        let mut parameters = sized(&[]);
        parameters.extend(sized(&public));
        self.send(Command::NvDefineSpace, &[OWNER], Some(PASSWORD), &parameters)?;
        Ok(NvIndex { index, attributes: OWNERS, size })
    }

    /// Removes an index.
    pub(super) fn nv_undefine(&mut self, nv: NvIndex) -> Result<(), AttestFailure> {
        self.send(Command::NvUndefineSpace, &[OWNER, nv.index], Some(PASSWORD), &[]).map(drop)
    }

    /// Writes at the begin of an index of the owner's.
    pub(super) fn nv_write(&mut self, nv: NvIndex, bytes: &[u8]) -> Result<(), AttestFailure> {
        let mut parameters = sized(bytes);
        parameters.extend([0; 2]);
        self.send(Command::NvWrite, &[OWNER, nv.index], Some(PASSWORD), &parameters).map(drop)
    }

    /// Sends a command until the TPM does not ask for it again; what comes after the answer's header.
    fn send(
        &mut self,
        command: Command,
        handles: &[u32],
        session: Option<u32>,
        parameters: &[u8],
    ) -> Result<Vec<u8>, AttestFailure> {
        let bytes = framed(command, handles, session, parameters);
        let mut code = 0;
        for _ in 0..=limits::TPM_RETRIES {
            let answer = self.0.exchange(command, &bytes)?;
            code = answer.code;
            if code == 0 {
                let tag = if session.is_some() { SESSIONS } else { NO_SESSIONS };
                return if answer.tag == tag { Ok(answer.body) } else { Err(AttestFailure::Malformed(command)) };
            }
            if !AGAIN.contains(&code) {
                break;
            }
            sleep(limits::TPM_RETRY_PAUSE);
        }
        Err(AttestFailure::Refused { command, code })
    }
}

/// Whether the TPM says that there is no such handle.
fn is_handle(code: u32) -> bool {
    code & 0x0bf == HANDLE
}

/// Header, handles, the session's area of authorizations, parameters.
fn framed(command: Command, handles: &[u32], session: Option<u32>, parameters: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    if let Some(session) = session {
        // No nonce, no attributes, an empty password.
        let mut area = session.to_be_bytes().to_vec();
        area.extend([0; 5]);
        body.extend(length(&area).to_be_bytes());
        body.extend(area);
    }
    body.extend(parameters);
    let tag = if session.is_some() { SESSIONS } else { NO_SESSIONS };
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend(length(&body).saturating_add(10).to_be_bytes());
    bytes.extend((command as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// TPML_PCR_SELECTION of one bank.
fn selection(selected: u32) -> Vec<u8> {
    let [a, b, c, _] = selected.to_le_bytes();
    let mut bytes = 1_u32.to_be_bytes().to_vec();
    bytes.extend(SHA256.to_be_bytes());
    bytes.extend([3, a, b, c]);
    bytes
}

/// TPM2B: a length and so many bytes. Ours are short.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes(), bytes].concat()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or_default()
}

/// What a quote of these PCRs has as its digest.
pub(super) fn digest_of(values: &Values, selected: u32) -> Digest {
    let mut hasher = Hasher::new();
    for (number, value) in values.iter().enumerate() {
        if selected >> number & 1 == 1 {
            hasher.update(value);
        }
    }
    hasher.finish()
}

/// The digest of the PCRs in a TPMS_ATTEST, if it is the quote that was asked for.
fn attested(message: &[u8], qualifying: &Digest, selected: u32) -> Result<Digest, AttestFailure> {
    let mut reader = Reader::new(message, AttestFailure::Misquoted);
    let (magic, kind) = (reader.u32()?, reader.u16()?);
    reader.sized()?;
    let named = reader.sized()? == qualifying.bytes();
    // clock, resetCount, restartCount, safe; firmwareVersion.
    reader.take(25)?;
    let quoted = reader.selection()?;
    let digest = reader.sized()?.try_into().map_err(|_| AttestFailure::Misquoted)?;
    reader.end()?;
    if magic == GENERATED && kind == QUOTE && named && quoted == selected {
        return Ok(Digest::from_bytes(digest));
    }
    Err(AttestFailure::Misquoted)
}

#[cfg(test)]
mod tests;
