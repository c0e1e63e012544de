//! Times and names.

use claim::names::{MAX_NAME, NameError, SessionId, ToolName, check_id, check_tool};
use claim::time::{Timestamp, WrittenTime};
use proptest::prelude::*;

#[test]
fn times_are_spelled_as_the_formats_have_them() {
    for (micros, text) in [
        (0, "1970-01-01T00:00:00.000000+00:00"),
        (1_780_617_600_000_000, "2026-06-05T00:00:00.000000+00:00"),
        (951_782_399_999_999, "2000-02-28T23:59:59.999999+00:00"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000000+00:00"),
        (4_107_542_400_000_001, "2100-03-01T00:00:00.000001+00:00"),
        (-1, "1969-12-31T23:59:59.999999+00:00"),
        (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000+00:00"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999+00:00"),
    ] {
        assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        assert_eq!(Timestamp::parse(text), Ok(Timestamp::from_micros(micros)), "{text}");
    }
}

#[test]
fn other_spellings_of_utc_are_read() {
    let at = Timestamp::from_seconds(1_780_617_600);
    for text in
        ["2026-06-05T00:00:00Z", "2026-06-05T00:00:00+00:00", "2026-06-05T00:00:00.0Z", "2026-06-05T00:00:00.000000Z"]
    {
        assert_eq!(Timestamp::parse(text), Ok(at), "{text}");
        assert_eq!(WrittenTime::parse(text).unwrap().text(), text);
    }
    assert_eq!(Timestamp::parse("2026-06-05T00:00:00.12Z").unwrap().micros() - at.micros(), 120_000);
    assert_eq!(WrittenTime::seconds_z(Timestamp::from_millis(1_780_617_600_999)).text(), "2026-06-05T00:00:00Z");
}

#[test]
fn what_is_no_time_in_utc_is_refused() {
    for text in [
        "",
        "2026-06-05",
        "2026-06-05T00:00:00",
        "2026-06-05 00:00:00Z",
        "2026-06-05T00:00:00+01:00",
        "2026-06-05T00:00:00-00:00",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-06-31T00:00:00Z",
        "2026-06-05T24:00:00Z",
        "2026-06-05T00:60:00Z",
        "2026-06-05T00:00:60Z",
        "2026-06-05T00:00:00.Z",
        "2026-06-05T00:00:00.1234567Z",
        "26-06-05T00:00:00Z",
        "2026-6-5T00:00:00Z",
        "+026-06-05T00:00:00Z",
        "2026-06-05T00:00:0\u{661}Z",
        "2026-06-05T00:00:00ZZ",
        "-001-06-05T00:00:00Z",
    ] {
        assert!(Timestamp::parse(text).is_err(), "{text}");
    }
}

#[test]
fn names_keep_to_their_alphabets() {
    assert!(check_id("demo-session_001.a:B").is_ok());
    assert!(check_tool("salesforce.contacts (v2) \"x\"").is_ok());
    assert_eq!(check_id(""), Err(NameError::Length));
    assert!(check_id(&"a".repeat(MAX_NAME)).is_ok());
    assert_eq!(check_id(&"a".repeat(MAX_NAME + 1)), Err(NameError::Length));
    for (text, at) in [("a b", 1), ("a/b", 1), ("caf\u{e9}", 3), ("a\n", 1), ("\u{7f}", 0)] {
        assert_eq!(SessionId::parse(text), Err(NameError::Byte(at)), "{text:?}");
    }
    for text in ["a\nb", "tab\t", "\u{7f}", "\u{0}", "caf\u{e9}", "\u{202e}x"] {
        assert!(ToolName::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(ToolName::parse("echo").unwrap().as_str(), "echo");
    assert!(claim::json::read::<SessionId>(b"\"a b\"").is_err());
}

proptest! {
    #[test]
    fn times_read_back(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
        let at = Timestamp::from_micros(micros);
        prop_assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
        let whole = at.to_seconds_z();
        prop_assert_eq!(Timestamp::parse(&whole).unwrap().seconds(), at.seconds());
    }

    #[test]
    fn extremes_do_not_panic(micros in any::<i64>(), text in "\\PC*") {
        let _ = Timestamp::from_micros(micros).to_string();
        let _ = Timestamp::parse(&text);
        let _ = (check_id(&text), check_tool(&text));
    }
}
