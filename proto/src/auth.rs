use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// The secret that workers and users show with every call. Both sides of the wire use it as an interceptor: clients attach it,
/// the server checks it with [`Token::check`].
#[derive(Clone)]
pub struct Token {
    header: MetadataValue<Ascii>,
}

/// A text that cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is 1 to 200 printable ASCII characters without spaces")]
pub struct TokenError;

impl Token {
    /// Takes the text of a token, without surrounding white space.
    ///
    /// # Errors
    /// When the text cannot travel in a header.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() || text.len() > 200 || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(TokenError);
        }
        let mut header: MetadataValue<Ascii> =
            format!("Bearer {text}").parse().map_err(|_| TokenError)?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// Lets a call through that shows this token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, with words for the person who has to set it.
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request
            .metadata()
            .get("authorization")
            .map(|value| value.as_encoded_bytes());
        if shown.is_some_and(|shown| equal_in_constant_time(shown, self.header.as_encoded_bytes()))
        {
            return Ok(request);
        }
        Err(Status::unauthenticated(
            "this coordinator wants its token: set TUTTI_TOKEN to the content of the file `token` in its run directory",
        ))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.header.clone());
        Ok(request)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The time that this takes says nothing about where two texts differ.
fn equal_in_constant_time(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len() && one.iter().zip(two).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_let_through() {
        let mut token = Token::new("open-sesame").unwrap();
        let shown = token.call(Request::new(())).unwrap();
        assert!(token.check(shown).is_ok());
        let mut other = Token::new("open-sesam3").unwrap();
        let shown = other.call(Request::new(())).unwrap();
        assert!(token.check(shown).is_err());
        assert!(token.check(Request::new(())).is_err());
        assert!(Token::new("with space").is_err());
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
