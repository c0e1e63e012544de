//! The measured image: its formats, as other people's programs read them.

mod firmware;
mod formats;
