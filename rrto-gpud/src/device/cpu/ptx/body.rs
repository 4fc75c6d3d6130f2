//! The bodies of functions.

use super::LoadError;
use super::ast::{DeclSpace, Instruction, Statement, Type};
use super::lexer::Token;
use super::parser::{MAX_BLOCK_DEPTH, MAX_OPERANDS, Parser, Result};

impl<'a> Parser<'a> {
    pub(super) fn block(&mut self, depth: usize) -> Result<Vec<Statement<'a>>> {
        if depth > MAX_BLOCK_DEPTH {
            return Err(LoadError::syntax(
                self.line,
                format!("blocks are nested more than {MAX_BLOCK_DEPTH} deep"),
            ));
        }
        let mut body = Vec::new();
        loop {
            match self.peek()? {
                Token::Punct('}') => {
                    self.next()?;
                    return Ok(body);
                }
                Token::Punct('{') => {
                    self.next()?;
                    body.push(Statement::Block(self.block(depth + 1)?));
                }
                Token::Punct(';') => {
                    self.next()?;
                }
                Token::Dot(_) => {
                    let Token::Dot(directive) = self.next()? else { continue };
                    self.body_directive(directive, &mut body)?;
                }
                Token::Name(_) | Token::Punct('@') => self.label_or_instruction(&mut body)?,
                _ => {
                    let found = self.next()?;
                    return self.unexpected(found, "an instruction or `}`");
                }
            }
        }
    }

    fn body_directive(&mut self, directive: &str, body: &mut Vec<Statement<'a>>) -> Result<()> {
        let space = match directive {
            "reg" => return self.registers(body),
            "loc" | "file" => return self.debug_line(),
            "pragma" => return self.skip_statement(),
            "local" => DeclSpace::Local,
            "shared" => DeclSpace::Shared,
            "param" => DeclSpace::Param,
            "const" => DeclSpace::Const,
            "global" => DeclSpace::Global,
            other => return Err(LoadError::unsupported(self.line, format!("the directive `.{other}`"))),
        };
        let mut variables = Vec::new();
        self.variables(space, false, &mut variables)?;
        body.extend(variables.into_iter().map(Statement::Variable));
        Ok(())
    }

    fn registers(&mut self, body: &mut Vec<Statement<'a>>) -> Result<()> {
        let line = self.line;
        let found = self.next()?;
        let ty = match found {
            Token::Dot(name) => Type::named(name),
            _ => None,
        };
        let Some(ty) = ty else { return self.unexpected(found, "the registers' type") };
        let mut names = Vec::new();
        loop {
            let name = self.name("a register's name")?;
            let count = if self.accept('<')? {
                let count = self.small("the number of registers")?;
                self.expect('>')?;
                Some(count)
            } else {
                None
            };
            names.push((name, count));
            match self.next()? {
                Token::Punct(',') => {}
                Token::Punct(';') => break,
                found => return self.unexpected(found, "`,` or `;` after a register"),
            }
        }
        body.push(Statement::Registers { line, ty, names });
        Ok(())
    }

    fn label_or_instruction(&mut self, body: &mut Vec<Statement<'a>>) -> Result<()> {
        let mut ahead = self.lexer.clone();
        if let Token::Name(name) = ahead.next()?
            && ahead.next()? == Token::Punct(':')
        {
            self.next()?;
            self.next()?;
            return match self.peek()? {
                Token::Dot("branchtargets") => self.branch_targets(name, body),
                Token::Dot(kind @ ("callprototype" | "calltargets")) => {
                    Err(LoadError::unsupported(self.line, format!("indirect calls (`.{kind}`)")))
                }
                _ => {
                    body.push(Statement::Label(name));
                    Ok(())
                }
            };
        }
        body.push(Statement::Instruction(self.instruction()?));
        Ok(())
    }

    fn branch_targets(&mut self, name: &'a str, body: &mut Vec<Statement<'a>>) -> Result<()> {
        self.next()?;
        let line = self.line;
        let mut targets = Vec::new();
        loop {
            targets.push(self.name("a label")?);
            match self.next()? {
                Token::Punct(',') => {}
                Token::Punct(';') => break,
                found => return self.unexpected(found, "`,` or `;` after a label"),
            }
        }
        body.push(Statement::BranchTargets { line, name, targets });
        Ok(())
    }

    fn instruction(&mut self) -> Result<Instruction<'a>> {
        let guard = if self.accept('@')? {
            let negated = self.accept('!')?;
            Some((self.name("the guard predicate")?, negated))
        } else {
            None
        };
        self.lexer.skip_blank()?;
        let from = self.lexer.position();
        let opcode = self.name("an instruction")?;
        let line = self.line;
        let mut modifiers = Vec::new();
        let mut to = self.lexer.position();
        while let Token::Dot(modifier) = self.peek()? {
            self.next()?;
            modifiers.push(modifier);
            to = self.lexer.position();
        }
        let text = self.lexer.slice(from, to);
        let mut operands = Vec::new();
        if !self.accept(';')? {
            loop {
                operands.push(super::operand::operand(self)?);
                if operands.len() > MAX_OPERANDS {
                    return Err(LoadError::syntax(self.line, "too many operands"));
                }
                match self.next()? {
                    Token::Punct(',') => {}
                    Token::Punct(';') => break,
                    found => {
                        return self.unexpected(found, &format!("`,` or `;` after an operand of `{text}`"));
                    }
                }
            }
        }
        Ok(Instruction { line, guard, text, opcode, modifiers, operands })
    }
}
