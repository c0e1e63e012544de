//! Members of Intel's JSON documents. What is read has one form; what is not known is passed over, as Intel adds members.

use claim::json::Json;
use claim::time::Timestamp;
use thiserror::Error;

/// A member that is not there, or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: no {expected}")]
pub(super) struct Malformed {
    name: String,
    expected: String,
}

impl Malformed {
    pub(super) fn new(name: &str, expected: impl Into<String>) -> Self {
        Self { name: name.to_owned(), expected: expected.into() }
    }
}

/// An object of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a>(pub(super) &'a Json);

impl<'a> Object<'a> {
    pub(super) fn object(self, name: &str) -> Result<Self, Malformed> {
        self.0.get(name).map(Self).ok_or_else(|| Malformed::new(name, "object"))
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, Malformed> {
        self.0.get(name).and_then(Json::as_str).ok_or_else(|| Malformed::new(name, "text"))
    }

    /// Bytes in hexadecimal of either case, as Intel's services and their caches write both.
    pub(super) fn bytes(self, name: &str) -> Result<Vec<u8>, Malformed> {
        hex(self.text(name)?).ok_or_else(|| Malformed::new(name, "hexadecimal"))
    }

    pub(super) fn array<const N: usize>(self, name: &str) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(name)?;
        bytes.try_into().map_err(|_| Malformed::new(name, format!("{N} bytes in hexadecimal")))
    }

    pub(super) fn number<T: TryFrom<u64>>(self, name: &str) -> Result<T, Malformed> {
        let number = self.0.get(name).and_then(Json::as_u64).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| Malformed::new(name, "number of this size"))
    }

    pub(super) fn time(self, name: &str) -> Result<Timestamp, Malformed> {
        Timestamp::parse(self.text(name)?).map_err(|_| Malformed::new(name, "time in UTC"))
    }

    pub(super) fn list(self, name: &str) -> Result<impl Iterator<Item = Self>, Malformed> {
        let items = self.0.get(name).and_then(Json::as_array).ok_or_else(|| Malformed::new(name, "array"))?;
        Ok(items.iter().map(Self))
    }

    /// An array that may be absent.
    pub(super) fn optional_list(self, name: &str) -> Result<impl Iterator<Item = Self>, Malformed> {
        let items = match self.0.get(name) {
            None => &[],
            Some(value) => value.as_array().ok_or_else(|| Malformed::new(name, "array"))?,
        };
        Ok(items.iter().map(Self))
    }

    pub(super) fn texts(self, name: &str) -> Result<Vec<String>, Malformed> {
        let text =
            |item: Self| item.0.as_str().map(str::to_owned).ok_or_else(|| Malformed::new(name, "array of texts"));
        self.optional_list(name)?.map(text).collect()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use claim::json::parse;

    use super::Object;

    #[test]
    fn members_have_one_form() {
        let json = parse(br#"{"a":"0aFf","b":"0a0","c":"+a","d":300,"e":-1,"f":"2026-06-30T07:53:47Z","g":["x",1]}"#);
        let json = json.unwrap();
        let object = Object(&json);
        assert_eq!(object.array::<2>("a"), Ok([0x0a, 0xff]));
        assert!(object.array::<3>("a").is_err() && object.bytes("b").is_err() && object.bytes("c").is_err());
        assert_eq!(object.number::<u16>("d"), Ok(300));
        assert!(object.number::<u8>("d").is_err() && object.number::<u8>("e").is_err());
        assert_eq!(object.time("f").unwrap().seconds(), 1_782_806_027);
        assert!(object.time("a").is_err() && object.texts("g").is_err() && object.texts("h") == Ok(vec![]));
        assert_eq!(object.text("z").unwrap_err().to_string(), "z: no text");
    }
}
