//! A replay over the network hits exactly as often as the same stores in process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_benches::hit_ratio::{Outcome, Replayed, config};
use larder_server::config::{ServeFlags, Setting};
use larder_testkit::Server;
use loadgen::protocol::ProtocolName;
use loadgen::replay::{ReplayPlan, ReplayReport, replay};
use loadgen::trace::Trace;

const SEED: u64 = 20_251;
/// What many connections may differ by, in points of hit ratio.
const POINTS_MAX: f64 = 0.3;

/// A trace and the server that it is replayed against.
struct Case {
    keys: PathBuf,
    sizes: Option<PathBuf>,
    value_bytes: u32,
    memory: &'static str,
    requests: u64,
    config: Option<PathBuf>,
}

impl Case {
    fn in_process(&self) -> Outcome {
        let flags = ServeFlags {
            config: self.config.clone(),
            settings: vec![(Setting::Shards, "2".into()), (Setting::Memory, self.memory.into())],
            ..ServeFlags::default()
        };
        let mut stores = Replayed::new(&config(&flags).unwrap(), "default").unwrap();
        let mut trace = Trace::open(&self.keys, self.sizes.as_deref()).unwrap();
        let outcome = stores.replay(&mut trace, self.value_bytes, self.requests).unwrap();
        assert!(outcome.hits > 0 && stores.evictions() > 0, "{} tests no eviction", self.keys.display());
        outcome
    }

    /// Against a server of its own, because a replay starts with an empty cache.
    fn over_network(&self, connections: usize, pipeline: usize) -> ReplayReport {
        let mut arguments = vec!["--cores", "0", "--shards", "2", "--memory", self.memory];
        if let Some(config) = &self.config {
            arguments.extend(["--config", config.to_str().unwrap()]);
        }
        let server = Server::start(&arguments);
        let plan = ReplayPlan {
            address: server.address(),
            protocol: ProtocolName::Native,
            group: "default".into(),
            keys: self.keys.clone(),
            sizes: self.sizes.clone(),
            value_bytes: self.value_bytes,
            connections,
            pipeline,
            core: None,
            requests: Some(self.requests),
            timeout: Duration::from_secs(30),
            progress: false,
        };
        let report = replay(&plan).unwrap_or_else(|error| panic!("{}: {error}", self.keys.display()));
        assert!(server.stop().success(), "the server ends well");
        report
    }

    fn compare(&self) {
        let expected = self.in_process();
        let name = self.keys.display();
        let one = self.over_network(1, 1);
        let seen = Outcome {
            requests: one.requests,
            hits: one.hits,
            misses: one.misses,
            sets: one.sets,
            too_large: one.too_large,
        };
        assert_eq!(seen, expected, "{name}, one connection");
        assert_eq!(one.errors_total, 0, "{name}: {:?}", one.errors);
        let many = self.over_network(16, 4);
        let ratio = expected.hits as f64 / expected.requests as f64;
        let points = (many.hit_ratio.unwrap() - ratio).abs() * 100.0;
        assert_eq!((many.requests, many.errors_total), (expected.requests, 0), "{name}: {:?}", many.errors);
        assert!(points <= POINTS_MAX, "{name}: {:?} instead of {ratio} with 64 lanes", many.hit_ratio);
        eprintln!("{name}: hit ratio {ratio:.6}, the same over the network; 64 lanes {points:.3} points away");
    }
}

/// Skewed keys with a scan now and then, so that policies differ and everything is evicted sometimes.
fn generated(dir: &Path) -> (PathBuf, PathBuf) {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let (mut keys, mut sizes) = (Vec::new(), Vec::new());
    let mut scan = 1 << 40;
    for request in 0..60_000 {
        let key = if request % 10_000 < 1500 {
            scan += 1;
            scan
        } else {
            let bits = rng.u32(4..16);
            rng.u64(..1 << bits)
        };
        keys.extend_from_slice(&key.to_le_bytes());
        sizes.extend_from_slice(&rng.u32(1..4000).to_le_bytes());
    }
    // One object that no shard has room for.
    keys.extend_from_slice(&u64::MAX.to_le_bytes());
    sizes.extend_from_slice(&u32::MAX.to_le_bytes());
    (pack(dir, "generated.keys.zst", &keys), pack(dir, "generated.sizes.zst", &sizes))
}

fn pack(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    let packed = ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    std::fs::write(&path, packed).unwrap();
    path
}

#[test]
fn a_generated_trace_hits_as_in_process() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, sizes) = generated(dir.path());
    let lru = dir.path().join("larder.toml");
    let configuration = "[cluster]\nseed = 7\n[[group]]\nname = \"default\"\npolicy = \"lru\"\n";
    std::fs::write(&lru, configuration).unwrap();
    let case = |sizes: Option<PathBuf>, config: Option<PathBuf>| Case {
        keys: keys.clone(),
        sizes,
        value_bytes: 1000,
        memory: "4MiB",
        requests: u64::MAX,
        config,
    };
    let (two_q, sized) = (case(None, None), case(Some(sizes), Some(lru.clone())));
    two_q.compare();
    sized.compare();
    assert_eq!(sized.in_process().too_large, 1);
    assert_ne!(case(None, Some(lru)).in_process(), two_q.in_process(), "the policies differ here, seed {SEED}");
}

#[test]
fn captured_traces_hit_as_in_process() {
    let Some(folder) = crate::traces() else { return };
    let oltp = Case {
        keys: folder.join("oltp.keys.zst"),
        sizes: None,
        value_bytes: 100,
        memory: "2MiB",
        requests: if crate::full() { u64::MAX } else { 914_145 / 20 },
        config: None,
    };
    oltp.compare();
    let webclient = Case {
        keys: folder.join("webclient.keys.zst"),
        sizes: Some(folder.join("webclient.sizes.zst")),
        value_bytes: 0,
        memory: "16MiB",
        requests: if crate::full() { u64::MAX } else { 66_987 / 4 },
        config: None,
    };
    webclient.compare();
}
