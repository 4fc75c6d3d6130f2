//! libcuda.so.1 for programs whose GPU is elsewhere, and the rrto command.

pub mod boundary;
pub mod context;
pub mod log;
pub mod private_tables;
pub mod proc_address;
