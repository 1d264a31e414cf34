//! What one write may cause, counted and never timed: entries that the index moves, bytes that cleaning moves, entries
//! that are evicted.

use larder_store::limits::{CLEAN_RATIO, ENTRY_BYTES_MIN, EVICT_RATIO, PASSED_MAX, RUN_LINES_MAX, SWEEP_MOVES};
use larder_store::{Charge, GroupIndex, Key, NoHook, PolicyKind, Store, StoreSettings, Write};

use crate::{SETTINGS, group, key_hash};

const NOW: u64 = 1_700_000_000_000;
const GROUP: GroupIndex = GroupIndex(0);
/// Entries that one call moves in the index while hashes are as they come: those of the lines that it sweeps, the home
/// that it had begun, and the run that it pushes along. Only chosen hashes make it more.
const INDEX_MOVES_MAX: u64 = (SWEEP_MOVES + PASSED_MAX + RUN_LINES_MAX) as u64;

/// A store whose every write is counted.
struct Counted {
    store: Store,
    index_moves_max: u64,
    evictions_max: u64,
}

impl Counted {
    fn new(policy: PolicyKind, memory_bytes: u64) -> Counted {
        let settings = StoreSettings { memory_bytes, ..SETTINGS };
        let mut store = Store::new(settings, NoHook);
        store.create_group(group("default", policy, Charge::Bytes, memory_bytes)).unwrap();
        Counted { store, index_moves_max: 0, evictions_max: 0 }
    }

    fn set(&mut self, number: u32, value: &[u8]) {
        let bytes = number.to_le_bytes();
        let key = Key { group: GROUP, hash: key_hash(7, &bytes), bytes: &bytes };
        let (moves, evictions) = (self.store.memory().index_moves, self.store.counters(GROUP).evictions);
        self.store.set(key, Write { value, ..Write::default() }, NOW).unwrap();
        self.evictions_max = self.evictions_max.max(self.store.counters(GROUP).evictions - evictions);
        self.index_moves_max = self.index_moves_max.max(self.store.memory().index_moves - moves);
    }
}

#[test]
fn no_insert_moves_many_entries_while_the_index_grows() {
    for policy in PolicyKind::ALL {
        let inserts = if crate::full() { 20_000_000 } else { 1_000_000 };
        // What some policies keep with an entry, or beside all, needs up to 24 bytes more.
        let mut counted = Counted::new(*policy, u64::from(inserts) * 104);
        let lines = counted.store.memory().index_lines;
        (0..inserts).for_each(|number| counted.set(number, b"sixteen bytes of"));
        counted.store.validate();
        let memory = counted.store.memory();
        assert_eq!((counted.store.counters(GROUP).entries, memory.evictions), (u64::from(inserts), 0), "{policy}");
        assert!(memory.index_lines > 16 * lines, "the index grew all the way: {memory:?}");
        assert!(counted.index_moves_max <= INDEX_MOVES_MAX, "{policy}: {} moves", counted.index_moves_max);
        assert_eq!(memory.moved_bytes, 0, "{policy}: nothing was to be cleaned");
    }
}

#[test]
fn no_write_moves_or_evicts_more_than_its_ratio_whatever_the_sizes() {
    let sizes = [16, 64, 200, 1024, 5000];
    for policy in PolicyKind::ALL {
        let mut random = fastrand::Rng::with_seed(9);
        let mut counted = Counted::new(*policy, 16 << 20);
        let value = vec![5; sizes[sizes.len() - 1]];
        for _ in 0..400_000 {
            let len = sizes[random.usize(..sizes.len())];
            counted.set(random.u32(..60_000), &value[..len]);
        }
        counted.store.validate();
        let memory = counted.store.memory();
        assert!(memory.moved_bytes > 0 && memory.evictions > 0, "{policy}: {memory:?}");
        let largest = counted.store.entry_bytes(4, value.len());
        let moved_max = (CLEAN_RATIO as u64 + 1) * largest;
        assert!(memory.moved_bytes_max <= moved_max, "{policy}: {} bytes were moved", memory.moved_bytes_max);
        // Small ones leave for a large one, once for its own room and once ahead.
        let evictions_max = (EVICT_RATIO as u64 + 2) * largest / ENTRY_BYTES_MIN;
        assert!(counted.evictions_max <= evictions_max, "{policy}: {} were evicted", counted.evictions_max);
    }
}
