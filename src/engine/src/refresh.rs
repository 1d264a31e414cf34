//! Entries whose time is over and that are shown for a while longer, and entries that are loaded anew before it is over.

use larder_store::{Handle, Key, RemovalHook};

use crate::absent::Named;
use crate::groups::{Group, OriginSettings, Refill};
use crate::local::Local;

/// What there is of a key whose time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stale {
    /// It may be shown, and is to be loaded anew.
    Shown(Handle),
    /// It may be shown if it cannot be loaded anew.
    IfError(Handle),
}

impl<H: RemovalHook> Local<H> {
    /// The entry of a key whose time is over, if its group still shows it.
    pub(crate) fn stale(&self, key: Key<'_>, refill: Refill, now_ms: u64) -> Option<Stale> {
        if refill.stale_ms() == 0 {
            return None;
        }
        let handle = self.store.stale(key, now_ms)?;
        let over_for_ms = now_ms.saturating_sub(self.store.entry(handle).expires_at_ms);
        if over_for_ms < refill.revalidate_ms || (refill.origin.is_none() && over_for_ms < refill.error_ms) {
            Some(Stale::Shown(handle))
        } else if over_for_ms < refill.error_ms {
            Some(Stale::IfError(handle))
        } else {
            None
        }
    }

    /// Begins to load a key anew, for nobody in particular, unless it is being filled already or there is no room.
    pub(crate) fn refresh(&mut self, group: Group, (hash, key): (u64, &[u8]), now_ms: u64) {
        let named = Named { group: group.index.0, hash, key };
        if self.flights.of(named, now_ms).is_none() && self.flights.begin(group, (hash, key), now_ms).is_some() {
            self.counters.refreshes += 1;
        }
    }

    /// An entry was found that has time left: sometimes, and the more often the sooner it expires, it is loaded anew. With
    /// probability e^(-left / (takes * β)), as A. Vattani, F. Chierichetti and K. Lowenstein have shown to be best ("Optimal
    /// Probabilistic Cache Stampede Prevention", VLDB 2015, XFetch).
    pub(crate) fn refresh_early(
        &mut self,
        group: Group,
        origin: OriginSettings,
        key: (u64, &[u8]),
        handle: Handle,
        now_ms: u64,
    ) {
        let takes_ms = u64::from(self.flights.takes_ms(group.index.0));
        let expires_at_ms = self.store.entry(handle).expires_at_ms;
        if origin.early_refresh_percent == 0 || expires_at_ms == 0 || takes_ms == 0 {
            return;
        }
        let left_ms = expires_at_ms.saturating_sub(now_ms) as f64;
        let unit_ms = takes_ms as f64 * f64::from(origin.early_refresh_percent) / 100.0;
        if left_ms > NEVER * unit_ms {
            return;
        }
        let chance = exp_of_minus(left_ms / unit_ms);
        if f64::from(self.flights.any(key.0)) < chance * f64::from(u32::MAX) {
            self.refresh(group, key, now_ms);
        }
    }
}

/// So many times what loading takes, nothing is loaded early: the chance would be one in a hundred million.
const NEVER: f64 = 18.0;

/// e^-x for x from 0 to [`NEVER`], to within 15 percent at its end and 2 percent up to 6: (1 + x / 1024)^-1024, for want of
/// a library of functions.
fn exp_of_minus(x: f64) -> f64 {
    let mut power = 1.0 / (1.0 + x / 1024.0);
    for _ in 0..10 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_near_enough() {
        for tenth in 0..=180_u32 {
            let x = f64::from(tenth) / 10.0;
            let ratio = exp_of_minus(x) / (-x).exp();
            let allowed = if x <= 6.0 { 0.02 } else { 0.18 };
            assert!((ratio - 1.0).abs() <= allowed, "{x}: {ratio}");
        }
    }
}
