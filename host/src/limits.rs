//! Sizes, counts and times, each with its reason.

use std::time::Duration;

/// Agent connections at once; each costs two file descriptors here and one in the enclave, and one more where a stream waits for room.
pub const CONNECTIONS: usize = 4096;
/// Connections to tool servers at once.
pub const DIALS: usize = 4096;
/// Processes of tool servers at once; each costs three file descriptors here, and as much memory as it likes.
pub const PROCESSES: usize = 256;
/// For a process to end after its input was closed, and again after SIGTERM.
pub const PROCESS_GRACE: Duration = Duration::from_secs(2);
/// A process that ended by itself before this age died young: the next one of its server waits.
pub const PROCESS_YOUNG: Duration = Duration::from_secs(10);
/// Bytes that are shown of one line that a process writes to its standard error.
pub const STDERR_LINE: usize = 2 << 10;
/// Recalls at once; each is a thread.
pub const RECALLS: usize = 16;
/// Bytes moved by one read; one buffer for all connections.
pub const RELAY_BUFFER: usize = 64 << 10;
/// How long the thread polls before it sleeps: longer than the enclave or a near tool server takes to answer.
pub const POLL_US: u64 = 500;
/// Agents that may be connected while the thread polls; with more, polling would only take the processor from the enclave.
pub const POLLED_AGENTS: usize = 2;
/// The environment of an enclave that is our child. The C library's allocator keeps so many freed blocks of each size below 1 KiB at
/// hand instead of 7, at most 4.3 MiB together: calls end by the batch, and what one batch frees the next one takes.
pub const ENCLAVE_ENVIRONMENT: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=128");
/// For the first frame of a stream and its answer.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before trying again while the enclave's queue of connections is full.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// To connect to a tool server; the enclave's own timeout for a call is longer.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// For agents to read what an enclave wrote before it ended.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// After the enclave closed: what the agent still sends is read and dropped, so that a reset does not overtake the answer.
pub const LINGER: Duration = Duration::from_secs(1);
/// Control events that wait to be reported; after that the enclave counts what it drops.
pub const EVENTS: usize = 64;
/// Log lines a second; the rest are counted. Someone who is denied a thousand times a second says little more than once.
pub const LOG_LINES: u32 = 20;
/// Pause after a failed accept, until file descriptors come free.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Readers of `/metrics` at once; others wait.
pub const SCRAPES: usize = 16;
/// For one of them to be served, and for a page of another host to arrive.
pub const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of metrics in bytes: about 20,000 tools with a histogram each.
pub const SCRAPE_ANSWER: u64 = 64 << 20;

/// Bytes of one write towards a vsock: monitors drop what does not fit their buffers, of 28 KiB at least.
pub const VSOCK_WRITE: usize = 16 << 10;
/// A TCP connection to the enclave on which nothing moves is probed after this time,
pub const TCP_PROBE_AFTER: Duration = Duration::from_secs(5);
/// and again after each of these,
pub const TCP_PROBE_PAUSE: Duration = Duration::from_secs(3);
/// and is broken when so many probes had no answer,
pub const TCP_PROBES: u32 = 3;
/// as is one on which bytes that were sent are not acknowledged for this long.
pub const TCP_SILENCE: Duration = Duration::from_secs(15);

