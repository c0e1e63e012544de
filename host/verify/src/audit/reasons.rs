use crate::shape::Fault;
use crate::verdict::reasons;

reasons! {
    /// Why a bundle, or an entry of a store, is not what it should be.
    BundleReason {
        /// Not a bundle: syntax, a missing member, a wrong type.
        Malformed = "BUNDLE_MALFORMED",
        /// One key twice in one object.
        DuplicateKey = "DUPLICATE_KEY",
        /// A member that bundles and entries do not have.
        UnknownKey = "UNKNOWN_KEY",
        /// A float in an entry.
        FloatNotAllowed = "FLOAT_NOT_ALLOWED",
        /// An integer beyond 2^53-1.
        IntegerOutOfRange = "INTEGER_OUT_OF_RANGE",
        /// A bundle without entries.
        Empty = "BUNDLE_EMPTY",
        /// An entry without the 24 members of their types.
        EntryMalformed = "ENTRY_MALFORMED",
        /// An entry's hash is not the hash of its content.
        EntryHashMismatch = "ENTRY_HASH_MISMATCH",
        /// An entry does not name the hash of the one before.
        LinkBroken = "CHAIN_LINK_BROKEN",
        /// Sequence numbers skip or repeat.
        SequenceGap = "SEQUENCE_GAP",
        /// The first entry is no session_start, one comes later, or something follows session_end.
        OutOfPlace = "ENTRY_OUT_OF_PLACE",
        /// The session changes without a recorded reset.
        SessionChanged = "SESSION_CHANGED",
        /// An entry is earlier than the one before.
        TimeReversed = "TIME_REVERSED",
        /// A sensitivity label fell without a reset.
        LabelDropped = "LABEL_DROPPED",
        /// A tool server's receipt that the caller wants judged, which this build cannot.
        ExternalEvidence = "EXTERNAL_EVIDENCE_VERIFICATION_FAILED",
        /// The claim is malformed or not signed by its key.
        ClaimUnverified = "CLAIM_UNVERIFIED",
        /// The bundle is of another session than the claim.
        SessionMismatch = "SESSION_ID_MISMATCH",
        /// The claim's root is not the hash of the first entry.
        RootMismatch = "CHAIN_ROOT_MISMATCH",
        /// The claim's tip is not the hash of the last entry.
        TipMismatch = "CHAIN_TIP_MISMATCH",
        /// The claim counts other entries.
        LengthMismatch = "CHAIN_LENGTH_MISMATCH",
        /// The transcript's hash is missing or not the tip.
        TranscriptHashMismatch = "TRANSCRIPT_HASH_MISMATCH",
        /// The transcript counts other calls.
        CallCountMismatch = "CALL_COUNT_MISMATCH",
        /// The call summary differs from what the entries say.
        SummaryMismatch = "CALL_SUMMARY_MISMATCH",
        /// The transcript's entries differ from the calls of the bundle.
        TranscriptEntriesDiffer = "TRANSCRIPT_ENTRIES_DIFFER",
        /// The claim's sensitivity is not the highest label of the entries.
        SensitivityMismatch = "SENSITIVITY_MISMATCH",
        /// `drift_detected` and the entries contradict each other.
        DriftContradicted = "DRIFT_FLAG_CONTRADICTED",
        /// `attestation_stale` and the entries contradict each other.
        StaleContradicted = "STALE_FLAG_CONTRADICTED",
        /// `kill_switch_triggered` and the entries contradict each other.
        KillSwitchContradicted = "KILL_SWITCH_FLAG_CONTRADICTED",
        /// session_start commits to another policy, catalog or mode than the claim states.
        CommitmentMismatch = "COMMITMENT_MISMATCH",
        /// The claim was issued before an entry that it counts.
        ClaimOlderThanEntries = "CLAIM_OLDER_THAN_ENTRIES",
        /// Signed batches do not prove these entries.
        ProofInvalid = "BATCH_PROOF_INVALID",
        /// The key is not the one that the caller names, or not the claim's.
        PublicKeyNotBound = "PUBLIC_KEY_NOT_BOUND",
        /// The bundle's signature is absent.
        SignatureMissing = "BUNDLE_SIGNATURE_MISSING",
        /// The bundle's signature is not by the claim's key over these entries.
        SignatureInvalid = "BUNDLE_SIGNATURE_INVALID",
    }
}

impl From<Fault> for BundleReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::DuplicateKey => Self::DuplicateKey,
            Fault::UnknownKey => Self::UnknownKey,
            Fault::Float => Self::FloatNotAllowed,
            Fault::IntegerRange => Self::IntegerOutOfRange,
            _ => Self::Malformed,
        }
    }
}
