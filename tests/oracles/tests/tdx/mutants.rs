//! Recorded quotes and their collateral, changed in one place: both verifiers say the same, and nothing changed is accepted
//! but what no signature covers.

use claim::time::Timestamp;
use serde_json::{Map, Value};

use crate::judges::{Case, Judges};
use crate::table::cases;

/// Bits that are turned in each part of a quote.
const BITS: usize = 12;

/// Numbers that look random and are the same in each run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Parts of a quote: name, place, length.
fn parts(quote: &[u8]) -> Vec<(&'static str, usize, usize)> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(quote[at..at + 2].try_into().unwrap()));
    let u32_at = |at: usize| u32::from_le_bytes(quote[at..at + 4].try_into().unwrap()) as usize;
    let mut parts = vec![
        ("version", 0, 2),
        ("key type", 2, 2),
        ("TEE type", 4, 4),
        ("reserved", 8, 4),
        ("QE vendor", 12, 16),
        ("user data", 28, 20),
    ];
    let (mut at, mut size) = (48, 584);
    if u16_at(0) == 5 {
        parts.extend([("body type", 48, 2), ("body size", 50, 4)]);
        (at, size) = (54, u32_at(50));
    }
    let fields = [
        ("TEE_TCB_SVN", 16),
        ("MRSEAM", 48),
        ("MRSIGNERSEAM", 48),
        ("SEAMATTRIBUTES", 8),
        ("TDATTRIBUTES", 8),
        ("XFAM", 8),
        ("MRTD", 48),
        ("MRCONFIGID", 48),
        ("MROWNER", 48),
        ("MROWNERCONFIG", 48),
        ("RTMR0", 48),
        ("RTMR1", 48),
        ("RTMR2", 48),
        ("RTMR3", 48),
        ("REPORTDATA", 64),
    ];
    let body_end = at + size;
    for (name, length) in fields {
        parts.push((name, at, length));
        at += length;
    }
    if at < body_end {
        parts.push(("TDX 1.5", at, body_end - at));
    }
    at = body_end;
    let authentication = u16_at(at + 4 + 128 + 6 + 448);
    for (name, length) in [
        ("signature data length", 4),
        ("signature", 64),
        ("attestation key", 64),
        ("certification type", 2),
        ("certification length", 4),
        ("QE CPUSVN", 16),
        ("QE MISCSELECT", 4),
        ("QE reserved", 28),
        ("QE attributes", 16),
        ("QE MRENCLAVE", 32),
        ("QE reserved 2", 32),
        ("QE MRSIGNER", 32),
        ("QE reserved 3", 96),
        ("QE ISVPRODID", 2),
        ("QE ISVSVN", 2),
        ("QE reserved 4", 60),
        ("QE report data", 64),
        ("QE signature", 64),
        ("authentication length", 2),
        ("authentication", authentication),
        ("chain type", 2),
        ("chain length", 4),
    ] {
        parts.push((name, at, length));
        at += length;
    }
    let chain = u32_at(at - 4);
    parts.push(("chain", at, chain));
    parts
}

/// Accepted cases alone: a mutant of what is refused anyway shows nothing.
fn accepted(judges: &Judges) -> Vec<(Case, bool)> {
    let mut cases = cases();
    cases.retain(|(case, azure)| judges.agree(case, *azure) && (!azure || judges.theirs(case).is_ok()));
    assert!(cases.len() >= 2, "{}", cases.len());
    cases
}

#[test]
fn no_bit_of_a_quote_may_be_turned() {
    let judges = Judges::of_intel();
    let mut seeded = Seeded(1);
    for (case, azure) in accepted(&judges) {
        for (part, at, length) in parts(&case.quote) {
            for _ in 0..BITS.min(length * 8) {
                let (byte, bit) = (at + seeded.below(length), seeded.below(8));
                let mut mutant = case.clone();
                mutant.name = format!("{}: {part}, bit {bit} of byte {byte}", case.name);
                mutant.quote[byte] ^= 1 << bit;
                let accepted = judges.agree(&mutant, azure);
                assert!(!accepted || part.starts_with("chain"), "{} is accepted", mutant.name);
            }
        }
    }
}

