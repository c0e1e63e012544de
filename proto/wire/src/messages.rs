//! Every message that crosses the boundary.
//!
//! Evolution rules:
//! 1. Variants and fields are only ever appended; none is reordered, retyped or reused.
//! 2. Any change that old bytes would not survive raises [`crate::VERSION`].
//! 3. Every variant has a byte vector in `SPEC.md`, checked by `tests/vectors.rs` in both directions.
//! 4. What goes from the enclave to the host is numbers and enums. Text goes out only in a [`BootRefusal`], in what names a
//!    tool server to dial or to spawn and, in dev builds, in a [`ControlEvent::Part`]: only text of or about documents that
//!    the host itself sent. Outside dev mode a [`BootReport`] carries the boot's evidence too, which every caller is shown.

use bincode::de::BorrowDecoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode};

/// Sizes in bytes and counts.
pub mod limits {
    /// Size class of messages that hold a few numbers and names.
    pub const SMALL: usize = 64 << 10;
    /// Size class of the boot bundle and of record batches.
    pub const LARGE: usize = 32 << 20;
    /// A boot bundle: configuration, policy bundle, catalog, controls.
    pub const BOOT_BUNDLE: usize = 16 << 20;
    /// A batch of records with its signature. The enclave closes a batch well before this.
    pub const BATCH: usize = 24 << 20;
    /// One text field of a [`super::BootRefusal`].
    pub const TEXT: usize = 2 << 10;
    /// The bytes of one [`super::ControlEvent::Part`].
    pub const PART: usize = 48 << 10;
    /// A [`super::ControlRequest::Collateral`].
    pub const COLLATERAL: usize = 256 << 10;
    /// The boot evidence of one [`super::BootReport`]; longer evidence is left out.
    pub const EVIDENCE: usize = 32 << 10;
    /// Entries of one [`super::ControlEvent::Tools`], which fits [`SMALL`] whatever the numbers are.
    pub const TOOLS: usize = 256;
}

/// A message type: one number on the wire, one size limit.
pub trait Message: Encode + for<'de> BorrowDecode<'de, ()> {
    /// Number in the frame header.
    const KIND: u16;
    /// Largest payload in bytes.
    const MAX: usize;
}

macro_rules! message {
    ($type:ty, $kind:literal, $max:expr) => {
        impl Message for $type {
            const KIND: u16 = $kind;
            const MAX: usize = $max;
        }
    };
}

message!(HostOpen, 1, limits::SMALL);
message!(EnclaveOpen, 2, limits::SMALL);
message!(OpenAnswer, 3, limits::SMALL);
message!(ControlRequest, 4, limits::BOOT_BUNDLE);
message!(ControlEvent, 5, limits::SMALL);
message!(StorePosition, 6, limits::SMALL);
message!(Append, 7, limits::BATCH);
message!(AppendAnswer, 8, limits::SMALL);
message!(RecallItem, 9, limits::BATCH);
message!(Spawned, 10, limits::SMALL);

/// Bytes that are copied only after they are known to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Encode for Blob {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_slice().encode(encoder)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Blob {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        <&'de [u8]>::borrow_decode(decoder).map(|bytes| Self(bytes.to_vec()))
    }
}

/// UTF-8 text that is copied only after it is known to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl Encode for Text {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_str().encode(encoder)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Text {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        <&'de str>::borrow_decode(decoder).map(|text| Self(text.to_owned()))
    }
}

impl From<&str> for Text {
    /// At most [`limits::TEXT`] bytes, cut at a character.
    fn from(text: &str) -> Self {
        let mut end = text.len().min(limits::TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }
}

/// First frame of a stream that the host opens.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum HostOpen {
    /// The one control stream. The enclave opens its own streams towards where this one came from, at `callback_port`.
    Control {
        /// vsock or TCP port; on Unix sockets the path is the enclave's own plus `_` and this number.
        callback_port: u32,
    },
    /// An agent's connection, relayed.
    Inbound,
    /// A connection to the metadata service of the machine that the enclave runs on, relayed.
    Imds,
}