/// For the enclave to open its socket.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// For the enclave of a VM to listen, which boots in seconds, and without KVM on a busy machine in many.
pub const VM_START_TIMEOUT: Duration = Duration::from_mins(2);
/// For a VM to say on its console that its enclave listens; then it is tried without.
pub const VM_SILENT_CONSOLE: Duration = Duration::from_mins(1);
/// For a VM to be off after its enclave's last word.
pub const VM_EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the end of a VM's console that are shown when it fails.
pub const VM_CONSOLE_TAIL: u64 = 2 << 10;
/// Pause between attempts to reach an enclave that somebody else starts.
pub const ATTACH_PAUSE: Duration = Duration::from_millis(100);
/// For the enclave to load the boot bundle: thousands of policies take seconds.
pub const BOOT_TIMEOUT: Duration = Duration::from_mins(1);
/// For the enclave to finish calls, close sessions and store their claims.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// For the process to be gone after its last word.
pub const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// A folder of sockets that is older and not locked was left by a host that was killed.
pub const ABANDONED: Duration = Duration::from_mins(1);
/// First pause before a restart; doubled each time.
pub const RESTART_FIRST: Duration = Duration::from_millis(200);
/// Longest pause before a restart.
pub const RESTART_LONGEST: Duration = Duration::from_secs(10);
/// An enclave that ran this long starts the pauses over.
pub const RESTART_RESET: Duration = Duration::from_mins(1);

/// An answer of a service that has collateral, in bytes; Intel's list of revoked processors is the longest.
pub const COLLATERAL_ANSWER: u64 = 512 << 10;
/// For one such answer.
pub const COLLATERAL_TIMEOUT: Duration = Duration::from_secs(20);
/// First pause before collateral that is missing is asked for again; doubled each time.
pub const COLLATERAL_RETRY: Duration = Duration::from_secs(5);
/// Longest of these pauses.
pub const COLLATERAL_RETRY_LONGEST: Duration = Duration::from_hours(1);
/// Collateral is fetched anew after this time: statements of vendors are dated, and some live for weeks only.
pub const COLLATERAL_REFRESH: Duration = Duration::from_hours(12);
/// Certificates that are looked for above an attestation key's.
pub const ISSUERS: usize = 4;

/// A configuration file in bytes.
pub const CONFIG_FILE: u64 = 1 << 20;
/// Operator controls in bytes: some ten thousand blocked identities.
pub const CONTROLS_FILE: u64 = 1 << 20;
/// Bytes of all documents in one archive: what the image has room for.
pub const DOCUMENTS: u64 = 8 << 20;
/// A catalog in bytes; with the policy bundle it must fit a boot bundle.
pub const CATALOG_FILE: u64 = 8 << 20;
/// One file of a policy bundle in bytes.
pub const POLICY_FILE: u64 = 4 << 20;
/// Files in a policy bundle.
pub const POLICY_FILES: usize = 2000;
/// Folders below the policy bundle's.
pub const POLICY_DEPTH: usize = 16;
/// A document for `host hash-definition` in bytes.
pub const DEFINITION_FILE: u64 = 1 << 20;
/// A file of cases for `host policy test`, or of a request for `host policy explain`, in bytes.
pub const CASE_FILE: u64 = 4 << 20;
/// An answer of the enclave to a policy's author in bytes.
pub const ANSWER: usize = 64 << 20;
/// A request body of the demo server in bytes.
pub const DEMO_BODY: usize = 4 << 20;

/// A segment file in bytes; a frame never spans two.
pub const SEGMENT: u64 = 64 << 20;
/// Zeros are written ahead in steps of this many bytes, so that an append changes no file size. The sync after a step takes
/// them all to the disk: 1 MiB costs a few milliseconds once in a thousand calls, 4 MiB would cost four times that.
pub const EXTEND: u64 = 1 << 20;
/// Zeros written by one call.
pub const EXTEND_CHUNK: usize = 256 << 10;
/// Zeros are written ahead between appends when fewer bytes than this are left.
pub const EXTEND_BELOW: u64 = 256 << 10;
/// First distance in bytes between two points of the recall index; doubled when the index is full.
pub const INDEX_STRIDE: u64 = 256 << 10;
/// Points in the recall index.
pub const INDEX_POINTS: usize = 4096;
/// Bytes of batches that one read takes.
pub const RECORDS_BUFFER: usize = 128 << 10;
/// Sessions named by one batch.
pub const BATCH_SESSIONS: usize = 1 << 20;
/// For the enclave to take the next item of a recall.
pub const RECALL_TIMEOUT: Duration = Duration::from_secs(30);
