//! What carries commands and answers: the kernel's device, or the socket of a TPM in software.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::evidence::{AttestFailure, Command, TpmPath};
use crate::limits;

/// tag, size, code.
const HEADER: usize = 10;

/// An answer with a sound header and as many bytes as that says.
pub(super) struct Answer {
    pub(super) tag: u16,
    pub(super) code: u32,
    pub(super) body: Vec<u8>,
}

trait Carrier: Read + Write + Send {}
impl<T: Read + Write + Send> Carrier for T {}

/// A connection to a TPM.
pub(super) struct Device(Box<dyn Carrier>);

impl Device {
    /// Opens it; nothing if there is no device at the path. A socket that was named has to be there.
    pub(super) fn open(path: &TpmPath) -> Result<Option<Self>, AttestFailure> {
        let opened = |error: io::Error| AttestFailure::Open(error.raw_os_error().unwrap_or_default());
        match path {
            TpmPath::Device(path) => match OpenOptions::new().read(true).write(true).open(path) {
                Ok(file) => Ok(Some(Self(Box::new(file)))),
                // ENODEV and ENXIO: a node without hardware behind it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) if matches!(error.raw_os_error(), Some(6 | 19)) => Ok(None),
                Err(error) => Err(opened(error)),
            },
            TpmPath::Socket(path) => {
                let stream = UnixStream::connect(path).map_err(opened)?;
                stream.set_read_timeout(Some(limits::TPM_TIMEOUT)).map_err(opened)?;
                stream.set_write_timeout(Some(limits::TPM_TIMEOUT)).map_err(opened)?;
                Ok(Some(Self(Box::new(stream))))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn over(carrier: UnixStream) -> Self {
        Self(Box::new(carrier))
    }

    /// Sends a command and reads its answer.
    pub(super) fn exchange(&mut self, command: Command, bytes: &[u8]) -> Result<Answer, AttestFailure> {
        self.0.write_all(bytes)?;
        self.receive(command)
    }

    /// Reads until there are as many bytes as the header says. The room does not depend on what it says.
    fn receive(&mut self, command: Command) -> Result<Answer, AttestFailure> {
        let malformed = AttestFailure::Malformed(command);
        let late = Instant::now().checked_add(limits::TPM_TIMEOUT);
        let mut room = [0; limits::MAX_TPM_MESSAGE];
        let mut filled = 0;
        loop {
            let read = match self.0.read(room.get_mut(filled..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Err(AttestFailure::Closed);
            }
            filled = filled.saturating_add(read);
            let so_far = room.get(..filled).unwrap_or_default();
            if let Some((tag, size, code)) = header(so_far) {
                if !(HEADER..=room.len()).contains(&size) || filled > size {
                    return Err(malformed);
                }
                if filled == size {
                    return Ok(Answer { tag, code, body: so_far.get(HEADER..).unwrap_or_default().to_vec() });
                }
            }
            if late.is_some_and(|late| Instant::now() > late) {
                return Err(AttestFailure::Silent);
            }
        }
    }
}

/// tag, size and code, once they are there.
fn header(bytes: &[u8]) -> Option<(u16, usize, u32)> {
    let [t0, t1, s0, s1, s2, s3, c0, c1, c2, c3] = *bytes.first_chunk::<HEADER>()?;
    let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).ok()?;
    Some((u16::from_be_bytes([t0, t1]), size, u32::from_be_bytes([c0, c1, c2, c3])))
}