/// First frame of a stream that the enclave opens.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum EnclaveOpen {
    /// Connect to a tool server of the catalog and relay.
    Dial {
        /// Host name or address, as in the catalog.
        host: Text,
        /// TCP port.
        port: u16,
    },
    /// The append-only record store. After the answer the host sends one [`StorePosition`], then each [`Append`] is
    /// answered by one [`AppendAnswer`].
    Records {
        /// This boot.
        boot_id: [u8; 16],
        /// First batch that the enclave does not know to be stored.
        next: u64,
    },
    /// Read back batches of this boot, in order; answered by [`RecallItem`]s.
    Recall {
        /// This boot.
        boot_id: [u8; 16],
        /// First batch wanted.
        first: u64,
        /// Last batch wanted.
        last: u64,
        /// Only batches whose [`Append::sessions`] has this number.
        session: u64,
    },
    /// Start a tool server of the catalog as a process and relay its standard input and output. After the answer the host
    /// sends one [`Spawned`].
    Spawn {
        /// Place of one of the server's tools in the catalog sorted by name.
        tool: u32,
        /// Program and arguments, as in the catalog.
        command: Vec<Text>,
        /// Names of the environment variables that are passed on, as in the catalog.
        env: Vec<Text>,
        /// The file that is the entrypoint, if the catalog names another one than the program.
        entrypoint: Option<Text>,
    },
}

/// A process was started; what the host says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Spawned {
    /// SHA-256 of the entrypoint as the host found it.
    pub entrypoint_digest: [u8; 32],
}

/// Second frame of every stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum OpenAnswer {
    /// Go on.
    Ready,
    /// No, and why; the stream is closed.
    Refused(OpenRefusal),
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum OpenRefusal {
    /// There is a control stream already.
    ControlTaken,
    /// No boot bundle has been accepted yet.
    NotBooted,
    /// There are as many streams or processes of this kind as limits allow.
    Busy,
    /// The tool server could not be reached or started.
    Unreachable,
    /// The name or command is not one that the host may dial or spawn.
    NotAllowed,
    /// The store cannot be opened or read.
    StoreUnavailable,
    /// The store holds nothing of this boot.
    UnknownBoot,
}

/// Everything that configures one boot. There is no other way in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BootBundle {
    /// The configuration as JSON (the host turns YAML into JSON).
    pub config: Blob,
    /// The policy bundle's files.
    pub policy: Vec<PolicyFile>,
    /// The catalog as JSON.
    pub catalog: Blob,
    /// Operator controls, signed by the operator key.
    pub controls: Option<Blob>,
    /// The host's wall clock in milliseconds since the Unix epoch; taken once.
    pub wall_unix_ms: u64,
    /// The host asks for dev mode. Only a build with the provider `software` can grant it.
    pub dev: bool,
    /// The last batch that the host holds of an earlier boot; believed for nothing, recorded as the first `prev`.
    pub store_head: Option<StoreHead>,
    /// In dev mode, whether agents speak TLS; otherwise they always do.
    pub tls: bool,
}

/// One file of a policy bundle.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct PolicyFile {
    /// POSIX path relative to the bundle.
    pub path: Text,
    /// The file as it is.
    pub bytes: Blob,
}

/// Where a boot log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct StoreHead {
    /// Which boot.
    pub boot_id: [u8; 16],
    /// Number of the last batch.
    pub batch: u64,
    /// SHA-256 of the last batch's bytes.
    pub hash: [u8; 32],
}

