//! TDX quotes, recorded and made here, judged by ours and by `dcap-qvl`.

mod command;
mod judges;
mod mutants;
mod pki;
mod synthetic;
mod table;
