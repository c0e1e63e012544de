//! The store's end of a records or recall stream, on a thread of its own: a disk that is slow stops nothing else.

use std::io::{BufReader, Read, Write};

use wire::{
    Append, AppendAnswer, Blob, OpenAnswer, OpenRefusal, RecallItem, StoreFailure, StorePosition, WireError, blocking,
};

use super::disk::Disk;
use super::{BeginError, Recall, Store};
use crate::limits;

impl<D: Disk> Store<D> {
    /// Serves a records stream until it ends: the answer, the position, then one answer for each batch. Gives the failure
    /// that ended it, if one did.
    ///
    /// # Errors
    /// The stream broke, or the enclave sent something else than batches.
    pub fn serve_records(
        &self,
        stream: &mut (impl Read + Write),
        boot_id: [u8; 16],
        next: u64,
    ) -> Result<Option<StoreFailure>, WireError> {
        match self.begin(boot_id, next) {
            Ok(next) => {
                blocking::write(stream, &OpenAnswer::Ready)?;
                blocking::write(stream, &StorePosition { next })?;
            }
            Err(BeginError::UnknownBoot) => return refuse(stream, OpenRefusal::UnknownBoot).map(|()| None),
            Err(BeginError::Disk(failure)) => {
                return refuse(stream, OpenRefusal::StoreUnavailable).map(|()| Some(failure));
            }
        }
        // A usual batch and its header in one read.
        let mut stream = BufReader::with_capacity(limits::RECORDS_BUFFER, stream);
        loop {
            let append: Append = match blocking::read(&mut stream) {
                Err(WireError::Closed) => return Ok(None),
                other => other?,
            };
            match self.append(boot_id, &append) {
                Ok(()) => blocking::write(stream.get_mut(), &AppendAnswer::Stored { batch: append.batch })?,
                Err(failure) => {
                    blocking::write(stream.get_mut(), &AppendAnswer::Failed(failure))?;
                    return Ok(Some(failure));
                }
            }
            self.prepare();
        }
    }
}

/// Serves a recall stream to its end.
///
/// # Errors
/// The stream broke.
pub fn serve_recall<D: Disk>(
    recall: Result<Recall<D>, OpenRefusal>,
    stream: &mut (impl Read + Write),
) -> Result<(), WireError> {
    let recall = match recall {
        Ok(recall) => recall,
        Err(refusal) => return refuse(stream, refusal),
    };
    blocking::write(stream, &OpenAnswer::Ready)?;
    for batch in recall {
        match batch {
            Ok(bytes) => blocking::write(stream, &RecallItem::Batch(Blob(bytes)))?,
            Err(_) => return blocking::write(stream, &RecallItem::Failed(StoreFailure::Io)),
        }
    }
    blocking::write(stream, &RecallItem::End)
}

fn refuse(stream: &mut impl Write, refusal: OpenRefusal) -> Result<(), WireError> {
    blocking::write(stream, &OpenAnswer::Refused(refusal))
}