/// What the host says on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum ControlRequest {
    /// Boot with this; once.
    Boot(BootBundle),
    /// Validate this and report, without booting; dev builds only.
    Check(BootBundle),
    /// The `definition_hash` of this JSON document; dev builds only.
    HashDefinition(Blob),
    /// Finish the calls in flight, close the sessions, store their claims, stop.
    Shutdown,
    /// A Cedar schema for the tools of this catalog; dev builds only. Answered by [`ControlEvent::Part`]s: Cedar text.
    Schema(Blob),
    /// What a policy bundle says of these requests; dev builds only. Answered by [`ControlEvent::Part`]s: JSON.
    Ask(PolicyQuestions),
    /// Decide sessions that begin from now on by this policy bundle.
    Reload(Vec<PolicyFile>),
    /// Attach this to claims from now on, in place of what came before: certificates and other statements of vendors, as JSON
    /// (`proto/claim/SPEC.md`, Attachment); at most [`limits::COLLATERAL`] bytes. Believed for nothing.
    Collateral(Blob),
}

/// Requests to decide on, without a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct PolicyQuestions {
    /// The policy bundle's files.
    pub policy: Vec<PolicyFile>,
    /// The catalog as JSON.
    pub catalog: Blob,
    /// A JSON array of requests (`policies/README.md`, cases).
    pub requests: Blob,
    /// Whether to tell what each policy says whose scope matches.
    pub explain: bool,
}

/// What the enclave says on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum ControlEvent {
    /// The boot bundle was accepted; streams are served.
    Booted(BootReport),
    /// The boot bundle, or a check, was refused.
    Refused(BootRefusal),
    /// A check passed.
    Checked(BootReport),
    /// Answer to [`ControlRequest::HashDefinition`]: SHA-256.
    DefinitionHash([u8; 32]),
    /// Running totals, about once a second while they change.
    Counters(Counters),
    /// Something an operator should see.
    Log(LogEvent),
    /// Answer to [`ControlRequest::Shutdown`]: every session is closed and stored.
    Stopped {
        /// Sessions that were closed by the shutdown.
        sessions_closed: u64,
    },
    /// A piece of a document that was asked for, in order.
    Part {
        /// At most [`limits::PART`] bytes.
        bytes: Blob,
        /// Whether the document ends here.
        last: bool,
    },
    /// Running totals of the tools whose totals changed, with the [`Counters`]; at most [`limits::TOOLS`] in one event.
    Tools(Vec<ToolTotals>),
    /// Running totals of the answers with an error code, all that are not zero, with the [`Counters`] when they changed.
    Codes(Vec<CodeTotal>),
    /// Answer to [`ControlRequest::Reload`]: the bundle is in force for sessions that begin from now on.
    Reloaded(ReloadReport),
    /// Answer to [`ControlRequest::Collateral`]: it has the shape of collateral, and is kept.
    CollateralKept,
}

/// What was loaded, as the enclave measured it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BootReport {
    /// Random, of this boot.
    pub boot_id: [u8; 16],
    /// Evidence provider.
    pub provider: Provider,
    /// What happens to denied calls.
    pub enforcement: Enforcement,
    /// SHA-256 of the policy bundle.
    pub bundle_hash: [u8; 32],
    /// SHA-256 of the catalog.
    pub catalog_hash: [u8; 32],
    /// SHA-256 of the configuration's sorted-ASCII JSON.
    pub config_hash: [u8; 32],
    /// The enclave's Ed25519 public key.
    pub public_key: [u8; 32],
    /// Number of tools in the catalog.
    pub tools: u32,
    /// Number of policies in the bundle.
    pub policies: u32,
    /// What an author or operator should reconsider; text of the host's own documents, or of ours about the hardware.
    pub warnings: Vec<Text>,
    /// SHA-256 of the public key that signed the policy bundle; none if the configuration asks for no signature.
    pub policy_signed_by: Option<[u8; 32]>,
    /// `epoch` of the operator controls, if there are any.
    pub controls_epoch: Option<u64>,
    /// Whether every call is refused, because the kill switch is enabled and has no controls.
    pub halted: bool,
    /// SHA-256 of the SubjectPublicKeyInfo of each TLS key that agents meet; none without TLS.
    pub tls_spki: Vec<[u8; 32]>,
    /// What the boot shows of itself (`proto/claim/SPEC.md`, Boot evidence), which callers are shown too: collateral is
    /// fetched by it. Empty in dev mode, and where it is longer than [`limits::EVIDENCE`].
    pub evidence: Blob,
}

