//! What the host says goes with the evidence: certificates, lists of revoked ones and statements of vendors. It is handed on as it
//! came and believed for nothing; only its size and shape are looked at, so that whoever reads a claim can read it too.

use claim::attachment::{Collateral, MAX_COLLATERAL};
use claim::json::{self, Json};
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::refusal;

const MEMBERS: &str =
    "an object with lists certificates and crls of base64url, td_quote in base64url, tdx: an object of printable texts";

/// Reads what the host sent.
///
/// # Errors
/// It is too long, or has another shape.
pub fn read(bytes: &[u8]) -> Result<Collateral, BootRefusal> {
    if bytes.len() > MAX_COLLATERAL {
        return Err(refused(&format!("{} bytes", bytes.len()), &format!("at most {MAX_COLLATERAL}")));
    }
    let document = json::parse(bytes).map_err(|error| refused(&error.to_string(), MEMBERS))?;
    if document.as_object().is_none() {
        return Err(refused("no object", MEMBERS));
    }
    let collateral: Collateral = json::from_json(&document).map_err(|error| refused(&error.to_string(), MEMBERS))?;
    match &collateral.tdx {
        Some(tdx) if !is_printable(tdx) => Err(refused("tdx of another shape", MEMBERS)),
        _ => Ok(collateral),
    }
}

/// An object of texts; certificates in PEM have lines.
fn is_printable(tdx: &Json) -> bool {
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'));
    tdx.as_object().is_some_and(|members| {
        members.iter().all(|(name, value)| printable(name) && value.as_str().is_some_and(printable))
    })
}

fn refused(found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::Malformed, &Document::None, "collateral", found, expected)
}

#[cfg(test)]
mod tests {
    use super::{MAX_COLLATERAL, read};

    #[test]
    fn what_has_the_shape_is_kept_as_it_came() {
        for text in [
            r"{}",
            r#"{"certificates":["MAMCAQE"],"crls":["MAMCAQE"],"td_quote":"BAAC","tdx":{"pck_crl":"30","tcb_info":"{\"id\":1}\n"}}"#,
        ] {
            let collateral = read(text.as_bytes()).unwrap();
            assert_eq!(claim::json::to_json(&collateral).unwrap().sorted_ascii(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "[]",
            "{\"certificates\":[\"MAMCAQE\"]",
            r#"{"certificates":"MAMCAQE"}"#,
            r#"{"certificates":["MAMCAQE="]}"#,
            r#"{"certificates":["MAMCAQF"]}"#,
            r#"{"certificates":[],"certificates":[]}"#,
            r#"{"chain":[]}"#,
            r#"{"tdx":"text"}"#,
            r#"{"tdx":{"tcb_info":{}}}"#,
            r#"{"tdx":{"tcb_info":"\u0007"}}"#,
            r#"{"tdx":{"tcb_info":"é"}}"#,
            r#"{"tdx":{"\u0000":"x"}}"#,
            r#"{"tdx":{"a":"x","a":"y"}}"#,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!(r#"{{"crls":["{}"]}}"#, "AAAA".repeat(MAX_COLLATERAL / 4));
        assert!(read(long.as_bytes()).unwrap_err().found.0.ends_with(" bytes"));
    }
}
