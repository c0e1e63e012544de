//! `cmcp-verify tdx-quote`: one quote of Intel TDX by itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::hex;
use claim::json::{Json, parse};

use super::answers::{Answers, Style};
use super::{CliError, Exit, input};
use crate::evidence::appraise::Part;
use crate::evidence::tdx::{self, Quote};
use crate::evidence::x509::Chains;
use crate::evidence::{Check, Material, Question, Report};
use crate::references::{Image, Platforms, References, anchors};

const HELP: &str = "\
QUOTE is Intel's binary structure, version 4 or 5 (outblob of the kernel's configfs report interface; on Azure what \
/acc/tdquote answers, decoded).

Intel's root is built in. What is needed besides is collateral of the platform: TCB info, QE identity and two lists of \
revoked certificates, all signed by Intel, as JSON in the form of dcap-qvl's QuoteCollateralV3. It is believed for its \
signatures alone, so it does not matter who fetched it. Nothing here uses the network.

Exit code: 0 what was asked is yes, 1 refused (the reason is printed), 2 not judged (collateral is missing, or a file cannot \
be read), 64 wrong usage. `ours` is asked if there are reference values or --report-data.

Examples:
  cmcp-verify tdx-quote quote.bin --collateral collateral.json
  cmcp-verify tdx-quote quote.bin --collateral collateral.json --reference approved.json --report-data 3f0c...
  cmcp-verify tdx-quote tdquote.bin --azure --collateral collateral.json --at 2026-06-20T00:00:00Z --explain
      Of the paravisor of an Azure VM: was it right at that time, what does each check show, and what could be done
      without it?";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The quote; - reads standard input
    quote: PathBuf,
    /// Intel's statements about the platform, JSON
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// What you approved (docs/reference-values.schema.json); else CMCP_REFERENCE_VALUES, else ./reference-values.json
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// What the TD's 64 bytes must be, as 128 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = input::report_data)]
    report_data: Option<[u8; 64]>,
    /// The TD is that of Azure's paravisor: its MRTD is judged by platforms.azure.mrtds, and which image runs under it is not asked
    #[arg(long)]
    azure: bool,
    #[command(flatten)]
    style: Style,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let bytes = input::read(&args.quote)?;
    let collateral = args.collateral.as_deref().map(collateral).transpose()?;
    let references = input::references(args.reference.as_deref())?.ok();
    let mut asked = vec![Question::Genuine, Question::Current];
    if references.is_some() || args.report_data.is_some() {
        asked.push(Question::Ours);
    }
    let mut report = Report::default();
    let found = judge(args, &bytes, collateral.as_ref(), references.as_ref(), &mut report)?;
    let answers = Answers {
        subject: format!("TDX quote {}", args.quote.display()),
        asked,
        says: found.as_ref().map(says).unwrap_or_default(),
        parts: vec![Part { name: "quote", report }],
        at: input::now(args.style.at),
    };
    answers.write(args.style, out)
}

fn judge(
    args: &Args,
    bytes: &[u8],
    collateral: Option<&Json>,
    references: Option<&References>,
    report: &mut Report,
) -> Result<Option<Quote>, CliError> {
    let anchors = anchors(references).map_err(|error| CliError::Input(error.to_string()))?;
    let (chains, at) = (Chains::default(), input::now(args.style.at));
    let material = Material { certificates: &[], crls: &[], anchors: &anchors, chains: &chains, at };
    let policies = references.map_or_else(Platforms::default, |references| references.platforms.clone());
    let found =
        tdx::appraise(bytes, args.report_data.as_ref(), collateral, args.azure, &material, &policies.tdx, report);
    if let Some(found) = &found {
        if args.azure {
            tdx::paravisor(found, &policies.azure, report);
        } else {
            measured(found, references, report);
        }
    }
    Ok(found)
}

fn measured(found: &Quote, references: Option<&References>, report: &mut Report) {
    let images = references.map(|references| references.images.as_slice()).unwrap_or_default();
    if images.iter().any(|image| matches!(image, Image::Tdx { .. })) {
        tdx::approved(found, images, report);
    } else {
        report.open(Check::TdxImage, "the reference values name no image of type tdx");
    }
}

fn collateral(path: &Path) -> Result<Json, CliError> {
    parse(&input::read(path)?).map_err(|error| CliError::Input(format!("{}: {error}", path.display())))
}

fn says(found: &Quote) -> Vec<(&'static str, String)> {
    let mut says = vec![
        ("version", found.version.to_string()),
        ("MRTD", hex::encode(&found.mr_td)),
        ("RTMR0", hex::encode(&found.rtmr[0])),
        ("RTMR1", hex::encode(&found.rtmr[1])),
        ("RTMR2", hex::encode(&found.rtmr[2])),
        ("RTMR3", hex::encode(&found.rtmr[3])),
        ("report data", hex::encode(&found.report_data)),
        ("MRCONFIGID", hex::encode(&found.mr_config_id)),
        ("MROWNER", hex::encode(&found.mr_owner)),
        ("MROWNERCONFIG", hex::encode(&found.mr_owner_config)),
        ("MRSEAM", hex::encode(&found.mr_seam)),
        ("TEE_TCB_SVN", hex::encode(&found.tee_tcb_svn)),
    ];
    says.extend(found.tdx_1_5.as_ref().map(|later| ("TEE_TCB_SVN2", hex::encode(&later.tee_tcb_svn_now))));
    says
}
