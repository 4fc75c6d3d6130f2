//! The RRTO GPU server: sessions, handles and execution on a GPU or on the software GPU.

pub mod device;
