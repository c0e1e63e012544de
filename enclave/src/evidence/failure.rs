//! Why there is no evidence: numbers and enums alone, since a device's words are nobody's to repeat.

use thiserror::Error;

/// A command of TPM 2.0, by its number (part 2, section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// `TPM2_NV_UndefineSpace`.
    NvUndefineSpace = 0x122,
    /// `TPM2_NV_DefineSpace`.
    NvDefineSpace = 0x12a,
    /// `TPM2_CreatePrimary`.
    CreatePrimary = 0x131,
    /// `TPM2_NV_Write`.
    NvWrite = 0x137,
    /// `TPM2_NV_Read`.
    NvRead = 0x14e,
    /// `TPM2_Quote`.
    Quote = 0x158,
    /// `TPM2_FlushContext`.
    FlushContext = 0x165,
    /// `TPM2_NV_ReadPublic`.
    NvReadPublic = 0x169,
    /// `TPM2_PCR_Read`.
    PcrRead = 0x17e,
    /// `TPM2_PCR_Extend`.
    PcrExtend = 0x182,
}

/// Why there is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttestFailure {
    /// The device is there and cannot be opened: the system's error number.
    #[error("it cannot be opened: error {0} of the system")]
    Open(i32),
    /// The device cannot be read or written: the system's error number.
    #[error("it cannot be read or written: error {0} of the system")]
    Io(i32),
    /// It ended the connection.
    #[error("it closed the connection")]
    Closed,
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Silent,
    /// The TPM answered with this code (part 2, section 6.6).
    #[error("it answers {command:?} with TPM_RC {code:#05x}")]
    Refused {
        /// What it was told.
        command: Command,
        /// Its answer.
        code: u32,
    },
    /// An answer that is none.
    #[error("its answer to {0:?} is not one")]
    Malformed(Command),
    /// PCRs are kept in other banks alone: the firmware's settings choose the banks.
    #[error("it keeps no SHA-256 bank of PCRs, or not all of it")]
    Bank,
    /// A quote of something else than was asked for.
    #[error("it quotes something else than it was asked for")]
    Misquoted,
    /// The PCRs changed between reading and quoting, again and again.
    #[error("its PCRs do not match its quote")]
    Unsteady,
    /// The hardware's report is not one of a kind that is known.
    #[error("its report is of no known kind")]
    Report,
    /// The hardware's report does not hold the binding that was written, also not after a wait.
    #[error("its report does not hold what was written for it")]
    Stale,
    /// The device is another one than at boot.
    #[error("it is not what it was at boot")]
    Changed,
    /// It is not known what PCR 15 holds; only another boot helps.
    #[error("it may or may not have extended PCR 15")]
    Unsure,
    /// Too much waits for it.
    #[error("too much waits for it")]
    Busy,
    /// The thread that speaks to it is gone.
    #[error("nothing speaks to it any more")]
    Ended,
}

impl AttestFailure {
    /// Whether the command may have been carried out.
    pub(super) fn leaves_open(self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Busy | Self::Open(_) | Self::Changed)
    }

    /// Whether the connection can be used further: afterwards both sides are at the end of an answer.
    pub(super) fn keeps_connection(self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Bank | Self::Unsteady | Self::Report | Self::Stale | Self::Misquoted
        )
    }
}

impl From<std::io::Error> for AttestFailure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Self::Silent,
            std::io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error.raw_os_error().unwrap_or_default()),
        }
    }
}
