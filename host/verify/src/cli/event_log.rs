//! `cmcp-verify event-log`: the events of a firmware's log, and the registers that they make.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use claim::hex;
use serde_json::{Map, Value, json};

use super::answers::{self, Style};
use super::pcrs::registers;
use super::{CliError, Exit, input, table};
use crate::evidence::appraise::Part;
use crate::evidence::event_log::{Event, EventLog, Replay, kind_name};
use crate::evidence::tpm::pcrs::AFTER_BOOT;
use crate::evidence::{Check, Mismatch, Question, Report};

const HELP: &str = "\
FILE is a crypto-agile log of a TPM (/sys/kernel/security/tpm0/binary_bios_measurements) or a CCEL area \
(/sys/firmware/acpi/tables/data/CCEL), whose registers are measurement registers: 1 is RTMR0, 4 is RTMR3.

A log is a list that anybody could have written. It says something only as far as its replay equals registers that \
hardware signed: --pcrs gives those, as JSON by number, of a quote that you verified. Without them nothing is judged. \
PCR 10, 15, 16 and 23 go on after the boot and are not compared. SHA-1 is not replayed.

Exit code: 0 the replay equals the registers, 1 it does not, or the file is no such log, 2 nothing was judged, or a file \
cannot be read, 64 wrong usage.

Examples:
  cmcp-verify event-log binary_bios_measurements
  cmcp-verify event-log binary_bios_measurements --pcrs pcrs.json --json";

/// Characters of an event's data that are shown.
const SHOWN: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The log; - reads standard input
    file: PathBuf,
    /// Registers that hardware signed: a JSON list from 0 on, or an object by number; SHA-256 or SHA-384
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let bytes = input::read(&args.file)?;
    let signed = args.pcrs.as_deref().map(registers).transpose()?;
    let mut report = Report::default();
    let log = report.read(Check::LogFormat, "a crypto-agile event log", EventLog::parse(&bytes));
    let replay = log.as_ref().map(EventLog::replay).unwrap_or_default();
    if let Some(log) = &log {
        report.check(Check::LogFormat, Ok(format!("{} events", log.events.len())));
        match &signed {
            Some(signed) => drop(report.check(Check::LogReplay, equal(&replay, signed))),
            None => report.open(Check::LogReplay, "--pcrs: the registers of a quote that you verified"),
        }
    }
    let part = Part { name: "log", report };
    let events = log.map(|log| log.events).unwrap_or_default();
    if args.style.json {
        writeln!(out, "{:#}", as_json(&events, &replay, &part, args.style.explain))?;
    } else {
        print(out, &events, &replay)?;
        answers::lines(out, &part, args.style.explain)?;
        answers::missing(out, &part.report, &[Question::Ours])?;
    }
    Ok(exit(&part.report, signed.is_some()))
}

fn exit(report: &Report, compared: bool) -> Exit {
    match (report.reason(), compared) {
        (Some(_), _) => Exit::Unverified,
        (None, true) => Exit::Verified,
        (None, false) => Exit::NotJudged,
    }
}

/// That every register of the log is the signed one. What the log does not extend it says nothing of.
fn equal(replay: &Replay, signed: &BTreeMap<u32, Vec<u8>>) -> Result<String, Mismatch> {
    let of_tpm = signed.values().all(|value| value.len() == 32);
    let replayed = if of_tpm { bytes(&replay.sha256) } else { bytes(&replay.sha384) };
    let ends = |index: u32| !of_tpm || usize::try_from(index).is_ok_and(|index| !AFTER_BOOT.contains(&index));
    let compared: Vec<_> = replayed.iter().filter(|(index, _)| ends(**index)).collect();
    if compared.is_empty() {
        return Err(Mismatch::new("digests of the bank of --pcrs", "none"));
    }
    let text = |index: u32, value: Option<&Vec<u8>>| match value {
        Some(value) => format!("{index} = {}", hex::encode(value)),
        None => format!("{index} is not given"),
    };
    match compared.iter().find(|(index, value)| signed.get(index) != Some(value)) {
        None => Ok(format!("{} registers", compared.len())),
        Some((index, value)) => Err(Mismatch::new(text(**index, signed.get(index)), text(**index, Some(value)))),
    }
}

fn bytes<const N: usize>(registers: &BTreeMap<u32, [u8; N]>) -> BTreeMap<u32, Vec<u8>> {
    registers.iter().map(|(index, value)| (*index, value.to_vec())).collect()
}

fn print(out: &mut dyn Write, events: &[Event<'_>], replay: &Replay) -> Result<(), CliError> {
    for event in events {
        let digest = event.sha256.map(|digest| hex::encode(&digest));
        let digest = digest.or_else(|| event.sha384.map(|digest| hex::encode(&digest))).unwrap_or_default();
        let digest = digest.get(..16).unwrap_or_default();
        let register = if event.register == u32::MAX { "-".to_owned() } else { event.register.to_string() };
        let line = format!("  {register:>2} {digest:16} {:34} {}", kind_name(event.kind), text(event.data));
        writeln!(out, "{}", table::printable(line.trim_end()))?;
    }
    for (bank, registers) in [("sha256", bytes(&replay.sha256)), ("sha384", bytes(&replay.sha384))] {
        for (index, value) in registers {
            writeln!(out, "{bank} {index:>2} = {}", hex::encode(&value))?;
        }
    }
    Ok(())
}

/// Data as text where they are text, as UEFI (UTF-16) or as ASCII writes it.
fn text(data: &[u8]) -> String {
    let wide = data.len() > 2 && data.iter().skip(1).step_by(2).all(|byte| *byte == 0);
    let narrow: Vec<u8> = if wide { data.iter().step_by(2).copied().collect() } else { data.to_vec() };
    let trimmed = narrow.strip_suffix(&[0]).unwrap_or(&narrow);
    if trimmed.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return trimmed.iter().take(SHOWN).map(|byte| char::from(*byte)).collect();
    }
    format!("{} bytes", data.len())
}

fn as_json(events: &[Event<'_>], replay: &Replay, part: &Part, explain: bool) -> Value {
    let mut value = answers::answers_json(&part.report, std::slice::from_ref(part), &[Question::Ours], explain);
    let digest = |bytes: Option<&[u8]>| bytes.map(hex::encode);
    let events: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "register": event.register,
                "type": kind_name(event.kind),
                "sha256": digest(event.sha256.as_ref().map(<[u8; 32]>::as_slice)),
                "sha384": digest(event.sha384.as_ref().map(<[u8; 48]>::as_slice)),
                "data": hex::encode(event.data),
            })
        })
        .collect();
    if let Some(members) = value.as_object_mut() {
        members.insert("failure_reason".to_owned(), part.report.reason().into());
        members.insert("events".to_owned(), events.into());
        members.insert("sha256".to_owned(), registers_json(&bytes(&replay.sha256)));
        members.insert("sha384".to_owned(), registers_json(&bytes(&replay.sha384)));
    }
    value
}

fn registers_json(registers: &BTreeMap<u32, Vec<u8>>) -> Value {
    let members: Map<_, _> =
        registers.iter().map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
    Value::Object(members)
}
