//! PTX text to [`Ast`]: a recursive-descent parser with one token of look-ahead (two at a label).
//!
//! Everything that the text can make large or deep has a limit here, so that no input can exhaust the stack
//! or demand more memory than a small multiple of its own size.

use rrto_core::api::CuResult;

use super::LoadError;
use super::ast::{Ast, DeclSpace, Function, Variable};
use super::lexer::{Lexer, Token};

/// Longest accepted PTX text in bytes. cuBLAS-sized modules are some ten megabytes.
pub const MAX_SOURCE_BYTES: usize = 32 << 20;
/// Deepest nesting of `{ }` blocks; nvcc nests two deep, hand-written inline assembly a few more.
pub const MAX_BLOCK_DEPTH: usize = 32;
/// Most operands in one list. A call may have as many parameters as 4 kB hold bytes, at most.
pub const MAX_OPERANDS: usize = 4096;
/// The newest PTX version that is understood.
pub const NEWEST_VERSION: (u32, u32) = (9, 0);

pub(super) type Result<T> = std::result::Result<T, LoadError>;

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

    pub(super) fn small(&mut self, what: &str) -> Result<u32> {
        let value = self.int(what)?;
        u32::try_from(value).map_err(|_| LoadError::syntax(self.line, format!("{what} {value} is too large")))
    }

    fn module(&mut self) -> Result<Ast<'a>> {
        self.first_directive().map_err(|error| LoadError { status: CuResult::INVALID_IMAGE, ..error })?;
        self.version()?;
        let mut ast = Ast::default();
        let mut linkage = Linkage::default();
        loop {
            match self.next()? {
                Token::End => return Ok(ast),
                Token::Dot("version") => self.version()?,
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

    /// Text that does not begin like PTX is no module at all to the driver, and not one with an error.
    fn first_directive(&mut self) -> Result<()> {
        match self.next()? {
            Token::Dot("version") => Ok(()),
            found => self.unexpected(found, "`.version` at the start of a module"),
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
    pub(super) fn debug_line(&mut self) -> Result<()> {
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
}
