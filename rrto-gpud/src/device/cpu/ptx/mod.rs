//! PTX: from text to instructions that the executor knows.
//!
//! `parser` makes an `Ast` of the text; `lower` resolves names, chooses a function for each instruction and
//! refuses what the executor does not know. Nothing is left to be found out when a kernel runs.

pub(crate) mod ast;
mod body;
mod declaration;
mod error;
pub(crate) mod ir;
mod lexer;
pub(crate) mod lower;
mod operand;
pub(crate) mod parser;

pub(crate) use ast::Type;
pub use error::LoadError;
pub use lower::{KernelParam, MAX_FRAME_BYTES, MAX_PARAM_BYTES, MAX_REGISTERS};
pub use parser::{MAX_BLOCK_DEPTH, MAX_OPERANDS, MAX_SOURCE_BYTES, NEWEST_VERSION};
