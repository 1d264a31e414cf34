//! The group of a key.

use core::fmt;

/// The hash of the group that has this name, if there is one.
pub type Named<'g> = &'g dyn Fn(&[u8]) -> Option<u64>;

/// In which group the keys of a connection are: in that of its database, unless a key begins with the name of another one and
/// a colon, where that is configured.
#[derive(Clone, Copy)]
pub struct Keyspace<'g> {
    group: u64,
    prefixes: Option<Named<'g>>,
}

impl<'g> Keyspace<'g> {
    /// Of a database whose group has this hash, or of a group that is named in front of the key.
    pub fn new(group: u64, prefixes: Option<Named<'g>>) -> Self {
        Self { group, prefixes }
    }

    /// The group of the database.
    #[inline]
    pub fn group(&self) -> u64 {
        self.group
    }

    /// Whether keys may name another one.
    #[inline]
    pub fn has_prefixes(&self) -> bool {
        self.prefixes.is_some()
    }

    /// The group of a key, and the key in it.
    #[inline]
    pub fn place<'k>(&self, key: &'k [u8]) -> (u64, &'k [u8]) {
        match self.prefixes {
            Some(named) => self.place_by_prefix(key, named),
            None => (self.group, key),
        }
    }

    fn place_by_prefix<'k>(&self, key: &'k [u8], named: Named<'_>) -> (u64, &'k [u8]) {
        let colon = key.iter().position(|byte| *byte == b':');
        let split = colon.and_then(|colon| Some((named(&key[..colon])?, &key[colon + 1..])));
        split.unwrap_or((self.group, key))
    }
}

impl fmt::Debug for Keyspace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_prefixes = self.prefixes.is_some();
        formatter.debug_struct("Keyspace").field("group", &self.group).field("has_prefixes", &has_prefixes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_names_a_group_is_no_part_of_the_key() {
        let named = |name: &[u8]| (name == b"scores").then_some(9);
        let keyspace = Keyspace::new(7, Some(&named));
        assert_eq!(keyspace.place(b"scores:a:b"), (9, &b"a:b"[..]));
        assert_eq!(keyspace.place(b"scores:"), (9, &b""[..]));
        assert_eq!(keyspace.place(b"scoresa"), (7, &b"scoresa"[..]));
        assert_eq!(keyspace.place(b"other:a"), (7, &b"other:a"[..]));
        assert_eq!(Keyspace::new(7, None).place(b"scores:a"), (7, &b"scores:a"[..]));
    }
}
