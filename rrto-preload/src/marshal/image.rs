//! A module image that the program points at.

use std::ffi::c_void;

use rrto_core::api::CuResult;
use rrto_core::image::{self, image_bytes};

/// The first word of `__fatBinC_Wrapper_t`, which the CUDA runtime passes: it holds the container's address.
const WRAPPER_MAGIC: [u8; 4] = 0x4662_43b1_u32.to_ne_bytes();

/// `__fatBinC_Wrapper_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wrapper {
    magic: u32,
    version: u32,
    container: *const c_void,
    prelinked: *const c_void,
}

/// `const void *image`: null, or the start of a wrapper, a container, a cubin or PTX.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Image(*const c_void);

impl Image {
    /// Fails for null.
    pub(crate) fn require(&self) -> Result<(), CuResult> {
        if self.0.is_null() { Err(CuResult::INVALID_VALUE) } else { Ok(()) }
    }

    /// All its bytes. They are the program's for as long as the call lasts.
    pub(crate) fn bytes(&self) -> Result<&[u8], CuResult> {
        let start = self.unwrapped()?.cast::<u8>();
        let read = |offset: u64, bytes: u64| -> Option<&[u8]> {
            let (offset, bytes) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
            start.addr().checked_add(offset)?.checked_add(bytes)?;
            // SAFETY: `image_bytes` asks for nothing that a complete image does not have, and a complete image is
            // what the caller promised. Programs do not write to images while they load them.
            Some(unsafe { std::slice::from_raw_parts(start.add(offset), bytes) })
        };
        let length = image_bytes(read).map_err(|error| refuse(&error))?;
        read(0, length as u64).ok_or(CuResult::INVALID_IMAGE)
    }

    /// The image's start, whether or not the CUDA runtime has wrapped it.
    fn unwrapped(&self) -> Result<*const c_void, CuResult> {
        self.require()?;
        // Byte by byte, because a text may be shorter than the magic number.
        let is_wrapper = WRAPPER_MAGIC.iter().enumerate().all(|(at, expected)| {
            // SAFETY: an image that begins with the bytes before this one has this one too: only a zero ends text.
            unsafe { self.0.cast::<u8>().add(at).read() == *expected }
        });
        if !is_wrapper {
            return Ok(self.0);
        }
        // SAFETY: the magic number says that it is a wrapper.
        let wrapper = unsafe { self.0.cast::<Wrapper>().read_unaligned() };
        if wrapper.container.is_null() { Err(CuResult::INVALID_IMAGE) } else { Ok(wrapper.container) }
    }
}

/// The bytes of an image that is the content of a file; text in a file has no terminating zero.
pub(crate) fn file_image(mut content: Vec<u8>) -> Result<Vec<u8>, CuResult> {
    if image::Kind::of(&content) == image::Kind::Ptx {
        content.push(0);
    }
    let read = |offset: u64, bytes: u64| {
        let start = usize::try_from(offset).ok()?;
        content.get(start..start.checked_add(usize::try_from(bytes).ok()?)?)
    };
    let length = image_bytes(read).map_err(|error| refuse(&error))?;
    if length > content.len() {
        return Err(CuResult::INVALID_IMAGE);
    }
    content.truncate(length);
    Ok(content)
}

fn refuse(error: &image::ImageError) -> CuResult {
    crate::log::info!("a module image cannot be read: {error}");
    CuResult::INVALID_IMAGE
}

impl Image {
    /// The image at an address, for tests.
    #[cfg(test)]
    pub(crate) fn at<T>(image: &T) -> Self {
        Image(std::ptr::from_ref(image).cast())
    }

    /// A null pointer, for tests.
    #[cfg(test)]
    pub(crate) fn null() -> Self {
        Image(std::ptr::null())
    }
}
