//! The CUDA driver API as RRTO knows it: which functions there are, what each costs, what the numbers mean.
//!
//! - [`for_each_function!`](crate::for_each_function): the table, one row a function.
//! - [`Function`]: a row, as a value. [`Class`]: what calling it costs.
//! - [`Function::resolve`]: names and versions, as cuGetProcAddress understands them.
//! - [`CuResult`]: the error codes, with their names and texts.
//! - [`DeviceAttribute`], [`FunctionAttribute`]: the attribute numbers.
//!
//! This module knows nothing of argument lists, transports or the program: it must never import another room.

mod attribute;
mod class;
mod function;
mod result;
mod table;

pub use attribute::{DeviceAttribute, FunctionAttribute, NotOffered};
pub use class::Class;
pub(crate) use function::fingerprint;
pub use function::{Function, ResolveError, TABLE_FINGERPRINT, resolve_flags, table_hash};
pub use result::CuResult;
