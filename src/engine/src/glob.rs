//! Glob patterns as Redis has them, matched in a time that is linear in the key, whatever the pattern.
//!
//! A pattern is a row of elements that take one byte each, with stars between them. How many of its elements the bytes
//! so far may stand for is kept as a set of numbers, in bits, which each byte moves on as a whole. So nothing is tried
//! twice, and a pattern of many stars costs no more than others.

use alloc::boxed::Box;

use larder_protocol::limits::PATTERN_BYTES_MAX;

/// Numbers of elements, from none to all, as bits.
type Counts = [u64; WORDS];

const WORDS: usize = (PATTERN_BYTES_MAX + 1).div_ceil(64);

/// A pattern.
#[derive(Debug)]
pub struct Glob {
    /// By byte: the elements that take it.
    takers: Box<[Counts; 256]>,
    /// Behind how many elements there is a star.
    stars: Counts,
    /// How many elements there are.
    len: usize,
}

impl Glob {
    /// Reads a pattern; `None` if it is longer than [`PATTERN_BYTES_MAX`].
    pub fn new(pattern: &[u8]) -> Option<Glob> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let mut glob = Glob { takers: Box::new([[0; WORDS]; 256]), stars: [0; WORDS], len: 0 };
        let mut rest = pattern;
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            match (first, behind) {
                (b'*', _) => glob.stars[glob.len / 64] |= 1 << (glob.len % 64),
                (b'?', _) => glob.push(|_| true),
                (b'[', _) => {
                    let (members, behind) = class(behind);
                    glob.push(|byte| members[usize::from(byte)]);
                    rest = behind;
                }
                (b'\\', [escaped, behind @ ..]) => {
                    glob.push(|byte| byte == *escaped);
                    rest = behind;
                }
                _ => glob.push(|byte| byte == first),
            }
        }
        Some(glob)
    }

    /// Adds an element that takes these bytes.
    fn push(&mut self, takes: impl Fn(u8) -> bool) {
        for byte in (0..=u8::MAX).filter(|byte| takes(*byte)) {
            self.takers[usize::from(byte)][self.len / 64] |= 1 << (self.len % 64);
        }
        self.len += 1;
    }

    /// Whether the whole key stands for the whole pattern.
    pub fn matches(&self, key: &[u8]) -> bool {
        let words = self.len / 64 + 1;
        let mut counts: Counts = [0; WORDS];
        counts[0] = 1;
        for byte in key {
            let takers = &self.takers[usize::from(*byte)];
            let (mut carry, mut any) = (0, 0);
            for word in 0..words {
                let taken = counts[word] & takers[word];
                let stays = counts[word] & self.stars[word];
                counts[word] = taken << 1 | carry | stays;
                carry = taken >> 63;
                any |= counts[word];
            }
            if any == 0 {
                return false;
            }
        }
        counts[self.len / 64] >> (self.len % 64) & 1 == 1
    }
}

