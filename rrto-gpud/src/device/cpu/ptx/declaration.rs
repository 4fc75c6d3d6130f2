//! Variables and their initial values.

use super::LoadError;
use super::ast::{DeclSpace, Init, Type, Variable};
use super::lexer::Token;
use super::parser::{MAX_BLOCK_DEPTH, Parser, Result};

impl<'a> Parser<'a> {
    /// The rest of a variable declaration statement, after its space.
    pub(super) fn variables(
        &mut self,
        space: DeclSpace,
        external: bool,
        into: &mut Vec<Variable<'a>>,
    ) -> Result<()> {
        let (align, element, lanes) = self.variable_type(space)?;
        loop {
            into.push(self.variable_name(space, align, element, lanes, external)?);
            match self.next()? {
                Token::Punct(',') => {}
                Token::Punct(';') => return Ok(()),
                found => return self.unexpected(found, "`,` or `;` after a variable"),
            }
        }
    }

    /// `.align 8 .v2 .f32`, and the pointer attributes of a parameter, which say nothing that execution needs.
    pub(super) fn variable_type(&mut self, space: DeclSpace) -> Result<(Option<u32>, Type, u32)> {
        let (mut align, mut lanes, mut ty) = (None, 1, None);
        loop {
            match self.peek()? {
                Token::Dot("align") => {
                    self.next()?;
                    align = Some(self.alignment()?);
                }
                Token::Dot(name @ ("v2" | "v4" | "v8")) => {
                    self.next()?;
                    lanes = u32::from(name.as_bytes().get(1).map_or(1, |c| c - b'0'));
                }
                Token::Dot("ptr" | "global" | "shared" | "const" | "local") if space == DeclSpace::Param => {
                    self.next()?;
                    if ty.is_some() && self.peek()? == Token::Dot("align") {
                        // The alignment of what the parameter points to.
                        self.next()?;
                        self.alignment()?;
                    }
                }
                Token::Dot("attribute") => {
                    self.next()?;
                    return Err(LoadError::unsupported(self.line, "variables with `.attribute`"));
                }
                Token::Dot(name) if Type::named(name).is_some() && ty.is_none() => {
                    self.next()?;
                    ty = Type::named(name);
                }
                found => {
                    return match ty {
                        Some(Type::Pred) => {
                            Err(LoadError::syntax(self.line, "a predicate cannot be a variable in memory"))
                        }
                        Some(ty) => Ok((align, ty, lanes)),
                        None => {
                            self.next()?;
                            self.unexpected(found, "a type such as `.b32`")
                        }
                    };
                }
            }
        }
    }

    fn alignment(&mut self) -> Result<u32> {
        let align = self.small("the alignment")?;
        if align.is_power_of_two() && align <= 4096 {
            return Ok(align);
        }
        Err(LoadError::syntax(self.line, format!("the alignment {align} is not a power of two up to 4096")))
    }

    pub(super) fn variable_name(
        &mut self,
        space: DeclSpace,
        align: Option<u32>,
        element: Type,
        lanes: u32,
        external: bool,
    ) -> Result<Variable<'a>> {
        let name = self.name("the variable's name")?;
        let line = self.line;
        let too_large = || LoadError::syntax(line, format!("the variable `{name}` is too large"));
        let unit = u64::from(element.bytes() * lanes);
        let mut bytes = unit;
        let mut unsized_array = false;
        while self.accept('[')? {
            if self.accept(']')? {
                unsized_array = true;
                continue;
            }
            bytes = bytes.checked_mul(self.int("the array's length")?).ok_or_else(too_large)?;
            self.expect(']')?;
        }
        let mut init = Vec::new();
        if self.accept('=')? {
            self.initialiser(&mut init, 0)?;
            if unsized_array {
                bytes = bytes.checked_mul(init.len() as u64 / u64::from(lanes)).ok_or_else(too_large)?;
            }
        } else if unsized_array {
            bytes = 0;
        }
        if i64::try_from(bytes).is_err() {
            return Err(too_large());
        }
        let align = align.unwrap_or(1).max(u32::try_from(unit).unwrap_or(16).next_power_of_two());
        Ok(Variable { line, name, space, align, bytes, element, external, init })
    }

    fn initialiser(&mut self, into: &mut Vec<Init<'a>>, depth: usize) -> Result<()> {
        if depth > MAX_BLOCK_DEPTH {
            return Err(LoadError::syntax(self.line, "initialisers are nested too deeply"));
        }
        if !self.accept('{')? {
            into.push(self.init_value()?);
            return Ok(());
        }
        if self.accept('}')? {
            return Ok(());
        }
        loop {
            self.initialiser(into, depth + 1)?;
            match self.next()? {
                Token::Punct(',') => {}
                Token::Punct('}') => return Ok(()),
                found => return self.unexpected(found, "`,` or `}` in an initialiser"),
            }
        }
    }

    fn init_value(&mut self) -> Result<Init<'a>> {
        match self.next()? {
            Token::Punct('-') => match self.next()? {
                Token::Int(value) => Ok(Init::Int(value.wrapping_neg())),
                Token::Decimal(text) => Ok(Init::Decimal(-self.decimal(text)?)),
                found => self.unexpected(found, "a number"),
            },
            Token::Int(mask) if self.peek()? == Token::Punct('(') => {
                self.expect('(')?;
                let (symbol, addend) = self.init_symbol(None)?;
                self.expect(')')?;
                Ok(Init::Address { symbol, addend, mask: Some(mask) })
            }
            Token::Int(value) => Ok(Init::Int(value)),
            Token::F32(bits) => Ok(Init::F32(bits)),
            Token::F64(bits) => Ok(Init::F64(bits)),
            Token::Decimal(text) => Ok(Init::Decimal(self.decimal(text)?)),
            Token::Name(name) => {
                let (symbol, addend) = self.init_symbol(Some(name))?;
                Ok(Init::Address { symbol, addend, mask: None })
            }
            found => self.unexpected(found, "an initial value"),
        }
    }

    /// `generic(name)+8` or `name+8`.
    fn init_symbol(&mut self, first: Option<&'a str>) -> Result<(&'a str, i64)> {
        let first = match first {
            Some(name) => name,
            None => self.name("a symbol")?,
        };
        let symbol = if first == "generic" && self.accept('(')? {
            let symbol = self.name("a symbol")?;
            let inner = self.addend()?;
            self.expect(')')?;
            return Ok((symbol, inner.wrapping_add(self.addend()?)));
        } else {
            first
        };
        Ok((symbol, self.addend()?))
    }

    /// `+8`, `-8`, `+-8`, or nothing.
    pub(super) fn addend(&mut self) -> Result<i64> {
        let minus = match self.peek()? {
            Token::Punct('+') => {
                self.next()?;
                self.accept('-')?
            }
            Token::Punct('-') => {
                self.next()?;
                true
            }
            _ => return Ok(0),
        };
        let value = self.int("an offset")? as i64;
        Ok(if minus { value.wrapping_neg() } else { value })
    }

    pub(super) fn decimal(&self, text: &str) -> Result<f64> {
        text.parse().map_err(|_| LoadError::syntax(self.line, format!("`{text}` is not a number")))
    }
}
