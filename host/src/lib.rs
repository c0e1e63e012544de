//! The untrusted daemon: it listens, dials, spawns, relays, stores and restarts.
//!
//! It holds no key, decides nothing and is believed in nothing. What it must not be able to do is the enclave's business;
//! what it should do well is here.

pub mod cli;
pub mod codes;
pub mod collateral;
pub mod control;
pub mod demo;
pub mod documents;
pub mod enclave;
pub mod events;
pub mod gateway;
pub mod hints;
pub mod limits;
pub mod metrics;
pub mod polling;
pub mod processes;
pub mod quickstart;
pub mod relay;
pub mod report;
pub mod store;
pub mod supervisor;
pub mod transport;
pub mod vm;
