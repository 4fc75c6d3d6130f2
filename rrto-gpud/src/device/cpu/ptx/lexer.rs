//! PTX text to tokens.
//!
//! The lexer is a cursor over the text: it owns nothing, is cheap to clone (which is how the parser looks
//! ahead), and every token knows its line. It never panics, whatever the bytes.

use super::LoadError;

/// One token of PTX text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// A name: an opcode, a symbol, or a register with its `%`.
    Name(&'a str),
    /// A name that a dot precedes, without the dot: a directive, a type or a modifier. May contain `::`.
    Dot(&'a str),
    /// An integer literal, whatever its base.
    Int(u64),
    /// `0fXXXXXXXX`: the bits of an f32.
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX`: the bits of an f64.
    F64(u64),
    /// A decimal floating-point literal as written (also the version number `9.0`).
    Decimal(&'a str),
    /// A string without its quotes.
    Text(&'a str),
    /// One character of punctuation.
    Punct(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// How an error message shows the token.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Name(name) => format!("`{name}`"),
            Token::Dot(name) => format!("`.{name}`"),
            Token::Int(value) => format!("`{value}`"),
            Token::F32(bits) => format!("`0f{bits:08X}`"),
            Token::F64(bits) => format!("`0d{bits:016X}`"),
            Token::Decimal(text) => format!("`{text}`"),
            Token::Text(_) => "a string".into(),
            Token::Punct(c) => format!("`{c}`"),
            Token::End => "the end of the text".into(),
        }
    }
}

/// A cursor over PTX text.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the next token, once [`Lexer::skip_blank`] has run.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    /// The byte at which the cursor stands.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The text between two positions of this cursor.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or("")
    }

    fn peek_byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at.checked_add(ahead)?).copied()
    }

    /// Passes over white space and comments, counting lines.
    pub(crate) fn skip_blank(&mut self) -> Result<(), LoadError> {
        loop {
            match (self.peek_byte(0), self.peek_byte(1)) {
                (Some(b'\n'), _) => {
                    self.line = self.line.saturating_add(1);
                    self.at += 1;
                }
                (Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'/'), Some(b'/')) => self.skip_line(),
                (Some(b'/'), Some(b'*')) => self.skip_block_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// Passes over the rest of the current line, leaving its end in place.
    pub(crate) fn skip_line(&mut self) {
        while self.peek_byte(0).is_some_and(|c| c != b'\n') {
            self.at += 1;
        }
    }

    fn skip_block_comment(&mut self) -> Result<(), LoadError> {
        let line = self.line;
        self.at += 2;
        loop {
            match (self.peek_byte(0), self.peek_byte(1)) {
                (Some(b'*'), Some(b'/')) => {
                    self.at += 2;
                    return Ok(());
                }
                (Some(c), _) => {
                    self.line = self.line.saturating_add(u32::from(c == b'\n'));
                    self.at += 1;
                }
                (None, _) => return Err(LoadError::syntax(line, "this comment has no end; expected `*/`")),
            }
        }
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let from = self.at;
        while self.peek_byte(0).is_some_and(&accept) {
            self.at += 1;
        }
        self.slice(from, self.at)
    }

    /// The next token; [`Token::End`] for ever once the text is used up.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, LoadError> {
        self.skip_blank()?;
        let Some(first) = self.peek_byte(0) else { return Ok(Token::End) };
        match first {
            b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'.' if self.peek_byte(1).is_some_and(is_name_byte) => {
                self.at += 1;
                Ok(Token::Dot(self.dotted_name()))
            }
            c if is_name_start(c) => {
                self.at += 1;
                let from = self.at - 1;
                self.take_while(is_name_byte);
                Ok(Token::Name(self.slice(from, self.at)))
            }
            _ => {
                let c = self.text.get(self.at..).and_then(|rest| rest.chars().next()).unwrap_or('\0');
                self.at += c.len_utf8();
                match c {
                    '{' | '}' | '[' | ']' | '(' | ')' | '<' | '>' | ',' | ';' | ':' | '=' | '+' | '-'
                    | '|' | '!' | '@' | '~' => Ok(Token::Punct(c)),
                    _ => Err(LoadError::syntax(
                        self.line,
                        format!("the character {c:?} has no meaning in PTX"),
                    )),
                }
            }
        }
    }

    /// The next token without moving.
    pub(crate) fn peek(&self) -> Result<Token<'a>, LoadError> {
        self.clone().next()
    }

    /// A modifier such as `shared::cta` or `L2::128B`: names joined by `::`.
    fn dotted_name(&mut self) -> &'a str {
        let from = self.at;
        self.take_while(is_name_byte);
        while self.peek_byte(0) == Some(b':')
            && self.peek_byte(1) == Some(b':')
            && self.peek_byte(2).is_some_and(is_name_byte)
        {
            self.at += 2;
            self.take_while(is_name_byte);
        }
        self.slice(from, self.at)
    }

    fn string(&mut self) -> Result<Token<'a>, LoadError> {
        let line = self.line;
        self.at += 1;
        let from = self.at;
        loop {
            match self.peek_byte(0) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token::Text(self.slice(from, self.at - 1)));
                }
                Some(b'\\') if self.peek_byte(1).is_some() => self.at += 2,
                Some(b'\n') | None => {
                    return Err(LoadError::syntax(line, "this string has no end; expected `\"`"));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<Token<'a>, LoadError> {
        let line = self.line;
        let prefix = (self.peek_byte(0), self.peek_byte(1));
        let bad = |text: &str| LoadError::syntax(line, format!("`{text}` is not a number"));
        let radix = match prefix {
            (Some(b'0'), Some(b'x' | b'X')) => 16,
            (Some(b'0'), Some(b'b' | b'B')) => 2,
            (Some(b'0'), Some(b'f' | b'F')) => {
                let text = self.take_while(is_name_byte);
                let digits = text.get(2..).filter(|d| d.len() == 8).ok_or_else(|| bad(text))?;
                return u32::from_str_radix(digits, 16).map(Token::F32).map_err(|_| bad(text));
            }
            (Some(b'0'), Some(b'd' | b'D')) => {
                let text = self.take_while(is_name_byte);
                let digits = text.get(2..).filter(|d| d.len() == 16).ok_or_else(|| bad(text))?;
                return u64::from_str_radix(digits, 16).map(Token::F64).map_err(|_| bad(text));
            }
            _ => 10,
        };
        if radix == 10 && self.is_decimal_fraction() {
            return Ok(Token::Decimal(self.take_decimal()));
        }
        let text = self.take_while(|c| c.is_ascii_alphanumeric());
        let digits = text.strip_suffix(['U', 'u']).unwrap_or(text);
        let value = match radix {
            10 if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8),
            10 => digits.parse(),
            _ => u64::from_str_radix(digits.get(2..).unwrap_or(""), radix),
        };
        value.map(Token::Int).map_err(|_| bad(text))
    }

    fn is_decimal_fraction(&self) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or(&[]);
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        match rest.get(digits) {
            Some(b'.') => rest.get(digits + 1).is_some_and(u8::is_ascii_digit),
            Some(b'e' | b'E') => true,
            _ => false,
        }
    }

    fn take_decimal(&mut self) -> &'a str {
        let from = self.at;
        self.take_while(|c| c.is_ascii_digit());
        if self.peek_byte(0) == Some(b'.') {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek_byte(0), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek_byte(0), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.take_while(|c| c.is_ascii_digit());
        }
        self.slice(from, self.at)
    }
}

fn is_name_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%')
}

fn is_name_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$')
}
