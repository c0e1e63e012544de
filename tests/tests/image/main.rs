//! The measured image: its formats, as other people's programs read them, and that it is the same whoever builds it.
//!
//! Needs programs of Debian and what `image/build` makes: started by `tests/run image` and `tests/run rebuild`.

mod elsewhere;
mod firmware;
mod formats;
mod rebuild;
