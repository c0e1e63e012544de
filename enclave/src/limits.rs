//! Sizes, counts and times that are not in the configuration, each with its reason.

use std::time::Duration;

/// Streams waiting for their first frame or being served. A host that opens more only harms itself.
pub const MAX_STREAMS: usize = 20_000;
/// How long a stream may take to say what it is for.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the host may take to answer a stream that the enclave opened.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts to open a stream while the host's queue is full: two seconds in all.
pub const CONNECT_ATTEMPTS: u32 = 1000;
/// Pause between them.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(2);
/// Descriptors of a machine's first process: more than [`MAX_STREAMS`], each with what it is relayed to.
pub const OPEN_FILES: u64 = 65_536;
/// How long a machine may take to gather randomness.
pub const RANDOM_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks.
pub const RANDOM_PAUSE: Duration = Duration::from_millis(50);
/// Pause before a machine is started anew.
pub const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Streams to the metadata service at once: the host fetches a certificate now and then.
pub const MAX_IMDS_STREAMS: usize = 4;
/// Bytes of one in either direction: a certificate has some two thousand.
pub const MAX_IMDS_BYTES: u64 = 64 << 10;
/// How long the service may take to accept a connection; it is on the same machine.
pub const IMDS_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stream to it may last.
pub const IMDS_TIMEOUT: Duration = Duration::from_secs(20);
/// The payload's executable: `host` has some ten million bytes.
pub const MAX_PAYLOAD_HOST: u64 = 48 << 20;
/// The payload's documents: as much as a boot bundle holds, and what lies beside it.
pub const MAX_PAYLOAD_DOCUMENTS: u64 = 8 << 20;
/// What a network says of its name servers.
pub const MAX_RESOLVER: u64 = 4 << 10;
/// How long a machine's disks may take to appear.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two looks.
pub const DISK_PAUSE: Duration = Duration::from_millis(200);
/// The payload has this part of the memory, its files included.
pub const PAYLOAD_MEMORY_PART: u64 = 2;
/// Its files alone have this part.
pub const PAYLOAD_FILES_PART: u64 = 4;
/// Its files and folders.
pub const PAYLOAD_FILES: u64 = 16 << 10;
/// Its processes and threads: one each for what its runtime blocks on.
pub const PAYLOAD_PROCESSES: u64 = 768;
/// Its descriptors, in each process.
pub const PAYLOAD_OPEN_FILES: u64 = 32_768;
/// Pause before it is started again.
pub const PAYLOAD_FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The same at most; one that lasted longer begins anew with the first.
pub const PAYLOAD_LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Bytes of its words that the console gets in a moment.
pub const PAYLOAD_WORDS: usize = 16 << 10;
/// The moment.
pub const PAYLOAD_WORDS_PER: Duration = Duration::from_secs(1);
/// Streams that wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// One write to a vsock stream: devices that reassemble nothing take less than 32 KiB.
pub const VSOCK_PIECE: usize = 16 << 10;
/// How long a TCP stream may be idle before the host is asked whether it is there, and between two questions.
pub const PROBE_PAUSE: Duration = Duration::from_secs(5);
/// Questions without an answer after which it is gone.
pub const PROBES: u32 = 3;
/// How long what was sent over TCP may stay unacknowledged, or unread by a peer whose buffers are full, before it counts as gone:
/// longer than [`SLOW_AGENT`].
pub const SILENT_PEER: Duration = Duration::from_mins(1);
/// How long a TLS handshake may take: a few round trips.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A chain of certificates in PEM.
pub const MAX_CHAIN_BYTES: usize = 64 << 10;
/// Head of one HTTP message. Agents that send more are answered 431.
pub const MAX_HEAD_BYTES: usize = 64 << 10;
/// Header fields of a tool server's answer: servers behind proxies send about thirty.
pub const MAX_ANSWER_FIELDS: usize = 100;
/// Interim (1xx) answers before the one that counts; nobody asks for any.
pub const MAX_INTERIM_ANSWERS: usize = 8;
/// Chunk extensions and trailers of one answer, in bytes: they are read and thrown away.
pub const MAX_CHUNK_OVERHEAD: usize = 8 << 10;
/// Room for the first read of an answer: most are smaller.
pub const MIN_READ: usize = 8 << 10;
/// Room for a read, at most: more saves no further system calls worth counting.
pub const MAX_READ: usize = 64 << 10;
/// Messages that wait for a process to read them; then callers wait.
pub const MAX_LINES: usize = 16;
/// Bytes of messages before the answer that wait for one slow reader among those who share a process; more are left out.
pub const MAX_HELD: usize = 256 << 10;
/// How long the thread polls before it sleeps: longer than a near tool server or a disk's fdatasync takes.
pub const POLL: Duration = Duration::from_micros(500);
/// Calls that may wait at once while the thread polls.
pub const POLLED_WAITS: u32 = 2;
/// Pause between attempts to reach a store that failed.
pub const STORE_RETRY: Duration = Duration::from_millis(200);
/// Idle sessions are looked for this often.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Counters are sent to the host this often while they change.
pub const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);
/// Log events that wait for a slow host; more are counted and dropped.
pub const MAX_LOG_EVENTS: usize = 1024;
/// Calls in flight get this long at shutdown before their sessions are closed under them.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Length of a caller's challenge in bytes (`GET /attestation?nonce=`).
pub const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// One event of a tool server's event stream, beyond the cap on the whole answer.
pub const MAX_UPSTREAM_IDLE: Duration = Duration::from_secs(30);
/// A TPM's command or answer (TPM 2.0 part 2, `TPM2_MAX_COMMAND_SIZE` of the platforms that we know).
pub const MAX_TPM_MESSAGE: usize = 4096;
/// Bytes of one NV index: Azure's report has 2600.
pub const MAX_NV_BYTES: u16 = 8 << 10;
/// How long a TPM may take for one command: making a key takes slow ones a second or two.
pub const TPM_TIMEOUT: Duration = Duration::from_secs(5);
/// Times that a command is sent again because the TPM asks for it.
pub const TPM_RETRIES: u32 = 20;
/// Pause before.
pub const TPM_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Quotes in a row whose PCRs changed meanwhile.
pub const MAX_UNSTEADY_QUOTES: u32 = 3;
/// Azure makes a new report at most every two seconds.
pub const AZURE_REPORT_PAUSE: Duration = Duration::from_secs(3);
/// Reads of Azure's report until it holds what was written for it.
pub const MAX_AZURE_REPORTS: u32 = 3;
/// A report of SEV-SNP, a quote of TDX, the certificates beside them, in bytes: the enclave's own certificate has to hold them.
pub const MAX_HARDWARE_REPORT: usize = 8 << 10;
/// Pieces of evidence that wait for the hardware.
pub const MAX_ATTESTATIONS: usize = 64;
/// Callers' challenges among them: sessions do not wait for strangers.
pub const MAX_CHALLENGES: usize = 4;
/// How long a piece of evidence may take, with all that waited before it.
pub const ATTEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The same at boot, with the pauses that Azure asks for: finding the hardware, extending PCR 15 and the evidence together take less than
/// the minute that the host waits for a boot.
pub const ATTEST_BOOT_TIMEOUT: Duration = Duration::from_secs(18);
/// The kernel's copy of the firmware's event log: some ten kilobytes.
pub const MAX_EVENT_LOG: u64 = 256 << 10;
/// Sessions whose evidence is made or waits in the hardware's own queue; others wait for their turn. Fewer than that queue holds.
pub const MAX_SESSION_ATTESTATIONS: usize = 32;
/// First pause before evidence that could not be renewed is asked for again; doubled each time.
pub const RENEW_FIRST: Duration = Duration::from_millis(500);
/// Longest of these pauses: how long calls may be refused after the hardware answers again.
pub const RENEW_LONGEST: Duration = Duration::from_secs(10);
/// How long a claim waits for newer evidence; then it is made with what there is.
pub const CLAIM_EVIDENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Certificates in a claim, in bytes of PEM: a chain of four has about 8 KiB. All of them are in the attachment.
pub const MAX_CLAIM_CERTIFICATES: usize = 32 << 10;
/// How long an agent may take to read one message of an event stream before it counts as gone.
pub const SLOW_AGENT: Duration = Duration::from_secs(30);
/// Requests of tool servers that wait for one agent at once.
pub const MAX_ASKED: usize = 64;
/// Calls of one session that wait for the agent between two rounds: an agent has few hands, and each holds a connection.
pub const MAX_PARKED: usize = 16;
/// The same of all sessions: each takes the enclave a few kilobytes.
pub const MAX_ALL_PARKED: usize = 1024;
/// A call lasts at most this long, whatever its tool server says meanwhile.
pub const MAX_CALL: Duration = Duration::from_hours(1);
/// An event stream that says nothing else says this often that it is alive.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Resources that one subscription may name.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// Id of an event that is remembered, in bytes.
pub const MAX_EVENT_ID: usize = 1 << 10;
/// Pause before a tool server's event stream that ended early is taken up again, where the server names none.
pub const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// The same at least, whatever the server names: one that closes at once is not asked in a loop.
pub const MIN_RESUME_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a tool server's own event stream is opened again.
pub const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Pages of one tool server's list of tools; its bytes are under the cap on answers, all pages together.
pub const MAX_LIST_PAGES: usize = 1000;
/// Lists that one call waits for while its tool server says again and again that its tools have changed.
pub const MAX_LISTS: usize = 3;
/// Definitions that are not the approved ones with an entry of their own, in one session; a call of a further one still says so.
pub const MAX_DRIFTS: usize = 64;
/// Rounds of one call that the gateway makes for an agent that knows none.
pub const MAX_ROUNDS: u32 = 8;
/// Warnings of one report about documents; together they stay well under the control frame's limit.
pub const MAX_WARNINGS: usize = 16;
/// Levels of JSON inside strings that are inspected: a tool's text is often JSON, and that may quote some.
pub const MAX_JSON_IN_TEXT: usize = 3;
/// Detectors and injection rules of a bundle.
pub const MAX_PATTERN_RULES: usize = 256;
/// Patterns of one of them.
pub const MAX_PATTERNS: usize = 64;
/// One pattern, in bytes.
pub const LONGEST_PATTERN: usize = 1024;
/// The name of a detector or injection rule, in bytes: it reaches audit entries.
pub const LONGEST_RULE_NAME: usize = 64;
/// All patterns of a bundle, compiled: what text costs at worst grows with it.
pub const MAX_PATTERN_BYTES: usize = 4 << 20;
/// What the patterns' automaton may remember.
pub const PATTERN_CACHE: usize = 8 << 20;
/// Groups inside each other in one pattern.
pub const MAX_PATTERN_NESTING: u32 = 32;
/// A `pattern` of a tool's JSON Schema, compiled.
pub const MAX_SCHEMA_PATTERN_BYTES: usize = 256 << 10;
/// Schemas inside one JSON Schema.
pub const MAX_SCHEMAS: usize = 10_000;
/// Schemas that speak of the same value, each inside the other.
pub const MAX_SCHEMA_CHAIN: usize = 32;
/// Steps that a check against a JSON Schema may take, and further ones for each byte of the value.
pub const SCHEMA_STEPS: (u64, u64) = (10_000, 64);
/// Bytes of a path in an audit entry or an answer.
pub const LONGEST_INSTANCE_PATH: usize = 256;
/// An operator's order to take a secret, in bytes: a certificate chain with its key at most.
pub const MAX_SECRET_ORDER_BYTES: usize = 64 << 10;
/// An operator's order in bytes: three short texts.
pub const MAX_ORDER_BYTES: usize = 16 << 10;
