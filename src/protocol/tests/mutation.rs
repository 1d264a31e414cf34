//! Golden messages, changed at random: the decoders never panic, and agree with prost about what is left.

use crate::golden;
use crate::support::{agree_about_request, agree_about_response, hex};

const ROUNDS: u32 = 300_000;

/// Changes `message` in one to six places; `corpus` is where pieces of other messages come from.
fn mutate(message: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    for _ in 0..random.u32(1..=6) {
        let at = random.usize(0..=message.len());
        let end = random.usize(at..=message.len());
        match random.u32(0..8) {
            0 if at < message.len() => message[at] = random.u8(..),
            1 if at < message.len() => message[at] ^= 1 << random.u32(0..8),
            2 => message.insert(at, *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).expect("not empty")),
            3 => drop(message.drain(at..end)),
            4 => message.truncate(at),
            5 => {
                let piece = message[at..end].to_vec();
                message.splice(at..at, piece);
            }
            _ => {
                let other = random.choice(corpus).expect("a corpus");
                let start = random.usize(0..=other.len());
                message.splice(at..at, other[start..random.usize(start..=other.len())].iter().copied());
            }
        }
        message.truncate(4 << 10);
    }
}

fn drive(seed: u64, corpus: &[Vec<u8>], agree: impl Fn(&[u8]) -> Result<(), String>) {
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let mut message = random.choice(corpus).expect("a corpus").clone();
        mutate(&mut message, corpus, &mut random);
        agree(&message).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}\n{}", hex(&message)));
    }
}

#[test]
fn mutated_requests_are_judged_as_prost_does() {
    let corpus: Vec<_> = golden::requests().iter().map(|case| case.message().to_vec()).collect();
    drive(1, &corpus, agree_about_request);
}

#[test]
fn mutated_responses_are_judged_as_prost_does() {
    let corpus: Vec<_> = golden::responses().iter().map(|case| case.message().to_vec()).collect();
    drive(2, &corpus, agree_about_response);
}

#[test]
fn noise_is_judged_as_prost_does() {
    let seed = 3;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let message: Vec<u8> = (0..random.usize(0..24)).map(|_| random.u8(..)).collect();
        let agreed = agree_about_request(&message).and_then(|()| agree_about_response(&message));
        agreed.unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}\n{}", hex(&message)));
    }
}
