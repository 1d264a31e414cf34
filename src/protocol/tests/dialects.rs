//! Any bytes as RESP and as memcached's protocol: nothing panics, and what is decoded does not depend on how the bytes are cut.

use larder_protocol::memcache::{self, Limits, Parsed};
use larder_protocol::resp::{self, Keyspace, Reader, ReaderLimits};

use crate::cut::{self, Making};

/// Sessions that inputs are made of; fuzzing begins with them too.
const RESP: [&[u8]; 14] = [
    include_bytes!("../../../tools/fuzz/corpus/resp/get_set"),
    include_bytes!("../../../tools/fuzz/corpus/resp/set_expiry"),
    include_bytes!("../../../tools/fuzz/corpus/resp/inline"),
    include_bytes!("../../../tools/fuzz/corpus/resp/mget"),
    include_bytes!("../../../tools/fuzz/corpus/resp/mset"),
    include_bytes!("../../../tools/fuzz/corpus/resp/multi"),
    include_bytes!("../../../tools/fuzz/corpus/resp/hello"),
    include_bytes!("../../../tools/fuzz/corpus/resp/scan"),
    include_bytes!("../../../tools/fuzz/corpus/resp/expire"),
    include_bytes!("../../../tools/fuzz/corpus/resp/client"),
    include_bytes!("../../../tools/fuzz/corpus/resp/introspection"),
    include_bytes!("../../../tools/fuzz/corpus/resp/strings"),
    include_bytes!("../../../tools/fuzz/corpus/resp/odd_counts"),
    include_bytes!("../../../tools/fuzz/corpus/resp/odd_types"),
];
const MEMCACHE: [&[u8]; 11] = [
    include_bytes!("../../../tools/fuzz/corpus/memcache/get"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/set"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/cas"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/numbers"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/delete"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/server"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/large"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/http"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/meta_get"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/meta_set"),
    include_bytes!("../../../tools/fuzz/corpus/memcache/meta_other"),
];
const ROUNDS: u32 = 400_000;
/// Inputs of one dialect: half a minute.
const INPUTS: u32 = 2_400_000;

/// Changes an input in one to six places, and takes from others.
fn mutated(corpus: &[&[u8]], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = random.choice(corpus).expect("a corpus").to_vec();
    for _ in 0..random.u32(0..=6) {
        let at = random.usize(0..=input.len());
        let end = random.usize(at..=input.len());
        match random.u32(0..8) {
            0 if at < input.len() => input[at] = random.u8(..),
            1 if at < input.len() => input[at] ^= 1 << random.u32(0..8),
            2 => input.insert(at, *random.choice(b"\r\n *$-09a\"'\\\0\xff").expect("not empty")),
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = random.choice(corpus).expect("a corpus");
                let start = random.usize(0..=other.len());
                input.splice(at..at, other[start..random.usize(start..=other.len())].iter().copied());
            }
        }
        input.truncate(4 << 10);
    }
    input
}

fn drive(seed: u64, corpus: &[&[u8]], make: Making) {
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let mut commands = 0;
    for round in 0..INPUTS {
        let input = match corpus.get(round as usize) {
            Some(input) => input.to_vec(),
            None => mutated(corpus, &mut random),
        };
        let mut cuts: Vec<usize> = (0..random.usize(0..6)).map(|_| random.usize(0..=input.len())).collect();
        cuts.sort_unstable();
        commands += cut::same(&input, &cuts, make);
    }
    println!("{INPUTS} inputs, {commands} commands");
}

#[test]
fn any_bytes_are_resp_or_said_not_to_be() {
    drive(11, &RESP, cut::resp);
}

#[test]
fn any_bytes_are_lines_or_said_not_to_be() {
    drive(12, &MEMCACHE, cut::memcache);
}

/// What is decoded ahead is what is decoded otherwise.
#[test]
fn any_plain_command_is_one() {
    let mut random = fastrand::Rng::with_seed(13);
    let keyspace = Keyspace::new(0, None);
    for round in 0..ROUNDS {
        let input = mutated(&RESP[..2], &mut random);
        if let Some((command, shape, taken)) = resp::plain(&input, 1_000) {
            let limits = ReaderLimits { argument_bytes_max: 1 << 16, command_bytes_max: 1 << 20, is_stranger: false };
            let (mut reader, mut places) = (Reader::default(), resp::Places::default());
            assert_eq!(reader.read(&input, limits), Ok(Some(taken)), "round {round}");
            let asked = resp::decode(reader.arguments(&input), &keyspace, &mut places, 0);
            assert_eq!(format!("{asked:?}"), format!("{:?}", resp::Asked::Command(0, command, shape)), "round {round}");
        }
        let input = mutated(&MEMCACHE[..2], &mut random);
        if let Some((command, _, taken)) = memcache::plain(&input, 1_000) {
            let mut places = memcache::Places::default();
            let limits = Limits { value_bytes_max: 1_000, line_bytes_max: memcache::LINE_BYTES_MAX };
            let Parsed::Asked(asked, otherwise) = memcache::decode(&input, &mut places, limits) else {
                panic!("round {round}: it is a command")
            };
            assert_eq!(taken, otherwise, "round {round}");
            match asked {
                memcache::Asked::Command(found, ..) => assert_eq!(format!("{found:?}"), format!("{command:?}")),
                memcache::Asked::Get(keys, _) => {
                    assert_eq!((keys.len(), keys.iter().next()), (1, command.key()), "round {round}");
                }
                other => panic!("round {round}: {other:?} is not {command:?}"),
            }
        }
    }
}
