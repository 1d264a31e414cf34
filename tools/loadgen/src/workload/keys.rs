//! Which keys there are, how they are written, and which one is next.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use larder_protocol::limits::KEY_BYTES_MAX;

use super::zipf::Zipf;
use crate::error::LoadError;
use crate::limits::KEYS_MAX;

/// Bytes of a key of a replayed trace, behind its prefix.
pub const TRACE_KEY_BYTES: usize = 16;

/// How a key of a trace is written on the wire: 16 lower-case hexadecimal digits. A run in process that is to be
/// compared with a replay uses the same.
pub fn trace_key(key: u64) -> [u8; TRACE_KEY_BYTES] {
    let mut text = [0; TRACE_KEY_BYTES];
    for (place, byte) in text.iter_mut().enumerate() {
        let digit = (key >> (60 - 4 * place)) as usize & 15;
        *byte = b"0123456789abcdef"[digit];
    }
    text
}

/// The keys of a run: a prefix and a decimal number, filled with zeros to one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpace {
    count: u64,
    prefix: String,
    key_bytes: usize,
}

impl KeySpace {
    /// # Errors
    /// A key space that is empty or too large, and keys that are too short for the numbers in them (`marks`: and for
    /// the mark of counter keys) or too long for the protocol.
    pub fn new(count: u64, prefix: &str, key_bytes: usize, marks: bool) -> Result<KeySpace, LoadError> {
        if !(1..=KEYS_MAX).contains(&count) {
            return Err(LoadError::option("--keys", count, format!("expected 1 to {KEYS_MAX}")));
        }
        let digits = (count - 1).max(1).ilog10() as usize + 1;
        let least = prefix.len() + digits + usize::from(marks);
        if !(least..=KEY_BYTES_MAX).contains(&key_bytes) {
            let remedy = format!(
                "{count} keys with the prefix {prefix:?} need {least} to {KEY_BYTES_MAX} bytes; change --key-bytes, \
                 --key-prefix or --keys"
            );
            return Err(LoadError::option("--key-bytes", key_bytes, remedy));
        }
        Ok(KeySpace { count, prefix: prefix.to_string(), key_bytes })
    }

    /// How many keys there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What each key begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Length of each key.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Something that writes these keys.
    pub fn writer(&self) -> KeyWriter {
        let mut bytes = self.prefix.clone().into_bytes();
        bytes.resize(self.key_bytes, b'0');
        KeyWriter { bytes, digits_start: self.prefix.len() }
    }
}

/// Writes keys of one space, one at a time, in place.
#[derive(Clone, Debug)]
pub struct KeyWriter {
    bytes: Vec<u8>,
    digits_start: usize,
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl KeyWriter {
    /// The key with this number.
    pub fn key(&mut self, number: u64) -> &[u8] {
        self.write(number);
        &self.bytes
    }

    /// The key of the counter with this number: an `n` where keys of values have their first digit, so that counters
    /// and values never meet.
    pub fn counter_key(&mut self, number: u64) -> &[u8] {
        self.write(number);
        self.bytes[self.digits_start] = b'n';
        &self.bytes
    }

    fn write(&mut self, mut number: u64) {
        let digits = &mut self.bytes[self.digits_start..];
        let mut at = digits.len();
        while at >= 2 && number >= 10 {
            digits[at - 2..at].copy_from_slice(&PAIRS[(number % 100) as usize]);
            number /= 100;
            at -= 2;
        }
        digits[..at].fill(b'0');
        if at > 0 {
            debug_assert!(number < 10, "the key space allows for its largest number");
            digits[at - 1] = b'0' + number as u8;
        }
    }
}

/// How often which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// By Zipf's law with this exponent; key 0 is the most frequent one.
    Zipf(f64),
    /// The first `keys` of all keys (0 to 1) get the share `requests` of all requests; within and without, all alike.
    Hotspot {
        /// Share of keys that are hot.
        keys: f64,
        /// Share of requests that they get.
        requests: f64,
    },
    /// Each key once, by number, then again from the first; each thread has a share of the keys.
    InTurn,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let expected = || {
            "expected uniform, in_turn, zipf:THETA (such as zipf:0.99) or hotspot:KEYS%:REQUESTS% (such as \
             hotspot:10%:90%)"
                .to_string()
        };
        let mut parts = text.split(':');
        let distribution = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("uniform"), None, None, None) => Distribution::Uniform,
            (Some("in_turn"), None, None, None) => Distribution::InTurn,
            (Some("zipf"), theta, None, None) => {
                let theta: f64 = theta.unwrap_or("0.99").parse().map_err(|_| expected())?;
                if !(0.01..=10.0).contains(&theta) {
                    return Err("the exponent of zipf is between 0.01 and 10".into());
                }
                Distribution::Zipf(theta)
            }
            (Some("hotspot"), Some(keys), Some(requests), None) => {
                Distribution::Hotspot { keys: share(keys)?, requests: share(requests)? }
            }
            _ => return Err(expected()),
        };
        Ok(distribution)
    }
}

