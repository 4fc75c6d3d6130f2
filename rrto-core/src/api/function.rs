//! A row of the table as a value.

use std::{collections::HashMap, fmt, sync::OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Class;

/// Flags of cuGetProcAddress (`CUdriverProcAddress_flags`).
pub mod resolve_flags {
    /// CU_GET_PROC_ADDRESS_DEFAULT: the same as [`LEGACY_STREAM`].
    pub const DEFAULT: u64 = 0;
    /// CU_GET_PROC_ADDRESS_LEGACY_STREAM: stream 0 is the legacy default stream.
    pub const LEGACY_STREAM: u64 = 1;
    /// CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM: stream 0 is the thread's own default stream.
    pub const PER_THREAD_DEFAULT_STREAM: u64 = 2;
}

/// `since` of a function that cuGetProcAddress does not name.
const NEVER: u32 = u32::MAX;

struct Row {
    symbol: &'static str,
    base: &'static str,
    since: u32,
    class: Class,
}

macro_rules! since {
    (NEVER) => {
        NEVER
    };
    ($version:literal) => {
        $version
    };
}

macro_rules! define_functions {
    ($($symbol:ident since $since:tt $class:ident;)*) => {
        /// A function of the CUDA driver API: one symbol that libcuda exports.
        ///
        /// Its wire form is its [`index`](Self::index), which means the same at both ends only while their
        /// [`table_hash`]es are equal.
        #[expect(non_camel_case_types, reason = "a function is named as libcuda exports it")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Function {
            $(#[doc = concat!("`", stringify!($symbol), "`")] $symbol,)*
        }

        impl Function {
            /// Every function, in the order of the table: `ALL[f.index()] == f`.
            pub const ALL: &'static [Function] = &[$(Function::$symbol),*];
        }

        const ROWS: &[Row] = &[$(Row {
            symbol: stringify!($symbol),
            base: base_of(stringify!($symbol)),
            since: since!($since),
            class: Class::$class,
        }),*];
    };
}

crate::for_each_function!(define_functions);

/// Why a name could not be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    /// No function has this name (CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND).
    #[error("no driver function has this name")]
    NotFound,
    /// There is one, newer than the version asked for (CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT).
    #[error("the function is newer than the CUDA version asked for")]
    VersionTooLow,
}

impl Function {
    /// The place of this function in the table; fewer than 2^16.
    pub const fn index(self) -> u16 {
        self as u16
    }

    /// The function at a place in the table; `None` past its end.
    pub fn from_index(index: u16) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// The function that libcuda exports under exactly this name.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        static BY_SYMBOL: OnceLock<HashMap<&'static str, Function>> = OnceLock::new();
        let by_symbol = BY_SYMBOL.get_or_init(|| Self::ALL.iter().map(|f| (f.symbol(), *f)).collect());
        by_symbol.get(symbol).copied()
    }

    /// The exported name, such as `cuMemcpyHtoDAsync_v2_ptsz`.
    pub fn symbol(self) -> &'static str {
        self.row().symbol
    }

    /// The name without version and stream suffix, such as `cuMemcpyHtoDAsync`: what cuGetProcAddress asks
    /// for.
    pub fn base(self) -> &'static str {
        self.row().base
    }

    /// What a call costs.
    pub fn class(self) -> Class {
        self.row().class
    }

    /// Whether RRTO offers this function at all.
    pub fn is_supported(self) -> bool {
        self.class() != Class::Unsupported
    }

    /// The CUDA version (1000 * major + 10 * minor) from which [`base`](Self::base) means this function;
    /// `None` where cuGetProcAddress never answers it.
    pub fn since(self) -> Option<u32> {
        Some(self.row().since).filter(|&since| since != NEVER)
    }

    /// Whether stream 0 is the calling thread's own default stream (`_ptsz`, and `_ptds` for functions
    /// that take no stream).
    pub fn is_per_thread(self) -> bool {
        strip_per_thread(self.symbol()).len() != self.symbol().len()
    }

    /// What cuGetProcAddress answers: the newest form of `name` that existed in CUDA `version`
    /// (1000 * major + 10 * minor), in its per-thread variant if `flags` asks for it and there is one.
    ///
    /// `name` is a base name: `cuMemAlloc`, not `cuMemAlloc_v2`. Flags other than
    /// [`PER_THREAD_DEFAULT_STREAM`](resolve_flags::PER_THREAD_DEFAULT_STREAM) change nothing.
    ///
    /// # Errors
    /// [`ResolveError`], whose two cases cuGetProcAddress tells apart in its `symbolStatus`.
    pub fn resolve(name: &str, version: u32, flags: u64) -> Result<Self, ResolveError> {
        static BY_BASE: OnceLock<HashMap<&'static str, Vec<Function>>> = OnceLock::new();
        let by_base = BY_BASE.get_or_init(|| {
            let mut by_base: HashMap<_, Vec<_>> = HashMap::new();
            for f in Self::ALL.iter().filter(|f| f.since().is_some()) {
                by_base.entry(f.base()).or_default().push(*f);
            }
            by_base
        });

        let per_thread = flags & resolve_flags::PER_THREAD_DEFAULT_STREAM != 0;
        let forms = by_base.get(name).ok_or(ResolveError::NotFound)?;
        forms
            .iter()
            .filter(|f| f.since().is_some_and(|since| since <= version))
            .filter(|f| per_thread || !f.is_per_thread())
            .max_by_key(|f| (f.is_per_thread(), f.since()))
            .copied()
            .ok_or(ResolveError::VersionTooLow)
    }

    fn row(self) -> &'static Row {
        // In bounds: ROWS and the variants are the same expansion.
        &ROWS[usize::from(self.index())]
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.index())
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u16::deserialize(deserializer)?;
        Self::from_index(index).ok_or_else(|| de::Error::custom("no such driver function"))
    }
}

/// A hash of every row in order. Two builds with the same hash mean the same function by the same index.
pub fn table_hash() -> [u8; 32] {
    static HASH: OnceLock<[u8; 32]> = OnceLock::new();
    *HASH.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        for row in ROWS {
            hasher.update(row.symbol.as_bytes());
            // No symbol contains a zero byte, so rows cannot run into each other.
            hasher.update(&[0, row.class as u8]);
            hasher.update(&row.since.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    })
}

/// The same in 64 bits, known when this is compiled: enough to tell one build from another, not to trust it.
pub const TABLE_FINGERPRINT: u64 = {
    // The offset basis of FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < ROWS.len() {
        hash = fingerprint(hash, ROWS[at].symbol.as_bytes());
        hash = fingerprint(hash, &[0, ROWS[at].class as u8]);
        hash = fingerprint(hash, &ROWS[at].since.to_le_bytes());
        at += 1;
    }
    hash
};

/// FNV-1a of `bytes`, going on from `hash`.
pub(crate) const fn fingerprint(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    hash
}

/// `symbol` without `_ptsz` or `_ptds`, then without `_v<digit>`.
const fn base_of(symbol: &'static str) -> &'static str {
    let symbol = strip_per_thread(symbol);
    match symbol.as_bytes() {
        [.., b'_', b'v', b'0'..=b'9'] => symbol.split_at(symbol.len() - "_v2".len()).0,
        _ => symbol,
    }
}

const fn strip_per_thread(symbol: &'static str) -> &'static str {
    match symbol.as_bytes() {
        [.., b'_', b'p', b't', b's', b'z'] | [.., b'_', b'p', b't', b'd', b's'] => {
            symbol.split_at(symbol.len() - "_ptsz".len()).0
        }
        _ => symbol,
    }
}

#[cfg(test)]
mod tests;
