use crate::verdict::reasons;

reasons! {
    /// Why a store is refused. Faults of single entries have the names of [`crate::BundleReason`].
    StoreReason {
        /// There is no segment.
        Empty = "STORE_EMPTY",
        /// A number is missing among the segment files.
        SegmentMissing = "SEGMENT_MISSING",
        /// A file that is no segment.
        SegmentMalformed = "SEGMENT_MALFORMED",
        /// A batch is broken, and later ones are there: that is no torn tail.
        Damaged = "STORE_DAMAGED",
        /// A batch that does not follow the format.
        BatchMalformed = "BATCH_MALFORMED",
        /// Batch numbers skip, repeat, or change boot in the middle.
        BatchGap = "BATCH_GAP",
        /// A batch does not name the hash of the one before.
        BatchLinkBroken = "BATCH_LINK_BROKEN",
        /// A batch is not signed by the key of its boot.
        BatchSignatureInvalid = "BATCH_SIGNATURE_INVALID",
        /// The host filed a batch under other sessions than its records have.
        FrameIndexWrong = "FRAME_INDEX_WRONG",
        /// The first record of a boot is not its boot record, or that contradicts its batch.
        BootRecordInvalid = "BOOT_RECORD_INVALID",
        /// The key of a boot is none of those that the caller gave.
        KeyNotTrusted = "PUBLIC_KEY_NOT_BOUND",
        /// No boot of the store is sealed to the auditor's key that was given.
        AuditorKeyWrong = "AUDITOR_KEY_WRONG",
        /// A sealed record that its boot's key does not open in its place, or whose counter does not rise.
        SealedRecordInvalid = "SEALED_RECORD_INVALID",
        /// A record's body is not of its kind, or not in canonical form.
        RecordMalformed = "RECORD_MALFORMED",
        /// A record where it cannot be: of a session that has not begun, a second boot record.
        RecordOutOfPlace = "RECORD_OUT_OF_PLACE",
        /// A session commits to another boot, policy or catalog than its boot record.
        BootCommitmentMismatch = "BOOT_COMMITMENT_MISMATCH",
        /// A policy bundle was loaded whose version is not higher than that of the one before.
        PolicyVersionNotHigher = "POLICY_VERSION_NOT_HIGHER",
        /// An entry contradicts the intent of its call.
        IntentContradicted = "INTENT_CONTRADICTED",
        /// Durability is strict, and a call reached a tool without its intent.
        IntentMissing = "INTENT_MISSING",
        /// A claim is not signed by the boot's key, or not a claim.
        ClaimInvalid = "CLAIM_INVALID",
        /// A claim contradicts its session's entries or the claim before.
        ClaimContradicted = "CLAIM_CONTRADICTED",
        /// The store holds nothing of the boot that a head names.
        HeadBootMissing = "HEAD_BOOT_MISSING",
        /// The store ends before the batch that a head names.
        OlderThanHead = "STORE_OLDER_THAN_HEAD",
        /// The entry that a head names is not in the batch that it names.
        HeadEntryMissing = "HEAD_ENTRY_MISSING",
    }
}
