//! PTX text to [`Ast`]: a recursive-descent parser with one token of look-ahead (two at a label).
//!
//! Everything that the text can make large or deep has a limit here, so that no input can exhaust the stack or demand
//! more memory than a small multiple of its own size.

use rrto_core::api::CuResult;

use super::LoadError;
use super::ast::{Ast, DeclSpace, Function, Init, Instruction, Statement, Type, Variable};
use super::lexer::{Lexer, Token};

/// Longest accepted PTX text in bytes. cuBLAS-sized modules are some ten megabytes.
pub const MAX_SOURCE_BYTES: usize = 64 << 20;
/// Deepest nesting of `{ }` blocks; nvcc nests two deep, hand-written inline assembly a few more.
pub const MAX_BLOCK_DEPTH: usize = 32;
/// Most operands in one list. A call may have as many parameters as 4 kB hold bytes, at most.
pub const MAX_OPERANDS: usize = 4096;
/// The newest PTX version that is understood.
pub const NEWEST_VERSION: (u32, u32) = (9, 0);

type Result<T> = std::result::Result<T, LoadError>;

/// Parses a whole module.
pub(crate) fn parse(text: &str) -> Result<Ast<'_>> {
    if text.len() > MAX_SOURCE_BYTES {
        return Err(LoadError::syntax(0, format!("the text is longer than {MAX_SOURCE_BYTES} bytes")));
    }
    let mut parser = Parser { lexer: Lexer::new(text.trim_end_matches('\0')), line: 1 };
    parser.module()
}

pub(super) struct Parser<'a> {
    pub(super) lexer: Lexer<'a>,
    /// The line of the token taken last.
    pub(super) line: u32,
}

