//! placeholder

pub mod catalog;
pub mod config;
pub mod labels;

mod document;
