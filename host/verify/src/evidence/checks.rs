//! Every check on evidence: its name, the question it answers, the one reason for which it fails, and why it is made.

/// What evidence is asked. The answers are never merged: "genuine, but not ours" is a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// Did hardware of this vendor make it, in a state in which its promises hold?
    Genuine,
    /// Was that hardware up to date, and what vouches for it valid, at the time in question?
    Current,
    /// Is it about the approved image and settings, and bound to this key, session or challenge?
    Ours,
}

impl Question {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Genuine, Self::Current, Self::Ours];

    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Current => "current",
            Self::Ours => "ours",
        }
    }
}

/// Declares the checks: `Variant = "id", Question, "REASON", "explanation";`.
macro_rules! checks {
    ($($variant:ident = $id:literal, $question:ident, $reason:literal, $explain:literal;)+) => {
        /// One check on evidence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check {
            $(#[doc = $explain] $variant,)+
        }

        impl Check {
            /// Every check there is, in the order of docs/verification.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: stable across releases.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// What it answers.
            pub const fn question(self) -> Question {
                match self { $(Self::$variant => Question::$question,)+ }
            }

            /// Why evidence is refused that fails it.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)+ }
            }

            /// What it shows, and what somebody could do without it.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => $explain,)+ }
            }
        }
    };
}