#[derive(Clone, Copy, Default)]
struct Linkage {
    external: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn next(&mut self) -> Result<Token<'a>> {
        self.lexer.skip_blank()?;
        self.line = self.lexer.line();
        self.lexer.next()
    }

    pub(super) fn peek(&self) -> Result<Token<'a>> {
        self.lexer.peek()
    }

    pub(super) fn unexpected<T>(&self, found: Token<'_>, expected: &str) -> Result<T> {
        Err(LoadError::syntax(self.line, format!("expected {expected}, found {}", found.describe())))
    }

    pub(super) fn accept(&mut self, punct: char) -> Result<bool> {
        let found = self.peek()? == Token::Punct(punct);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, punct: char) -> Result<()> {
        match self.next()? {
            Token::Punct(found) if found == punct => Ok(()),
            found => self.unexpected(found, &format!("`{punct}`")),
        }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<&'a str> {
        match self.next()? {
            Token::Name(name) => Ok(name),
            found => self.unexpected(found, what),
        }
    }

    pub(super) fn int(&mut self, what: &str) -> Result<u64> {
        match self.next()? {
            Token::Int(value) => Ok(value),
            found => self.unexpected(found, what),
        }
    }

    fn small(&mut self, what: &str) -> Result<u32> {
        let value = self.int(what)?;
        u32::try_from(value).map_err(|_| LoadError::syntax(self.line, format!("{what} {value} is too large")))
    }

    fn module(&mut self) -> Result<Ast<'a>> {
        let mut ast = Ast::default();
        let mut linkage = Linkage::default();
        let mut versioned = false;
        loop {
            match self.next()? {
                Token::End if versioned => return Ok(ast),
                Token::Dot("version") => {
                    self.version()?;
                    versioned = true;
                }
                found if !versioned => return self.unexpected(found, "`.version` at the start of a module"),
                Token::Dot("target") => self.target()?,
                Token::Dot("address_size") => {
                    let bits = self.int("the address size")?;
                    if bits != 64 {
                        return Err(LoadError::unsupported(self.line, format!("{bits}-bit addresses")));
                    }
                }
                Token::Dot("visible" | "weak" | "common") => {}
                Token::Dot("extern") => linkage.external = true,
                Token::Dot("global") => {
                    self.variables(DeclSpace::Global, linkage.external, &mut ast.variables)?;
                    linkage = Linkage::default();
                }
                Token::Dot("const") => {
                    self.variables(DeclSpace::Const, linkage.external, &mut ast.variables)?;
                    linkage = Linkage::default();
                }
                Token::Dot("shared") => {
                    self.variables(DeclSpace::Shared, linkage.external, &mut ast.variables)?;
                    linkage = Linkage::default();
                }
                Token::Dot(kind @ ("entry" | "func")) => {
                    ast.functions.push(self.function(kind == "entry")?);
                    linkage = Linkage::default();
                }
                Token::Dot("file" | "loc") | Token::Punct('@') => self.debug_line()?,
                Token::Dot("section") => self.section()?,
                Token::Dot("pragma") => self.skip_statement()?,
                Token::Punct(';') => {}
                Token::Dot(other) => {
                    return Err(LoadError::unsupported(self.line, format!("the directive `.{other}`")));
                }
                found => return self.unexpected(found, "a directive"),
            }
        }
    }

    fn version(&mut self) -> Result<()> {
        let found = self.next()?;
        let parsed = match found {
            Token::Decimal(text) => text
                .split_once('.')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))),
            _ => None,
        };
        let Some(version) = parsed else { return self.unexpected(found, "a version such as 9.0") };
        if version > NEWEST_VERSION {
            return Err(LoadError::with_status(
                CuResult::UNSUPPORTED_PTX_VERSION,
                self.line,
                format!(
                    "PTX version {}.{} is newer than {}.{}",
                    version.0, version.1, NEWEST_VERSION.0, NEWEST_VERSION.1
                ),
            ));
        }
        Ok(())
    }

    fn target(&mut self) -> Result<()> {
        loop {
            self.name("a target such as sm_80")?;
            if !self.accept(',')? {
                return Ok(());
            }
        }
    }

    /// `.loc`, `.file` and `@@DWARF` end with their line.
    fn debug_line(&mut self) -> Result<()> {
        self.lexer.skip_line();
        Ok(())
    }

    /// `.section name { ... }`, whose content is DWARF.
    fn section(&mut self) -> Result<()> {
        while self.next()? != Token::Punct('{') {
            if self.peek()? == Token::End {
                return self.unexpected(Token::End, "`{`");
            }
        }
        loop {
            match self.next()? {
                Token::Punct('}') => return Ok(()),
                Token::End => return self.unexpected(Token::End, "`}`"),
                _ => {}
            }
        }
    }

    pub(super) fn skip_statement(&mut self) -> Result<()> {
        loop {
            match self.next()? {
                Token::Punct(';') => return Ok(()),
                Token::End => return self.unexpected(Token::End, "`;`"),
                _ => {}
            }
        }
    }

    /// The rest of a variable declaration statement, after its space.
    fn variables(&mut self, space: DeclSpace, external: bool, into: &mut Vec<Variable<'a>>) -> Result<()> {
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
    fn variable_type(&mut self, space: DeclSpace) -> Result<(Option<u32>, Type, u32)> {
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

    fn variable_name(
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

    fn function(&mut self, entry: bool) -> Result<Function<'a>> {
        let mut returns = Vec::new();
        if !entry {
            if self.peek()? == Token::Dot("attribute") {
                return Err(LoadError::unsupported(self.line, "functions with `.attribute`"));
            }
            if self.accept('(')? {
                self.parameters(&mut returns)?;
            }
        }
        let name = self.name("the function's name")?;
        let line = self.line;
        let mut params = Vec::new();
        if self.accept('(')? {
            self.parameters(&mut params)?;
        }
        let max_threads = self.performance_directives()?;
        let body = match self.next()? {
            Token::Punct(';') => None,
            Token::Punct('{') => Some(self.block(0).map_err(|e| e.within(name))?),
            found => return self.unexpected(found, "`{` or `;` after the function's head"),
        };
        Ok(Function { line, name, entry, returns, params, max_threads, body })
    }

    fn parameters(&mut self, into: &mut Vec<Variable<'a>>) -> Result<()> {
        if self.accept(')')? {
            return Ok(());
        }
        loop {
            match self.next()? {
                Token::Dot("param") => {
                    let (align, ty, lanes) = self.variable_type(DeclSpace::Param)?;
                    into.push(self.variable_name(DeclSpace::Param, align, ty, lanes, false)?);
                }
                Token::Dot("reg") => {
                    return Err(LoadError::unsupported(self.line, "parameters in registers (`.reg`)"));
                }
                found => return self.unexpected(found, "`.param`"),
            }
            if into.len() > MAX_OPERANDS {
                return Err(LoadError::syntax(self.line, "too many parameters"));
            }
            match self.next()? {
                Token::Punct(',') => {}
                Token::Punct(')') => return Ok(()),
                found => return self.unexpected(found, "`,` or `)` after a parameter"),
            }
        }
    }

    fn performance_directives(&mut self) -> Result<Option<u32>> {
        let mut max_threads = None;
        loop {
            match self.peek()? {
                Token::Dot("maxntid" | "reqntid") => {
                    self.next()?;
                    let mut product = u64::from(self.small("a block dimension")?);
                    while self.accept(',')? {
                        product = product.saturating_mul(u64::from(self.small("a block dimension")?));
                    }
                    max_threads = Some(u32::try_from(product).unwrap_or(u32::MAX));
                }
                Token::Dot("minnctapersm" | "maxnctapersm" | "maxnreg" | "maxclusterrank") => {
                    self.next()?;
                    self.int("a number")?;
                }
                Token::Dot("noreturn" | "blocksareclusters") => {
                    self.next()?;
                }
                Token::Dot("pragma") => self.skip_statement()?,
                Token::Dot(name @ ("reqnctapercluster" | "explicitcluster")) => {
                    return Err(LoadError::unsupported(
                        self.line,
                        format!("thread block clusters (`.{name}`)"),
                    ));
                }
                _ => return Ok(max_threads),
            }
        }
    }

    fn block(&mut self, depth: usize) -> Result<Vec<Statement<'a>>> {
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