fn share(text: &str) -> Result<f64, String> {
    let expected = || "a share is a percentage above 0 and up to 100, such as 10%".to_string();
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| expected())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err(expected()) }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::InTurn => f.write_str("in_turn"),
            Distribution::Zipf(theta) => write!(f, "zipf:{theta}"),
            Distribution::Hotspot { keys, requests } => write!(f, "hotspot:{}%:{}%", keys * 100.0, requests * 100.0),
        }
    }
}

/// Draws keys of one space.
#[derive(Clone, Debug)]
pub enum KeySampler {
    /// [`Distribution::Uniform`].
    Uniform {
        /// Number of keys.
        count: u64,
    },
    /// [`Distribution::Zipf`].
    Zipf(Zipf),
    /// [`Distribution::Hotspot`].
    Hotspot {
        /// Number of keys.
        count: u64,
        /// Number of hot keys, at least 1.
        hot: u64,
        /// Share of requests for them.
        requests: f64,
    },
    /// [`Distribution::InTurn`].
    InTurn {
        /// The keys that come up.
        share: Range<u64>,
        /// The next of them.
        next: u64,
    },
}

impl KeySampler {
    /// Draws from `count` keys; in turn, only from `share`, which then may not be empty.
    pub fn new(distribution: Distribution, count: u64, share: Range<u64>) -> KeySampler {
        match distribution {
            Distribution::InTurn => KeySampler::InTurn { next: share.start, share },
            Distribution::Uniform => KeySampler::Uniform { count },
            Distribution::Zipf(theta) => KeySampler::Zipf(Zipf::new(count, theta)),
            Distribution::Hotspot { keys, requests } => {
                let hot = ((count as f64 * keys).round() as u64).clamp(1, count);
                KeySampler::Hotspot { count, hot, requests }
            }
        }
    }

    /// The number of the next key.
    pub fn sample(&mut self, rng: &mut fastrand::Rng) -> u64 {
        match self {
            &mut KeySampler::Uniform { count } => rng.u64(..count),
            KeySampler::Zipf(zipf) => zipf.sample(rng),
            KeySampler::InTurn { share, next } => {
                let behind = if *next + 1 < share.end { *next + 1 } else { share.start };
                std::mem::replace(next, behind)
            }
            &mut KeySampler::Hotspot { count, hot, requests } => {
                if hot == count || rng.f64() < requests {
                    rng.u64(..hot)
                } else {
                    rng.u64(hot..count)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_prefix_and_the_number() {
        let mut keys = KeySpace::new(1_000_001, "k:", 11, true).unwrap().writer();
        for number in [0, 7, 10, 99, 100, 12_345, 1_000_000, 3, 42] {
            assert_eq!(keys.key(number), format!("k:{number:09}").as_bytes());
        }
        assert_eq!(keys.counter_key(42), b"k:n00000042");
        assert_eq!(keys.key(42), b"k:000000042");
        let mut odd = KeySpace::new(10, "", 1, false).unwrap().writer();
        assert!((0..10).all(|number| odd.key(number) == number.to_string().as_bytes()));
        let mut tight = KeySpace::new(1000, "", 3, false).unwrap().writer();
        assert!((0..1000).all(|number| tight.key(number) == format!("{number:03}").as_bytes()));
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        assert!(KeySpace::new(1000, "ab", 5, false).is_ok());
        assert!(KeySpace::new(1001, "ab", 5, false).is_err());
        assert!(KeySpace::new(1000, "ab", 5, true).is_err());
        assert!(KeySpace::new(0, "", 5, false).is_err());
        assert!(KeySpace::new(1, "", KEY_BYTES_MAX + 1, false).is_err());
    }

    #[test]
    fn trace_keys_are_sixteen_hexadecimal_digits() {
        for key in [0, 1, 0xdead_beef, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(trace_key(key), *format!("{key:016x}").as_bytes());
        }
    }

    #[test]
    fn hot_keys_get_their_share() {
        let seed = 11;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sampler = KeySampler::new("hotspot:10%:90%".parse().unwrap(), 1000, 0..1000);
        let hot = (0..100_000).filter(|_| sampler.sample(&mut rng) < 100).count();
        assert!((89_500..90_500).contains(&hot), "{hot} of 100,000 draws are hot, seed {seed}");
        let mut uniform = KeySampler::new(Distribution::Uniform, 10, 0..10);
        let mut seen = [0; 10];
        (0..100_000).for_each(|_| seen[uniform.sample(&mut rng) as usize] += 1);
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}, seed {seed}");
    }

    #[test]
    fn keys_in_turn_come_once_each_and_again() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut drawn = |share, draws| {
            let mut sampler = KeySampler::new(Distribution::InTurn, 10, share);
            (0..draws).map(|_| sampler.sample(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(0..5, 5), [0, 1, 2, 3, 4]);
        assert_eq!(drawn(5..8, 5), [5, 6, 7, 5, 6]);
        assert_eq!(drawn(9..10, 2), [9, 9]);
    }

    #[test]
    fn distributions_are_read_and_shown_alike() {
        for text in ["uniform", "in_turn", "zipf:0.99", "zipf:1.2", "hotspot:10%:90%"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "zip", "zipf:0", "zipf:x", "zipf:1:2", "hotspot", "hotspot:0%:1%", "hotspot:101%:1%", "uniform:1"]
        {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong:?}");
        }
    }
}
