use proptest::prelude::*;

use super::*;

/// Page-locks nothing, and counts.
#[derive(Default)]
struct Count(std::cell::Cell<i64>);

impl Pin for &Count {
    fn pin(&self, _: &Slab) -> Result<(), CuResult> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }

    fn unpin(&self, _: &Slab) -> Result<(), CuResult> {
        self.0.set(self.0.get() - 1);
        Ok(())
    }
}

/// A block, with a new slab if need be.
fn take<P: Pin>(staging: &mut Staging<P>, len: usize) -> Option<Block> {
    staging.take(len).or_else(|| staging.grow(len).unwrap().then(|| staging.take(len).unwrap()))
}

fn large_payload(staging: &mut Staging<&Count>, byte: u8) -> Bytes {
    let mut block = take(staging, 1 << 20).unwrap();
    block.fill(1 << 20, |into| into.fill(byte));
    staging.payload(block, 1 << 20)
}

#[test]
fn the_limit_holds_after_the_first_slab_of_a_class() {
    let count = Count::default();
    let mut staging = Staging::new(&count, 0);
    for (bytes, slab_bytes) in CLASSES {
        let mut blocks = Vec::new();
        while let Some(block) = take(&mut staging, bytes) {
            assert!(block.bytes() >= bytes);
            assert_eq!(block.address() as usize % bytes.min(page_bytes()), 0);
            blocks.push(block);
        }
        assert_eq!(blocks.len(), slab_bytes / bytes);
        assert!(staging.take(bytes).is_none());
        blocks.into_iter().for_each(|block| staging.give(block));
        assert!(staging.take(bytes).is_some());
    }
    assert_eq!(count.0.get(), 3);
    staging.unpin();
    assert_eq!(count.0.get(), 0);
    assert!(staging.take((1 << 20) + 1).is_none());
    assert_eq!(staging.grow((1 << 20) + 1), Err(CuResult::INVALID_VALUE));
}

#[test]
fn payloads_keep_at_most_half_of_the_large_blocks() {
    let count = Count::default();
    let mut staging = Staging::new(&count, 0);
    let payloads: Vec<_> = (0..20).map(|n| large_payload(&mut staging, n)).collect();
    for (n, payload) in (0..).zip(&payloads) {
        assert!(payload.iter().all(|byte| *byte == n));
    }
    assert_eq!(staging.home.out.load(Ordering::Relaxed), 4);
    let free = std::iter::from_fn(|| staging.take(1 << 20)).count();
    assert_eq!(free, 4);
    drop(payloads);
    assert_eq!(std::iter::from_fn(|| staging.take(1 << 20)).count(), 4, "the others came home");
}

#[test]
fn payloads_outlive_the_pool_on_another_thread() {
    let count = Count::default();
    let mut staging = Staging::new(&count, 0);
    let payload = large_payload(&mut staging, 7);
    drop(staging);
    let sum = std::thread::spawn(move || payload.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    assert_eq!(sum.join().unwrap(), 7 << 20);
}

#[test]
fn a_refused_slab_is_an_error() {
    struct Never;
    impl Pin for Never {
        fn pin(&self, _: &Slab) -> Result<(), CuResult> {
            Err(CuResult::OUT_OF_MEMORY)
        }
        fn unpin(&self, _: &Slab) -> Result<(), CuResult> {
            Ok(())
        }
    }
    let mut staging = Staging::new(Never, u64::MAX);
    assert_eq!(staging.grow(1), Err(CuResult::OUT_OF_MEMORY));
    assert!(staging.take(1).is_none());
}

/// Where it is.
fn place(block: &Block) -> std::ops::Range<usize> {
    let start = block.address() as usize;
    start..start + block.bytes()
}

proptest! {
    /// Whatever is taken and given back in whatever order, no two live blocks share a byte.
    #[test]
    fn blocks_never_overlap(
        steps in prop::collection::vec((1_usize..(1 << 20), any::<prop::sample::Index>(), any::<bool>()), 1..60),
    ) {
        let count = Count::default();
        let mut staging = Staging::new(&count, 32 << 20);
        let mut live: Vec<Block> = Vec::new();
        for (len, which, give) in steps {
            if give && !live.is_empty() {
                staging.give(live.swap_remove(which.index(live.len())));
            } else if let Some(block) = take(&mut staging, len) {
                let new = place(&block);
                prop_assert!(new.len() >= len);
                prop_assert!(live.iter().map(place).all(|old| old.end <= new.start || new.end <= old.start));
                live.push(block);
            }
        }
    }
}
