//! placeholder

pub mod catalog;
pub mod config;
pub mod labels;
pub mod policy;

mod document;
