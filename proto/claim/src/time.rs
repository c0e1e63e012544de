//! Points in time, as the formats spell them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Microseconds since the Unix epoch, UTC, without leap seconds. Displayed as `2026-06-05T00:00:00.000000+00:00`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is no time in UTC of the years 0 to 9999.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a time in UTC: {0:?}")]
pub struct TimeError(String);

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch, saturating.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since the Unix epoch, saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS`, up to six digits of a fraction, and `Z` or `+00:00`.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        read(text).map(Self).ok_or_else(|| TimeError(text.chars().take(64).collect()))
    }

    /// `2026-06-05T00:00:00Z`: whole seconds, as the TRACE v0.1 profile spells them.
    pub fn to_seconds_z(self) -> String {
        let mut text = Vec::with_capacity(20);
        self.write_seconds(&mut text);
        text.push(b'Z');
        text.into_iter().map(char::from).collect()
    }

    /// Appends the 32 characters of the displayed form.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        self.write_seconds(out);
        out.push(b'.');
        write_digits(self.0.rem_euclid(MICROS), 6, out);
        out.extend_from_slice(b"+00:00");
    }

    fn write_seconds(self, out: &mut Vec<u8>) {
        let seconds = self.seconds();
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
        let of_day = seconds.rem_euclid(DAY_SECONDS);
        write_digits(year, 4, out);
        for (separator, value) in
            [(b'-', month), (b'-', day), (b'T', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
        {
            out.push(separator);
            write_digits(value, 2, out);
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(32);
        self.write(&mut text);
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A time whose spelling is signed: the text is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenTime {
    text: String,
    at: Timestamp,
}

impl WrittenTime {
    /// Keeps `text`.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        Timestamp::parse(text).map(|at| Self { text: text.to_owned(), at })
    }

    /// Whole seconds and `Z`, as the TRACE v0.1 profile spells times.
    pub fn seconds_z(at: Timestamp) -> Self {
        let at = Timestamp::from_seconds(at.seconds());
        Self { text: at.to_seconds_z(), at }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

impl From<Timestamp> for WrittenTime {
    fn from(at: Timestamp) -> Self {
        Self { text: at.to_string(), at }
    }
}

impl Serialize for WrittenTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for WrittenTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Appends the last `width` decimal digits of a number that is not negative.
fn write_digits(value: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = value.div_euclid(10_i64.pow(place)).rem_euclid(10);
        out.push(b'0'.saturating_add(u8::try_from(digit).unwrap_or_default()));
    }
}

fn read(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let clock = rest.strip_suffix('Z').or_else(|| rest.strip_suffix("+00:00"))?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, digits)| (clock, Some(digits)));
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(seconds * MICROS + fraction.map_or(Some(0), read_fraction)?)
}

fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut values = [0; 3];
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next()?;
        *value = (part.len() == width).then(|| digits(part))??;
    }
    parts.next().is_none().then_some(values)
}

fn read_fraction(text: &str) -> Option<i64> {
    let places = u32::try_from(text.len()).ok().filter(|places| (1..=6).contains(places))?;
    Some(digits(text)? * 10_i64.pow(6 - places))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, counted from March so that the leap day is the
/// last day of its year; 146,097 days are 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}
