//! The payload on its partition: eight bytes `CMCPHOST`, two lengths (64 bits, little-endian), the executable, the documents (an
//! archive that the payload itself unpacks). Whoever has the disk has written it: nothing of it is believed but its lengths, within bounds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::Instant;

use crate::limits;

/// Begins the partition.
const MAGIC: &[u8; 8] = b"CMCPHOST";
/// The second partition of the first disks that there may be.
const PARTITIONS: [&str; 4] = ["/dev/vda2", "/dev/sda2", "/dev/sdb2", "/dev/nvme0n1p2"];

/// Why there is no payload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(
        "no disk with a payload partition (looked at /dev/vda2, /dev/sda2, /dev/sdb2 and /dev/nvme0n1p2); write one with `image payload`"
    )]
    Absent,
    #[error("the partition begins with no header: write the payload with `image payload`")]
    NoHeader,
    #[error("the executable has {0} bytes, expected 1 to {max}", max = limits::MAX_PAYLOAD_HOST)]
    HostLength(u64),
    #[error("the documents have {0} bytes, at most {max}", max = limits::MAX_PAYLOAD_DOCUMENTS)]
    DocumentsLength(u64),
    #[error("the partition ends within {0}")]
    Cut(&'static str),
    #[error("{0}")]
    Io(String),
}

impl From<io::Error> for PayloadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// A partition behind its header.
#[derive(Debug)]
pub(super) struct Payload<R> {
    source: R,
    host: u64,
    documents: u64,
}

/// The first partition with a payload. Disks may still be on their way.
pub(super) fn find() -> Result<Payload<File>, PayloadError> {
    let began = Instant::now();
    let mut found = PayloadError::Absent;
    loop {
        for partition in PARTITIONS {
            let Ok(file) = File::open(partition) else { continue };
            match Payload::read(file) {
                Ok(payload) => return Ok(payload),
                Err(error) => found = error,
            }
        }
        if found != PayloadError::Absent || began.elapsed() > limits::DISK_TIMEOUT {
            return Err(found);
        }
        sleep(limits::DISK_PAUSE);
    }
}

impl<R: Read> Payload<R> {
    /// Reads the header.
    pub(super) fn read(mut source: R) -> Result<Self, PayloadError> {
        let mut header = [[0; 8]; 3];
        source.read_exact(header.as_flattened_mut()).map_err(|_| PayloadError::NoHeader)?;
        let [magic, host, documents] = header;
        let (host, documents) = (u64::from_le_bytes(host), u64::from_le_bytes(documents));
        if magic != *MAGIC {
            return Err(PayloadError::NoHeader);
        }
        if !(1..=limits::MAX_PAYLOAD_HOST).contains(&host) {
            return Err(PayloadError::HostLength(host));
        }
        if documents > limits::MAX_PAYLOAD_DOCUMENTS {
            return Err(PayloadError::DocumentsLength(documents));
        }
        Ok(Self { source, host, documents })
    }

    /// Copies both parts.
    pub(super) fn copy(mut self, host: &mut impl Write, documents: &mut impl Write) -> Result<(), PayloadError> {
        part(&mut self.source, self.host, host, "the executable")?;
        part(&mut self.source, self.documents, documents, "the documents")
    }
}

fn part(source: &mut impl Read, length: u64, target: &mut impl Write, name: &'static str) -> Result<(), PayloadError> {
    let copied = io::copy(&mut source.take(length), target)?;
    if copied == length { Ok(()) } else { Err(PayloadError::Cut(name)) }
}

#[cfg(test)]
mod tests {
    use super::{Payload, PayloadError};
    use crate::limits;

    fn partition(host: u64, documents: u64, rest: &[u8]) -> Vec<u8> {
        [&b"CMCPHOST"[..], &host.to_le_bytes(), &documents.to_le_bytes(), rest].concat()
    }

    fn copied(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PayloadError> {
        let (mut host, mut documents) = (Vec::new(), Vec::new());
        Payload::read(bytes)?.copy(&mut host, &mut documents)?;
        Ok((host, documents))
    }

    #[test]
    fn both_parts_come_out_and_nothing_after_them() {
        let bytes = partition(3, 2, b"elfok and zeros");
        assert_eq!(copied(&bytes).unwrap(), (b"elf".to_vec(), b"ok".to_vec()));
        assert_eq!(copied(&partition(1, 0, b"e")).unwrap(), (b"e".to_vec(), Vec::new()));
    }

    #[test]
    fn lies_about_lengths_are_named() {
        let big = limits::MAX_PAYLOAD_HOST;
        for (host, documents, expected) in [
            (0, 0, PayloadError::HostLength(0)),
            (big + 1, 0, PayloadError::HostLength(big + 1)),
            (u64::MAX, u64::MAX, PayloadError::HostLength(u64::MAX)),
            (1, limits::MAX_PAYLOAD_DOCUMENTS + 1, PayloadError::DocumentsLength(limits::MAX_PAYLOAD_DOCUMENTS + 1)),
            (1, u64::MAX, PayloadError::DocumentsLength(u64::MAX)),
            (9, 0, PayloadError::Cut("the executable")),
            (big, 0, PayloadError::Cut("the executable")),
            (8, 1, PayloadError::Cut("the documents")),
        ] {
            assert_eq!(copied(&partition(host, documents, b"12345678")).unwrap_err(), expected);
        }
    }

    #[test]
    fn what_has_no_header_is_no_payload() {
        let whole = partition(1, 0, b"e");
        for bytes in [&b""[..], &whole[..23], &[0; 4096], &[b"cMCPHOST", &whole[8..]].concat()] {
            assert_eq!(copied(bytes).unwrap_err(), PayloadError::NoHeader);
        }
    }
}
