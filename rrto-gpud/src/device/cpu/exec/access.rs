//! Loads, stores and atomics.

use std::sync::atomic::{Ordering, fence};

use rrto_core::api::CuResult;

use super::fault::LaneFault;
use super::warp::{Around, Group, Warp};
use super::window;
use crate::device::cpu::alu::{Lanes, Mask, WARP, lanes_of};
use crate::device::cpu::memory::{Allocation, BASE_ADDRESS, View};
use crate::device::cpu::ptx::ir::{Address, Atomic, Load, Space, Src, Store};

type Result<T> = std::result::Result<T, LaneFault>;

/// Where an address leads.
enum Place<'v> {
    Device(&'v Allocation, u64),
    Shared(usize),
    Local(usize),
    Param(usize),
}

/// Finds places, remembering the allocation that it found last: the lanes of a warp mostly use the same one.
struct Finder<'v> {
    view: &'v View,
    space: Space,
    frame: usize,
    last: Option<&'v Allocation>,
}

impl<'v> Finder<'v> {
    fn new(around: &Around<'v, '_>, at: &Address, group: &Group) -> Self {
        let grid = around.grid;
        Self { view: &grid.view, space: at.space, frame: grid.frames.local(group.depth), last: None }
    }

    /// The place of `bytes` bytes, which must be aligned to their number.
    #[inline(always)]
    fn find(&mut self, lane: usize, address: u64, bytes: u64, what: &str) -> Result<Place<'v>> {
        if address & (bytes - 1) != 0 {
            let what = format!("{what} of {bytes} bytes at the misaligned address {address:#x}");
            return Err(LaneFault::new(lane, CuResult::MISALIGNED_ADDRESS, what));
        }
        match self.space {
            Space::Global => self.device(lane, address, bytes, what),
            Space::Shared => Ok(Place::Shared(address as usize)),
            Space::Local => Ok(Place::Local(address as usize)),
            Space::Frame => Ok(Place::Local(self.frame.wrapping_add(address as usize))),
            Space::Param => Ok(Place::Param(address as usize)),
            Space::Generic if window::holds(window::SHARED, address) => {
                Ok(Place::Shared((address - window::SHARED) as usize))
            }
            Space::Generic if window::holds(window::LOCAL, address) => {
                Ok(Place::Local((address - window::LOCAL) as usize))
            }
            Space::Generic if window::holds(window::PARAM, address) => {
                Ok(Place::Param((address - window::PARAM) as usize))
            }
            Space::Generic => self.device(lane, address, bytes, what),
        }
    }

    /// Whether the lanes all look into shared memory, or all into the allocation that holds the first one's
    /// address: the common cases, which need no choice a lane.
    fn common(&mut self, address: u64) -> Option<Place<'v>> {
        match self.space {
            Space::Shared => Some(Place::Shared(0)),
            Space::Global | Space::Generic if address >= BASE_ADDRESS => self.device(0, address, 1, "").ok(),
            _ => None,
        }
    }

    /// Loads for all active lanes, if nothing is out of the ordinary. `part` is what to skip of each lane's
    /// `whole` bytes.
    #[inline(always)]
    fn gather<const SIZE: u32>(
        &mut self,
        addresses: &Lanes,
        active: Mask,
        (skip, whole): (u64, u64),
        shared: &[u8],
        out: &mut Lanes,
    ) -> bool {
        match self.common(addresses[active.trailing_zeros() as usize % WARP]) {
            Some(Place::Shared(_)) => for_all(active, |lane| {
                let at = aligned(addresses[lane], whole)?.checked_add(skip)?;
                out[lane] = read(shared, at as usize, SIZE)?;
                Some(())
            }),
            Some(Place::Device(allocation, _)) => {
                let Some(last) = allocation.len().checked_sub(whole) else { return false };
                for_all(active, |lane| {
                    let offset = aligned(addresses[lane], whole)?.wrapping_sub(allocation.base());
                    out[lane] = (offset <= last).then(|| allocation.load(offset + skip, SIZE))?;
                    Some(())
                })
            }
            _ => false,
        }
    }

    /// Stores for all active lanes, if nothing is out of the ordinary. Where something is, some lanes' stores
    /// may have been done, which doing them again does not change.
    #[inline(always)]
    fn scatter<const SIZE: u32>(
        &mut self,
        addresses: &Lanes,
        active: Mask,
        (skip, whole): (u64, u64),
        shared: &mut [u8],
        values: &Lanes,
    ) -> bool {
        match self.common(addresses[active.trailing_zeros() as usize % WARP]) {
            Some(Place::Shared(_)) => for_all(active, |lane| {
                let at = aligned(addresses[lane], whole)?.checked_add(skip)?;
                write(shared, at as usize, SIZE, values[lane])
            }),
            Some(Place::Device(allocation, _)) => {
                let Some(last) = allocation.len().checked_sub(whole) else { return false };
                for_all(active, |lane| {
                    let offset = aligned(addresses[lane], whole)?.wrapping_sub(allocation.base());
                    (offset <= last).then(|| allocation.store(offset + skip, SIZE, values[lane]))
                })
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn device(&mut self, lane: usize, address: u64, bytes: u64, what: &str) -> Result<Place<'v>> {
        let fits = |a: &&Allocation| {
            let offset = address.wrapping_sub(a.base());
            offset < a.len() && bytes <= a.len() - offset
        };
        if let Some(allocation) = self.last.filter(fits) {
            return Ok(Place::Device(allocation, address - allocation.base()));
        }
        match self.view.find(address).filter(fits) {
            Some(allocation) => {
                self.last = Some(allocation);
                Ok(Place::Device(allocation, address - allocation.base()))
            }
            None => Err(outside(lane, address, bytes, what)),
        }
    }
}

/// The address, if it is aligned to so many bytes.
#[inline(always)]
fn aligned(address: u64, bytes: u64) -> Option<u64> {
    (address & (bytes - 1) == 0).then_some(address)
}

/// Does something for each lane while it succeeds; whether it did for all.
#[inline(always)]
fn for_all(lanes: Mask, mut each: impl FnMut(usize) -> Option<()>) -> bool {
    if lanes == Mask::MAX {
        (0..WARP).all(|lane| each(lane).is_some())
    } else {
        lanes_of(lanes).all(|lane| each(lane).is_some())
    }
}

#[cold]
fn outside(lane: usize, address: u64, bytes: u64, what: &str) -> LaneFault {
    let what = format!("{what} of {bytes} bytes at {address:#x}, where nothing is allocated");
    LaneFault::new(lane, CuResult::ILLEGAL_ADDRESS, what)
}

/// Reads up to eight bytes, little-endian.
#[inline(always)]
fn read(memory: &[u8], at: usize, size: u32) -> Option<u64> {
    let bytes = memory.get(at..at.checked_add(size as usize)?)?;
    Some(match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    })
}

