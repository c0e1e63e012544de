//! `cmcp-verify evidence`: the three answers on what a gateway shows of itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::attachment::Attachment;
use claim::b64u;

use super::answers::{Answers, Style};
use super::{CliError, Exit, input};
use crate::evidence::Question;
use crate::evidence::appraise::{Shown, Standard, appraise_shown};
use crate::evidence::x509::Chains;

const HELP: &str = "\
FILE is one of
  the attachment of a claim: GET /session/ID/evidence
  what a boot shows of itself: the document {boot, public_key, evidence}
  the answer to a challenge: GET /attestation?nonce=..., with the same --nonce

Three answers, which nothing merges:
  genuine  a key of AMD, Intel or the TPM's maker signed it, of hardware in a state in which its promises hold
  current  security versions, certificates and lists of revoked ones were good at that time (--at, else now)
  ours     image, configuration, policy bundle and catalog are in the reference values, and the evidence is bound to
           the gateway's key and to this session or challenge
Genuine hardware runs anybody's programs: rely on it only if all three are yes.

The vendors' roots are built in. Certificates and collateral come from the attachment, where the host put them, or from \
--collateral: they are believed for their signatures alone, so it does not matter who fetched them. Nothing here uses the \
network. Without reference values `ours` is not judged; their schema is docs/reference-values.schema.json.

Exit code: 0 verified (all three are yes), 1 refused (one is NO; the reason is printed), 2 not judged (certificates, \
collateral or reference values are missing, or a file cannot be read), 64 wrong usage.

Examples:
  cmcp-verify evidence evidence.json --reference approved.json
  cmcp-verify evidence evidence.json --reference approved.json --explain
      What each check shows, and what could be done without it.
  cmcp-verify evidence attestation.json --nonce 8J-T... --reference approved.json --collateral collateral.json
  cmcp-verify claim.json --attachment evidence.json --reference approved.json
      The same for a claim, which must be about this very session.";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Attachment, boot document or answer to a challenge; - reads standard input
    file: PathBuf,
    /// What you approved (docs/reference-values.schema.json); else CMCP_REFERENCE_VALUES, else ./reference-values.json
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Certificates, CRLs and vendors' statements as JSON, in place of those of the attachment
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// The challenge that you sent, as in the URL
    #[arg(long, value_name = "NONCE", value_parser = nonce)]
    nonce: Option<Nonce>,
    #[command(flatten)]
    style: Style,
}

/// The bytes of a challenge.
#[derive(Clone, Debug)]
struct Nonce(Vec<u8>);

fn nonce(text: &str) -> Result<Nonce, String> {
    b64u::decode(text).map(Nonce).ok_or_else(|| "write it as base64url without padding".to_owned())
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let mut shown = read(&args.file, args.nonce.as_ref().map(|nonce| nonce.0.as_slice()))?;
    if let Some(path) = &args.collateral {
        shown.attachment.collateral = Some(input::collateral(path)?);
    }
    let references = input::references(args.reference.as_deref())?.ok();
    let at = input::now(args.style.at);
    let standard = Standard { references: references.as_ref(), at, chains: &Chains::default(), software: false };
    let appraisal = appraise_shown(&shown, &standard);
    let answers = Answers {
        subject: format!("evidence {}", args.file.display()),
        asked: Question::ALL.to_vec(),
        says: says(&shown.attachment),
        parts: appraisal.parts,
        at,
    };
    answers.write(args.style, out)
}

fn read(path: &Path, nonce: Option<&[u8]>) -> Result<Shown, CliError> {
    let wrong = |error: String| CliError::Input(format!("{}: {error}", path.display()));
    Shown::read(&input::read(path)?, nonce).map_err(|error| wrong(error.to_string()))
}

fn says(attachment: &Attachment) -> Vec<(&'static str, String)> {
    let boot = &attachment.boot;
    vec![("boot", boot.boot.boot_id.to_string()), ("key", boot.public_key.clone())]
}