/// Reads a class behind its bracket: the bytes in it, and what is behind it. One that is not closed ends with the
/// pattern.
fn class(pattern: &[u8]) -> ([bool; 256], &[u8]) {
    let mut members = [false; 256];
    let negated = pattern.first() == Some(&b'^');
    let mut rest = &pattern[usize::from(negated)..];
    loop {
        rest = match rest {
            [b'\\', byte, behind @ ..] => {
                members[usize::from(*byte)] = true;
                behind
            }
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [] => break,
            [from, b'-', to, behind @ ..] => {
                let (from, to) = (from.min(to), from.max(to));
                members[usize::from(*from)..=usize::from(*to)].fill(true);
                behind
            }
            [byte, behind @ ..] => {
                members[usize::from(*byte)] = true;
                behind
            }
        };
    }
    if negated {
        members.iter_mut().for_each(|member| *member = !*member);
    }
    (members, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &[u8], key: &[u8]) -> bool {
        Glob::new(pattern).expect("short enough").matches(key)
    }

    /// The same by trying everything, as the definition has it.
    fn tried(pattern: &[u8], key: &[u8]) -> bool {
        match (pattern, key) {
            ([], _) => key.is_empty(),
            ([b'*', behind @ ..], _) => (0..=key.len()).any(|taken| tried(behind, &key[taken..])),
            (_, []) => false,
            ([b'?', behind @ ..], [_, rest @ ..]) => tried(behind, rest),
            ([b'[', behind @ ..], [byte, rest @ ..]) => {
                let (members, behind) = class(behind);
                members[usize::from(*byte)] && tried(behind, rest)
            }
            ([b'\\', escaped, behind @ ..], [byte, rest @ ..]) => escaped == byte && tried(behind, rest),
            ([literal, behind @ ..], [byte, rest @ ..]) => literal == byte && tried(behind, rest),
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, taken, refused) in [
            ("h?llo", &["hello", "hallo"][..], &["hllo", "heello", "hello "][..]),
            ("h*llo", &["hllo", "heeeello"], &["hll", "ello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo", "h[ae]llo"]),
            ("h[^e]llo", &["hallo", "h^llo"], &["hello", "hllo"]),
            ("h[a-c]llo", &["hallo", "hcllo"], &["hdllo", "h-llo"]),
            ("h[c-a]llo", &["hallo", "hbllo"], &["hdllo"]),
            ("[a-c-]", &["b", "-"], &["d"]),
            ("[\\]a]", &["]", "a"], &["\\", ""]),
            ("[\\^a]", &["^", "a"], &["b"]),
            ("[]a", &[], &["a", "]a", "[]a", ""]),
            ("[^]a", &["xa"], &["a", ""]),
            ("[ab", &["a", "b"], &["[ab", "ab"]),
            ("[a-", &["a", "-"], &["b"]),
            ("\\*", &["*"], &["a", "\\*", ""]),
            ("a\\", &["a\\"], &["a"]),
            ("*", &["", "a", "\u{e9}"], &[]),
            ("**a**", &["a", "bab"], &["b", ""]),
            ("", &[], &["a"]),
            ("user:*:[0-9]?", &["user::17", "user:a:b:0x"], &["user:17", "user:a:x7"]),
        ] {
            for key in taken {
                assert!(matches(pattern.as_bytes(), key.as_bytes()), "{pattern} takes {key}");
            }
            for key in refused {
                assert!(!matches(pattern.as_bytes(), key.as_bytes()), "{pattern} refuses {key}");
            }
        }
        assert!(matches(b"?", &[0xff]) && matches(b"[\x80-\xff]", &[0x90]), "bytes, not characters");
        assert!(matches(b"", b""));
    }

    #[test]
    fn random_patterns_match_what_trying_everything_does() {
        let seed = 0x610B;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = |bytes: &[u8], len| (0..len).map(|_| *random.choice(bytes).unwrap()).collect::<Vec<_>>();
        let mut lengths = fastrand::Rng::with_seed(seed + 1);
        let mut taken = 0;
        for _ in 0..50_000 {
            let pattern = text(b"aabb**??[[]]^-\\", lengths.usize(0..10));
            let key = text(b"aabb]^-\\", lengths.usize(0..8));
            let wanted = tried(&pattern, &key);
            taken += u32::from(wanted);
            let shown = (String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&key));
            assert_eq!(matches(&pattern, &key), wanted, "seed {seed:#x}: {shown:?}");
        }
        assert!(taken > 1_000, "{taken} of 50,000 match");
    }

    #[test]
    fn every_word_of_the_longest_pattern_is_used() {
        let pattern: Vec<u8> = (0..PATTERN_BYTES_MAX).map(|place| b'a' + (place % 23) as u8).collect();
        assert!(matches(&pattern, &pattern));
        for place in 0..pattern.len() {
            let mut other = pattern.clone();
            other[place] = b'z';
            assert!(!matches(&pattern, &other), "another byte at {place}");
            let mut starred = pattern.clone();
            starred[place] = b'*';
            assert!(matches(&starred, &pattern) && matches(&starred, &other), "a star at {place}");
        }
        assert!(Glob::new(&[b'a'; PATTERN_BYTES_MAX + 1]).is_none());
    }

    /// One that goes back to the last star takes minutes for this, one that goes back to every star for ever.
    #[test]
    fn many_stars_cost_no_more_than_one() {
        let pattern = [b"*a".repeat(PATTERN_BYTES_MAX / 2), b"b".to_vec()].concat();
        let key = vec![b'a'; 64 << 10];
        for _ in 0..100 {
            assert!(!matches(&pattern, &key));
        }
    }
}
