//! Operations on a store as plain data, and how bytes are read as such: whatever the bytes are, they are operations.
//!
//! What depends on the state of a store is said relative to it: a version is that of the entry or another one, a time
//! counts from the present.

/// Numbers of keys in each group.
pub(crate) const KEYS: u8 = 60;
/// Groups of a store.
pub(crate) const GROUPS: u8 = 5;

/// One call of a store, or time that passes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Wait {
        ms: u32,
    },
    Get(Place),
    /// A run of gets whose handles are used together, after all of them.
    GetMany {
        group: u8,
        keys: Vec<u8>,
    },
    Set {
        place: Place,
        content: Content,
        flags: u32,
        when: When,
        time: Time,
    },
    Delete {
        place: Place,
        which: Which,
    },
    Touch {
        place: Place,
        time: Time,
    },
    Increment {
        place: Place,
        delta: i64,
        initial: Option<i64>,
        time: Time,
    },
    Extend {
        place: Place,
        content: Content,
        front: bool,
    },
    Mark {
        place: Place,
        stale: bool,
        won: bool,
    },
    /// Goes on with the scan of the group by one call, or begins one.
    Scan {
        group: u8,
        count: u8,
    },
    Reclaim {
        steps: u8,
    },
    /// A budget in 128ths of the first one.
    SetBudget {
        group: u8,
        part: u8,
    },
    Invalidate {
        group: u8,
    },
    Void(Place),
    /// A policy, by its number.
    SetPolicy {
        group: u8,
        policy: u8,
    },
}

/// A key of a group, each by its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) group: u8,
    pub(crate) key: u8,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    /// So many letters, of which each says where it is, in a value that says which it is.
    Letters {
        length: Length,
        seed: u8,
    },
    Number(i64),
}

/// The length of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    Bytes(u16),
    /// A part of the longest value and one byte more, in 65,535ths.
    Share(u16),
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    Always,
    Absent,
    Present,
    Version(Which),
}

/// A version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    Any,
    Same,
    Other,
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    Default,
    Never,
    After {
        ms: u16,
    },
    /// So long after the present, or before it.
    At {
        ms: i16,
    },
    Keep,
}

impl Content {
    /// The bytes, where values are at most so long, or one byte longer.
    pub(crate) fn bytes(self, value_bytes_max: usize) -> Vec<u8> {
        match self {
            Content::Number(number) => number.to_string().into_bytes(),
            Content::Letters { length, seed } => {
                let length = match length {
                    Length::Bytes(bytes) => usize::from(bytes).min(value_bytes_max + 1),
                    Length::Share(share) => (value_bytes_max + 1) * usize::from(share) / usize::from(u16::MAX),
                };
                let letter = |at: usize| b'a' + ((at ^ at >> 5 ^ at >> 11).wrapping_add(usize::from(seed)) % 26) as u8;
                (0..length).map(letter).collect()
            }
        }
    }
}

/// Reads operations from bytes until these end.
pub(crate) struct Operations<'a> {
    pub(crate) bytes: &'a [u8],
}

impl Iterator for Operations<'_> {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        self.operation()
    }
}

impl Operations<'_> {
    fn operation(&mut self) -> Option<Operation> {
        Some(match self.u8()? {
            0..56 => Operation::Get(self.place()?),
            56..120 => {
                let (place, content, flags) = (self.place()?, self.content()?, u32::from(self.u8()?) << 17);
                Operation::Set { place, content, flags, when: self.when()?, time: self.time()? }
            }
            120..133 => Operation::Delete { place: self.place()?, which: self.which()? },
            133..144 => Operation::Touch { place: self.place()?, time: self.time()? },
            144..157 => {
                let (place, delta, kind) = (self.place()?, self.number()?, self.u8()?);
                let initial = if kind % 2 == 0 { None } else { Some(self.number()?) };
                Operation::Increment { place, delta, initial, time: self.time()? }
            }
            157..174 => {
                Operation::Extend { place: self.place()?, content: self.content()?, front: self.u8()? % 2 == 0 }
            }
            174..178 => {
                let (group, count) = (self.group()?, self.u8()? % 24);
                let keys = (0..count).map(|_| self.key()).collect::<Option<_>>()?;
                Operation::GetMany { group, keys }
            }
            178..186 => Operation::Reclaim { steps: self.u8()? },
            186..189 => {
                let (place, marks) = (self.place()?, self.u8()?);
                Operation::Mark { place, stale: marks & 1 != 0, won: marks & 2 != 0 }
            }
            189..198 => Operation::Scan { group: self.group()?, count: self.u8()? % 32 },
            198..201 => Operation::SetBudget { group: self.group()?, part: self.u8()? },
            201 => Operation::Invalidate { group: self.group()? },
            202 => Operation::Wait { ms: u32::from(self.u16()?) },
            203 => Operation::SetPolicy { group: self.group()?, policy: self.u8()? },
            204..206 => Operation::Void(self.place()?),
            206.. => Operation::Wait { ms: u32::from(self.u8()? % 60) },
        })
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.u8()?, self.u8()?]))
    }

    fn group(&mut self) -> Option<u8> {
        Some(self.u8()? % GROUPS)
    }

    /// Some keys are more popular than others.
    fn key(&mut self) -> Option<u8> {
        let draw = u32::from(self.u8()?);
        Some(((draw * draw * u32::from(KEYS)) >> 16) as u8)
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place { group: self.group()?, key: self.key()? })
    }

    fn number(&mut self) -> Option<i64> {
        let (kind, number) = (self.u8()?, self.u16()? as i16);
        Some(match kind {
            0..16 => i64::MAX - i64::from(number.unsigned_abs()),
            16..32 => i64::MIN + i64::from(number.unsigned_abs()),
            32.. => i64::from(number >> (kind % 16)),
        })
    }

    fn content(&mut self) -> Option<Content> {
        let (kind, seed) = (self.u8()?, self.u8()?);
        let length = match kind {
            0..12 => Length::Share(self.u16()?),
            12..24 => Length::Share(u16::MAX - u16::from(self.u8()? % 2)),
            24..52 => Length::Share(self.u16()? / 4),
            52..96 => Length::Bytes(self.u16()? % 6000),
            96..192 => Length::Bytes(u16::from(self.u8()? % 100)),
            192.. => return Some(Content::Number(self.number()?)),
        };
        Some(Content::Letters { length, seed })
    }

    fn when(&mut self) -> Option<When> {
        Some(match self.u8()? % 16 {
            0 => When::Absent,
            1 => When::Present,
            2 => When::Version(self.which()?),
            _ => When::Always,
        })
    }

    fn which(&mut self) -> Option<Which> {
        Some([Which::Any, Which::Any, Which::Same, Which::Other][usize::from(self.u8()? % 4)])
    }

    fn time(&mut self) -> Option<Time> {
        Some(match self.u8()? % 8 {
            0 => Time::Never,
            1 => Time::After { ms: self.u16()? % 400 },
            2 => Time::At { ms: (self.u16()? % 400) as i16 - 20 },
            3 => Time::Keep,
            _ => Time::Default,
        })
    }
}

/// The key with this number.
pub(crate) fn key_bytes(number: u8) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 => vec![b'k'; 400],
        2 => vec![b'l'; 5000],
        _ => format!("key {number}").into_bytes(),
    }
}

/// Its hash, of so many.
pub(crate) fn key_hash(hashes: u64, key: &[u8]) -> u64 {
    let mixed = key.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
    });
    mixed % hashes
}