checks! {
    EvidenceType = "evidence.type", Genuine, "EVIDENCE_TYPE_NOT_HARDWARE",
        "The evidence is of hardware. Software evidence is a process's word about itself, which any other process can say.";
    EvidencePlatform = "evidence.platform", Genuine, "EVIDENCE_PLATFORM_NOT_JUDGED",
        "The evidence is of a platform that this build can judge.";
    EvidenceSame = "evidence.same_boot", Ours, "EVIDENCE_OF_ANOTHER_BOOT",
        "All evidence is of one boot of one machine: the same attestation key with the same counts of resets and restarts, or the same \
         SNP guest. Otherwise the evidence of another boot, with other software, could stand beside this one's.";
    CollateralFormat = "collateral.format", Current, "COLLATERAL_UNREADABLE",
        "Certificates and lists that came with the evidence can be read. Nothing else is asked of them: each counts for what its \
         signature is worth.";
    BootKey = "boot.key", Ours, "BOOT_KEY_MALFORMED",
        "The boot names an Ed25519 key: the one that signs claims and audit bundles.";
    BootBinding = "boot.binding", Ours, "BOOT_MALFORMED",
        "What the boot says it runs has one canonical spelling, whose hash the hardware signed together with the key's.";
    BootDev = "boot.dev", Ours, "DEV_MODE",
        "The boot is outside dev mode. In dev mode secrets come from the host's environment, and the host can do more than relay.";
    BootSettings = "boot.settings", Ours, "SETTINGS_NOT_OF_BOOT",
        "The list of settings begins with those of the boot. It is in no signature, so it counts only from what was signed.";
    SettingsMeasured = "settings.measured", Ours, "SETTINGS_NOT_MEASURED",
        "PCR 15 of each quote is what the settings up to some entry of the list extend it to, and the boot's at least. A reload that the \
         list leaves out would be in PCR 15.";
    SessionStart = "session.start", Ours, "SESSION_START_MALFORMED",
        "The first entry of the session is one: its members, its hash, number 0, type session_start. Its hash is the root of the chain.";
    SessionBoot = "session.boot", Ours, "SESSION_OF_ANOTHER_BOOT",
        "The first entry names this boot. The hardware signed the entry's hash, so it vouches for all that the boot says it runs.";
    SessionSettings = "session.settings", Ours, "SESSION_SETTINGS_UNKNOWN",
        "Policy bundle, catalog and configuration of the first entry are one of the settings of this boot.";
    SessionEvidence = "session.evidence", Ours, "SESSION_EVIDENCE_MISSING",
        "There is evidence over the root of the session's chain. Without it a chain made up later would pass under the boot's evidence.";
    ApprovedConfig = "approved.config", Ours, "CONFIG_NOT_APPROVED",
        "The configuration is in the reference values. An approved image with another configuration serves other tools to other callers.";
    ApprovedBundle = "approved.bundle", Ours, "BUNDLE_NOT_APPROVED",
        "Every policy bundle that was in force since the boot is in the reference values.";
    ApprovedCatalog = "approved.catalog", Ours, "CATALOG_NOT_APPROVED",
        "The catalog of tools is in the reference values.";

    TpmAkPublic = "tpm.ak_public", Genuine, "TPM_AK_MALFORMED",
        "The attestation key's public area can be read to its last byte: an RSA or ECC signing key, named with SHA-256.";
    TpmAkAttributes = "tpm.ak_attributes", Genuine, "TPM_AK_NOT_RESTRICTED",
        "The key is restricted, signs, does not decrypt, and cannot leave its TPM. An unrestricted key signs anything that it is given, \
         so also a quote that no TPM made. The attributes are the attester's word; the key's certificate is what makes them a CA's.";
    TpmAkVouched = "tpm.ak_vouched", Genuine, "TPM_AK_NOT_VOUCHED",
        "Somebody vouches for the attestation key: a CA by a certificate, or on Azure, if the references allow it, the hardware's \
         report alone. A key that nobody vouches for is any program's.";
    TpmAkCertificate = "tpm.ak_certificate", Genuine, "TPM_AK_CERTIFICATE_MALFORMED",
        "The certificate of the attestation key can be read; what follows it is padding with zeros, as TPMs keep it.";
    TpmAkCertificateKey = "tpm.ak_certificate_key", Genuine, "TPM_AK_CERTIFICATE_OF_OTHER_KEY",
        "The certificate is of the key that signed the quote. Certificates are public: without this anybody could add a good one to a \
         key of his own.";
    TpmAkUsage = "tpm.ak_usage", Genuine, "TPM_AK_USAGE",
        "The CA issued the certificate for attestation (tcg-kp-AIKCertificate), not for another of the TPM's keys, which may sign \
         anything.";
    TpmAkName = "tpm.ak_name", Genuine, "TPM_AK_NOT_OF_CONFIDENTIAL_VM",
        "Microsoft says that the key is of a confidential VM. The same CAs certify keys of VMs with Trusted Launch, whose vTPM the host \
         runs and can make say anything.";
    TpmAkChain = "tpm.ak_chain", Genuine, "TPM_AK_CHAIN_INVALID",
        "Signatures lead from the key's certificate to a pinned root, over certificates that may issue.";
    TpmAkDates = "tpm.ak_dates", Current, "TPM_AK_CERTIFICATE_NOT_VALID",
        "Every certificate of the path was valid at the time in question.";
    TpmMagic = "tpm.magic", Genuine, "TPM_NOT_GENERATED",
        "The signed bytes begin with TPM_GENERATED_VALUE. A restricted key signs data from outside only if they do not begin so: \
         without this check such data pass for a quote.";
    TpmType = "tpm.type", Genuine, "TPM_NOT_A_QUOTE",
        "The TPM signed a quote, not a certification of a key, a clock or an audit, whose bytes could be read as one.";
    TpmAttest = "tpm.attest", Genuine, "TPM_ATTEST_MALFORMED",
        "The signed structure can be read to its last byte, every size within the specification's.";
    TpmSignatureFormat = "tpm.signature_format", Genuine, "TPM_SIGNATURE_MALFORMED",
        "The signature is RSASSA, RSAPSS or ECDSA with SHA-256, and nothing follows it.";
    TpmSignature = "tpm.signature", Genuine, "TPM_SIGNATURE_INVALID",
        "The attestation key made the signature over these very bytes. Without it everything in the quote is the sender's word.";
    TpmSelection = "tpm.selection", Genuine, "TPM_PCR_SELECTION",
        "The quote is over PCR 0 to 23 of the SHA-256 bank, in one selection. The digest covers values, not their numbers: with another \
         selection values of PCRs that anybody can extend or reset (16, 23) are shown as those of the boot.";
    TpmPcrDigest = "tpm.pcr_digest", Genuine, "TPM_PCR_DIGEST",
        "The 24 values hash to the digest that the TPM signed: they are those of the quote.";
    TpmClock = "tpm.clock", Genuine, "TPM_CLOCK_UNREADABLE",
        "Counters of resets and restarts, clock and firmware of the TPM, shown and not judged: quotes of one boot agree in them.";
    TpmNonce = "tpm.nonce", Ours, "TPM_NONCE_MISMATCH",
        "qualifyingData is what this quote was asked for: SHA-256 of the binding's 64 bytes, which name key and boot, session or \
         challenge. Without all 64 a recorded quote passes for a session with another chain.";
    TpmKeyQuote = "tpm.key_quote", Ours, "TPM_KEY_QUOTE_MISMATCH",
        "The second quote, which deployed verifiers read, is by the same key, of the same boot and for the same enclave key, over PCR 0 \
         to 7.";
    PcrImage = "pcr.image", Ours, "PCR_IMAGE_NOT_APPROVED",
        "PCR 4, 9 and 11 are those of one approved image: the EFI programs, command line and initramfs, and the sections of the image. \
         Without it a TPM vouches for whatever was booted.";
    PcrUnused = "pcr.unused", Ours, "PCR_NOT_ZERO",
        "PCR 12, 13 and 14 were never extended: nobody overrode the command line, added an extension or enrolled a key of a boot \
         loader, none of which PCR 4 and 11 show.";
    LogFormat = "log.format", Ours, "LOG_MALFORMED",
        "The firmware's event log is a crypto-agile one that can be read to its end.";
    LogReplay = "log.replay", Ours, "LOG_REPLAY_MISMATCH",
        "Extending the log's digests gives the PCRs of the quote, PCR 4 among them. A log is anybody's list; only its replay makes it \
         one of this boot.";
    LogBootEvents = "log.boot_events", Ours, "LOG_BOOT_EVENT_UNKNOWN",
        "Everything in PCR 4 is the start of an EFI program, one separator, or a text of the profile whose digest is that text's. Any \
         other event could be a program under another name.";
    LogApplications = "log.applications", Ours, "LOG_APPLICATIONS_NOT_APPROVED",
        "The EFI programs that the firmware started are the image's, in order: none is missing, none was started besides.";
    HclFormat = "hcl.format", Genuine, "HCL_MALFORMED",
        "The paravisor's report can be read: its two inner sizes agree and fit, nothing but zeros follows. Its header is covered by \
         nothing and is not read.";
    HclHash = "hcl.hash", Genuine, "HCL_HASH_TYPE",
        "The claims are hashed with SHA-256, which fills half of the report data. No other hash was ever seen there.";
    HclBinding = "hcl.binding", Genuine, "HCL_CLAIMS_NOT_BOUND",
        "The hardware's report data begin with SHA-256 of the claims, as they are. This is what makes the attestation key in them the \
         paravisor's.";
    HclTail = "hcl.tail", Genuine, "HCL_REPORT_DATA_TAIL",
        "The other 32 bytes of report data are zero: something that a guest asked for elsewhere does not pass for a paravisor's report.";
    HclClaims = "hcl.claims", Genuine, "HCL_CLAIMS_MALFORMED",
        "The claims are JSON without duplicate keys, and name one RSA attestation key, not zero. Readers that differ on a duplicate key \
         would judge different keys; a zero key is one that the VM took away.";
    HclTpm = "hcl.tpm", Genuine, "HCL_TPM_DISABLED",
        "The VM has a vTPM: otherwise the paravisor keeps no PCRs, and what the key signs are not the VM's.";
    HclConsole = "hcl.console", Ours, "HCL_CONSOLE_ENABLED",
        "The serial console, over which the operator can talk to the VM, is off, unless the references allow it.";
    HclSecureBoot = "hcl.secure_boot", Ours, "HCL_SECURE_BOOT_DISABLED",
        "Secure Boot is on, if the references require it. What runs is known from the PCRs all the same.";
    HclUserData = "hcl.user_data", Ours, "HCL_USER_DATA_MISMATCH",
        "The claims carry the boot's binding: the hardware's report itself names the enclave's key, whatever the vTPM does.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Check;

    #[test]
    fn names_and_reasons_are_of_one_check_each() {
        let ids: BTreeSet<_> = Check::ALL.iter().map(|check| check.id()).collect();
        let reasons: BTreeSet<_> = Check::ALL.iter().map(|check| check.reason()).collect();
        assert_eq!((ids.len(), reasons.len()), (Check::ALL.len(), Check::ALL.len()));
    }
}
