//! The tokens of the ONNX text syntax, and where each of them stands.

use std::borrow::Cow;
use std::fmt;

/// One token. Whitespace and `#` comments stand between tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    /// Letters, digits and underscores, not starting with a digit.
    Ident(&'t str),
    /// Text between double quotes, escapes resolved.
    Str(Cow<'t, str>),
    /// A whole number, with its sign.
    Int(&'t str),
    /// A number with a decimal point or an exponent, or a signed `inf` or `nan`.
    Float(&'t str),
    /// `=>`
    Arrow,
    /// Any other mark.
    Mark(char),
    /// The end of the text.
    End,
}

/// How messages call the token.
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Ident(text) | Token::Int(text) | Token::Float(text) => write!(f, "`{}`", clip(text)),
            Token::Str(text) => write!(f, "\"{}\"", clip(text).escape_debug()),
            Token::Arrow => f.write_str("`=>`"),
            Token::Mark(mark) => write!(f, "`{}`", mark.escape_debug()),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// The first characters, so that a message stays one line.
fn clip(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

/// What stands somewhere in a text cannot stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What was expected, and what stands there.
    pub message: String,
}

impl SyntaxError {
    /// An error at byte `at` of `text`.
    pub(super) fn new(text: &str, at: usize, message: String) -> SyntaxError {
        let before = text.get(..at).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyntaxError { line: 1 + before.matches('\n').count(), column: 1 + before[start..].chars().count(), message }
    }
}

/// Cuts a text into tokens, one at a time.
pub(super) struct Lexer<'t> {
    pub(super) text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { text, at: text.len() - text.trim_start_matches('\u{feff}').len() }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The longest run of bytes that `accept` takes, from here on.
    fn run(&mut self, accept: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|b| !accept(b)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The next token and the byte at which it starts.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'t>), SyntaxError> {
        loop {
            self.run(|b| b.is_ascii_whitespace() || b == b'\x0b');
            if !self.rest().starts_with('#') {
                break;
            }
            self.run(|b| b != b'\n');
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok((start, Token::End)) };
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => Token::Ident(self.run(|b| b.is_ascii_alphanumeric() || b == b'_')),
            '0'..='9' | '-' => self.number(start)?,
            '"' => self.string(start)?,
            '=' if self.rest().starts_with("=>") => {
                self.at += 2;
                Token::Arrow
            }
            mark => {
                self.at += mark.len_utf8();
                Token::Mark(mark)
            }
        };
        Ok((start, token))
    }

    fn number(&mut self, start: usize) -> Result<Token<'t>, SyntaxError> {
        if self.rest().starts_with('-') {
            self.at += 1;
        }
        if !self.run(|b| b.is_ascii_alphabetic()).is_empty() {
            let text = &self.text[start..self.at];
            return if is_special_float(&text[1..]) {
                Ok(Token::Float(text))
            } else {
                Err(SyntaxError::new(self.text, start, format!("expected a number, found `{}`", clip(text))))
            };
        }
        let mut whole = true;
        let digits = self.run(|b| b.is_ascii_digit()).len();
        if self.rest().starts_with('.') {
            whole = false;
            self.at += 1;
            self.run(|b| b.is_ascii_digit());
        }
        let mut complete = digits > 0;
        if complete && self.rest().starts_with(['e', 'E']) {
            whole = false;
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            complete = !self.run(|b| b.is_ascii_digit()).is_empty();
        }
        let text = &self.text[start..self.at];
        if !complete {
            return Err(SyntaxError::new(self.text, start, format!("expected a number, found `{}`", clip(text))));
        }
        Ok(if whole { Token::Int(text) } else { Token::Float(text) })
    }

    /// A backslash takes the character after it as it is.
    fn string(&mut self, start: usize) -> Result<Token<'t>, SyntaxError> {
        self.at += 1;
        let mut text = Cow::Borrowed(self.run(|b| b != b'"' && b != b'\\'));
        while self.rest().starts_with('\\') {
            self.at += 1;
            let escaped = self.rest().chars().next();
            self.at += escaped.map_or(0, char::len_utf8);
            let text = text.to_mut();
            text.extend(escaped);
            text.push_str(self.run(|b| b != b'"' && b != b'\\'));
        }
        if !self.rest().starts_with('"') {
            return Err(SyntaxError::new(self.text, start, "this string has no closing quote".into()));
        }
        self.at += 1;
        Ok(Token::Str(text))
    }
}

/// Whether `text` names infinity or not-a-number, without a sign.
pub(super) fn is_special_float(text: &str) -> bool {
    ["inf", "infinity", "nan"].iter().any(|name| text.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next()?.1 {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn numbers_keep_their_spelling() {
        use Token::{Float, Int, Mark};
        assert_eq!(
            tokens("1 -2 3. -4.5e-6, 7E+8 -inf"),
            Ok(vec![Int("1"), Int("-2"), Float("3."), Float("-4.5e-6"), Mark(','), Float("7E+8"), Float("-inf")])
        );
        for wrong in ["-", "- 1", "1e", "1e+", "-x", "-infx"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn comments_run_to_the_end_of_the_line() {
        assert_eq!(tokens("a # b => \"\n#c\r\n=>"), Ok(vec![Token::Ident("a"), Token::Arrow]));
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        assert_eq!(tokens(r#""a\"b\\n\é # c""#), Ok(vec![Token::Str(r#"a"b\né # c"#.into())]));
        assert_eq!(tokens("\"\\").unwrap_err().to_string(), "line 1, column 1: this string has no closing quote");
    }

    #[test]
    fn columns_count_characters() {
        let error = tokens("é\n  \"é\" \"x").unwrap_err();
        assert_eq!((error.line, error.column), (2, 7));
    }
}
