//! The thread that has the kernel back the memory of shards before they come to use it: see [`larder_store::Ahead`]. It
//! ends when all memory has pages.

use std::io;
use std::thread;
use std::time::Duration;

use larder_store::{Advance, Ahead};

use crate::limits::{PAGES_PAUSE_MS_MAX, PAGES_PAUSE_MS_MIN, PAGES_STACK_BYTES};

/// Starts it for these stores.
///
/// # Errors
/// The thread cannot be started.
pub fn go_ahead(stores: Vec<Ahead>) -> io::Result<()> {
    thread::Builder::new().name("pages".to_owned()).stack_size(PAGES_STACK_BYTES).spawn(move || run(stores))?;
    Ok(())
}

/// Pauses grow while nothing is to be done: a server that is not used wakes for this some twenty times a second.
fn run(mut stores: Vec<Ahead>) {
    let mut pause_ms = PAGES_PAUSE_MS_MIN;
    while !stores.is_empty() {
        let mut has_worked = false;
        stores.retain_mut(|store| {
            let advance = store.step();
            has_worked |= advance == Advance::Taken;
            advance != Advance::Over
        });
        if has_worked {
            pause_ms = PAGES_PAUSE_MS_MIN;
        } else {
            thread::sleep(Duration::from_millis(pause_ms));
            pause_ms = (2 * pause_ms).min(PAGES_PAUSE_MS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_store::{NoHook, Store, StoreSettings};

    #[test]
    fn it_ends_when_all_is_done_or_nobody_is_left() {
        let settings =
            StoreSettings { shard: 0, value_bytes_max: 1 << 10, memory_bytes: 8 << 20, key_hash: |seed, _| seed };
        let (small, gone) = (Store::new(settings, NoHook), Store::new(settings, NoHook));
        let stores = vec![small.pages_ahead(), gone.pages_ahead()];
        drop(gone);
        run(stores);
        small.validate();
    }
}
