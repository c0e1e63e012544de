//! The agent's bearer token, on its way from a file into a header.

use ureq::http::HeaderValue;

/// Lengths of a token, as the gateway accepts them.
const BYTES: std::ops::RangeInclusive<usize> = 32..=1024;

/// A bearer token. Its text is shown nowhere.
pub struct Token(HeaderValue);

/// A text that is no token; it is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("not a bearer token: 32 to 1024 letters, digits and -._~+/=, on one line")]
pub struct TokenError;

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !BYTES.contains(&text.len()) || !text.bytes().all(known) {
            return Err(TokenError);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| TokenError)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn what_is_no_token_is_refused_unseen() {
        let good = "0123456789abcdef0123456789ABCDEF";
        let token = Token::parse(good).ok().unwrap();
        assert_eq!(token.header().to_str().ok(), Some(format!("Bearer {good}").as_str()));
        assert!(!format!("{:?}", token.header()).contains(good));
        for wrong in [
            "",
            &good[1..],
            &format!("{good}\r\nX: y"),
            &format!("{good} {good}"),
            &"x".repeat(1025),
            &format!("{good}\u{e9}"),
        ] {
            let error = Token::parse(wrong).err().unwrap().to_string();
            assert!(wrong.is_empty() || !error.contains(wrong));
        }
    }
}