#[test]
fn quotes_are_read_to_their_end_and_no_further() {
    let judges = Judges::of_intel();
    for (case, azure) in accepted(&judges) {
        let padding = case.quote.iter().rev().take_while(|byte| **byte == 0).count();
        let parts = parts(&case.quote);
        let end = parts.last().map(|(_, at, length)| at + length).unwrap();
        let borders = parts.iter().flat_map(|(_, at, _)| [at.saturating_sub(1), *at, at + 1]);
        for length in borders.filter(|length| *length < end).chain([end - 1]) {
            let mutant = Case { name: format!("{} of {length} bytes", case.name), ..case.clone() };
            let mutant = Case { quote: case.quote[..length].to_vec(), ..mutant };
            assert!(!judges.agree(&mutant, azure), "{}", mutant.name);
        }
        let exact = Case { quote: case.quote[..end].to_vec(), ..case.clone() };
        assert!(judges.agree(&exact, azure), "{} without its {padding} zeros", case.name);
        for (bytes, accepted) in [(5006, end <= 5006), (5007.max(end + 1), false), (end + 1, end + 1 == 5006)] {
            let mut mutant = exact.clone();
            mutant.name = format!("{} with zeros to {bytes}", case.name);
            mutant.quote.resize(bytes.max(end), 0);
            assert_eq!(judges.agree(&mutant, azure), accepted || bytes <= end, "{}", mutant.name);
            if let Some(last) = mutant.quote.get_mut(end..).and_then(<[u8]>::last_mut) {
                *last = 1;
                assert!(!judges.agree(&mutant, azure), "{}, the last not one", mutant.name);
            }
        }
    }
}

#[test]
fn every_length_of_a_quote_is_refused_but_its_own() {
    let judges = Judges::of_intel();
    let (case, azure) = accepted(&judges).remove(0);
    let end = parts(&case.quote).last().map(|(_, at, length)| at + length).unwrap();
    for length in 0..end {
        let mutant = Case { quote: case.quote[..length].to_vec(), ..case.clone() };
        let report = judges.ours(&mutant, azure, &verify::references::TdxPolicy::default());
        assert!(matches!(report.reason(), Some("TDX_QUOTE_MALFORMED" | "TDX_TEE_TYPE_WRONG")), "{length}");
    }
}

fn members(case: &Case) -> Map<String, Value> {
    serde_json::from_slice(&case.collateral).unwrap()
}

fn with(case: &Case, name: &str, members: &Map<String, Value>) -> Case {
    let collateral = serde_json::to_vec(members).unwrap();
    Case { name: format!("{}: {name}", case.name), collateral, ..case.clone() }
}

#[test]
fn no_character_of_collateral_may_change() {
    let judges = Judges::of_intel();
    let mut seeded = Seeded(2);
    for (case, azure) in accepted(&judges) {
        for (member, value) in members(&case) {
            let Value::String(text) = value else { continue };
            for _ in 0..BITS * 2 {
                let at = seeded.below(text.len());
                let digits = if text.starts_with("30") { "0123456789abcdef" } else { "aA0+ \n{}\"-z" };
                let digit = digits.as_bytes()[seeded.below(digits.len())];
                let mut bytes = text.clone().into_bytes();
                if bytes[at] == digit {
                    continue;
                }
                bytes[at] = digit;
                let mut members = members(&case);
                members.insert(member.clone(), String::from_utf8(bytes).unwrap().into());
                let mutant = with(&case, &format!("{member}, character {at} is {:?}", char::from(digit)), &members);
                // Base64 and the case of digits have more than one spelling; the chain of the CRL's issuer is not needed.
                let spelling = member.ends_with("_chain") || text.as_bytes()[at].eq_ignore_ascii_case(&digit);
                let accepted = judges.agree(&mutant, azure);
                assert!(!accepted || spelling, "{} is accepted", mutant.name);
            }
        }
    }
}

#[test]
fn members_of_other_collateral_do_not_fit() {
    let judges = Judges::of_intel();
    let cases = accepted(&judges);
    for (case, azure) in &cases {
        for (other, _) in &cases {
            for (member, value) in members(other) {
                let mut members = members(case);
                members.insert(member.clone(), value);
                judges.agree(&with(case, &format!("{member} of {}", other.name), &members), *azure);
            }
        }
        for member in members(case).keys() {
            let mut members = members(case);
            members.remove(member);
            let mutant = with(case, &format!("no {member}"), &members);
            assert_eq!(judges.agree(&mutant, *azure), member == "pck_certificate_chain", "{}", mutant.name);
        }
    }
}

#[test]
fn every_date_is_held_against_the_time_in_question() {
    let judges = Judges::of_intel();
    for (case, azure) in accepted(&judges) {
        let members = members(&case);
        let document = |name: &str| -> Value { serde_json::from_str(members[name].as_str().unwrap()).unwrap() };
        let mut borders = Vec::new();
        for name in ["tcb_info", "qe_identity"] {
            let document = document(name);
            borders.extend(["issueDate", "nextUpdate"].map(|date| document[date].as_str().unwrap().to_owned()));
        }
        let times = borders.iter().map(|text| Timestamp::parse(text).unwrap().seconds());
        let years = [-20, -3, -1, 1, 3, 8, 30].map(|years: i64| case.at.seconds() + years * 31_556_952);
        for at in times.flat_map(|at| [at - 1, at, at + 1]).chain(years) {
            let name = format!("{} at {at}", case.name);
            judges.agree(&Case { name, at: Timestamp::from_seconds(at), ..case.clone() }, azure);
        }
    }
}
