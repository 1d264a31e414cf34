//! Values under small numbers that are reused, each time with another generation.

use alloc::vec::Vec;

/// The name of a value in a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SlabKey {
    /// Its place; the places in use are dense.
    pub(crate) index: u32,
    /// How often the place had been given back before.
    pub(crate) generation: u32,
}

impl SlabKey {
    /// The name as one number, for the id of a frame.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The name that [`SlabKey::to_u64`] made this number of.
    pub(crate) fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Values by [`SlabKey`]. The owner bounds how many there are.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// Empty places; the one that was left last is taken first.
    empty: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), empty: Vec::new() }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.empty.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> SlabKey {
        if let Some(index) = self.empty.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return SlabKey { index, generation: place.generation };
        }
        let index = self.places.len() as u32;
        self.places.push(Place { generation: 0, value: Some(value) });
        SlabKey { index, generation: 0 }
    }

    pub(crate) fn value(&self, key: SlabKey) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation == key.generation { place.value.as_ref() } else { None }
    }

    pub(crate) fn value_mut(&mut self, key: SlabKey) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// The name of the value that is at a place.
    pub(crate) fn key(&self, index: u32) -> Option<SlabKey> {
        let place = self.places.get(index as usize)?;
        place.value.as_ref().map(|_| SlabKey { index, generation: place.generation })
    }

    /// Takes a value out; its name is then unknown.
    pub(crate) fn remove(&mut self, key: SlabKey) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.empty.push(key.index);
        Some(value)
    }

    /// The values with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlabKey, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = SlabKey { index: index as u32, generation: place.generation };
            Some((key, place.value.as_ref()?))
        })
    }

    /// Panics with what is wrong.
    pub(crate) fn validate(&self) {
        let empty = self.places.iter().filter(|place| place.value.is_none()).count();
        assert_eq!(empty, self.empty.len(), "the list of empty places names each empty place once");
        for &index in &self.empty {
            assert!(self.places[index as usize].value.is_none(), "place {index} is listed as empty and is not");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_dies_with_its_value() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index, "places are reused");
        assert_eq!(slab.value(first), None);
        assert_eq!(slab.value_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.value(SlabKey::from_u64(second.to_u64())), Some(&"second"));
        assert_eq!(slab.len(), 1);
        slab.validate();
    }

    #[test]
    fn places_stay_dense() {
        let mut slab = Slab::new();
        for round in 0..1000 {
            let keys: Vec<_> = (0..10).map(|value| slab.insert(value)).collect();
            assert!(keys.iter().all(|key| key.index < 10), "round {round}: {keys:?}");
            for key in keys {
                slab.remove(key).unwrap();
            }
            slab.validate();
        }
    }
}
