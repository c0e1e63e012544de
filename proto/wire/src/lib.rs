//! Frames between the untrusted host and the enclave and the streams that carry them, and nothing else.
//!
//! One stream is one relayed connection or one duty. It opens with one frame that says what it is for; the other side
//! answers with one [`OpenAnswer`] frame. After that, relay streams carry raw bytes and the others further frames. The byte
//! layout of every message, with vectors, is in `SPEC.md` beside this crate.
//!
//! Neither side trusts the other through this crate: a frame that decodes is well formed, not true.

mod codec;
mod frame;
mod messages;
mod stream;

pub use codec::{CodecError, decode, encode};
pub use frame::{HEADER_LEN, Header, MAGIC, VERSION, WireError, blocking, read, write};
pub use messages::{
    Append, AppendAnswer, Blob, BootBundle, BootRefusal, BootReport, CodeTotal, ControlEvent, ControlRequest, Counters,
    Decision, Document, EnclaveOpen, Enforcement, HostOpen, LATENCY_BOUNDS_US, LATENCY_BUCKETS, LogEvent, Message,
    OpenAnswer, OpenRefusal, PolicyFile, PolicyQuestions, Provider, RecallItem, RefusalCode, ReloadReport, Spawned,
    StoreFailure, StoreHead, StorePosition, Text, ToolTotals, limits,
};
pub use stream::{Listener, Stream};
