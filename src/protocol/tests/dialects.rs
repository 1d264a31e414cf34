//! Any bytes as RESP and as memcached's protocol: nothing panics, and what is decoded does not depend on how the bytes are cut.

use larder_protocol::memcache::{self, Limits, Parsed};
use larder_protocol::resp::{self, Keyspace, Reader, ReaderLimits};

/// Sessions that inputs are made of.
const RESP: [&[u8]; 14] = [
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nhi\r\n",
    b"*5\r\n$3\r\nset\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nPX\r\n$4\r\n1000\r\n",
    b"PING\r\nSET a \"b \\x41\\n\" nx\r\nget 'it\\'s'\n\r\n",
    b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$8\r\nscores:b\r\n$1\r\na\r\n",
    b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n*3\r\n$6\r\nMSETNX\r\n$1\r\na\r\n$1\r\n1\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n*2\r\n$5\r\nWATCH\r\n$1\r\na\r\n",
    b"*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n$7\r\nSETNAME\r\n$1\r\nn\r\n",
    b"*8\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$2\r\na*\r\n$5\r\nCOUNT\r\n$2\r\n10\r\n$4\r\nTYPE\r\n$6\r\nstring\r\n",
    b"*5\r\n$6\r\nEXPIRE\r\n$1\r\na\r\n$2\r\n10\r\n$2\r\nXX\r\n$2\r\nLT\r\n*3\r\n$6\r\nOBJECT\r\n$8\r\nENCODING\r\n$1\r\na\r\n",
    b"CLIENT KILL ID 5 SKIPME no\r\nCLIENT LIST\r\nCONFIG GET max*\r\nCONFIG SET a b\r\nCOMMAND INFO get\r\n",
    b"INFO memory\r\nMEMORY USAGE a SAMPLES 5\r\nSLOWLOG GET\r\nFLUSHALL ASYNC\r\nTIME\r\nQUIT\r\n",
    b"GETEX a EX 10\r\nGETDEL a\r\nGETSET a b\r\nAPPEND a b\r\nSETRANGE a 5 x\r\nGETRANGE a 0 -1\r\nINCRBYFLOAT a 1.5\r\n",
    b"*-1\r\n*0\r\n*1\r\n$0\r\n\r\n*99999999999\r\n",
    b"*2\r\n$3\r\nGET\r\n$-1\r\n*1\r\n+OK\r\n$5\r\nhello\r\n",
];
const MEMCACHE: [&[u8]; 8] = [
    b"get a\r\ngets a bb ccc\r\nget\r\n",
    b"set a 5 0 2\r\nhi\r\nadd a 0 100 0 noreply\r\n\r\nreplace a 4294967295 -1 3\r\n\r\n\x00\r\n",
    b"cas a 0 0 1 18446744073709551615\r\nx\r\nappend a 0 0 1\r\nx\r\nprepend a 0 0 1 noreply\r\nx\r\n",
    b"incr a 5\r\ndecr a 18446744073709551615 noreply\r\ntouch a 100\r\ngat 10 a b\r\ngats -1 a\r\n",
    b"delete a\r\ndelete a 0\r\ndelete a noreply\r\ndelete a 0 noreply\r\n",
    b"flush_all\r\nflush_all 10 noreply\r\nstats\r\nstats settings\r\nversion\r\nverbosity 1\r\nmn\r\nquit\r\n",
    b"set big 0 0 5000\r\nset a x 0 1\r\nx\r\nset a 0 0 -1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];
const ROUNDS: u32 = 400_000;
/// Commands of one input that are looked at.
const COMMANDS_MAX: usize = 64;

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

/// What is made of an input that comes in pieces, which end at these places: each command, and what ends it.
fn resp_of(input: &[u8], cuts: &[usize]) -> Vec<String> {
    let named = |name: &[u8]| (name == b"scores").then_some(9);
    let keyspace = Keyspace::new(7, Some(&named));
    let limits = ReaderLimits { argument_bytes_max: 1_000, command_bytes_max: 2_000, is_stranger: false };
    let (mut reader, mut places, mut made) = (Reader::default(), resp::Places::default(), Vec::new());
    let (mut begin, mut ends) = (0, cuts.iter().copied().chain([input.len()]));
    let mut end = ends.next().expect("there is the last");
    while made.len() < COMMANDS_MAX {
        match reader.read(&input[begin..end.max(begin)], limits) {
            Err(broken) => {
                made.push(format!("{broken:?}"));
                break;
            }
            Ok(None) => match ends.next() {
                Some(next) => end = next,
                None => break,
            },
            Ok(Some(taken)) => {
                let arguments = reader.arguments(&input[begin..]);
                if !arguments.is_empty() {
                    let _ = resp::misfit(arguments);
                    made.push(format!("{:?}", resp::decode(arguments, &keyspace, &mut places, 1_000)));
                }
                begin += taken;
            }
        }
    }
    made
}

fn memcache_of(input: &[u8], cuts: &[usize]) -> Vec<String> {
    let limits = Limits { value_bytes_max: 1_000, is_stranger: false };
    let (mut places, mut made) = (memcache::Places::default(), Vec::new());
    let (mut begin, mut ends) = (0, cuts.iter().copied().chain([input.len()]));
    let mut end = ends.next().expect("there is the last");
    while made.len() < COMMANDS_MAX {
        match memcache::decode(&input[begin..end.max(begin)], &mut places, limits) {
            Parsed::Broken(why) => {
                made.push(format!("broken {why}"));
                break;
            }
            Parsed::More => match ends.next() {
                Some(next) => end = next,
                None => break,
            },
            Parsed::Asked(asked, taken) => {
                made.push(format!("{asked:?}"));
                begin += taken;
            }
        }
    }
    made
}

fn drive(seed: u64, corpus: &[&[u8]], make: fn(&[u8], &[usize]) -> Vec<String>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut commands = 0;
    for round in 0..ROUNDS {
        let input = match corpus.get(round as usize) {
            Some(input) => input.to_vec(),
            None => mutated(corpus, &mut random),
        };
        let whole = make(&input, &[]);
        let mut cuts: Vec<usize> = (0..random.usize(0..6)).map(|_| random.usize(0..=input.len())).collect();
        cuts.sort_unstable();
        let cut = make(&input, &cuts);
        assert_eq!(whole, cut, "seed {seed}, round {round}, cut at {cuts:?}: {:?}", String::from_utf8_lossy(&input));
        commands += whole.len();
    }
    println!("{ROUNDS} inputs, {commands} commands");
}

#[test]
fn any_bytes_are_resp_or_said_not_to_be() {
    drive(11, &RESP, resp_of);
}

#[test]
fn any_bytes_are_lines_or_said_not_to_be() {
    drive(12, &MEMCACHE, memcache_of);
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
            let limits = Limits { value_bytes_max: 1_000, is_stranger: false };
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
