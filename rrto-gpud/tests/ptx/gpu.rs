//! A software GPU with one module, for tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by a panic that it fails")]
#![allow(dead_code, reason = "each test file uses some of this")]

use std::sync::Arc;

use rrto_gpud::device::cpu::{Fault, Launch, Limits, Memory, Module, launch};

/// A device with a module loaded.
pub(crate) struct Gpu {
    pub(crate) memory: Arc<Memory>,
    pub(crate) module: Module,
    pub(crate) limits: Limits,
}

/// A value as its bytes.
pub(crate) trait Plain: Copy {
    const SIZE: usize;
    fn put(self, into: &mut Vec<u8>);
    fn get(from: &[u8]) -> Self;
}

macro_rules! plain {
    ($($t:ty)*) => {
        $(impl Plain for $t {
            const SIZE: usize = size_of::<$t>();
            fn put(self, into: &mut Vec<u8>) {
                into.extend(self.to_le_bytes());
            }
            fn get(from: &[u8]) -> Self {
                <$t>::from_le_bytes(from.try_into().unwrap())
            }
        })*
    };
}

plain!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

/// A kernel argument as its bytes.
pub(crate) fn arg<T: Plain>(value: T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

impl Gpu {
    pub(crate) fn new(ptx: &str) -> Self {
        let memory = Arc::new(Memory::new(1 << 30));
        let module = Module::load(ptx, &memory).unwrap_or_else(|e| panic!("{e}"));
        Self { memory, module, limits: Limits::default() }
    }

    pub(crate) fn upload<T: Plain>(&self, values: &[T]) -> u64 {
        let mut bytes = Vec::new();
        values.iter().for_each(|v| v.put(&mut bytes));
        let address = self.memory.alloc(bytes.len() as u64).unwrap();
        self.memory.write(address, &bytes).unwrap();
        address
    }

    pub(crate) fn zeros<T: Plain>(&self, count: usize) -> u64 {
        self.memory.alloc((count * T::SIZE) as u64).unwrap()
    }

    pub(crate) fn download<T: Plain>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * T::SIZE];
        self.memory.read(address, &mut bytes).unwrap();
        bytes.chunks(T::SIZE).map(T::get).collect()
    }

    pub(crate) fn run(&self, kernel: &str, shape: Launch, args: &[Vec<u8>]) -> Result<(), Fault> {
        let kernel = self.module.kernel(kernel).unwrap_or_else(|| panic!("no kernel {kernel}"));
        let mut block = vec![0; kernel.param_bytes() as usize];
        assert_eq!(args.len(), kernel.params().len());
        for (param, arg) in kernel.params().iter().zip(args) {
            assert_eq!(param.bytes as usize, arg.len());
            block[param.offset as usize..][..arg.len()].copy_from_slice(arg);
        }
        launch(&self.module, kernel, &shape, &block, &self.memory, &self.limits)
    }

    pub(crate) fn ok(&self, kernel: &str, shape: Launch, args: &[Vec<u8>]) {
        self.run(kernel, shape, args).unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// A small deterministic generator, so that failures repeat.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// Uniform in [-1, 1).
    pub(crate) fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}
