//! The text protocols against the servers that they are of. Debian's packages `redis-server` and `memcached` have to
//! be there; `tools/scripts/setup test` installs them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loadgen::protocol::ProtocolName;
use loadgen::run::{Length, Plan, run};
use loadgen::verify::Writers;
use loadgen::workload::ValueSizes;
use tempfile::TempDir;

use crate::server::{Faults, TestServer};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A server of others on a port of its own, gone when it is dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Peer {
    fn start(protocol: ProtocolName) -> Peer {
        let begun = Instant::now();
        loop {
            let dir = tempfile::tempdir().unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let port = address.port().to_string();
            let (program, arguments) = match protocol {
                ProtocolName::Resp => {
                    ("redis-server", vec!["--port", &port, "--bind", "127.0.0.1", "--save", "", "--maxmemory", "64mb"])
                }
                ProtocolName::Memcache => ("memcached", vec!["-p", &port, "-l", "127.0.0.1", "-m", "64", "-U", "0"]),
                ProtocolName::Native => unreachable!("larder has a test kit of its own"),
            };
            let user = if program == "memcached" { vec!["-u", "nobody"] } else { vec![] };
            let child = Command::new(program)
                .args(arguments)
                .args(user)
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{program} does not start: {error}; run tools/scripts/setup test"));
            let mut peer = Peer { child, address, _dir: dir };
            while peer.child.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return peer;
                }
                assert!(begun.elapsed() < START_TIMEOUT, "{program} does not listen on {address}");
                std::thread::sleep(Duration::from_millis(10));
            }
            // Someone else may have taken the port in between; then another one is tried.
            assert!(begun.elapsed() < START_TIMEOUT, "{program} ends at once on {address}");
        }
    }

    fn plan(&self, protocol: ProtocolName) -> Plan {
        let mut plan = TestServer::start(Faults::default()).plan();
        (plan.address, plan.protocol, plan.threads, plan.connections, plan.pipeline) =
            (self.address, protocol, 2, 8, 16);
        (plan.length, plan.preload) = (Length::Requests(50_000), true);
        plan
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const BOTH: [ProtocolName; 2] = [ProtocolName::Resp, ProtocolName::Memcache];

#[test]
fn values_of_the_peers_are_verified() {
    for protocol in BOTH {
        let peer = Peer::start(protocol);
        let mut plan = peer.plan(protocol);
        plan.values = ValueSizes::Range(60, 20_000);
        plan.mix = "get=10,set=4,delete=2".parse().unwrap();
        for (writers, multi_get) in [(Writers::OnePerKey, 1), (Writers::OnePerKey, 20), (Writers::Many, 1)] {
            (plan.verify, plan.multi_get) = (Some(writers), multi_get);
            let report = run(&plan).unwrap_or_else(|error| panic!("{protocol:?}, seed {}: {error}", plan.seed));
            assert_eq!((report.requests, report.errors_total), (50_000, 0), "{protocol:?}: {:?}", report.errors);
            assert!(report.hits > 10_000 && report.misses > 1000, "{} hits, {} misses", report.hits, report.misses);
            assert_eq!(report.verify.unwrap().checked, report.hits);
            assert!(report.server.contains(|c: char| c.is_ascii_digit()), "{} has no version", report.server);
        }
    }
}

#[test]
fn multi_gets_of_fifty_find_every_key() {
    for protocol in BOTH {
        let peer = Peer::start(protocol);
        let mut plan = peer.plan(protocol);
        (plan.multi_get, plan.mix, plan.length) = (50, "get=1".parse().unwrap(), Length::Requests(2000));
        let report = run(&plan).unwrap();
        assert_eq!((report.hits, report.misses, report.errors_total), (100_000, 0, 0), "{protocol:?}");
    }
}

#[test]
fn what_was_set_with_an_expiry_expires() {
    for protocol in BOTH {
        let peer = Peer::start(protocol);
        let mut plan = peer.plan(protocol);
        (plan.ttl, plan.mix) = (Some(Duration::from_secs(1)), "get=1".parse().unwrap());
        assert_eq!(run(&plan).unwrap().misses, 0, "{protocol:?}");
        // memcached counts whole seconds.
        std::thread::sleep(Duration::from_millis(2100));
        plan.preload = false;
        assert_eq!(run(&plan).unwrap().hits, 0, "{protocol:?}");
    }
}

#[test]
fn refusals_of_the_peers_are_counted() {
    let peer = Peer::start(ProtocolName::Memcache);
    let mut plan = peer.plan(ProtocolName::Memcache);
    (plan.values, plan.preload, plan.length) = (ValueSizes::Fixed(2 << 20), false, Length::Requests(100));
    plan.mix = "set=1".parse().unwrap();
    let report = run(&plan).unwrap();
    assert_eq!(report.errors["too_large"].count, 100, "{:?}", report.errors);
}

#[test]
fn a_server_of_another_protocol_is_named_as_such() {
    for (protocol, other) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        let peer = Peer::start(protocol);
        let error = run(&peer.plan(other)).unwrap_err().to_string();
        assert!(error.contains("breaks the protocol"), "{error}");
    }
    let peer = Peer::start(ProtocolName::Resp);
    let mut plan = peer.plan(ProtocolName::Resp);
    plan.group = "scores".into();
    assert!(run(&plan).unwrap_err().to_string().contains("--group scores"), "RESP has no groups");
}
