//! The stream to the host's record store.

use tokio::io::BufReader;
use wire::{Append, AppendAnswer, EnclaveOpen, OpenAnswer, StorePosition, WireError};

use crate::transport::{BoxStream, Callback};

/// An open `Records` stream.
pub(super) struct Records(BufReader<BoxStream>);

/// What the store says it holds.
pub(super) enum Opened {
    /// Everything before the batch that we would send.
    Next(Records),
    /// That batch too: only its answer was lost.
    AlreadyStored(Records),
    /// Less than it had acknowledged, or more than there is.
    Lost,
}

impl Records {
    pub(super) async fn open(callback: &Callback, boot_id: [u8; 16], next: u64) -> Result<Opened, WireError> {
        // An answer and its header in one read.
        let mut stream = BufReader::with_capacity(64, callback.open().await?);
        wire::write(&mut stream, &EnclaveOpen::Records { boot_id, next }).await?;
        if wire::read::<OpenAnswer>(&mut stream).await? != OpenAnswer::Ready {
            return Err(WireError::Closed);
        }
        let position: StorePosition = wire::read(&mut stream).await?;
        Ok(match position.next.checked_sub(next) {
            Some(0) => Opened::Next(Self(stream)),
            Some(1) => Opened::AlreadyStored(Self(stream)),
            _ => Opened::Lost,
        })
    }

    pub(super) async fn append(&mut self, append: &Append) -> Result<(), WireError> {
        wire::write(&mut self.0, append).await?;
        match wire::read(&mut self.0).await? {
            AppendAnswer::Stored { batch } if batch == append.batch => Ok(()),
            AppendAnswer::Stored { .. } | AppendAnswer::Failed(_) => Err(WireError::Closed),
        }
    }
}
