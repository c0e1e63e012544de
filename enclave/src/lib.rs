//! The measured part of the gateway: it decides every tool call, forwards it, records it and signs what was recorded.
//!
//! A call passes through one room after the other: [`serve`] (streams, [`tls`], HTTP), [`mcp`] (JSON-RPC, receipts), [`policy`]
//! (Cedar), [`inspect`] (arguments, results), [`upstream`] (tool servers), [`audit`] (boot log), [`claims`] (claim, trust record), [`evidence`] (TEE).
//! What the host sends is data from a stranger until it has been parsed; see `README.md` beside this crate.
//!
//! Everything runs on one thread: a step between two `await`s is atomic, and no lock is ever held across one.

pub mod audit;
pub mod boot;
pub mod catalog;
pub mod claims;
pub mod collateral;
pub mod config;
pub mod control;
pub mod controls;
pub mod error;
pub mod events;
pub mod evidence;
pub mod freshness;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod init;
pub mod inspect;
pub mod labels;
pub mod limits;
pub mod mcp;
pub mod operator;
pub mod options;
#[cfg(feature = "sandbox")]
pub mod payload;
pub mod policy;
pub mod polling;
pub mod recall;
pub mod reload;
pub mod reset;
pub mod secrets;
pub mod serve;
pub mod session;
pub mod tls;
pub mod transport;
pub mod trip;
pub mod upstream;

mod document;
mod random;
