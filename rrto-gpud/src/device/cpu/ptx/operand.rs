//! The operands of an instruction.

use super::LoadError;
use super::ast::Operand;
use super::lexer::Token;
use super::parser::{MAX_OPERANDS, Parser};

type Result<T> = std::result::Result<T, LoadError>;

/// Parses one operand of an instruction.
pub(super) fn operand<'a>(parser: &mut Parser<'a>) -> Result<Operand<'a>> {
    match parser.next()? {
        Token::Punct('[') => address(parser),
        Token::Punct('{') => Ok(Operand::Vector(list(parser, '}')?)),
        Token::Punct('(') => Ok(Operand::Group(list(parser, ')')?)),
        found => scalar(parser, found),
    }
}

/// The elements of a vector or of a call's list, whose opening bracket has been taken. They do not nest.
fn list<'a>(parser: &mut Parser<'a>, close: char) -> Result<Vec<Operand<'a>>> {
    let mut elements = Vec::new();
    if parser.accept(close)? {
        return Ok(elements);
    }
    loop {
        let found = parser.next()?;
        elements.push(scalar(parser, found)?);
        if elements.len() > MAX_OPERANDS {
            return Err(LoadError::syntax(parser.line, "too many operands"));
        }
        match parser.next()? {
            Token::Punct(',') => {}
            Token::Punct(found) if found == close => return Ok(elements),
            found => return parser.unexpected(found, &format!("`,` or `{close}`")),
        }
    }
}

fn scalar<'a>(parser: &mut Parser<'a>, first: Token<'a>) -> Result<Operand<'a>> {
    match first {
        Token::Name(name) => match parser.peek()? {
            Token::Dot(member) => {
                parser.next()?;
                Ok(Operand::Member(name, member))
            }
            Token::Punct('|') => {
                parser.next()?;
                Ok(Operand::Pair(name, parser.name("a predicate after `|`")?))
            }
            _ => Ok(Operand::Name(name, parser.addend()?)),
        },
        Token::Punct('!') => Ok(Operand::Not(parser.name("a predicate after `!`")?)),
        Token::Punct('-') => match parser.next()? {
            Token::Int(value) => Ok(Operand::Int(value.wrapping_neg())),
            Token::Decimal(text) => Ok(Operand::Decimal(-parser.decimal(text)?)),
            found => parser.unexpected(found, "a number after `-`"),
        },
        Token::Punct('~') => Ok(Operand::Int(!parser.int("an integer after `~`")?)),
        Token::Int(value) => Ok(Operand::Int(value)),
        Token::F32(bits) => Ok(Operand::F32(bits)),
        Token::F64(bits) => Ok(Operand::F64(bits)),
        Token::Decimal(text) => Ok(Operand::Decimal(parser.decimal(text)?)),
        found => parser.unexpected(found, "an operand"),
    }
}

/// `[base+offset]`, whose opening bracket has been taken.
fn address<'a>(parser: &mut Parser<'a>) -> Result<Operand<'a>> {
    let operand = match parser.next()? {
        Token::Name(base) => Operand::Address { base: Some(base), offset: parser.addend()? },
        Token::Int(value) => {
            Operand::Address { base: None, offset: (value as i64).wrapping_add(parser.addend()?) }
        }
        found => return parser.unexpected(found, "a register, a symbol or a number"),
    };
    match parser.next()? {
        Token::Punct(']') => Ok(operand),
        Token::Punct(',') => Err(LoadError::unsupported(parser.line, "texture and surface operands")),
        found => parser.unexpected(found, "`]`"),
    }
}
