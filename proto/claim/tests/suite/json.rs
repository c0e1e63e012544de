//! The strict reader and the two canonical forms.

use claim::Digest;
use claim::json::{Json, JsonError, MAX_DEPTH, parse};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::common::values;

fn syntax(text: &str) -> bool {
    matches!(parse(text.as_bytes()), Err(JsonError::Syntax(_)))
}

#[test]
fn duplicate_keys_are_found_after_unescaping() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"\u000a":1,"\n":2}}]"#] {
        assert!(matches!(parse(text.as_bytes()), Err(JsonError::DuplicateKey(_))), "{text}");
    }
    assert!(parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).is_ok());
}

#[test]
fn depth_is_limited() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(parse(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(parse("[".repeat(1 << 20).as_bytes()), Err(JsonError::TooDeep));
    let brackets_in_text = format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100));
    assert!(parse(brackets_in_text.as_bytes()).is_ok());
}

#[test]
fn malformed_text_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "+1",
        "1.",
        ".5",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "'a'",
        "1 2",
        "{} x",
        "\"\t\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\u{feff}1",
        "[1e]",
        "--1",
        "1-2",
        "\"a",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(syntax("[1] []"));
    for bytes in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\xff\xfe1\0", b"{\"\x80\":1}"] {
        assert!(parse(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn numbers_that_are_not_portable_are_refused() {
    for text in [
        "-0",
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "-1e309",
        "[1,[-0]]",
        "{\"a\":123456789012345678901}",
    ] {
        assert!(matches!(parse(text.as_bytes()), Err(JsonError::Number(_))), "{text}");
    }
    assert_eq!(parse(b"18446744073709551615"), Ok(Json::UInt(u64::MAX)));
    assert_eq!(parse(b"-9223372036854775808"), Ok(Json::Int(i64::MIN)));
    assert_eq!(parse(b"-0.0").unwrap().sorted_ascii(), "-0.0");
    assert_eq!(parse(b"\"-0 99999999999999999999\"").unwrap(), Json::from("-0 99999999999999999999"));
}

#[test]
fn floats_are_written_as_python_writes_them() {
    for (text, written) in [
        ("1.0", "1.0"),
        ("1e5", "100000.0"),
        ("1E+15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("1.5e300", "1.5e+300"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1.25e-7", "1.25e-07"),
        ("5e-324", "5e-324"),
        ("0.1", "0.1"),
        ("123456789.123", "123456789.123"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("-2.50", "-2.5"),
        ("1e-400", "0.0"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap().sorted_ascii(), written, "{text}");
    }
}

/// The quickstart's catalog entry and its precomputed hash.
#[test]
fn the_definition_hash_of_the_quickstart() {
    let definition = br#"{
        "description": "Query Salesforce contacts by account name or contact ID.",
        "input_schema": {"type": "object", "required": ["query"], "properties": {
            "query": {"type": "string", "description": "Account name or contact ID"},
            "max_records": {"type": "integer", "default": 50}}},
        "output_schema": {"type": "object", "properties": {"contacts": {"type": "array"}, "total_count": {"type": "integer"}}}
    }"#;
    let hash = claim::hashes::definition_hash(&parse(definition).unwrap());
    assert_eq!(hash, Digest::parse("sha256:b42ecf14612f23456b5b0794864a00288d4038ac444cedb87fc214cefee89e35").unwrap());
}

/// RFC 8785, sections 3.2.2.2 and 3.2.3.
#[test]
fn the_examples_of_rfc_8785() {
    let text = parse(br#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#).unwrap();
    assert_eq!(text.jcs().unwrap(), "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
    let keys = parse(
        br#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
            "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
    );
    let written = keys.unwrap().jcs().unwrap();
    let order =
        ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"].map(|word| written.find(word).unwrap());
    assert!(order.is_sorted(), "{written}");
    let literals = parse(b"[null, true, false]").unwrap();
    assert_eq!(literals.jcs().unwrap(), "[null,true,false]");
}

#[test]
fn jcs_has_neither_floats_nor_unsafe_integers() {
    assert_eq!(parse(b"[1.5]").unwrap().jcs(), Err(JsonError::Float));
    assert_eq!(parse(b"1e2").unwrap().jcs(), Err(JsonError::Float));
    assert_eq!(parse(b"9007199254740992").unwrap().jcs(), Err(JsonError::UnsafeInteger(9_007_199_254_740_992)));
    assert_eq!(parse(b"-9007199254740991").unwrap().jcs().unwrap(), "-9007199254740991");
    assert_eq!(Json::UInt(u64::MAX).jcs(), Err(JsonError::UnsafeInteger(i128::from(u64::MAX))));
}

#[test]
fn what_may_be_signed() {
    assert_eq!(parse(br#"{"a":[1,{"b":null}]}"#).unwrap().require_signable(), Err(JsonError::Null));
    assert_eq!(parse(br#"{"a":1.0}"#).unwrap().require_signable(), Err(JsonError::Float));
    assert!(parse(br#"{"a":"\u00e9"}"#).unwrap().require_signable().is_ok());
    assert!(parse(br#"{"a":"\u00e9"}"#).unwrap().require_printable().is_err());
    assert!(parse(br#"{"\u007f":1}"#).unwrap().require_printable().is_err());
    assert!(parse(br#"{"a":"tab\t"}"#).unwrap().require_printable().is_err());
    assert!(parse(br#"{"a":"quote\" backslash\\"}"#).unwrap().require_printable().is_ok());
}

/// Runs a Python program over lines.
fn python(program: &str, lines: &[String]) -> Vec<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: it is the reference for sorted ASCII");
    let input = lines.join("\n");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

const DUMPS: &str = "import json, sys
for line in sys.stdin.buffer.read().decode().split('\\n'):
    print(json.dumps(json.loads(line), sort_keys=True, separators=(',', ':'), ensure_ascii=True))";

/// Three thousand arbitrary values, sent as plain UTF-8 JSON: what Python makes of them is what we make of them.
#[test]
fn sorted_ascii_is_what_python_writes() {
    let mut runner = TestRunner::deterministic();
    let lines: Vec<String> = (0..3_000)
        .map(|_| values::value().new_tree(&mut runner).unwrap().current())
        .map(|value| serde_json::to_string(&value).unwrap())
        .collect();
    let ours = lines.iter().map(|line| parse(line.as_bytes()).unwrap().sorted_ascii());
    for (ours, theirs) in ours.zip(python(DUMPS, &lines)) {
        assert_eq!(ours, theirs);
    }
}

/// Number literals as people and programs spell them, none of them ours.
#[test]
fn numbers_are_what_python_reads() {
    let literal = "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    let strategy = proptest::string::string_regex(literal).unwrap().prop_filter("portable", |text| text != "-0");
    let mut runner = TestRunner::deterministic();
    let lines: Vec<String> = (0..3_000).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    for ((line, ours), theirs) in
        lines.iter().map(|line| (line, parse(line.as_bytes()).unwrap().sorted_ascii())).zip(python(DUMPS, &lines))
    {
        assert_eq!(ours, theirs, "{line}");
    }
}

proptest! {
    /// What is written reads back the same, in each form and through serde.
    #[test]
    fn writing_and_reading_are_inverse(value in values::value()) {
        prop_assert_eq!(&parse(value.sorted_ascii().as_bytes()).unwrap(), &value);
        prop_assert_eq!(&parse(serde_json::to_string(&value).unwrap().as_bytes()).unwrap(), &value);
        prop_assert_eq!(&claim::json::to_json(&value).unwrap(), &value);
        prop_assert_eq!(&claim::json::from_json::<Json>(&value).unwrap(), &value);
    }

    #[test]
    fn jcs_reads_back(value in values::signable()) {
        prop_assert_eq!(&parse(value.jcs().unwrap().as_bytes()).unwrap(), &value);
    }

    /// The rule on which claims rely.
    #[test]
    fn printable_values_have_one_canonical_form(value in values::signable()) {
        if value.require_printable().is_ok() {
            prop_assert_eq!(value.jcs().unwrap(), value.sorted_ascii());
        }
    }

    /// Spaces and the order of members change nothing.
    #[test]
    fn formatting_changes_nothing(value in values::value()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(parse(pretty.as_bytes()).unwrap().sorted_ascii(), value.sorted_ascii());
    }

    /// Whatever we accept, serde_json accepts, and no input panics.
    #[test]
    fn the_reader_is_total(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if parse(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }

    /// The same near valid JSON: one byte of a document replaced, dropped or doubled.
    #[test]
    fn the_reader_is_total_near_json(value in values::value(), at in any::<prop::sample::Index>(), byte in any::<u8>(), edit in 0..3) {
        let mut bytes = value.sorted_ascii().into_bytes();
        let at = at.index(bytes.len());
        match edit {
            0 => bytes[at] = byte,
            1 => { bytes.remove(at); }
            _ => bytes.insert(at, byte),
        }
        if let Ok(read) = parse(&bytes) {
            prop_assert_eq!(parse(read.sorted_ascii().as_bytes()).unwrap(), read);
        }
    }
}
