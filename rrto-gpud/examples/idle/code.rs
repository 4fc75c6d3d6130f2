//! Machine code that is never executed: what programs ask about it is read from its headers.

use std::collections::HashMap;

use rrto_core::api::{CuResult, FunctionAttribute};
use rrto_core::engine::Payload;
use rrto_core::image::cubin;
use rrto_core::image::unread::Kernels;
use rrto_core::operator::{Handle, KernelInfo, Outcome, Value};

use crate::info::{CODE_VERSION, STATIC_SHARED_BYTES};

/// Bytes of code that are kept, to see what kernels do not read of their parameters.
const MAX_CODE_BYTES: usize = 256 << 20;

/// A session's code.
#[derive(Default)]
pub(crate) struct Code {
    images: HashMap<Handle, Vec<u8>>,
    /// Modules and libraries.
    loaded: HashMap<Handle, Loaded>,
    /// The modules of libraries.
    aliases: HashMap<Handle, Handle>,
    functions: HashMap<Handle, KernelInfo>,
    code_bytes: usize,
}

struct Loaded {
    /// In the order of the image: cuBLAS goes by it.
    names: Vec<String>,
    params: HashMap<String, Params>,
    unread: Kernels,
}

/// Offset and bytes of each parameter of a kernel.
type Params = Vec<(u32, u32)>;

impl Code {
    pub(crate) fn append(&mut self, image: Handle, payload: Option<Payload>) -> Outcome {
        let payload = payload.and_then(Payload::into_bytes).ok_or(CuResult::INVALID_VALUE)?;
        self.images.entry(image).or_default().extend_from_slice(&payload);
        Ok(Value::None)
    }

    pub(crate) fn load(&mut self, handle: Handle, image: Handle) -> Outcome {
        let image = self.images.remove(&image).ok_or(CuResult::INVALID_IMAGE)?;
        let unread = Kernels::of(&image, MAX_CODE_BYTES.saturating_sub(self.code_bytes));
        self.code_bytes += unread.code_bytes();
        let (mut names, mut params) = (Vec::new(), HashMap::new());
        cubin::each(&image, |cubin| {
            for kernel in cubin::kernels(cubin).unwrap_or_default() {
                let layout = kernel.params.iter().map(|param| (param.offset, param.bytes)).collect();
                if params.insert(kernel.name.to_owned(), layout).is_none() {
                    names.push(kernel.name.to_owned());
                }
            }
        });
        // cuFFT has some of its kernels as text, which a driver compiles.
        if names.is_empty() {
            let text = rrto_core::image::best_ptx(&image).ok().flatten().unwrap_or_default();
            for (name, layout) in text_kernels(&text) {
                params.insert(name.to_owned(), layout);
                names.push(name.to_owned());
            }
        }
        self.loaded.insert(handle, Loaded { names, params, unread });
        Ok(Value::None)
    }

    pub(crate) fn unload(&mut self, handle: Handle) -> Outcome {
        if let Some(loaded) = self.loaded.remove(&handle) {
            self.code_bytes = self.code_bytes.saturating_sub(loaded.unread.code_bytes());
        }
        Ok(Value::None)
    }

    pub(crate) fn module_of(&mut self, library: Handle, module: Handle) -> Outcome {
        self.aliases.insert(module, library);
        Ok(Value::None)
    }

    pub(crate) fn kernels(&self, library: Handle) -> Outcome {
        Ok(Value::Names(self.of(library)?.names.clone()))
    }

    pub(crate) fn function(&mut self, owner: Handle, name: &str, handle: Handle) -> Outcome {
        let loaded = self.of(owner)?;
        let params = loaded.params.get(name).ok_or(CuResult::NOT_FOUND)?.clone();
        let info = KernelInfo { params, attributes: attributes(), unread: loaded.unread.leftovers(name) };
        self.functions.insert(handle, info.clone());
        Ok(Value::Kernel(info))
    }

    pub(crate) fn set_attribute(&mut self, function: Handle, attribute: u32, value: i32) -> Outcome {
        let info = self.functions.get_mut(&function).ok_or(CuResult::INVALID_HANDLE)?;
        let slot = info.attributes.get_mut(attribute as usize).ok_or(CuResult::INVALID_VALUE)?;
        *slot = Some(value);
        Ok(Value::Kernel(info.clone()))
    }

    fn of(&self, owner: Handle) -> Result<&Loaded, CuResult> {
        let owner = self.aliases.get(&owner).unwrap_or(&owner);
        self.loaded.get(owner).ok_or(CuResult::INVALID_HANDLE)
    }
}

/// The kernels of a PTX text: `.entry NAME(.param .align A .b8 P[BYTES], .param .u64 P, ..)`.
fn text_kernels(text: &str) -> impl Iterator<Item = (&str, Params)> {
    text.split(".entry").skip(1).map(|kernel| {
        let (head, _) = kernel.split_once(['{', ')']).unwrap_or((kernel, ""));
        let (name, list) = head.split_once('(').unwrap_or((head, ""));
        let mut layout = Params::new();
        for param in list.split(".param").skip(1) {
            let (bytes, align) = param_size(param);
            let end = layout.last().map_or(0, |(offset, bytes)| offset + bytes);
            layout.push((end.next_multiple_of(align), bytes));
        }
        (name.trim(), layout)
    })
}

/// Bytes and alignment of a parameter.
fn param_size(param: &str) -> (u32, u32) {
    let number_after = |what: &str, until: char| -> Option<u32> {
        param.split_once(what)?.1.trim_start().split(until).next()?.trim().parse().ok()
    };
    // Its type is the last word with a point: .b8, .u64.
    let kind = param.split_whitespace().rfind(|word| word.starts_with('.')).unwrap_or_default();
    let bits: u32 = kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(64);
    let (bytes, count) = (bits.div_ceil(8), number_after("[", ']').unwrap_or(1));
    (bytes.saturating_mul(count), number_after(".align", ' ').unwrap_or(bytes).max(1))
}

/// A kernel of moderate size.
fn attributes() -> Vec<Option<i32>> {
    let attribute = |attribute: &FunctionAttribute| match *attribute {
        FunctionAttribute::MAX_THREADS_PER_BLOCK => 1024,
        FunctionAttribute::NUM_REGS => 40,
        FunctionAttribute::PTX_VERSION | FunctionAttribute::BINARY_VERSION => CODE_VERSION,
        FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => STATIC_SHARED_BYTES,
        FunctionAttribute::PREFERRED_SHARED_MEMORY_CARVEOUT => -1,
        _ => 0,
    };
    FunctionAttribute::ALL.iter().map(|a| Some(attribute(a))).collect()
}
