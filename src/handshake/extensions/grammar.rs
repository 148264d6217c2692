//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455, 9.1).
//!
//! ```text
//! extension-list = 1#extension
//! extension      = token *( ";" param )
//! param          = token [ "=" ( token / quoted-string ) ]      ; unquoted, the latter is a token too
//! ```

use std::borrow::Cow;

use super::super::header::{is_token, is_token_byte};

/// Not a list of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One header field, read from its front. Nothing is kept of what has been read: a field may be long.
pub(super) struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    pub(super) fn new(field: &'a [u8]) -> Self {
        Self(field)
    }

    /// The name of the next extension, its parameters given to `param`; `None` at the end.
    pub(super) fn next(&mut self, mut param: impl FnMut(&str, Option<&str>)) -> Result<Option<&'a str>, Malformed> {
        // Elements of a list may be empty.
        while self.eat(b',') {}
        if self.0.is_empty() {
            return Ok(None);
        }
        let name = self.token()?;
        while self.eat(b';') {
            let key = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            param(key, value.as_deref());
        }
        self.skip_space();
        if self.0.is_empty() || self.0[0] == b',' { Ok(Some(name)) } else { Err(Malformed) }
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        self.skip_space();
        let len = self.0.iter().position(|byte| !is_token_byte(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(Malformed),
        }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if !self.eat(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut unquoted = String::new();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first().ok_or(Malformed)?;
                    self.0 = rest;
                    unquoted.push(escaped.into());
                }
                byte => unquoted.push(byte.into()),
            }
        }
        if is_token(&unquoted) { Ok(Cow::Owned(unquoted)) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(field: &str) -> Result<String, Malformed> {
        let mut extensions = Extensions::new(field.as_bytes());
        let mut found = Vec::new();
        loop {
            let mut params = String::new();
            let next = extensions.next(|key, value| params += &format!(" {key}={value:?}"))?;
            match next {
                Some(name) => found.push(format!("{name}:{params}")),
                None => return Ok(found.join(" | ")),
            }
        }
    }

    #[test]
    fn lists_are_read() {
        for (field, found) in [
            ("", ""),
            (" , ,", ""),
            ("foo", "foo:"),
            ("foo,bar", "foo: | bar:"),
            ("\tfoo ;\ta\t,, bar;b", "foo: a=None | bar: b=None"),
            ("foo;a=1;a=\"2\" ; b = c", "foo: a=Some(\"1\") a=Some(\"2\") b=Some(\"c\")"),
            (r#"foo; a="\1\2"; b"#, "foo: a=Some(\"12\") b=None"),
            ("!#$%&'*+-.^_`|~;x", "!#$%&'*+-.^_`|~: x=None"),
        ] {
            assert_eq!(parse(field).as_deref(), Ok(found), "{field}");
        }
    }

    #[test]
    fn what_is_no_list_is_malformed() {
        for field in [
            ";",
            "=",
            "\"foo\"",
            "foo bar",
            "foo;",
            "foo;;a",
            "foo; =1",
            "foo; a=",
            "foo; a=,b",
            "foo; a=\"1",
            "foo; a=\"\"",
            "foo; a=\"1 2\"",
            "foo; a=\"1,2\"",
            "foo; a=\"1\\",
            "foo; a=\"1\"2",
            "foo=1",
            "foo; a=1 2",
            "foo, b@r",
            "f\u{fc}o",
            "foo; a=\"\u{fc}\"",
            "foo\0",
        ] {
            assert_eq!(parse(field), Err(Malformed), "{field:?}");
        }
    }
}
