//! How large values are, and what is in them when nobody looks.

use std::fmt;
use std::str::FromStr;

use crate::limits::{CONTENT_BYTES, VALUE_SIZES_MAX};
use crate::parse;
use larder_protocol::limits::VALUE_BYTES_MAX;

/// How large values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSizes {
    /// All alike.
    Fixed(u32),
    /// Between the two, both included, all alike often.
    Range(u32, u32),
    /// Sizes with their weights added up, in the order given.
    Weighted(Vec<(u64, u32)>),
}

impl FromStr for ValueSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueSizes, String> {
        if text.contains([',', ':']) {
            return weighted(text);
        }
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let (least, most) = (size(least)?, size(most)?);
        match least.cmp(&most) {
            std::cmp::Ordering::Less => Ok(ValueSizes::Range(least, most)),
            std::cmp::Ordering::Equal => Ok(ValueSizes::Fixed(least)),
            std::cmp::Ordering::Greater => Err("the first size of a range is the smaller one".into()),
        }
    }
}

fn weighted(text: &str) -> Result<ValueSizes, String> {
    let mut sizes = Vec::new();
    let mut total = 0_u64;
    for part in text.split(',') {
        let (bytes, weight) = part.split_once(':').unwrap_or((part, "1"));
        let weight: u32 = weight.parse().map_err(|_| format!("the weight {weight:?} is no number"))?;
        total += u64::from(weight);
        sizes.push((total, size(bytes)?));
    }
    if sizes.len() > VALUE_SIZES_MAX {
        return Err(format!("at most {VALUE_SIZES_MAX} sizes"));
    }
    if total == 0 {
        return Err("the weights are all 0".into());
    }
    Ok(ValueSizes::Weighted(sizes))
}

fn size(text: &str) -> Result<u32, String> {
    let bytes = parse::bytes(text)?;
    if bytes > VALUE_BYTES_MAX as u64 {
        return Err(format!("a value has at most {VALUE_BYTES_MAX} bytes"));
    }
    Ok(bytes as u32)
}

impl ValueSizes {
    /// The smallest size that comes up.
    pub fn least(&self) -> u32 {
        match self {
            ValueSizes::Fixed(size) | ValueSizes::Range(size, _) => *size,
            ValueSizes::Weighted(sizes) => self.drawn(sizes).min().expect("a list has a size"),
        }
    }

    /// The largest size that comes up.
    pub fn most(&self) -> u32 {
        match self {
            ValueSizes::Fixed(size) | ValueSizes::Range(_, size) => *size,
            ValueSizes::Weighted(sizes) => self.drawn(sizes).max().expect("a list has a size"),
        }
    }

    /// The next size.
    pub fn sample(&self, rng: &mut fastrand::Rng) -> u32 {
        match self {
            ValueSizes::Fixed(size) => *size,
            ValueSizes::Range(least, most) => rng.u32(*least..=*most),
            ValueSizes::Weighted(sizes) => {
                let total = sizes.last().expect("a list has a size").0;
                let ticket = rng.u64(..total);
                sizes[sizes.partition_point(|&(upto, _)| upto <= ticket)].1
            }
        }
    }

    /// The sizes whose weight is not 0.
    fn drawn<'a>(&self, sizes: &'a [(u64, u32)]) -> impl Iterator<Item = u32> + use<'a> {
        sizes
            .iter()
            .scan(0, |before, &(upto, size)| Some((std::mem::replace(before, upto) < upto, size)))
            .filter(|&(drawn, _)| drawn)
            .map(|(_, size)| size)
    }
}

impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSizes::Fixed(size) => write!(f, "{size}"),
            ValueSizes::Range(least, most) => write!(f, "{least}-{most}"),
            ValueSizes::Weighted(sizes) => {
                let mut before = 0;
                for (place, &(upto, size)) in sizes.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{size}:{}", upto - before)?;
                    before = upto;
                }
                Ok(())
            }
        }
    }
}

/// Random bytes that values are cut from, so that sending one costs a copy and nothing else.
#[derive(Clone, Debug)]
pub struct Content {
    bytes: Vec<u8>,
}

impl Content {
    /// Content for values of up to `value_bytes_max` bytes.
    pub fn new(value_bytes_max: u32, seed: u64) -> Content {
        let mut bytes = vec![0; CONTENT_BYTES + value_bytes_max as usize];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        Content { bytes }
    }

    /// `len` bytes, other ones for another `salt`.
    pub fn cut(&self, salt: u64, len: usize) -> &[u8] {
        let start = (salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % CONTENT_BYTES;
        &self.bytes[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for text in ["64", "16-1024", "64:9,1024:1", "0"] {
            assert_eq!(text.parse::<ValueSizes>().unwrap().to_string(), text);
        }
        assert_eq!("1KiB".parse(), Ok(ValueSizes::Fixed(1024)));
        for wrong in ["", "a", "10-5", "64:0", "64:x", "65MiB", "1-", "64,"] {
            assert!(wrong.parse::<ValueSizes>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_come_as_often_as_their_weights_say() {
        let seed = 5;
        let mut rng = fastrand::Rng::with_seed(seed);
        let sizes: ValueSizes = "10:3,20:0,30:1".parse().unwrap();
        assert_eq!((sizes.least(), sizes.most()), (10, 30));
        let drawn: Vec<u32> = (0..40_000).map(|_| sizes.sample(&mut rng)).collect();
        let of = |size| drawn.iter().filter(|&&drawn| drawn == size).count();
        assert_eq!(of(20), 0, "seed {seed}");
        assert_eq!(of(10) + of(30), 40_000, "seed {seed}");
        assert!((29_500..30_500).contains(&of(10)), "{} of 30,000, seed {seed}", of(10));
        let range: ValueSizes = "5-9".parse().unwrap();
        let mut seen = [false; 10];
        (0..1000).for_each(|_| seen[range.sample(&mut rng) as usize] = true);
        assert_eq!(seen.iter().filter(|&&seen| seen).count(), 5, "seed {seed}");
    }

    #[test]
    fn content_reaches_to_the_largest_value() {
        let content = Content::new(1000, 1);
        for salt in 0..10_000 {
            assert_eq!(content.cut(salt, 1000).len(), 1000);
        }
        assert_ne!(content.cut(1, 64), content.cut(2, 64));
    }
}