/// A policy bundle that was reloaded, as the enclave measured it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ReloadReport {
    /// SHA-256 of the policy bundle.
    pub bundle_hash: [u8; 32],
    /// SHA-256 of the public key that signed it.
    pub signed_by: [u8; 32],
    /// Number of policies in the bundle.
    pub policies: u32,
    /// What an author should reconsider; text of the host's own documents.
    pub warnings: Vec<Text>,
}

/// Evidence provider in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Provider {
    /// No hardware; dev mode.
    SoftwareOnly,
    /// AMD SEV-SNP behind Azure's paravisor, by its vTPM.
    AzureSnp,
    /// Intel TDX behind Azure's paravisor, by its vTPM.
    AzureTdx,
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel TDX.
    Tdx,
    /// A TPM 2.0.
    Tpm,
}

/// `attestation.enforcement_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Enforcement {
    /// Denied calls are not forwarded.
    Enforcing,
    /// Denied calls are forwarded and marked.
    Advisory,
    /// Like advisory, without log lines.
    Silent,
}

/// Why the enclave does not start: which document, which field, what was there, what should be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BootRefusal {
    /// Which rule.
    pub code: RefusalCode,
    /// Which document.
    pub document: Document,
    /// Path of the field inside the document, or empty.
    pub field: Text,
    /// What was found.
    pub found: Text,
    /// What was expected, and how to get there.
    pub expected: Text,
}

/// A document of the boot bundle.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Document {
    /// No document: the machine, or the request itself.
    None,
    /// The configuration.
    Config,
    /// A file of the policy bundle, by its path.
    Policy(Text),
    /// The catalog.
    Catalog,
    /// The operator controls.
    Controls,
}

/// Which rule a boot bundle broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum RefusalCode {
    /// Not valid JSON, or not the expected shape.
    Malformed,
    /// A key that does not exist.
    UnknownKey,
    /// A required file or field is missing.
    Missing,
    /// A value outside what is allowed.
    InvalidValue,
    /// Two entries with one name.
    Duplicate,
    /// A hash that differs from the one computed.
    HashMismatch,
    /// Cedar refused a policy or the schema.
    Cedar,
    /// The schema declares something the gateway cannot supply.
    Unsupported,
    /// No TEE was found and dev mode was not asked for, or is not in this build.
    NoTee,
    /// A second boot bundle, or a request that this state does not allow.
    State,
    /// A signature that is missing or that no key in force has made.
    Signature,
    /// A version that is lower than what is required, or cannot be compared.
    Version,
    /// The hardware that is to vouch for the enclave is there, and gives no evidence.
    Attestation,
}

/// A decision as counted and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Decision {
    /// Forwarded.
    Allow,
    /// Not forwarded.
    Deny,
    /// Denied by policy, forwarded by mode.
    AdvisoryDeny,
    /// Not completed.
    Fault,
}

/// Running totals since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Counters {
    /// Sessions in memory.
    pub sessions_open: u64,
    /// Sessions ever started.
    pub sessions_total: u64,
    /// Calls by [`Decision`], in its order.
    pub calls: [u64; 4],
    /// Batches acknowledged by the store.
    pub batches: u64,
    /// Records acknowledged by the store.
    pub records: u64,
    /// Answers withheld because the store did not answer.
    pub audit_unavailable: u64,
}

