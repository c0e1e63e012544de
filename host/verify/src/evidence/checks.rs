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
    SoftwareBinding = "software.binding", Ours, "SOFTWARE_NOT_BOUND",
        "Software evidence is over this key and boot, session or challenge, and signed by this key. Only for callers who accept \
         software evidence: it shows that the key is alive, and nothing of what runs.";
    SoftwareImage = "software.image", Ours, "SOFTWARE_NOT_APPROVED",
        "The program that the process says it runs is an approved one. Any other program can say the same.";
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
    ApprovedIsolation = "approved.isolation", Ours, "ISOLATION_NOT_APPROVED",
        "What keeps the enclave apart from the host is accepted: a virtual machine of its own, or, if the references say so, a process \
         beside the host, where a fault of the kernel is enough to reach the enclave.";
    ClaimKey = "claim.key", Ours, "CLAIM_OF_ANOTHER_KEY",
        "The key that signed the claim is the boot's, for which the hardware vouches. Anybody can put another gateway's evidence beside a \
         claim of his own.";
    ClaimRoot = "claim.root", Ours, "CLAIM_OF_ANOTHER_SESSION",
        "The claim's chain begins with the very entry that the session's evidence is over. Otherwise good evidence of one session would \
         stand beside the calls of another.";
    ClaimSettings = "claim.settings", Ours, "CLAIM_SETTINGS_MISMATCH",
        "Policy bundle and catalog in the claim are those of the session's first entry, to which the hardware's signature extends.";
    ClaimPlatform = "claim.platform", Ours, "CLAIM_PLATFORM_MISMATCH",
        "The claim names the platform that the evidence is of. Its policies saw that name.";
    ClaimMeasurement = "claim.measurement", Ours, "CLAIM_MEASUREMENT_MISMATCH",
        "The claim's measurement is the one in the evidence: SHA-384 of an SNP launch digest or of a TD's MRTD, SHA-256 of a TPM's PCR 0 to 7.";
    ClaimEvidence = "claim.evidence", Ours, "CLAIM_EVIDENCE_DIFFERS",
        "What the claim carries for verifiers that know no attachment is the same evidence.";

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
    AzureIdKey = "azure.id_key", Ours, "AZURE_PARAVISOR_NOT_APPROVED",
        "The paravisor is signed by an approved key (ID key digest of the SNP report). It holds the vTPM: another paravisor's would \
         quote whatever its author likes.";
    AzureGuestSvn = "azure.guest_svn", Ours, "AZURE_PARAVISOR_TOO_OLD",
        "The paravisor's security version is not below the references' minimum.";
    AzureTdReport = "azure.td_report", Genuine, "AZURE_TDREPORT_NOT_QUOTED",
        "The TDREPORT in the paravisor's report is the one that the TD quote was made of. The TDREPORT is not signed: without the quote \
         it is anybody's bytes.";

    SnpFormat = "snp.format", Genuine, "SNP_REPORT_MALFORMED",
        "The bytes are one attestation report of 1184 bytes. A verifier that reads less, or more, judges something \
         that the hardware did not sign.";
    SnpVersion = "snp.version", Genuine, "SNP_VERSION_UNKNOWN",
        "The report's layout is a version that is known here, 2 to 5. In a newer one a field may mean something \
         else: what is not understood is not accepted.";
    SnpReserved = "snp.reserved", Genuine, "SNP_RESERVED_IN_USE",
        "Reserved bytes are zero, also those around the signature, which nothing signs. Otherwise the layout is not \
         what the version says, or somebody has written into the report.";
    SnpAlgorithm = "snp.algorithm", Genuine, "SNP_ALGORITHM_UNKNOWN",
        "The report names ECDSA P-384 with SHA-384, the only algorithm that there is. Without this check a later, \
         weaker one would be taken for it.";
    SnpSigningKey = "snp.signing_key", Genuine, "SNP_SIGNING_KEY_UNKNOWN",
        "The report says that a chip's key (VCEK) or a provider's (VLEK) signed it, and that its signature is not \
         masked. A report that nobody signed shows nothing.";
    SnpEndorsement = "snp.endorsement", Genuine, "SNP_ENDORSEMENT_OF_OTHER_KEY",
        "The certificate is of the kind of key that the report names: VCEK or VLEK. A provider can hold a VLEK for \
         many chips, so the one must not pass for the other.";
    SnpChain = "snp.chain", Genuine, "SNP_CHAIN_INVALID",
        "Signatures lead from the key's certificate to a root key of AMD that is pinned here, over certificates \
         that may issue. Without it anybody could certify a key of his own.";
    SnpProduct = "snp.product", Genuine, "SNP_PRODUCT_MISMATCH",
        "The certificate is for the product that the report's processor is, and by the CA for such keys of it. The \
         product decides what the bytes of a TCB version mean: read as another's, old firmware looks new.";
    SnpChip = "snp.chip", Genuine, "SNP_CHIP_MISMATCH",
        "The key is of the chip that the report names; a report by a VLEK names none. Otherwise the evidence of one \
         machine would be taken for another's.";
    SnpKeyTcb = "snp.key_tcb", Genuine, "SNP_KEY_TCB_MISMATCH",
        "The key was certified for exactly the TCB that the report says it was derived from, every number of it. \
         Old firmware has other keys: with this it cannot say that it is new.";
    SnpSignature = "snp.signature", Genuine, "SNP_SIGNATURE_INVALID",
        "The key signed the report's bytes as they came. Without it everything in the report is somebody's word.";
    SnpPolicy = "snp.policy", Genuine, "SNP_POLICY_UNKNOWN",
        "All bits of the guest's policy are known here. One that is not might allow the host something that nobody \
         has judged.";
    SnpDebug = "snp.debug", Genuine, "SNP_DEBUG_ALLOWED",
        "The host may not debug the guest. If it may, it reads and writes all of the guest's memory, and every \
         promise of the hardware is void.";
    SnpMigration = "snp.migration", Genuine, "SNP_MIGRATION_ALLOWED",
        "No migration agent may be given the guest. An agent gets the guest's memory, and it is not what was measured.";
    SnpSmt = "snp.smt", Genuine, "SNP_SMT_ALLOWED",
        "If the references forbid it, the guest's policy keeps other threads off its cores. A neighbour on the same \
         core can watch what both share.";
    SnpAbi = "snp.abi", Genuine, "SNP_FIRMWARE_BELOW_POLICY",
        "The firmware is at least what the guest's policy asks for. Hardware does not launch a guest on older \
         firmware, so a report that says so is not what it seems.";
    SnpVmpl = "snp.vmpl", Genuine, "SNP_VMPL_NOT_ACCEPTED",
        "The report was asked for at an accepted privilege level, by default the highest, 0. Software at a lower \
         one runs under another's control within the same guest.";
    SnpCommitted = "snp.committed", Genuine, "SNP_COMMITTED_ABOVE_CURRENT",
        "What is committed is not newer than what runs. Hardware does not allow that, so a report that says so is \
         not what it seems.";
    SnpDates = "snp.dates", Current, "SNP_CERTIFICATE_NOT_VALID",
        "Every certificate of the path was valid at the time in question. AMD does not answer for a key after its \
         date.";
    SnpCrl = "snp.crl", Current, "SNP_CRL_INVALID",
        "A list of revoked certificates is signed by the CA that it names. A list that anybody can write revokes \
         nothing and keeps nothing from being revoked. Absent is said so, and only refused if the references \
         require one.";
    SnpRevocation = "snp.revocation", Current, "SNP_CERTIFICATE_REVOKED",
        "No certificate of the path is on a list of revoked ones. AMD revokes a signing key that it does not trust \
         any more.";
    SnpCrlDates = "snp.crl_dates", Current, "SNP_CRL_EXPIRED",
        "The list was the newest at the time in question. With an old one what was revoked since stays unseen.";
    SnpProvisional = "snp.provisional", Current, "SNP_FIRMWARE_PROVISIONAL",
        "What runs is committed, unless the references accept provisional firmware. The host can take uncommitted \
         firmware back to an older one while the guest runs.";
    SnpMinimumTcb = "snp.minimum_tcb", Current, "SNP_TCB_BELOW_MINIMUM",
        "No number of the reported, committed, launch and current TCB is below the minimum that the references name \
         for the product. Without a minimum, firmware with published holes is as good as any.";
    SnpPlatform = "snp.platform", Current, "SNP_PLATFORM_UNREADABLE",
        "How the platform is configured, shown and not judged: multithreading, memory encryption, ECC, whether \
         memory was checked for aliases.";
    SnpMitigations = "snp.mitigations", Current, "SNP_MITIGATIONS_UNREADABLE",
        "Which mitigations the firmware verified, shown and not judged: reports of version 5 have them.";
    SnpIdKey = "snp.id_key", Ours, "SNP_ID_KEY_NOT_APPROVED",
        "The key that signed the guest's ID block is an approved one, if the references name any. In Azure it is \
         Microsoft's, and says whose paravisor it is.";
    SnpAuthorKey = "snp.author_key", Ours, "SNP_AUTHOR_KEY_NOT_APPROVED",
        "The key that certified the ID key is an approved one, if the references name any.";
    SnpGuestSvn = "snp.guest_svn", Ours, "SNP_GUEST_SVN_TOO_LOW",
        "The guest's version is not below the minimum that the references name: an older one, signed by the same \
         key, may have holes.";
    SnpReportData = "snp.report_data", Ours, "SNP_REPORT_DATA_MISMATCH",
        "All 64 bytes of the guest's data are what they should be. They bind the report to this key and this boot \
         or session: without them any guest's report would do, also a recorded one.";
    SnpMeasurement = "snp.measurement", Ours, "SNP_MEASUREMENT_NOT_APPROVED",
        "The launch digest is that of an approved image. Without it the hardware vouches for whatever program runs \
         there.";
    TdxTeeType = "tdx.tee_type", Genuine, "TDX_TEE_TYPE_WRONG",
        "The quote is of a TD. An SGX enclave's quote has the same signatures under the same root and says nothing \
         about a TD.";
    TdxQuote = "tdx.quote", Genuine, "TDX_QUOTE_MALFORMED",
        "The quote is of version 4 or 5, every length in it fits, and nothing but Azure's padding follows. What is \
         left over is covered by no signature, and two readers may read it differently.";
    TdxQeVendor = "tdx.qe_vendor", Genuine, "TDX_QE_VENDOR_UNKNOWN",
        "The quoting enclave calls itself Intel's. Other vendors' enclaves may mean something else by the same fields.";
    TdxSignature = "tdx.signature", Genuine, "TDX_SIGNATURE_INVALID",
        "The attestation key signed header and report. Without it anyone could write any measurement into a quote.";
    TdxAttestationKey = "tdx.attestation_key", Genuine, "TDX_ATTESTATION_KEY_NOT_BOUND",
        "The quoting enclave's report names the attestation key. Without it anyone could sign with a key of their own \
         and put another machine's certificates behind it.";
    TdxPckChain = "tdx.pck_chain", Genuine, "TDX_PCK_CHAIN_INVALID",
        "The platform's certificate leads over one of Intel's two PCK CAs to Intel's pinned root. Without it anyone \
         could be the platform.";
    TdxQeSignature = "tdx.qe_signature", Genuine, "TDX_QE_SIGNATURE_INVALID",
        "The platform's key signed the quoting enclave's report. Without it the attestation key could be of no \
         platform at all.";
    TdxQeIdentitySignature = "tdx.qe_identity_signature", Genuine, "TDX_QE_IDENTITY_SIGNATURE_INVALID",
        "Intel signed the QE identity. Whoever brings the collateral could else name an enclave of its own.";
    TdxQeIdentity = "tdx.qe_identity", Genuine, "TDX_QE_IDENTITY_MALFORMED",
        "The signed document is the identity of the quoting enclave for TDs. The one for SGX is signed by the same \
         key.";
    TdxQe = "tdx.qe", Genuine, "TDX_QE_NOT_INTELS",
        "The quoting enclave is Intel's, for TDs, not under debug. Who owns a machine can have its platform key \
         certify enclaves of their own, which then sign what they like.";
    TdxSeam = "tdx.seam", Genuine, "TDX_MODULE_NOT_INTELS",
        "The TDX module is signed by Intel and not under debug. Another module could hand the TD's memory to its host.";
    TdxDebug = "tdx.debug", Genuine, "TDX_DEBUG",
        "The TD is not under debug or profiling. Its host reads the memory of one that is.";
    TdxAttributes = "tdx.attributes", Genuine, "TDX_ATTRIBUTES_REFUSED",
        "No attribute is set that is reserved or not known to be harmless. What a later module means by a bit is not \
         known here.";
    TdxMigration = "tdx.migration", Genuine, "TDX_MIGRATABLE",
        "The TD cannot be moved. A migration TD that the host picks would get its memory and keys.";
    TdxServiceTd = "tdx.service_td", Genuine, "TDX_SERVICE_TD",
        "No service TD is bound. One could act on the TD's private state.";
    TdxSeptVe = "tdx.sept_ve_disable", Genuine, "TDX_SEPT_VE_ENABLED",
        "The host cannot raise #VE in the TD by taking its pages away; in a kernel that does not expect it that is a \
         way in. Waived for Azure's paravisor, which expects it.";
    TdxCollateral = "tdx.collateral", Current, "TDX_COLLATERAL_MALFORMED",
        "There is collateral and it can be read. Without it nobody can tell whether Intel has revoked the platform or \
         calls it out of date.";
    TdxTcbInfoSignature = "tdx.tcb_info_signature", Current, "TDX_TCB_INFO_SIGNATURE_INVALID",
        "Intel signed the TCB info. Whoever brings the collateral could else call any platform up to date.";
    TdxTcbInfo = "tdx.tcb_info", Current, "TDX_TCB_INFO_MALFORMED",
        "The signed document is TCB info of a platform for TDX. That for SGX is signed by the same key and does not \
         judge the TDX module.";
    TdxCertificateDates = "tdx.certificate_dates", Current, "TDX_CERTIFICATE_EXPIRED",
        "All certificates are valid at the time in question. Intel no longer tells of what happened to expired ones.";
    TdxRootCrl = "tdx.root_crl", Current, "TDX_ROOT_CRL_INVALID",
        "The list of revoked CAs and signers is signed by Intel's root. Whoever brings the collateral could else \
         leave out what they like.";
    TdxPckCrl = "tdx.pck_crl", Current, "TDX_PCK_CRL_INVALID",
        "The list of revoked platforms is signed by the CA that issued this platform's certificate. Another CA's list \
         would not name it.";
    TdxCrlDates = "tdx.crl_dates", Current, "TDX_CRL_EXPIRED",
        "Both lists are the newest at the time in question. An old list does not name what was revoked since.";
    TdxRevocation = "tdx.revocation", Current, "TDX_CERTIFICATE_REVOKED",
        "No certificate of the three chains is revoked. Keys of revoked platforms are in somebody's hands.";
    TdxCollateralDates = "tdx.collateral_dates", Current, "TDX_COLLATERAL_EXPIRED",
        "TCB info and QE identity are the newest at the time in question. Old ones call up to date what has since \
         been broken.";
    TdxPckExtension = "tdx.pck_extension", Current, "TDX_PCK_EXTENSION_MALFORMED",
        "The platform's certificate names its model and the versions of its parts. They decide how current it is; the \
         host's word would not do.";
    TdxPlatform = "tdx.platform", Current, "TDX_PLATFORM_MISMATCH",
        "TCB info is about platforms of this model. Another model's could call this one up to date.";
    TdxModule = "tdx.module", Current, "TDX_MODULE_UNKNOWN",
        "TCB info knows the TDX module of the quote, its signer and its attributes. Nothing is known of the safety of \
         others.";
    TdxTcbLevel = "tdx.tcb_level", Current, "TDX_TCB_UNMATCHED",
        "The versions of platform, TDX module and quoting enclave reach a level that Intel judges. Below every level \
         everything that Intel ever fixed is open.";
    TdxTcbStatus = "tdx.tcb_status", Current, "TDX_TCB_STATUS_REFUSED",
        "Intel's judgement of those versions is one that the policy accepts: by default UpToDate alone, and Revoked \
         never.";
    TdxAdvisories = "tdx.advisories", Current, "TDX_ADVISORIES_REFUSED",
        "Every security advisory that Intel names for those versions is one that the policy accepts. So a status \
         accepted for one known weakness is not accepted for the next.";
    TdxReportData = "tdx.report_data", Ours, "TDX_REPORT_DATA_MISMATCH",
        "The quote is about these 64 bytes: this key and boot, session or challenge. Without it any quote of the same \
         image could be replayed for anybody's key.";
    TdxImage = "tdx.image", Ours, "TDX_IMAGE_NOT_APPROVED",
        "MRTD and RTMR 0 to 2 in the signed report are those of one approved image. Without it any program in any TD \
         passes.";
    TdxAzureRtmrs = "tdx.azure_rtmrs", Ours, "TDX_RTMRS_NOT_ZERO",
        "Azure's paravisor leaves the TD's registers untouched. What extends them is not that paravisor.";
    TdxAzureMrtd = "tdx.azure_mrtd", Ours, "TDX_PARAVISOR_NOT_APPROVED",
        "The paravisor is one that the policy names, or its vTPM's key must have Microsoft's certificate. Anyone can \
         build a TD with a vTPM that says what they like.";
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
