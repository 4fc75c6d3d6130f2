//! The functions that are not offered.

use rrto_core::api::{CuResult, Function};

use crate::{boundary, calls, log};

macro_rules! define_all {
    ($($symbol:ident since $since:tt $class:ident;)*) => {
        $(define_one!($symbol $class);)*
    };
}

/// A function takes any arguments: in the calling conventions of the platforms that CUDA runs on the caller cleans
/// up, and a callee that reads none of them cannot tell.
macro_rules! define_one {
    ($symbol:ident Unsupported) => {
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $symbol() -> u32 {
            refuse(Function::$symbol)
        }
    };
    ($symbol:ident $offered:ident) => {};
}

rrto_core::for_each_function!(define_all);

#[cold]
fn refuse(function: Function) -> u32 {
    boundary::guard(|| {
        calls::begin(function);
        log::error!("the program called {function}: not offered");
        CuResult::NOT_SUPPORTED
    })
}