/// Upper bounds of the latency buckets in microseconds, each included; what is above the last is in one more bucket.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Buckets of a latency histogram: one per bound, and one above.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// Running totals of one tool since boot. Every call that ended is in `calls` once and in `latency` once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ToolTotals {
    /// Index of the tool in the catalog sorted by name; `u32::MAX` for calls to anything else.
    pub tool: u32,
    /// Calls by [`Decision`], in its order.
    pub calls: [u64; 4],
    /// Calls by latency, from the arrival of the request to its terminal entry: see [`LATENCY_BOUNDS_US`].
    pub latency: [u64; LATENCY_BUCKETS],
    /// Sum of the latencies in microseconds.
    pub latency_sum_us: u64,
}

/// Answers with one error code since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct CodeTotal {
    /// Number of the error code, see `docs/errors.md`.
    pub code: u16,
    /// How many answers.
    pub answers: u64,
}

/// What an operator should see, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum LogEvent {
    /// Policy denied a call (forwarded all the same if advisory).
    Denied {
        /// Session number in this boot.
        session: u64,
        /// Index of the tool in the catalog sorted by name; `u32::MAX` if it is not in the catalog.
        tool: u32,
        /// Whether the mode let it pass.
        advisory: bool,
    },
    /// A call ended in a fault.
    Faulted {
        /// Session number in this boot.
        session: u64,
        /// Index of the tool in the sorted catalog.
        tool: u32,
        /// Number of the error code, see `docs/errors.md`.
        code: u16,
    },
    /// The store stopped answering; calls fail closed.
    StoreUnavailable,
    /// The store answers again.
    StoreRecovered {
        /// Calls refused meanwhile.
        refused: u64,
    },
    /// The store lost batches that it had acknowledged; calls stay refused until a new boot.
    StoreLost {
        /// First batch that is gone.
        batch: u64,
    },
    /// Log events were dropped because the host read too slowly.
    Dropped {
        /// How many.
        events: u64,
    },
    /// A tool server's definition of a tool is not the approved one, or the server did not say what it is.
    Unapproved {
        /// Session number in this boot.
        session: u64,
        /// Index of the tool in the sorted catalog.
        tool: u32,
        /// Number of the error code, see `docs/errors.md`.
        code: u16,
    },
    /// Evidence could not be renewed and has outlived its validity.
    AttestationStale,
    /// Evidence could be renewed again.
    AttestationRenewed,
}

/// What the store holds of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct StorePosition {
    /// Number of batches stored, so the next batch's number.
    pub next: u64,
}

/// Store one batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Append {
    /// Number of the batch, from 0 in each boot.
    pub batch: u64,
    /// Answer only when it would survive power loss; otherwise when the host process has written it.
    pub sync: bool,
    /// The session numbers of its records, for [`EnclaveOpen::Recall`].
    pub sessions: Vec<u64>,
    /// Ed25519 signature over the batch.
    pub signature: [u8; 64],
    /// The batch's bytes (`proto/claim/SPEC.md`).
    pub bytes: Blob,
}

/// What became of an [`Append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum AppendAnswer {
    /// Stored, as asked.
    Stored {
        /// Number of the batch.
        batch: u64,
    },
    /// Not stored; the stream is closed and the enclave may try again.
    Failed(StoreFailure),
}

/// Why a batch was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum StoreFailure {
    /// No space left.
    Full,
    /// The disk failed.
    Io,
    /// The batch is not the next one.
    OutOfOrder,
}

/// One answer on a recall stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum RecallItem {
    /// The bytes of a stored batch.
    Batch(Blob),
    /// No more.
    End,
    /// The store cannot be read.
    Failed(StoreFailure),
}

#[cfg(test)]
mod tests {
    use super::{Text, limits};

    #[test]
    fn text_is_cut_at_a_character() {
        let long = "é".repeat(limits::TEXT);
        assert_eq!(Text::from(long.as_str()).0.len(), limits::TEXT);
        let odd = format!("a{long}");
        assert_eq!(Text::from(odd.as_str()).0.len(), limits::TEXT - 1);
    }
}