#[inline(always)]
fn write(memory: &mut [u8], at: usize, size: u32, value: u64) -> Option<()> {
    let size = size as usize;
    let bytes = memory.get_mut(at..at.checked_add(size)?)?;
    bytes.copy_from_slice(value.to_le_bytes().get(..size)?);
    Some(())
}

fn extend(value: u64, size: u32, width: u32) -> u64 {
    let unused = 64 - 8 * size;
    let signed = ((value << unused) as i64 >> unused) as u64;
    if width >= 64 { signed } else { signed & ((1 << width) - 1) }
}

impl Warp {
    fn addresses(&self, at: &Address, group: &Group, around: &Around<'_, '_>) -> Lanes {
        let base = self.value(at.base, group, around);
        let mask = if at.narrow { 0xffff_ffff } else { u64::MAX };
        base.map(|base| base.wrapping_add(at.offset as u64) & mask)
    }

    pub(super) fn load(
        &mut self,
        load: &Load,
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<()> {
        let addresses = self.addresses(&load.at, group, around);
        let (size, count) = (load.size, load.d.len());
        let whole = u64::from(size) * count as u64;
        let mut finder = Finder::new(around, &load.at, group);
        for (n, d) in load.d.iter().enumerate() {
            let skip = n as u64 * u64::from(size);
            let mut out: Lanes = [0; WARP];
            let gathered = match size {
                1 => finder.gather::<1>(&addresses, active, (skip, whole), around.shared, &mut out),
                2 => finder.gather::<2>(&addresses, active, (skip, whole), around.shared, &mut out),
                4 => finder.gather::<4>(&addresses, active, (skip, whole), around.shared, &mut out),
                _ => finder.gather::<8>(&addresses, active, (skip, whole), around.shared, &mut out),
            };
            let rest = if gathered { 0 } else { active };
            for lane in lanes_of(rest) {
                let address = addresses[lane];
                let value = match finder.find(lane, address, whole, "a load")? {
                    Place::Device(allocation, offset) => Some(allocation.load(offset + skip, size)),
                    Place::Shared(at) => read(around.shared, at.wrapping_add(skip as usize), size),
                    Place::Local(at) => read(&self.locals[lane], at.wrapping_add(skip as usize), size),
                    Place::Param(at) => read(around.grid.params, at.wrapping_add(skip as usize), size),
                };
                out[lane] = value.ok_or_else(|| outside(lane, address, whole, "a load"))?;
            }
            if let Some(width) = load.extend {
                out = out.map(|value| extend(value, size, width));
            }
            if let Some(d) = d {
                self.set_register(*d, &out, active, group, around);
            }
        }
        if load.order.acquire {
            fence(Ordering::Acquire);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        store: &Store,
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<()> {
        if store.order.release {
            fence(Ordering::Release);
        }
        let addresses = self.addresses(&store.at, group, around);
        let size = store.size;
        let whole = u64::from(size) * store.values.len() as u64;
        let mut finder = Finder::new(around, &store.at, group);
        for (n, value) in store.values.iter().enumerate() {
            let skip = n as u64 * u64::from(size);
            let values = *self.value(*value, group, around);
            let scattered = match size {
                4 => {
                    (whole == 4 && active == Mask::MAX && store_row(&mut finder, &addresses, &values))
                        || finder.scatter::<4>(&addresses, active, (skip, whole), around.shared, &values)
                }
                8 => finder.scatter::<8>(&addresses, active, (skip, whole), around.shared, &values),
                _ => false,
            };
            if scattered {
                continue;
            }
            for lane in lanes_of(active) {
                let address = addresses[lane];
                let done = match finder.find(lane, address, whole, "a store")? {
                    Place::Device(allocation, offset) => {
                        allocation.store(offset + skip, size, values[lane]);
                        Some(())
                    }
                    Place::Shared(at) => {
                        write(around.shared, at.wrapping_add(skip as usize), size, values[lane])
                    }
                    Place::Local(at) => {
                        write(&mut self.locals[lane], at.wrapping_add(skip as usize), size, values[lane])
                    }
                    Place::Param(_) => None,
                };
                done.ok_or_else(|| outside(lane, address, whole, "a store"))?;
            }
        }
        Ok(())
    }

    pub(super) fn atomic(
        &mut self,
        atomic: &Atomic,
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<()> {
        if atomic.order.release {
            fence(Ordering::Release);
        }
        let addresses = self.addresses(&atomic.at, group, around);
        let (b, c) = (*self.value(atomic.b, group, around), *self.value(atomic.c, group, around));
        let size = atomic.size;
        let mut finder = Finder::new(around, &atomic.at, group);
        let mut out: Lanes = [0; WARP];
        for lane in lanes_of(active) {
            let (address, f) = (addresses[lane], |old| (atomic.f)(old, b[lane], c[lane]));
            let old = match finder.find(lane, address, size.into(), "an atomic access")? {
                Place::Device(allocation, offset) => Some(allocation.update(offset, size, f)),
                Place::Shared(at) => read(around.shared, at, size).inspect(|&old| {
                    write(around.shared, at, size, f(old));
                }),
                Place::Local(_) | Place::Param(_) => None,
            };
            out[lane] = old.ok_or_else(|| outside(lane, address, size.into(), "an atomic access"))?;
        }
        if let Some(d) = atomic.d {
            self.set_register(d, &out, active, group, around);
        }
        if atomic.order.acquire {
            fence(Ordering::Acquire);
        }
        Ok(())
    }

    /// Copies `size` bytes from device to shared memory, those past the count in `copied` as zeros.
    pub(super) fn copy_async(
        &mut self,
        to: &Address,
        from: &Address,
        (size, copied): (u32, Option<Src>),
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<()> {
        let (targets, sources) = (self.addresses(to, group, around), self.addresses(from, group, around));
        let copied = copied.map(|src| *self.value(src, group, around));
        let mut finder = Finder::new(around, from, group);
        let word = size.min(8);
        for lane in lanes_of(active) {
            let count = copied.map_or(u64::from(size), |c| c[lane].min(size.into()));
            for skip in (0..size).step_by(word as usize) {
                let mut value = 0;
                for byte in 0..word {
                    if u64::from(skip + byte) >= count {
                        break;
                    }
                    let address = sources[lane].wrapping_add(u64::from(skip + byte));
                    if let Place::Device(allocation, offset) = finder.find(lane, address, 1, "a copy")? {
                        value |= allocation.load(offset, 1) << (8 * byte);
                    }
                }
                let at = targets[lane].wrapping_add(skip.into());
                write(around.shared, at as usize, word, value)
                    .ok_or_else(|| outside(lane, at, word.into(), "a copy"))?;
            }
        }
        Ok(())
    }
}

/// Stores 32 consecutive 32-bit values as 16 words, if that is what they are: a third of the cost, since a
/// store of less than a word is a compare-exchange. Other stores to the same words at the same time would be
/// a race of the program's own making only if they went to the same bytes, and all bytes of these words are
/// written here.
fn store_row(finder: &mut Finder<'_>, addresses: &Lanes, values: &Lanes) -> bool {
    let first = addresses[0];
    let consecutive = (0..WARP).all(|i| addresses[i] == first.wrapping_add(4 * i as u64));
    if !consecutive || first & 7 != 0 || matches!(finder.space, Space::Shared | Space::Local | Space::Frame) {
        return false;
    }
    if finder.space == Space::Generic && first < BASE_ADDRESS {
        return false;
    }
    let Ok(Place::Device(allocation, offset)) = finder.device(0, first, 4, "a store") else { return false };
    if allocation.len() - offset < 4 * WARP as u64 {
        return false;
    }
    for i in (0..WARP).step_by(2) {
        allocation.set_word(offset + 4 * i as u64, values[i] & 0xffff_ffff | values[i + 1] << 32);
    }
    true
}
